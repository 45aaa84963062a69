"""Read the EXIF orientation of a PNG or JPEG, wherever in the file it is stated.

A JPEG states it in a segment before its frame, a PNG in a chunk before or after its pixels; older
programs write the same bytes into a PNG as a text of hexadecimal digits.
"""

from __future__ import annotations

import re
import warnings
import zlib
from collections.abc import Iterator

from cxrloc.datasets.images.formats.headers import PNG_SIGNATURE, jpeg_segments, png_chunks

LYING = (5, 6, 7, 8)  # orientations whose upright image is as wide as the stored one is high
_ORIENTATION = 0x0112  # EXIF (JEITA CP-3451), values 1 to 8
_EXIF = b"Exif\0\0"
_MARKS = (b"Exif\0", b"eXIf", b"Raw profile type ")
_RAW_PROFILE = re.compile(rb"Raw profile type (?:exif|APP1)\0", re.IGNORECASE)
_APP1, _SOS = 0xE1, 0xDA
_LONGEST_TEXT = 1 << 20
_XMP_NAME = b"tiff:Orientation"
_IN_XMP = re.compile(_XMP_NAME + rb"(?:\s*=\s*[\"']|\s*>\s*)([2-8])\b")


def may_be_turned(data: bytes) -> bool:
    """Whether EXIF data starts in these bytes."""
    return any(mark in data for mark in _MARKS)


def orientation(data: bytes) -> int:
    """EXIF orientation, 1 to 8; 1 if the file does not state it, or damaged."""
    if not may_be_turned(data):
        return 1
    blocks = _in_png(data) if data.startswith(PNG_SIGNATURE) else _in_jpeg(data)
    return next((number for block in blocks if (number := _stated(block))), 1)


def xmp_doubt(data: bytes) -> Iterator[str]:
    """A sentence about an image that XMP says to be turned, while EXIF says nothing of it."""
    match = _IN_XMP.search(data) if _XMP_NAME in data else None
    if match:
        yield (
            f"XMP states orientation {match[1].decode()} and EXIF none, and viewers differ on it: "
            "the image is not turned. Is it upright?"
        )


def _in_jpeg(data: bytes) -> Iterator[bytes]:
    try:
        for marker, position in jpeg_segments(data):
            if marker == _SOS:
                return
            end = position + 2 + int.from_bytes(data[position + 2 : position + 4], "big")
            content = data[position + 4 : end]
            if marker == _APP1 and content.startswith(_EXIF[:5]):
                yield content[len(_EXIF) :]
    except ValueError:
        return  # whoever decodes the image says so


def _in_png(data: bytes) -> Iterator[bytes]:
    for _, kind, content in png_chunks(data):
        if kind == b"eXIf":
            yield bytes(content).removeprefix(_EXIF)
        elif kind in (b"tEXt", b"zTXt", b"iTXt"):
            yield from _raw_profile(kind, bytes(content))


def _raw_profile(kind: bytes, content: bytes) -> Iterator[bytes]:
    """ImageMagick's form: a name, a length, and the bytes in hexadecimal digits, in lines."""
    start = _RAW_PROFILE.match(content)
    if not start:
        return
    text = content[start.end() :]
    try:
        if kind == b"zTXt":
            text = zlib.decompressobj().decompress(text[1:], _LONGEST_TEXT)
        elif kind == b"iTXt":
            packed, text = text[:1] == b"\1", text[2:].split(b"\0", 2)[-1]
            text = zlib.decompressobj().decompress(text, _LONGEST_TEXT) if packed else text
        digits = b"".join(text.split(b"\n")[3:])
        yield bytes.fromhex(digits.decode("ascii")).removeprefix(_EXIF)
    except (zlib.error, ValueError):
        return


def _stated(block: bytes) -> int:
    """The orientation in a block of EXIF data; 0 if it states none."""
    from PIL import Image

    # what PIL says of damaged data names no image; such data states no orientation
    warnings.filterwarnings("ignore", category=UserWarning, module="PIL")
    exif = Image.Exif()
    try:
        exif.load(_EXIF + block)
        value = exif.get(_ORIENTATION)
    except Exception:  # PIL raises all kinds of errors for damaged EXIF data
        return 0
    return value if isinstance(value, int) and 1 <= value <= 8 else 0
