"""Real DICOM images of several makers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest

from cxrloc.datasets.images.read import UnreadableImageError, read_image


@pytest.fixture(scope="module")
def real(shared_data: Path) -> Path:
    folder = shared_data / "dicom"
    if not (folder / "nih_dx_chest_1024_mono2.dcm").is_file():
        pytest.skip(f"no DICOM images in {folder}; set CXRLOC_TEST_DATA to the folder above")
    return folder


def test_two_compressions_of_one_real_image_look_alike(real: Path) -> None:
    names = ("j2k", "jpegls")
    images = [read_image(real / f"nema_wg04_RG1_cr_chest_pa_mono1_15bit_{n}.dcm") for n in names]
    assert images[0].size_hw == (1955, 1841)
    assert images[0].spacing is None  # the file says 0 mm
    assert [image.warnings for image in images] == [(), ()]
    difference = np.abs(images[0].pixels.astype(int) - images[1].pixels)
    assert difference.mean() < 1
    lung, heart = images[0].pixels[450:750, 500:800], images[0].pixels[1250:1400, 1000:1200]
    assert lung.mean() < heart.mean()  # MONOCHROME1: dense is bright


def test_a_real_image_of_eight_bits_keeps_its_pixels(real: Path) -> None:
    path = real / "nih_dx_chest_1024_mono2.dcm"
    image = read_image(path)
    np.testing.assert_array_equal(image.pixels, pydicom.dcmread(path).pixel_array)
    assert image.warnings == ("No attribute names the body part: is it a chest image?",)


def test_a_real_dog_on_its_side_is_warned_about_twice(real: Path) -> None:
    image = read_image(real / "highdicom_dx_thorax_mono1_small.dcm")
    assert image.size_hw == (169, 211)
    assert [warning.split(":")[0] for warning in image.warnings] == [
        "Lateral image (AcquisitionDeviceProcessingDescription names LATERAL)",
        "AcquisitionDeviceProcessingDescription names CANINE",
    ]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("nonchest_ct_small", "CT Image Storage, modality CT; expected a chest radiograph"),
        ("nonchest_RG3_cr_extremity_mono1", "BodyPartExamined is EXTREMITY; expected CHEST"),
    ],
)
def test_real_images_that_are_none_of_the_chest_are_refused(
    real: Path, name: str, reason: str
) -> None:
    with pytest.raises(UnreadableImageError, match=reason):
        read_image(real / f"{name}.dcm")
