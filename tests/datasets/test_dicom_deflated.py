"""Deflated DICOM files: read, or refused before they fill the memory."""

from __future__ import annotations

import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian

from cxrloc.datasets import dicom_deflated
from cxrloc.datasets.image_files import UnreadableImageError, read_grey

WriteDicom = Callable[..., Path]
PIXELS = np.arange(48, dtype=np.uint8).reshape(6, 8)


@pytest.fixture
def film(tmp_path: Path, write_dicom: WriteDicom) -> Path:
    return write_dicom(tmp_path / "film.dcm", PIXELS, syntax=DeflatedExplicitVRLittleEndian)


@pytest.mark.parametrize("preamble", [132, 0])
def test_a_file_that_would_fill_the_memory_is_refused_before_it_does(
    film: Path, monkeypatch: pytest.MonkeyPatch, preamble: int
) -> None:
    monkeypatch.setattr(dicom_deflated, "MAX_INFLATED", 2**26)
    data = film.read_bytes()[132 - preamble :]
    whole = zlib.decompress(data[dicom_deflated.end_of_meta(data) :], -zlib.MAX_WBITS)
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    zeros = [deflater.compress(bytes(2**24)) for _ in range(8)]  # 128 MB
    packed = [deflater.compress(whole), *zeros, deflater.flush()]
    film.write_bytes(data[: dicom_deflated.end_of_meta(data)] + b"".join(packed))
    assert film.stat().st_size < 1e6
    tracemalloc.start()
    with pytest.raises(UnreadableImageError, match=r"film\.dcm: a deflated .* more than 64 MB"):
        read_grey(film)
    assert tracemalloc.get_traced_memory()[1] < 60e6
    tracemalloc.stop()


@pytest.mark.parametrize("kind", [b"OB", b"UC", b"UV"])
def test_an_element_of_a_long_kind_does_not_end_the_meta_information(
    film: Path, kind: bytes
) -> None:
    data = film.read_bytes()
    syntax = data.index(b"\x02\x00\x10\x00UI")
    odd = b"\x02\x00\x05\x00" + kind + b"\0\0" + (8).to_bytes(4, "little") + bytes(8)
    whole = data[:syntax] + odd + data[syntax:]
    assert dicom_deflated.end_of_meta(whole) == dicom_deflated.end_of_meta(data) + len(odd)


def test_meta_information_without_an_end_is_refused(film: Path) -> None:
    data = film.read_bytes()
    end = dicom_deflated.end_of_meta(data)
    odd = b"\x02\x00\x02\x01SQ\0\0\xff\xff\xff\xff\xfe\xff\xdd\xe0\0\0\0\0"  # an open sequence
    film.write_bytes(data[:end] + odd + data[end:])
    with pytest.raises(UnreadableImageError, match="its meta information does not end"):
        read_grey(film)


def test_the_limit_is_of_what_is_inflated(film: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = film.read_bytes()
    whole = zlib.decompress(data[dicom_deflated.end_of_meta(data) :], -zlib.MAX_WBITS)
    monkeypatch.setattr(dicom_deflated, "MAX_INFLATED", len(whole))
    np.testing.assert_array_equal(read_grey(film), PIXELS)
    monkeypatch.setattr(dicom_deflated, "MAX_INFLATED", len(whole) - 1)
    with pytest.raises(UnreadableImageError, match="deflated"):
        read_grey(film)


def test_a_damaged_stream_is_said_to_be_so(film: Path) -> None:
    data = film.read_bytes()
    film.write_bytes(data[: dicom_deflated.end_of_meta(data)] + b"\xff" * 50)
    with pytest.raises(UnreadableImageError, match="its deflated part cannot be inflated"):
        read_grey(film)
