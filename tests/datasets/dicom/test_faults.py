"""Files whose attributes and pixels disagree: the right grey, and a warning that says so."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pydicom
import pytest
from pydicom.encaps import encapsulate
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEGBaseline8Bit

from cxrloc.datasets.dicom.complaints import complaint
from cxrloc.datasets.images.read import UnreadableImageError, read_grey, read_image
from cxrloc.datasets.images.sizes import size_hw
from cxrloc.localization.dicom_output.c_store import presentation_contexts
from cxrloc.localization.dicom_output.source import parse_source
from datasets.dicom.builders import lookup_table, smooth_pixels, write_dicom

SURPLUS = "Corrupt JPEG data: 3 extraneous bytes before marker 0xd9"
WINDOW = {"WindowCenter": 2048, "WindowWidth": 4096}


def told(path: Path, word: str) -> str:
    [warning] = [w for w in read_image(path).warnings if word in w]
    return warning


def test_a_lut_that_declares_fewer_bits_than_it_holds_is_scaled_by_what_it_holds(
    tmp_path: Path,
) -> None:
    pixels, entries = smooth_pixels(10), np.linspace(0, 4095, 1024).astype(int).tolist()
    right, other = (
        write_dicom(
            tmp_path / f"{bits}.dcm",
            pixels,
            bits=10,
            VOILUTSequence=[lookup_table(entries, 0, bits)],
        )
        for bits in (12, 8)
    )
    np.testing.assert_array_equal(read_grey(other), read_grey(right))
    assert "declares 8 bits, but its entries need 12" in told(other, "VOILUTSequence")


@pytest.mark.parametrize("needed", [10, 12])
def test_a_lut_that_declares_more_bits_than_it_holds_is_scaled_by_what_it_holds(
    tmp_path: Path, needed: int
) -> None:
    pixels = smooth_pixels(10)
    entries = np.linspace(0, 2**needed - 1, 1024).astype(int).tolist()
    images = []
    for bits in (needed, 16):
        path = tmp_path / f"{bits}.dcm"
        write_dicom(path, pixels, bits=10, VOILUTSequence=[lookup_table(entries, 0, bits)])
        images.append(read_grey(path))
    np.testing.assert_array_equal(images[0], images[1])
    assert images[1].max() == 255
    assert f"declares 16 bits, but its entries need {needed}" in told(path, "VOILUTSequence")


def test_values_above_bits_stored_do_not_wrap(tmp_path: Path) -> None:
    pixels = smooth_pixels(12)
    right = read_grey(write_dicom(tmp_path / "a.dcm", pixels, WINDOW, bits=12))
    path = write_dicom(tmp_path / "b.dcm", pixels, WINDOW, bits=12, BitsStored=10, HighBit=9)
    np.testing.assert_array_equal(read_grey(path), right)
    assert told(path, "BitsStored") == (
        "BitsStored is 10, but pixel values need 12 bits: read with 12."
    )


def test_an_overlay_in_the_upper_bits_is_not_part_of_the_image(tmp_path: Path) -> None:
    pixels = smooth_pixels(12)
    right = read_grey(write_dicom(tmp_path / "a.dcm", pixels, WINDOW, bits=12))
    path = write_dicom(tmp_path / "b.dcm", pixels | np.uint16(0x8000), WINDOW, bits=12)
    header = pydicom.dcmread(path)
    header.add_new(0x60000102, "US", 15)
    header.save_as(path)
    image = read_image(path)
    np.testing.assert_array_equal(image.pixels, right)
    assert not any("BitsStored" in warning for warning in image.warnings)


@pytest.mark.parametrize("padding", [0xFFFF, 0x8000, 5000])
def test_padding_beyond_bits_stored_is_black_and_not_part_of_the_range(
    tmp_path: Path, padding: int
) -> None:
    pixels = smooth_pixels(12)
    right = read_grey(write_dicom(tmp_path / "a.dcm", pixels, bits=12))
    padded = pixels.copy()
    padded[:6] = padding
    path = write_dicom(tmp_path / "b.dcm", padded, bits=12, PixelPaddingValue=padding)
    image = read_image(path)
    assert not image.pixels[:6].any()
    assert np.abs(image.pixels[6:].astype(int) - right[6:]).max() <= 25
    assert not any("BitsStored" in warning for warning in image.warnings)


@pytest.mark.parametrize(("centers", "widths"), [([0, 2048], [0, 4096]), ([500, 2048], [1, 4096])])
def test_the_first_usable_window_is_used(
    tmp_path: Path, centers: list[int], widths: list[int]
) -> None:
    pixels = smooth_pixels(12)
    right = read_image(write_dicom(tmp_path / "a.dcm", pixels, WINDOW, bits=12))
    windows = {"WindowCenter": centers, "WindowWidth": widths}
    image = read_image(write_dicom(tmp_path / "b.dcm", pixels, windows, bits=12))
    np.testing.assert_array_equal(image.pixels, right.pixels)
    assert image.warnings == right.warnings == ()


def _with_text(path: Path, keyword: str, text: bytes) -> Path:
    """The file with another text, as no library would write it."""
    header = pydicom.dcmread(path)
    tag = pydicom.tag.Tag(keyword)
    header.add_new(tag, "LO", "#" * (len(text) + len(text) % 2))
    header.save_as(path)
    data, marker = path.read_bytes(), b"LO" + (len(text) + len(text) % 2).to_bytes(2, "little")
    place = data.index(marker + b"#")
    end = place + 4 + len(text) + len(text) % 2
    path.write_bytes(data[:place] + b"DS" + marker[2:] + text.ljust(end - place - 4) + data[end:])
    return path


@pytest.mark.parametrize(
    ("keyword", "text"),
    [
        ("PixelSpacing", b"0,143\\0,143"),
        ("ImagerPixelSpacing", b"n/a"),
        ("PixelSpacing", b"0.1\\0.1\\0.1"),
        ("EstimatedRadiographicMagnificationFactor", b"1:1"),
        ("RescaleSlope", b"1,0"),
        ("RescaleIntercept", b"nan"),
        ("NominalScannedPixelSpacing", b"-\\-"),
    ],
)
def test_an_optional_number_out_of_form_counts_as_absent(
    tmp_path: Path, keyword: str, text: bytes
) -> None:
    pixels = smooth_pixels(12)
    right = read_grey(write_dicom(tmp_path / "a.dcm", pixels, WINDOW, bits=12))
    path = write_dicom(tmp_path / "b.dcm", pixels, WINDOW, bits=12, ImagerPixelSpacing=None)
    image = read_image(_with_text(path, keyword, text))
    np.testing.assert_array_equal(image.pixels, right)
    assert image.spacing is None
    assert f"{keyword} is out of form: read as if it were absent." in image.warnings
    assert parse_source(path.read_bytes(), "b.dcm").voi is not None  # nor DICOM objects about it


def test_windows_out_of_form_count_as_none_in_the_presentation_state_too(tmp_path: Path) -> None:
    pixels = smooth_pixels(12)
    right = read_grey(write_dicom(tmp_path / "a.dcm", pixels, bits=12))
    path = write_dicom(tmp_path / "b.dcm", pixels, bits=12, WindowWidth=100)
    _with_text(path, "WindowCenter", b"50,5")
    np.testing.assert_array_equal(read_grey(path), right)
    assert "WindowCenter" in told(path, "out of form")
    voi = parse_source(path.read_bytes(), "b.dcm").voi
    assert voi is not None
    assert float(voi.WindowWidth) > 4000


def test_two_padding_values_count_as_none(tmp_path: Path) -> None:
    pixels = smooth_pixels(12)
    right = read_grey(write_dicom(tmp_path / "a.dcm", pixels, WINDOW, bits=12))
    path = write_dicom(tmp_path / "b.dcm", pixels, WINDOW, bits=12, PixelPaddingValue=[0, 4095])
    np.testing.assert_array_equal(read_grey(path), right)
    assert "out of form" in told(path, "PixelPaddingValue")


@pytest.mark.parametrize("keyword", ["HighBit", "Rows", "BitsStored", "PixelRepresentation"])
def test_many_values_where_one_belongs_are_refused_in_a_short_sentence(
    tmp_path: Path, keyword: str
) -> None:
    path = write_dicom(tmp_path / "a.dcm", smooth_pixels(8), {keyword: [7] * 900})
    with pytest.raises(UnreadableImageError, match=f"{keyword} has a value of the wrong") as error:
        read_grey(path)
    assert len(str(error.value)) < 300


def _in_dicom(path: Path, stream: bytes) -> Path:
    write_dicom(path, smooth_pixels(8, (160, 128)))
    header = pydicom.dcmread(path)
    header.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    header.PixelData = encapsulate([stream])
    header["PixelData"].is_undefined_length = True
    header.save_as(path)
    return path


@pytest.mark.parametrize("kind", ["whole", "half", "cut out", "put in"])
def test_damage_that_a_decoder_inside_dicom_tells_of_is_refused(tmp_path: Path, kind: str) -> None:
    pixels: Any = smooth_pixels(8, (160, 128))
    whole = cv2.imencode(".jpg", pixels)[1].tobytes()
    middle = len(whole) // 2
    streams = {
        "whole": whole,
        "half": whole[:middle] + b"\xff\xd9",
        "cut out": whole[:middle] + whole[middle + 60 :],
        "put in": whole[:middle] + bytes(range(1, 60)) + whole[middle:],
    }
    path = _in_dicom(tmp_path / "a.dcm", streams[kind])
    if kind == "whole":
        assert np.abs(read_grey(path).astype(int) - pixels).mean() < 3
        return
    with pytest.raises(UnreadableImageError, match="damaged: Corrupt JPEG data"):
        read_grey(path)


def test_a_stream_of_fewer_bits_than_the_header_says_is_warned_of(
    tmp_path: Path, shared_data: Path
) -> None:
    real = shared_data / "dicom" / "nema_wg04_RG1_cr_chest_pa_mono1_15bit_j2k.dcm"
    if not real.is_file():
        pytest.skip(f"no {real}; set CXRLOC_TEST_DATA to the folder of the data")
    header = pydicom.dcmread(real)
    header.BitsStored, header.HighBit = 16, 15
    header.save_as(tmp_path / "a.dcm")
    assert "the compressed pixels have 15" in told(tmp_path / "a.dcm", "BitsStored")


@pytest.mark.parametrize(
    ("said", "stream", "fault"),
    [
        ("", b"", None),
        ("Warning: a note of no weight", b"", None),
        ("Corrupt JPEG data: premature end of data segment", b"", "Corrupt JPEG data: premature"),
        (
            "note\nCorrupt JPEG data: 3 extraneous bytes before marker 0xd9",
            b"ab\0\0\0\xff\xd9",
            None,
        ),
        ("Corrupt JPEG data: 3 extraneous bytes before marker 0xd9", b"ab\0x\0\xff\xd9", "Corrupt"),
    ],
)
def test_what_a_decoder_says_is_weighed(said: str, stream: bytes, fault: str | None) -> None:
    found = complaint(said, stream)
    assert (found is None) if fault is None else (found or "").startswith(fault)


def test_no_warning_of_the_parser_reaches_the_terminal(tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "a.dcm", smooth_pixels(8), syntax=ImplicitVRLittleEndian)
    data = path.read_bytes()
    stated = b"UI\x12\x00" + ImplicitVRLittleEndian.encode() + b"\0"
    assert stated in data
    other = b"UI\x14\x00" + ExplicitVRLittleEndian.encode() + b"\0"
    path.write_bytes(data.replace(stated, other, 1))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        pydicom.dcmread(path, force=True).get("Rows")
    assert said  # it does warn of it
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        assert size_hw(path) == read_image(path).size_hw == (48, 40)
        assert presentation_contexts([path])
    assert said == []
