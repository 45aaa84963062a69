"""Reading DICOM images: grey by hand-computed tables, every syntax, refusals and warnings."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pydicom
import pytest
from pydicom import Dataset
from pydicom.uid import (
    ImplicitVRLittleEndian,
)

from cxrloc.datasets.images.read import UnreadableImageError, is_image_file, read_grey, read_image
from datasets.dicom.builders import smooth_pixels, write_dicom

Transcode = Callable[[Path, str], Path]


# ---- grey -----------------------------------------------------------------------------------


# ---- transfer syntaxes ----------------------------------------------------------------------


# ---- files ----------------------------------------------------------------------------------


def test_files_are_told_by_their_bytes(tmp_path: Path) -> None:
    plain = write_dicom(tmp_path / "a.dcm", smooth_pixels(8))
    for name in ("IM000001", "1.2.840.4", "a.dicom", "a.DCM", "a.png"):
        (tmp_path / name).write_bytes(plain.read_bytes())
        np.testing.assert_array_equal(read_grey(tmp_path / name), smooth_pixels(8))
        assert is_image_file(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "DICOMDIR").write_bytes(plain.read_bytes())
    assert not is_image_file(tmp_path / "notes.txt")
    assert not is_image_file(tmp_path / "DICOMDIR")
    assert not is_image_file(tmp_path / "absent")


def test_a_png_called_dcm_is_read_as_what_it_is(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), smooth_pixels(8))
    path = (tmp_path / "a.png").rename(tmp_path / "a.dcm")
    np.testing.assert_array_equal(read_grey(path), smooth_pixels(8))


def test_a_file_without_preamble_is_read_if_its_ending_says_dicom(tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "a.dcm", smooth_pixels(8), syntax=ImplicitVRLittleEndian)
    image = pydicom.dcmread(path)
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, Dataset(image), implicit_vr=True, little_endian=True)
    bare = tmp_path / "bare.dcm"
    bare.write_bytes(buffer.getvalue())
    assert b"DICM" not in bare.read_bytes()[:200]
    np.testing.assert_array_equal(read_grey(bare), smooth_pixels(8))


@pytest.mark.parametrize("content", [b"a page of text", b"\0" * 500, b"\0" * 128 + b"DICM"])
def test_a_dcm_file_that_is_none_says_so(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.dcm"
    path.write_bytes(content)
    with pytest.raises(UnreadableImageError, match="DICOM"):
        read_grey(path)


# ---- what is refused ------------------------------------------------------------------------


# ---- what is warned about -------------------------------------------------------------------


# ---- pixel spacing --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("attributes", "row_mm", "column_mm", "source"),
    [
        ({}, 0.2, 0.2, "ImagerPixelSpacing (at the detector"),
        (
            {"EstimatedRadiographicMagnificationFactor": 1.25},
            0.16,
            0.16,
            "ImagerPixelSpacing / EstimatedRadiographicMagnificationFactor",
        ),
        ({"PixelSpacing": [0.1, 0.3]}, 0.1, 0.3, "PixelSpacing"),
        ({"PixelSpacing": [0.2, 0.2]}, 0.2, 0.2, "ImagerPixelSpacing (at"),  # not calibrated
        (
            {"PixelSpacing": [0.2, 0.2], "PixelSpacingCalibrationType": "FIDUCIAL"},
            0.2,
            0.2,
            "PixelSpacing",
        ),
        ({"PixelSpacing": [0, 0]}, 0.2, 0.2, "ImagerPixelSpacing (at"),
        (
            {"ImagerPixelSpacing": None, "NominalScannedPixelSpacing": [0.175, 0.175]},
            0.175,
            0.175,
            "NominalScannedPixelSpacing",
        ),
    ],
)
def test_the_size_of_a_pixel_is_kept_with_its_source(
    tmp_path: Path,
    attributes: dict[str, Any],
    row_mm: float,
    column_mm: float,
    source: str,
) -> None:
    spacing = read_image(write_dicom(tmp_path / "a.dcm", smooth_pixels(8), **attributes)).spacing
    assert spacing is not None
    assert (spacing.row_mm, spacing.column_mm) == pytest.approx((row_mm, column_mm))
    assert spacing.source.startswith(source)


@pytest.mark.parametrize("attributes", [{}, {"PixelSpacing": [0, 0]}])
def test_a_image_without_spacing_has_none(tmp_path: Path, attributes: dict[str, Any]) -> None:
    path = write_dicom(tmp_path / "a.dcm", smooth_pixels(8), ImagerPixelSpacing=None, **attributes)
    assert read_image(path).spacing is None


# ---- privacy --------------------------------------------------------------------------------


# ---- real images -----------------------------------------------------------------------------
