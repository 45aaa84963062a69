"""Tell damage of a DICOM image by the lengths that its pixels must have.

Where bytes were put in, left out or changed, decoders go on: with shifted rows, or with noise. What
they do not say is told by counting. The items of compressed pixels end where the next one begins,
run lengths (RLE) give as many bytes as there are pixels, and the values out of a lossless JPEG take
all the bits of its stream (ITU-T T.81, annex H; PS3.5, annexes A.4 and G).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from pydicom import Dataset

_PIXEL_DATA = 0x7FE00010
_ITEM, _DELIMITER = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0"
_FILL = b"\0\xff \r\n"
_UNDEFINED = 0xFFFFFFFF
_SOF3, _DHT, _SOS, _DRI = 0xC3, 0xC4, 0xDA, 0xDD
_LOSSLESS = ("1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70")
_RLE = "1.2.840.10008.1.2.5"
_RLE_HEADER = 64  # bytes: how many segments there are, and where each begins

Bits = npt.NDArray[np.int64]
_PREDICTIONS: tuple[Callable[[Bits, Bits, Bits], Bits], ...] = (  # of predictors 1 to 7
    lambda left, above, corner: left,
    lambda left, above, corner: above,
    lambda left, above, corner: corner,
    lambda left, above, corner: left + above - corner,
    lambda left, above, corner: left + ((above - corner) >> 1),
    lambda left, above, corner: above + ((left - corner) >> 1),
    lambda left, above, corner: (left + above) >> 1,
)


def items_fault(header: Dataset) -> str | None:
    """What is wrong with the lengths of compressed pixels; None if nothing."""
    from pydicom.encaps import get_frame

    fault = _items_fault(header.PixelData)
    if fault or header.file_meta.TransferSyntaxUID != _RLE:
        return fault
    return _rle_fault(get_frame(header.PixelData, 0, number_of_frames=1), header)


def surplus_fault(header: Dataset, data: bytes) -> str | None:
    """Bytes of a file after the pixels that are no attributes: as many were put in before."""
    rest, syntax = _after_pixels(header, data), header.file_meta.TransferSyntaxUID
    surplus = len(rest)
    while rest.strip(_FILL):
        tag, length = _next_element(rest, syntax.is_little_endian, syntax.is_implicit_VR)
        if tag <= _PIXEL_DATA or (length > len(rest) and length < _UNDEFINED):
            return f"damaged: {surplus} bytes after the pixels are no attributes"
        rest = rest[length:]
    return None


def fill_warning(header: Dataset, data: bytes) -> Iterator[str]:
    """Warn of fill after uncompressed pixels; it may be the end of an image that was shifted."""
    syntax = header.file_meta.TransferSyntaxUID
    rest = b"" if syntax.is_encapsulated else _after_pixels(header, data)
    if rest and not rest.strip(_FILL):
        yield f"{len(rest)} surplus bytes after the pixels: is the image whole, or shifted?"


def lossless_fault(header: Dataset, pixels: npt.NDArray[np.integer]) -> str | None:
    """What is wrong with a lossless JPEG from which these pixels were decoded; None if nothing.

    Streams with several components or restart markers are not checked, nor other syntaxes.
    """
    from pydicom.encaps import get_frame

    if header.file_meta.TransferSyntaxUID not in _LOSSLESS:
        return None
    try:
        return _bits_fault(get_frame(header.PixelData, 0, number_of_frames=1), pixels)
    except (IndexError, struct.error):
        return "damaged: the tables of the lossless JPEG are cut off"


def _after_pixels(header: Dataset, data: bytes) -> bytes:
    """The rest of the file; none of a deflated one, whose places are other ones."""
    element = header["PixelData"]
    if header.file_meta.TransferSyntaxUID.is_deflated:
        return b""
    start = (element.file_tell or 0) + len(element.value)
    return data[start + 8 if element.is_undefined_length else start :]


def _next_element(data: bytes, little: bool, implicit: bool) -> tuple[int, int]:
    """Tag and length of an element with its head; 0 for the tag if the head is cut off."""
    from pydicom.valuerep import EXPLICIT_VR_LENGTH_32

    if len(data) < 12:
        return 0, 0
    order = "<" if little else ">"
    group, number = struct.unpack(f"{order}HH", data[:4])
    tag = group << 16 | number
    kind = data[4:6]
    if implicit or not kind.isalpha():
        (length,) = struct.unpack(f"{order}I", data[4:8])
        return tag, min(8 + length, _UNDEFINED)
    if kind.decode() in EXPLICIT_VR_LENGTH_32:
        (length,) = struct.unpack(f"{order}I", data[8:12])
        return tag, min(12 + length, _UNDEFINED)
    (length,) = struct.unpack(f"{order}H", data[6:8])
    return tag, 8 + length


def _items_fault(value: bytes) -> str | None:
    """Items one after the other, to the end."""
    position = 0
    while position < len(value):
        head = value[position : position + 8]
        if head[:4] == _ITEM and len(head) == 8:
            position += 8 + int.from_bytes(head[4:], "little")
        elif head[:4] == _DELIMITER or not value[position:].strip(_FILL):
            return None
        else:
            return f"damaged: no item of compressed pixels at their byte {position}"
    if position > len(value):
        return (
            f"damaged: the last item of the compressed pixels lacks {position - len(value)} bytes"
        )
    return None


def _rle_fault(frame: bytes, header: Dataset) -> str | None:
    if len(frame) < _RLE_HEADER:
        return "damaged: the RLE header is cut off"
    count, *places = struct.unpack("<16I", frame[:_RLE_HEADER])
    expected = header.Rows * header.Columns
    ends = [*places[1:count], len(frame)]
    for number, (start, end) in enumerate(zip(places[:count], ends, strict=False), start=1):
        fault = _run_lengths_fault(frame[start:end], expected)
        if fault:
            return f"damaged: RLE segment {number} {fault}"
    return None


def _run_lengths_fault(segment: bytes, expected: int) -> str | None:
    position, total, size = 0, 0, len(segment)
    while position < size and total < expected:
        head = segment[position]
        if head < 128:  # so many bytes, and one more, as they are
            total += head + 1
            position += head + 2
        else:  # one byte, 257 - head times; 128 means nothing
            total += 257 - head if head > 128 else 0
            position += 2 if head > 128 else 1
    if total != expected or position > size:
        return f"holds {total:,} bytes, expected {expected:,}"
    if segment[position:].strip(_FILL):
        return f"holds more than the {expected:,} bytes expected"
    return None


def _bits_fault(stream: bytes, pixels: npt.NDArray[np.integer]) -> str | None:
    """Compare the bits that the pixels take with those of the stream."""
    lengths: dict[int, Bits] = {}
    bits = 0
    for marker, content, end in _segments(stream):
        if marker == _DHT:
            lengths |= _code_lengths(content)
        elif marker == _SOF3:
            bits = content[0]
        elif marker == _DRI and any(content[:2]):
            return None
        elif marker == _SOS:
            if content[0] != 1 or not bits:
                return None
            table, predictor, shift = content[2] >> 4, content[3], content[5] & 0x0F
            sizes = lengths.get(table)
            if sizes is None or not 1 <= predictor <= 7:
                return "damaged: the lossless JPEG has no such table or predictor"
            needed = [
                _bits_of(_categories(values >> shift, predictor, bits - shift), sizes)
                for values in _as_coded(pixels, bits)
            ]
            return _compared(needed, stream[end:])
    return None


def _as_coded(pixels: npt.NDArray[np.integer], bits: int) -> Iterator[Bits]:
    """The values modulo 2^16, as they are coded; and without what a sign put above their bits."""
    values = pixels.astype(np.int64) & 0xFFFF
    yield values
    if int(values.max()) >> bits:
        yield values & (2**bits - 1)


def _segments(stream: bytes) -> Iterator[tuple[int, bytes, int]]:
    """Marker, content and end of each segment up to the scan's."""
    position = 2
    while position + 4 <= len(stream) and stream[position] == 0xFF:
        marker = stream[position + 1]
        if marker == 0xFF:
            position += 1
            continue
        end = position + 2 + int.from_bytes(stream[position + 2 : position + 4], "big")
        yield marker, stream[position + 4 : end], end
        if marker == _SOS:
            return
        position = end


def _code_lengths(content: bytes) -> dict[int, Bits]:
    """Table -> bits of the code of each category 0 to 16; 0 for a category without a code."""
    tables: dict[int, Bits] = {}
    while len(content) > 17:
        counts, count = content[1:17], sum(content[1:17])
        sizes = np.zeros(256, np.int64)
        codes = np.repeat(np.arange(1, 17), list(counts))
        sizes[list(content[17 : 17 + count])] = codes[: len(content[17 : 17 + count])]
        tables[content[0] & 0x0F] = sizes[:17]
        content = content[17 + count :]
    return tables


def _categories(values: Bits, predictor: int, bits: int) -> Bits:
    """How many differences to their prediction have each category 0 to 16."""
    left, above = np.roll(values, 1, axis=1), np.roll(values, 1, axis=0)
    corner = np.roll(above, 1, axis=1)
    predicted = _PREDICTIONS[predictor - 1](left, above, corner).copy()
    predicted[0, 1:], predicted[1:, 0] = left[0, 1:], above[1:, 0]
    predicted[0, 0] = 1 << (bits - 1)
    difference = np.abs(((values - predicted + 32_768) & 0xFFFF) - 32_768)
    _, exponents = np.frexp(difference.astype(np.float64))  # 0 is 0, 1 is 1, 2 and 3 are 2, ...
    return np.bincount(exponents.ravel(), minlength=17).astype(np.int64)


def _bits_of(counts: Bits, sizes: Bits) -> int:
    """Bits of so many differences of each category; -1 if one has no code."""
    if (counts[sizes == 0] > 0).any():
        return -1
    extra = np.arange(17)
    extra[16] = 0
    return int((counts * (sizes + extra)).sum())


def _compared(needed: Sequence[int], scan: bytes) -> str | None:
    end = scan.rfind(b"\xff\xd9")
    coded = scan[: end if end >= 0 else len(scan)].replace(b"\xff\x00", b"\xff")
    for bits in needed:
        whole = -(-bits // 8)
        if bits >= 0 and whole <= len(coded) and not coded[whole:].strip(_FILL):
            return None
    takes, has = f"{max(*needed, 0):,} bits", f"{8 * len(coded):,}"
    return f"damaged: the pixels out of the lossless JPEG take {takes}, its stream has {has}"
