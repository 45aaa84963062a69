"""Stored values become grey: windows, lookup tables, signs, padding."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pydicom
import pytest
from pydicom import Dataset
from pydicom.pixels.processing import apply_windowing
from pydicom.uid import (
    ExplicitVRBigEndian,
)

from cxrloc.datasets.dicom.lookup_tables import lookup_table as table_of
from cxrloc.datasets.images.read import UnreadableImageError, read_grey, read_image
from datasets.dicom.builders import lookup_table, smooth_pixels, write_dicom


def test_an_eight_bit_image_without_a_window_is_what_the_same_png_is(tmp_path: Path) -> None:
    pixels = smooth_pixels(8)
    cv2.imwrite(str(tmp_path / "a.png"), pixels)
    image = read_image(write_dicom(tmp_path / "a.dcm", pixels))
    np.testing.assert_array_equal(image.pixels, read_grey(tmp_path / "a.png"))
    assert image.size_hw == (48, 40)
    assert image.image_id == "a.dcm"
    assert image.warnings == ()


@pytest.mark.parametrize("bits", [10, 12, 14, 16])
def test_a_deep_image_that_uses_its_whole_range_is_what_the_same_png_is(
    tmp_path: Path, bits: int
) -> None:
    pixels = smooth_pixels(bits)
    cv2.imwrite(str(tmp_path / "a.png"), pixels)
    image = read_image(write_dicom(tmp_path / "a.dcm", pixels, bits=bits))
    np.testing.assert_array_equal(image.pixels, read_grey(tmp_path / "a.png"))
    assert len(image.warnings) == 1
    assert "no usable window" in image.warnings[0]


ROW = [0, 100, 200, 300, 400]  # stored values, 12 bits


@pytest.mark.filterwarnings("ignore:Invalid value for VR CS")
@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        # LINEAR (PS3.3 C.11.2.1.2.1): ((x - 199.5) / 200 + .5) * 255; 100 is 0.0025 of 255
        ({"WindowCenter": 200, "WindowWidth": 201}, [0, 1, 128, 255, 255]),
        # LINEAR_EXACT: ((x - 200) / 200 + .5) * 255
        (
            {"WindowCenter": 200, "WindowWidth": 200, "VOILUTFunction": "linear_exact"},
            [0, 0, 128, 255, 255],
        ),
        # SIGMOID: 255 / (1 + exp(-4 (x - 200) / 200)); 1 / (1 + e^2) = .1192, 1 / (1 + e^4) = .018
        (
            {"WindowCenter": 200, "WindowWidth": 200, "VOILUTFunction": "SIGMOID"},
            [5, 30, 128, 225, 250],
        ),
        # a width of 1 is a threshold at center - .5
        ({"WindowCenter": 200.5, "WindowWidth": 1}, [0, 0, 0, 255, 255]),
        # the first of several windows
        ({"WindowCenter": [200, 50], "WindowWidth": [201, 7]}, [0, 1, 128, 255, 255]),
        # rescale comes first: 2 x - 200 is -200, 0, 200, 400, 600
        (
            {"WindowCenter": 200, "WindowWidth": 401, "RescaleSlope": 2, "RescaleIntercept": -200},
            [0, 0, 128, 255, 255],
        ),
        # a negative slope turns the scale round before the window
        (
            {"WindowCenter": 0.5, "WindowWidth": 401, "RescaleSlope": -1, "RescaleIntercept": 200},
            [255, 191, 128, 64, 0],
        ),
        # MONOCHROME1 is turned round last: a stored 0 is white
        (
            {"WindowCenter": 200, "WindowWidth": 201, "PhotometricInterpretation": "MONOCHROME1"},
            [255, 254, 127, 0, 0],
        ),
        # no window: from the darkest to the brightest pixel
        ({}, [0, 64, 128, 191, 255]),
        ({"WindowCenter": 200, "WindowWidth": 0}, [0, 64, 128, 191, 255]),
        # padding is black and has no part in the range: 100..400
        ({"PixelPaddingValue": 0}, [0, 0, 85, 170, 255]),
        (
            {
                "PixelPaddingValue": 300,
                "PixelPaddingRangeLimit": 400,
                "PhotometricInterpretation": "MONOCHROME1",
            },
            [255, 128, 0, 0, 0],
        ),
    ],
)
def test_stored_values_become_grey_in_the_order_of_the_standard(
    tmp_path: Path, attributes: dict[str, Any], expected: list[int]
) -> None:
    stored = np.array([ROW], np.uint16)
    path = write_dicom(tmp_path / "a.dcm", stored, bits=12, **attributes)
    assert read_grey(path).tolist() == [expected]


def test_signed_values_are_windowed_with_their_sign(tmp_path: Path) -> None:
    stored = np.array([[-100, -50, 0, 50, 100]], np.int16)
    path = write_dicom(tmp_path / "a.dcm", stored, bits=12, WindowCenter=0.5, WindowWidth=201)
    assert read_grey(path).tolist() == [[0, 64, 128, 191, 255]]


def test_padding_of_signed_values_may_be_stated_as_unsigned(tmp_path: Path) -> None:
    stored = np.array([[-2000, 0, 500, 1000]], np.int16)
    path = write_dicom(tmp_path / "a.dcm", stored, bits=12)
    image = pydicom.dcmread(path)
    image.add_new("PixelPaddingValue", "US", 2**16 - 2000)
    image.save_as(path)
    assert read_grey(path).tolist() == [[0, 0, 128, 255]]  # and not -2000 to 1000


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
def test_windows_agree_with_pydicom_where_its_output_spans_the_whole_range(
    tmp_path: Path, function: str
) -> None:
    stored = smooth_pixels(12)
    window = {"WindowCenter": 1900, "WindowWidth": 1500, "VOILUTFunction": function}
    path = write_dicom(tmp_path / "a.dcm", stored, window, bits=12)
    shown = apply_windowing(stored.astype(np.float64), pydicom.dcmread(path))
    np.testing.assert_array_equal(read_grey(path), np.rint(shown * 255 / 4095))


@pytest.mark.parametrize(
    ("center", "width"),
    [(0, 0), (0, 1), (0, -5), (1e300, 1e300), (-3000, 100), (99_999, 4)],
)
def test_the_second_window_counts_where_the_first_shows_nothing(
    tmp_path: Path, center: float, width: float
) -> None:
    stored = smooth_pixels(12)
    usable = {"WindowCenter": 1900, "WindowWidth": 1500}
    expected = read_grey(write_dicom(tmp_path / "a.dcm", stored, usable, bits=12))
    both = {"WindowCenter": [center, 1900], "WindowWidth": [width, 1500]}
    read = read_grey(write_dicom(tmp_path / "b.dcm", stored, both, bits=12))
    np.testing.assert_array_equal(read, expected)


@pytest.mark.parametrize("packed", [False, True])
def test_a_voi_lut_goes_before_the_window_and_holds_its_ends(tmp_path: Path, packed: bool) -> None:
    stored = np.array([[0, 10, 11, 12, 13, 4000]], np.uint16)
    table = lookup_table([0, 1023, 512, 256], 10, 10, packed=packed)  # of 1023: 0, 255, 127.6, 63.8
    path = write_dicom(
        tmp_path / "a.dcm",
        stored,
        bits=12,
        VOILUTSequence=[table, lookup_table([0, 1], 0, 16)],
        WindowCenter=5,
        WindowWidth=10,
    )
    assert read_grey(path).tolist() == [[0, 0, 255, 128, 64, 64]]
    assert read_image(path).warnings == ()


@pytest.mark.parametrize("packed", [False, True])
def test_a_big_endian_image_and_its_table_are_what_the_little_endian_ones_are(
    tmp_path: Path, packed: bool
) -> None:
    table = lookup_table([0, 1023, 512, 256], 10, 10, packed=packed)
    stored = np.array([[0, 10, 11, 12, 13, 4000]], np.uint16)
    path = write_dicom(tmp_path / "a.dcm", stored, bits=12, VOILUTSequence=[table])
    expected = read_grey(path)
    image = pydicom.dcmread(path)
    image.PixelData = stored.byteswap().tobytes()
    if packed:
        table.LUTData = np.frombuffer(table.LUTData, "<u2").byteswap().tobytes()
        image.VOILUTSequence = [table]
    image.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    pydicom.dcmwrite(path, image, implicit_vr=False, little_endian=False)
    np.testing.assert_array_equal(read_grey(path), expected)


def test_a_voi_lut_of_signed_values_may_state_its_first_as_unsigned(tmp_path: Path) -> None:
    stored = np.array([[-3, -2, -1, 0]], np.int16)
    table = lookup_table([0, 255, 51], 2**16 - 2, 8)  # first is -2
    path = write_dicom(tmp_path / "a.dcm", stored, bits=12, VOILUTSequence=[table])
    assert read_grey(path).tolist() == [[0, 0, 255, 51]]


def test_the_modality_lut_comes_before_the_window(tmp_path: Path) -> None:
    stored = np.array([[0, 1, 2, 3, 9]], np.uint16)
    window = {"WindowCenter": 200, "WindowWidth": 201, "RescaleSlope": 7}
    table = [lookup_table([300, 200, 100], 1, 12)]
    path = write_dicom(tmp_path / "a.dcm", stored, window, bits=12, ModalityLUTSequence=table)
    assert read_grey(path).tolist() == [[255, 255, 128, 1, 1]]


def described(*numbers: int) -> Dataset:
    """A table of two entries, and what it says of itself."""
    table = lookup_table([0, 999], 0, 10)
    table.LUTDescriptor = list(numbers)
    return table


@pytest.mark.parametrize("count", [40_000, 2**16])
def test_a_lut_of_65536_entries_says_0_and_one_of_more_than_32767_may_be_signed(
    tmp_path: Path, count: int
) -> None:
    entries = [n * 65_535 // (count - 1) for n in range(count)]
    table = lookup_table([0], 0, 16)
    table.LUTDescriptor = [count % 2**16, 0, 16]
    table.add_new("LUTData", "OW", np.array(entries, "<u2").tobytes())
    stored = np.array([[0, 1, 39_999, 40_000]], np.uint16)
    path = write_dicom(tmp_path / "a.dcm", stored, bits=16, VOILUTSequence=[table])
    expected = np.clip(np.rint(stored * 255.0 / (count - 1)), 0, 255)
    assert np.abs(read_grey(path) - expected).max() <= 1
    table.add_new("LUTDescriptor", "SS", [count - 2**16, 0, 16])  # as pydicom would not write it
    assert table_of(table, signed=True)[0].tolist() == entries


def test_negative_entries_of_a_lut_are_large_ones_that_were_written_with_a_sign(
    tmp_path: Path,
) -> None:
    table = lookup_table([0], 0, 16)
    table.LUTDescriptor = [3, 0, 16]
    table.add_new("LUTData", "SS", [0, 0x7FFF, -1])
    path = write_dicom(
        tmp_path / "a.dcm", np.array([[0, 1, 2]], np.uint16), bits=12, VOILUTSequence=[table]
    )
    assert read_grey(path).tolist() == [[0, 127, 255]]


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({"RescaleSlope": 0, "RescaleIntercept": 0}, "RescaleSlope is 0"),
        ({"VOILUTFunction": "CUBIC"}, "'CUBIC' is unknown; expected LINEAR, LINEAR_EXACT"),
        ({"VOILUTSequence": [described(3, 0, 10)]}, "LUTDescriptor says 3 of 10 bits"),
        ({"VOILUTSequence": [described(2, 0, 40)]}, "LUTDescriptor says 2 of 40 bits"),
        ({"VOILUTSequence": [described(2, 0)]}, "lacks its entries .* three numbers"),
        ({"ModalityLUTSequence": [Dataset()]}, "lacks its entries .* three numbers"),
    ],
)
def test_an_impossible_table_or_scale_is_an_error(
    tmp_path: Path, attributes: dict[str, Any], reason: str
) -> None:
    path = write_dicom(tmp_path / "a.dcm", smooth_pixels(12), bits=12, **attributes)
    with pytest.raises(UnreadableImageError, match=reason):
        read_grey(path)
