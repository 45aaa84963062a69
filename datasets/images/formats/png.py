"""Check a PNG and hand on only what makes its pixels, so that libpng has nothing left to say.

libpng writes what it finds odd to standard error, without the name of a file, and some of it it
reads on after. So chunks that change no pixel (a colour profile, gamma, text, times) are left out,
and the pixels are inflated here, where damage is an error that names the image. They go on in
stored blocks, which cost a copy: no pixel is inflated twice.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from cxrloc.datasets.images.formats.headers import PNG_SIGNATURE, check_pixels, png_chunks

_GREY, _PALETTE = 0, 3
_CHANNELS = {_GREY: 1, 2: 3, _PALETTE: 1, 4: 2, 6: 4}
_DEPTHS = {_GREY: (1, 2, 4, 8, 16), 2: (8, 16), _PALETTE: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2))
_PASSES = (((0, 0, 1, 1),), (*_ADAM7, (0, 1, 1, 2)))  # first column and row, steps between them
_FILTERS = 5
_LONGEST_SIDE = 1_000_000  # libpng's
_SURPLUS = 1 << 20  # bytes looked at, at most
_USUAL_GAMMA, _OTHER_GAMMA = 1 / 2.2, 0.1


@dataclass(frozen=True)
class Header:
    """The IHDR chunk."""

    width: int
    height: int
    depth: int
    colour: int
    interlaced: int

    @classmethod
    def of(cls, data: bytes) -> Header:
        """Read and check it.

        Raises:
            ValueError: for values that no PNG has, or too many pixels.
        """
        width, height = (int.from_bytes(data[i : i + 4], "big") for i in (0, 4))
        if len(data) != 13 or not 0 < min(width, height) <= max(width, height) <= _LONGEST_SIDE:
            raise ValueError(f"damaged PNG: its header states a size of {width} x {height}")
        check_pixels(width, height)
        depth, colour, packing, filtering, interlaced = data[8:13]
        if depth not in _DEPTHS.get(colour, ()) or packing or filtering or interlaced > 1:
            raise ValueError(
                f"damaged PNG: its header states {depth} bits, colour type {colour}, compression "
                f"{packing}, filter {filtering} and interlace {interlaced}, which is no PNG"
            )
        return cls(width, height, depth, colour, interlaced)

    def passes(self) -> Iterator[tuple[int, int]]:
        """Rows of each pass, and bytes of a row with the filter before it."""
        for left, top, right, down in _PASSES[self.interlaced]:
            columns, rows = -((left - self.width) // right), -((top - self.height) // down)
            if columns > 0 and rows > 0:
                bits = columns * _CHANNELS[self.colour] * self.depth
                yield rows, 1 + (bits + 7) // 8


def plain_png(data: bytes) -> tuple[bytes, tuple[str, ...]]:
    """The same pixels as a PNG of header, palette and stored pixels; and warnings, as of fill.

    Args:
        data: a PNG without a structural fault (see `headers.structural_fault`).

    Raises:
        ValueError: for a damaged or animated PNG.
    """
    kinds: dict[bytes, list[memoryview]] = {}
    for _, kind, content in png_chunks(data):
        kinds.setdefault(kind, []).append(content)
    _check_kinds(kinds, data)
    [first] = kinds[b"IHDR"]
    header = Header.of(bytes(first))
    pixels, notes = _inflated(b"".join(kinds[b"IDAT"]), sum(n * m for n, m in header.passes()))
    _check_filters(pixels, header)
    notes = (*notes, *_unheeded(kinds, header))
    parts = [_chunk(b"IHDR", bytes(first))]
    if header.colour == _PALETTE:
        [palette] = kinds[b"PLTE"]
        full = 3 << header.depth  # entries that are missing are black
        parts.append(_chunk(b"PLTE", bytes(palette).ljust(full, b"\0")[:full]))
    parts += [_chunk(b"IDAT", zlib.compress(pixels, 0)), _chunk(b"IEND", b"")]
    return PNG_SIGNATURE + b"".join(parts), notes


def _check_kinds(kinds: dict[bytes, list[memoryview]], data: bytes) -> None:
    if kinds.keys() >= {b"CgBI"}:
        raise ValueError("a PNG as Apple packs it into programs (CgBI); convert it to plain PNG")
    critical = {kind for kind in kinds if kind[:1].isupper()}
    odd = sorted(critical - {b"IHDR", b"PLTE", b"IDAT", b"IEND"})
    if odd:
        raise ValueError(f"damaged PNG, or of an unknown kind: it needs a chunk {odd[0]!r}")
    needed = [b"IHDR", b"IDAT"]
    if len(kinds.get(b"IHDR", ())) == 1 and data[25] == _PALETTE:
        needed.append(b"PLTE")
    for kind in needed:
        if kind not in kinds or (kind != b"IDAT" and len(kinds[kind]) > 1):
            raise ValueError(f"damaged PNG: it has {len(kinds.get(kind, ()))} chunks {kind!r}")
    frames = int.from_bytes(kinds.get(b"acTL", [memoryview(b"")])[0][:4], "big")
    if frames > 1:
        raise ValueError(f"an animated PNG of {frames} frames; expected a single image")


def _unheeded(kinds: dict[bytes, list[memoryview]], header: Header) -> Iterator[str]:
    """What some viewers show otherwise than the stored values."""
    declared = bytes(kinds.get(b"tRNS", [memoryview(b"")])[0])
    if declared.strip(b"\xff") if header.colour == _PALETTE else len(declared) > 1:
        yield "Some of its values are declared transparent: read as if they were opaque."
    gamma = int.from_bytes(kinds.get(b"gAMA", [memoryview(b"")])[0][:4], "big") / 100_000
    if gamma and b"sRGB" not in kinds and abs(gamma - _USUAL_GAMMA) > _OTHER_GAMMA:
        yield f"It states a gamma of {gamma:.3g}, which is not applied: is it as bright as shown?"


def _inflated(packed: bytes, size: int) -> tuple[bytes, tuple[str, ...]]:
    """`size` bytes of filtered rows, and a warning of zeros after them."""
    unpacker = zlib.decompressobj()
    try:
        pixels = unpacker.decompress(packed, size)
        surplus = unpacker.decompress(unpacker.unconsumed_tail, _SURPLUS)
    except zlib.error as error:
        raise ValueError(f"damaged PNG: its pixels cannot be inflated ({error})") from None
    if len(pixels) < size or not (unpacker.eof or surplus):
        raise ValueError(f"truncated PNG: {len(pixels)} of {size} bytes of pixels")
    surplus += unpacker.unused_data
    if surplus.strip(b"\0"):
        raise ValueError(f"damaged PNG: it holds more than its {size} bytes of pixels")
    if surplus:
        return pixels, ("Surplus zeros after the pixels: is the image whole?",)
    return pixels, ()


def _check_filters(pixels: bytes, header: Header) -> None:
    values, start = np.frombuffer(pixels, np.uint8), 0
    for rows, length in header.passes():
        end = start + rows * length
        if (values[start:end:length] >= _FILTERS).any():
            raise ValueError("damaged PNG: a row has a filter that does not exist")
        start = end


def _chunk(kind: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(content, zlib.crc32(kind))
    return b"".join((len(content).to_bytes(4, "big"), kind, content, checksum.to_bytes(4, "big")))
