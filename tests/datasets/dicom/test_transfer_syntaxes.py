"""Every transfer syntax gives the pixels of the uncompressed file."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGLSLossless,
    RLELossless,
)

from cxrloc.datasets.images.read import UnreadableImageError, read_grey
from datasets.dicom.builders import smooth_pixels, write_dicom

Transcode = Callable[[Path, str], Path]


@pytest.mark.parametrize("name", ["none", "RLE", "JPEG-LS", "JPEG lossless"])
@pytest.mark.parametrize("signed", [False, True])
def test_bits_above_those_stored_are_ignored(
    tmp_path: Path, transcode: Transcode, name: str, signed: bool
) -> None:
    pixels = smooth_pixels(12).astype(np.int16) - 2048 if signed else smooth_pixels(12)
    clean = write_dicom(tmp_path / "b.dcm", pixels, bits=12)
    # old files keep an overlay in the highest bit
    path = write_dicom(tmp_path / "a.dcm", pixels ^ np.array(0x8000).astype(pixels.dtype), bits=16)
    if name != "none":
        transcode(path, name)
    image = pydicom.dcmread(path)
    image.BitsStored, image.HighBit = 12, 11
    image.save_as(path)
    np.testing.assert_array_equal(read_grey(path), read_grey(clean))


BY_GDCM = (
    "JPEG baseline",
    "JPEG extended",
    "JPEG lossless",
    "JPEG-LS",
    "JPEG 2000 lossless",
    "JPEG 2000",
    "RLE",
)


DEEPEST = {"JPEG baseline": 8, "JPEG extended": 12}


@pytest.mark.parametrize(
    "syntax",
    [
        ImplicitVRLittleEndian,
        ExplicitVRLittleEndian,
        DeflatedExplicitVRLittleEndian,
        RLELossless,
        JPEGLSLossless,
    ],
    ids=lambda syntax: syntax.name,
)
@pytest.mark.parametrize("bits", [8, 12, 15, 16])
def test_syntaxes_that_pydicom_writes(tmp_path: Path, syntax: pydicom.uid.UID, bits: int) -> None:
    plain = write_dicom(tmp_path / "a.dcm", smooth_pixels(bits), bits=bits)
    other = write_dicom(tmp_path / "b.dcm", smooth_pixels(bits), bits=bits, syntax=syntax)
    assert pydicom.dcmread(other).file_meta.TransferSyntaxUID == syntax
    np.testing.assert_array_equal(read_grey(other), read_grey(plain))


@pytest.mark.parametrize(
    ("name", "bits"),
    [(name, bits) for name in BY_GDCM for bits in (8, 12, 16) if bits <= DEEPEST.get(name, 16)],
)
def test_syntaxes_that_gdcm_writes(
    tmp_path: Path, transcode: Transcode, name: str, bits: int
) -> None:
    plain = write_dicom(tmp_path / "a.dcm", smooth_pixels(bits), bits=bits)
    expected = read_grey(plain)
    path = transcode(plain, name)
    assert pydicom.dcmread(path).file_meta.TransferSyntaxUID.is_compressed
    lossy = name in ("JPEG baseline", "JPEG extended", "JPEG 2000")
    difference = np.abs(read_grey(path).astype(int) - expected)
    assert difference.max() <= (4 if lossy else 0)


def test_signed_values_come_out_of_jpeg_2000_with_their_sign(
    tmp_path: Path, transcode: Transcode
) -> None:
    stored = smooth_pixels(12).astype(np.int16) - 2048
    path = write_dicom(tmp_path / "a.dcm", stored, bits=12)
    expected = read_grey(path)
    pixels = read_grey(transcode(path, "JPEG 2000 lossless"))
    np.testing.assert_array_equal(pixels, expected)


@pytest.mark.parametrize("name", ["none", *BY_GDCM])
@pytest.mark.parametrize("kept", [1, 140, 0.3, 0.6, 0.9, -200, -20])
def test_a_truncated_image_is_an_error_at_whatever_length(
    tmp_path: Path, transcode: Transcode, name: str, kept: float
) -> None:
    path = write_dicom(tmp_path / "image.dcm", smooth_pixels(8, (200, 160)))
    if name != "none":
        transcode(path, name)
    data = path.read_bytes()
    path.write_bytes(data[: int(kept * len(data)) if isinstance(kept, float) else kept])
    with pytest.raises(UnreadableImageError, match=r"image\.dcm"):
        read_grey(path)


def test_images_are_decoded_in_threads(tmp_path: Path, transcode: Transcode) -> None:
    paths = [
        transcode(write_dicom(tmp_path / f"{i}.dcm", smooth_pixels(12) + i, bits=13), name)
        for i, name in enumerate(BY_GDCM)
        if name not in DEEPEST
    ]
    expected = [read_grey(path) for path in paths]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(read_grey, paths * 5))
    for pixels, wanted in zip(found, expected * 5, strict=True):
        np.testing.assert_array_equal(pixels, wanted)
