"""One key for an image and one for a patient, in every form that tools and tables write."""

from __future__ import annotations

import numpy as np
import pytest

from cxrloc.datasets.files.keys import KnownImages, image_key, nih_patient, patient_key


@pytest.mark.parametrize(
    "name",
    [
        "00002361_008.png",
        "00002361_008",
        "00002361_008.JPG",
        "00002361_008.dcm",
        "00002361_008.dcm.png",
        "images/00002361_008.jpeg",
        "images\\00002361_008.png",
        "C:\\nih\\images_001\\00002361_008.PNG",
        "images%2F00002361_008.png",
        "https://host/nih/00002361_008.png?token=a/b",
        "/data/local-files/?d=nih/00002361_008.png",
        "/data/upload/3/1a2b3c4d-00002361_008.png",
        "00002361_008 (1).png",
        "00002361_008(1).png",
        "00002361_008 - Copy.png",
        "00002361_008_1.png",
        "00002361_008_jpg.rf.0a1b2c3d4e5f60718293a4b5c6d7e8f9.jpg",
        "00002361_008_png.rf.xY7-_z.jpg",
        " 00002361_008.png ",
    ],
)
def test_every_form_of_a_name_is_that_nih_image(name: str) -> None:
    assert image_key(name) == "00002361_008"
    assert nih_patient(name) == "2361"


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("a/b/1.2.840.113", "1.2.840.113"),  # a DICOM number has dots and no ending
        ("1.2.840.113.dcm", "1.2.840.113"),
        (".png", ".png"),
        ("scan (1).png", "scan (1)"),  # another image than `scan (2)`
        ("scan%201.png", "scan 1"),
        ("100%.png", "100%"),
        ("scan_1_jpg.rf.0a1b.jpg", "scan_1"),
        ("20190101_001.png", "20190101_001"),  # a date
        ("00000000_001.png", "00000000_001"),
        ("100002361_008.png", "100002361_008"),
        ("00002361_0081.png", "00002361_0081"),
        ("00002361_008_00000001_000.png", "00002361_008_00000001_000"),  # two names: of neither
        ("cafe\u0301.png", "caf\u00e9"),
    ],
)
def test_names_of_others_lose_only_folder_ending_and_hash(name: str, key: str) -> None:
    assert image_key(name) == key
    assert nih_patient(name) == ""


@pytest.mark.parametrize(
    "value", [13, 13.0, "13", "13.0", "13.", "00000013", " 13 ", np.int64(13), np.float32(13)]
)
def test_a_number_is_one_patient_however_it_is_written(value: object) -> None:
    assert patient_key(value) == "13"


@pytest.mark.parametrize("text", ["patient00013", "R13", "013A", "13-1", "1.2.840.013", "13.5"])
def test_other_texts_stay_as_they_are(text: str) -> None:
    assert patient_key(text) == text


@pytest.mark.parametrize("value", [None, "", " ", float("nan"), "nan", "NaN", "null", "None"])
def test_what_stands_for_nothing_is_no_patient(value: object) -> None:
    assert patient_key(value) == ""
    assert patient_key("0") == patient_key(0) == "0"  # but patient 0 is one


@pytest.mark.parametrize("value", [2.0536686640136348e37, "2.0536686640136348e+37", "1.2E9"])
def test_a_rounded_number_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="rounded number, so patients cannot be told apart"):
        patient_key(value)


def test_an_image_is_found_under_any_form_unless_two_images_share_it() -> None:
    images = KnownImages(["00000013_000.png", "a/scan.png", "b/x.png", "c/x.png"])
    assert images.find("00000013_000_png.rf.12.jpg") == "00000013_000.png"
    assert images.find("scan.JPG") == "a/scan.png"
    assert images.find("b/x.png") == "b/x.png"
    assert images.find("x.png") is None
    assert images.find("other.png") is None
