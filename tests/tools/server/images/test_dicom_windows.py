"""A DICOM image at chosen windows: the values its file states, by the code that reads images."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.uid import JPEGLSLossless

from cxrloc.datasets.dicom.reader import decode_dicom
from cxrloc.tools.server.images.dicom_windows import StoredImage, Window, stored_image
from cxrloc.tools.server.page.images import shrunk
from datasets.dicom.builders import write_dicom

STORED = np.array([[0, 1000, 2000], [3000, 4000, 4095]], np.uint16)


def _image(path: Path, **attributes: Any) -> tuple[StoredImage, bytes]:
    data = write_dicom(path, STORED, bits=12, **attributes).read_bytes()
    image = stored_image(data, lambda pixels: pixels)
    assert image is not None
    return image, data


def test_a_window_is_in_the_values_after_the_modality_lut(tmp_path: Path) -> None:
    given = {"VOILUTFunction": "LINEAR_EXACT", "RescaleIntercept": -1000, "RescaleSlope": 1}
    image, _ = _image(tmp_path / "a.dcm", **given)

    assert (image.low, image.high) == (-1000, 3095)
    # stored 2000 is 1000, the centre; 1000 and 3000 are the ends of the window
    assert image.grey(1000, 2000).tolist() == [[0, 0, 128], [255, 255, 255]]
    inverted, _ = _image(tmp_path / "b.dcm", PhotometricInterpretation="MONOCHROME1", **given)
    assert inverted.grey(1000, 2000).tolist() == [[255, 255, 128], [0, 0, 0]]


def test_the_windows_of_the_file_are_offered_and_give_what_reading_gives(tmp_path: Path) -> None:
    stated = {"WindowCenter": [1500, 3000], "WindowWidth": [2500, 400]}
    image, data = _image(tmp_path / "a.dcm", **stated)

    assert image.windows == [
        Window("window 1 of the file", 1500, 2500),
        Window("window 2 of the file", 3000, 400),
        Window("whole range", 2048, 4096),
    ]
    np.testing.assert_array_equal(image.grey(1500, 2500), decode_dicom(data, "a").pixels)


def test_the_whole_range_is_what_reading_gives_a_image_without_a_window(tmp_path: Path) -> None:
    image, data = _image(tmp_path / "a.dcm", WindowCenter=None, WindowWidth=None)

    [whole] = image.windows
    np.testing.assert_array_equal(
        image.grey(whole.center, whole.width), decode_dicom(data, "a").pixels
    )


@pytest.mark.parametrize(("center", "width"), [(100, 0.5), (100, -3), (100, np.nan), (np.inf, 9)])
def test_a_window_that_is_none_is_refused(tmp_path: Path, center: float, width: float) -> None:
    image, _ = _image(tmp_path / "a.dcm")
    with pytest.raises(ValueError, match="expected"):
        image.grey(center, width)


def test_a_large_image_of_signed_bytes_is_made_smaller(tmp_path: Path) -> None:
    pixels = np.array([[-100, 50]] * 2, np.int8)
    data = write_dicom(tmp_path / "a.dcm", pixels).read_bytes()
    image = stored_image(data, partial(shrunk, side=1))

    assert image is not None
    assert image.values.tolist() == [[-25]]


def test_bits_above_those_stored_have_no_part_in_a_smaller_image(tmp_path: Path) -> None:
    overlaid = [[0xF100, 0x0300]]  # in the upper bits of one
    pixels = np.repeat(overlaid * 16, 8, axis=1).astype(np.uint16)
    path = write_dicom(tmp_path / "a.dcm", pixels, bits=16, syntax=JPEGLSLossless)
    header = dcmread(path)
    header.BitsStored, header.HighBit = 12, 11
    header.add_new(0x60000102, "US", 12)  # OverlayBitPosition
    header.save_as(path)
    image = stored_image(path.read_bytes(), partial(shrunk, side=1))

    assert image is not None
    assert image.values.tolist() == [[0x0200]]


def test_other_files_have_no_stored_values(png: bytes, tmp_path: Path) -> None:
    flat = write_dicom(tmp_path / "flat.dcm", np.full((8, 8), 70, np.uint16), bits=12)

    assert stored_image(png, lambda pixels: pixels) is None
    assert stored_image(flat.read_bytes(), lambda pixels: pixels) is None
