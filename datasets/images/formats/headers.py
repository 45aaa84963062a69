"""Read kind, size and completeness of a PNG or JPEG file from its structure.

Nothing is decoded. A PNG is complete if it runs to its IEND chunk with correct checksums, a JPEG if
it runs to its EOI marker.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator

from cxrloc.datasets.dicom.scope import MAX_PIXELS

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
JPEG_SIGNATURE = b"\xff\xd8"
# In a scan, FF is followed by 00 (a literal FF), a restart marker or FF (fill); otherwise a marker.
_JPEG_MARKER_IN_SCAN = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
_JPEG_SOS, _JPEG_EOI, _JPEG_APP14, _JPEG_FILL = 0xDA, 0xD9, 0xEE, 0xFF
_JPEG_PROGRESSIVE = frozenset((0xC2, 0xC6, 0xCA, 0xCE))
_JPEG_BARE = frozenset(range(0xD0, 0xD8)) | {0x01}  # markers without a length
_JPEG_LS = 0xF7
_JPEG_FRAMES = (frozenset(range(0xC0, 0xD0)) | {_JPEG_LS}) - {0xC4, 0xC8, 0xCC}


def is_png_or_jpeg(data: bytes) -> bool:
    return data.startswith((PNG_SIGNATURE, JPEG_SIGNATURE))


def is_jpeg(data: bytes) -> bool:
    return data.startswith(JPEG_SIGNATURE)


def structural_fault(data: bytes) -> str | None:
    """The structural fault of a PNG or JPEG; None if there is none or for another format."""
    if not data:
        return "the file is empty"
    if data.startswith(PNG_SIGNATURE):
        return _png_fault(data)
    if data.startswith(JPEG_SIGNATURE):
        return _jpeg_fault(data)
    if PNG_SIGNATURE.startswith(data) or JPEG_SIGNATURE.startswith(data):
        return f"truncated: only {len(data)} bytes"
    return None


def check_pixels(width: int, height: int) -> None:
    """Refuse what no detector gives, before it is decoded.

    Raises:
        ValueError: for too many pixels.
    """
    if width * height > MAX_PIXELS:
        raise ValueError(f"{height} x {width} pixels; expected at most {MAX_PIXELS:,} in total")


def png_size(data: bytes) -> tuple[int, int]:
    """Width and height from a PNG's header.

    Raises:
        ValueError: for a PNG without a header.
    """
    if len(data) < 24 or data[12:16] != b"IHDR":
        raise ValueError("damaged PNG: no header")
    return int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")


def jpeg_size(data: bytes) -> tuple[int, int]:
    """Width and height from the frame header of a JPEG, lossless JPEG or JPEG-LS.

    Raises:
        ValueError: for a file that ends, or is damaged, before its frame header.
    """
    try:
        for marker, position in jpeg_segments(data):
            if marker in _JPEG_FRAMES and position + 9 <= len(data):
                height = int.from_bytes(data[position + 5 : position + 7], "big")
                return int.from_bytes(data[position + 7 : position + 9], "big"), height
    except ValueError:
        pass  # the same message for every fault
    raise ValueError("damaged or truncated JPEG: no frame header")


def other_jpeg(data: bytes) -> str:
    """Name of a kind of JPEG that is not decoded: JPEG-LS, and others than 8 bits a sample."""
    try:
        marker, at = next(pair for pair in jpeg_segments(data) if pair[0] in _JPEG_FRAMES)
    except (StopIteration, ValueError):
        return ""  # whoever decodes it says so
    if marker == _JPEG_LS:
        return "JPEG-LS"
    bits = data[at + 4] if at + 4 < len(data) else 8
    return "" if bits == 8 else f"JPEG of {bits} bits a sample"


def has_adobe_marker(data: bytes) -> bool:
    """Whether Adobe's segment says how the colours of a JPEG are stored."""
    return any(
        marker == _JPEG_APP14 and data[at + 4 : at + 9] == b"Adobe"
        for marker, at in jpeg_segments(data)
    )


def missing_scans(data: bytes) -> str | None:
    """Whether scans of a progressive JPEG are missing, which decoders show blurred; None if not.

    Every coefficient of every component needs a scan of its last bit (T.81, G.1).
    """
    components: dict[int, set[int]] = {}
    for marker, at in jpeg_segments(data):
        if marker in _JPEG_FRAMES and marker not in _JPEG_PROGRESSIVE:
            return None
        if marker in _JPEG_PROGRESSIVE:
            count = data[at + 9]
            components = {data[at + 10 + 3 * i]: set(range(64)) for i in range(count)}
        elif marker == _JPEG_SOS:
            count = data[at + 4]
            first, last, bits = data[at + 5 + 2 * count : at + 8 + 2 * count]
            for i in range(count if not bits & 0x0F else 0):
                components.get(data[at + 5 + 2 * i], set()).difference_update(
                    range(first, last + 1)
                )
    missing = sum(map(bool, components.values()))
    return f"{missing} of {len(components)} components lack scans" if missing else None


def png_chunks(data: bytes) -> Iterator[tuple[int, bytes, memoryview]]:
    """Position, kind and content of each whole chunk, up to IEND.

    A chunk is a length (4 bytes), a kind (4), the content and a checksum (4).
    """
    position, view = len(PNG_SIGNATURE), memoryview(data)
    while position + 12 <= len(data):
        end = position + 12 + int.from_bytes(data[position : position + 4], "big")
        if end > len(data):
            return
        kind = data[position + 4 : position + 8]
        yield position, kind, view[position + 8 : end - 4]
        if kind == b"IEND":
            return
        position = end


def _png_fault(data: bytes) -> str | None:
    kind = b""
    for position, kind, content in png_chunks(data):
        end = position + 8 + len(content)
        checksum = int.from_bytes(data[end : end + 4], "big")
        if zlib.crc32(memoryview(data)[position + 4 : end]) != checksum:
            return f"damaged PNG: wrong checksum of chunk {kind!r} at byte {position}"
    return None if kind == b"IEND" else f"truncated PNG: {len(data)} bytes without the end chunk"


def _jpeg_fault(data: bytes) -> str | None:
    try:
        for _ in jpeg_segments(data):
            pass
    except ValueError as error:
        return str(error)
    return None


def jpeg_segments(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield each marker and its position up to EOI; a plain search would match a thumbnail's.

    Raises:
        ValueError: if the file ends before EOI or lacks a marker.
    """
    position = len(JPEG_SIGNATURE)
    while position + 2 <= len(data):
        if data[position] != 0xFF:
            raise ValueError(f"damaged JPEG: no marker at byte {position}")
        marker = data[position + 1]
        if marker == _JPEG_FILL:
            position += 1
            continue
        yield marker, position
        if marker == _JPEG_EOI:
            return
        position += 2 if marker in _JPEG_BARE else 2 + _length(data, position + 2)
        if marker == _JPEG_SOS:
            following = _JPEG_MARKER_IN_SCAN.search(data, position)
            position = len(data) if following is None else following.start()
    raise ValueError(f"truncated JPEG: {len(data)} bytes without the end marker")


def _length(data: bytes, position: int) -> int:
    return int.from_bytes(data[position : position + 2], "big")
