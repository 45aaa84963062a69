"""Deflated DICOM files: read, or refused before they fill the memory."""

from __future__ import annotations

import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian

from cxrloc.datasets.dicom import deflated
from cxrloc.datasets.images.read import UnreadableImageError, read_grey
from cxrloc.datasets.images.sizes import size_hw
from cxrloc.localization.dicom_output.c_store import presentation_contexts
from datasets.dicom.builders import write_dicom

PIXELS = np.arange(48, dtype=np.uint8).reshape(6, 8)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    return write_dicom(tmp_path / "image.dcm", PIXELS, syntax=DeflatedExplicitVRLittleEndian)


def _stream_at(data: bytes) -> int:
    """Where the deflated part of a file begins, by its File Meta Information Group Length."""
    return 144 + int.from_bytes(data[140:144], "little")


def _bomb(image: Path) -> bytes:
    """The deflated part of an image with 128 MB of zeros behind it."""
    data = image.read_bytes()
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    parts = (zlib.decompress(data[_stream_at(data) :], -zlib.MAX_WBITS), *[bytes(2**24)] * 8)
    return b"".join(deflater.compress(part) for part in parts) + deflater.flush()


def _meta(image: Path, kind: str) -> bytes:
    """Preamble and meta information of an image, in one of the ways in which pydicom takes it."""
    data = image.read_bytes()
    preamble, usual = data[:132], data[132 : _stream_at(data)]
    syntax = b"1.2.840.10008.1.2.1.99"
    return {
        "usual": preamble + usual,
        "no preamble": usual,
        "implicit": preamble + b"\x02\0\x10\0" + len(syntax).to_bytes(4, "little") + syntax,
        "long": preamble + b"\x02\0\x05\0UC\0\0" + (8).to_bytes(4, "little") + bytes(8) + usual,
        "open sequence": preamble
        + usual
        + b"\x02\0\x02\x01SQ\0\0\xff\xff\xff\xff\xfe\xff\xdd\xe0\0\0\0\0",
        "command set": preamble + usual + bytes(4) + (4).to_bytes(4, "little") + bytes(4),
    }[kind]


@pytest.mark.parametrize(
    "meta", ["usual", "no preamble", "implicit", "long", "open sequence", "command set"]
)
def test_a_file_that_would_fill_the_memory_is_refused_before_it_does(
    image: Path, monkeypatch: pytest.MonkeyPatch, meta: str
) -> None:
    monkeypatch.setattr(deflated, "MAX_INFLATED", 2**26)
    image.write_bytes(_meta(image, meta) + _bomb(image))
    assert image.stat().st_size < 1e6
    tracemalloc.start()
    with pytest.raises(UnreadableImageError, match=r"image\.dcm: the deflated .* more than 64 MB"):
        read_grey(image)
    assert tracemalloc.get_traced_memory()[1] < 60e6
    tracemalloc.stop()


def test_its_size_and_class_are_read_within_the_same_memory(
    image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert size_hw(image) == PIXELS.shape
    assert len(presentation_contexts([image])) == 1
    monkeypatch.setattr(deflated, "MAX_INFLATED", 2**26)
    image.write_bytes(_meta(image, "usual") + _bomb(image))
    tracemalloc.start()
    with pytest.raises(ValueError, match=r"image\.dcm is no PNG, JPEG or DICOM image"):
        size_hw(image)
    with pytest.raises(ValueError, match=r"image\.dcm: the deflated .* more than 64 MB"):
        presentation_contexts([image])
    assert tracemalloc.get_traced_memory()[1] < 60e6
    tracemalloc.stop()


def test_the_limit_is_of_what_is_inflated(image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = image.read_bytes()
    whole = zlib.decompress(data[_stream_at(data) :], -zlib.MAX_WBITS)
    monkeypatch.setattr(deflated, "MAX_INFLATED", len(whole))
    np.testing.assert_array_equal(read_grey(image), PIXELS)
    monkeypatch.setattr(deflated, "MAX_INFLATED", len(whole) - 1)
    with pytest.raises(UnreadableImageError, match="deflated"):
        read_grey(image)


def test_a_damaged_stream_is_said_to_be_so(image: Path) -> None:
    data = image.read_bytes()
    image.write_bytes(data[: _stream_at(data)] + b"\xff" * 50)
    with pytest.raises(UnreadableImageError, match="the deflated part cannot be inflated"):
        read_grey(image)
