"""EXIF orientation is found wherever a PNG or JPEG states it, by the reader and by the size."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from cxrloc.datasets.images.read import read_image
from cxrloc.datasets.images.sizes import size_hw
from datasets.images.formats.builders import Chunk, png

WIDE = np.tile(np.linspace(0, 255, 48, dtype=np.uint8), (32, 1))  # brighter to the right
JPEG = cv2.imencode(".jpg", WIDE)[1].tobytes()
PACKED = zlib.compress(b"".join(b"\0" + bytes(row) for row in WIDE))


def exif(number: int, order: str = "<") -> bytes:
    """A TIFF header and a directory of one entry."""
    mark = b"II" if order == "<" else b"MM"
    return mark + struct.pack(f"{order}HIHHHIHHI", 42, 8, 1, 0x0112, 3, 1, number, 0, 0)


def segment(content: bytes, marker: int = 0xE1) -> bytes:
    return b"\xff" + bytes([marker]) + struct.pack(">H", len(content) + 2) + content


TURNED = segment(b"Exif\0\0" + exif(6))
XMP = segment(b"http://ns.adobe.com/xap/1.0/\0<x/>")
PROFILE = segment(b"ICC_PROFILE\0\1\1" + bytes(60_000), 0xE2)
JPEGS = {
    "the usual place": TURNED,
    "most significant byte first": segment(b"Exif\0\0" + exif(6, ">")),
    "after XMP": XMP + TURNED,
    "after a colour profile": PROFILE + TURNED,
    "the second of two, as the first is damaged": segment(b"Exif\0\0II*\0" + bytes(9)) + TURNED,
    "the second of two, as the first has none": segment(b"Exif\0\0" + exif(0)) + TURNED,
    "the first of two": TURNED + segment(b"Exif\0\0" + exif(3)),
}


def text(kind: bytes, digits: bytes) -> Chunk:
    head = b"Raw profile type exif\0"
    if kind == b"zTXt":
        return kind, head + b"\0" + zlib.compress(digits)
    return kind, head + (b"\0\0\0\0" if kind == b"iTXt" else b"") + digits


BLOCK = b"Exif\0\0" + exif(6)
DIGITS = b"\nexif\n%8d\n" % len(BLOCK) + BLOCK.hex().encode() + b"\n"
CHUNK: Chunk = (b"eXIf", exif(6))
PNGS: dict[str, tuple[tuple[Chunk, ...], tuple[Chunk, ...]]] = {
    "before the pixels": ((CHUNK,), ()),
    "after the pixels": ((), (CHUNK,)),
    "with the head of a JPEG's": (((b"eXIf", BLOCK),), ()),
    "behind a long text": (((b"tEXt", b"a\0" + bytes(9_000)), CHUNK), ()),
    "beside a text too long for PIL": (
        (CHUNK, (b"zTXt", b"a\0\0" + zlib.compress(bytes(1 << 24)))),
        (),
    ),
    **{kind.decode(): ((text(kind, DIGITS),), ()) for kind in (b"tEXt", b"zTXt", b"iTXt")},
}


def check_turned(path: Path) -> None:
    image = read_image(path)
    assert image.size_hw == size_hw(path) == (48, 32)
    assert np.abs(image.pixels.astype(int) - np.rot90(WIDE, -1)).mean() < 3
    assert any("EXIF orientation 6" in warning for warning in image.warnings)


@pytest.mark.parametrize("place", JPEGS)
def test_a_jpeg_is_turned_upright_wherever_it_says_so(tmp_path: Path, place: str) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(JPEG[:2] + JPEGS[place] + JPEG[2:])
    check_turned(path)


@pytest.mark.parametrize("place", PNGS)
def test_a_png_is_turned_upright_wherever_it_says_so(tmp_path: Path, place: str) -> None:
    path = tmp_path / "a.png"
    before, after = PNGS[place]
    path.write_bytes(png(PACKED, *before, size=(48, 32), after=after))
    check_turned(path)


@pytest.mark.parametrize(
    "xmp", [b'<x tiff:Orientation="6"/>', b"<tiff:Orientation>8</tiff:Orientation>"]
)
def test_an_orientation_in_xmp_alone_turns_nothing_and_is_said(tmp_path: Path, xmp: bytes) -> None:
    path = tmp_path / "a.jpg"
    stated = segment(b"http://ns.adobe.com/xap/1.0/\0" + xmp)
    path.write_bytes(JPEG[:2] + stated + JPEG[2:])
    image = read_image(path)
    assert image.size_hw == size_hw(path) == (32, 48)
    assert any("XMP states orientation" in warning for warning in image.warnings)
    for others in (stated + TURNED, segment(b"http://ns.adobe.com/xap/1.0/\0" + XMP)):
        path.write_bytes(JPEG[:2] + others + JPEG[2:])
        assert not any("XMP" in warning for warning in read_image(path).warnings)


@pytest.mark.parametrize(
    "block", [b"", b"II*\0", b"II*\0" + b"\xff" * 40, exif(9), exif(6)[:12], b"Exif\0\0"]
)
def test_damaged_exif_data_turn_nothing_and_say_nothing(
    tmp_path: Path, block: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    paths = (tmp_path / "a.jpg", tmp_path / "a.png")
    paths[0].write_bytes(JPEG[:2] + segment(b"Exif\0\0" + block) + JPEG[2:])
    paths[1].write_bytes(png(PACKED, (b"eXIf", block), size=(48, 32)))
    for path in paths:
        image = read_image(path)
        assert image.size_hw == size_hw(path) == (32, 48)
        assert not any("EXIF" in warning for warning in image.warnings)
    assert capfd.readouterr().err == ""
