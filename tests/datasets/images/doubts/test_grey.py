"""Warnings about the grey of an image."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from cxrloc.datasets.images.doubts.grey import colour_doubts, grey_doubts
from cxrloc.datasets.images.read import read_grey
from datasets.dicom.builders import write_dicom


def _chest(size: int = 256) -> npt.NDArray[np.uint8]:
    """Dark lungs and corners, bright spine and belly."""
    image = np.full((size, size), 150, np.uint8)
    cv2.rectangle(image, (0, 0), (size, size // 8), 20, -1)
    for x in (0.28, 0.72):
        centre = (int(x * size), int(0.45 * size))
        cv2.ellipse(image, centre, (size // 7, size // 4), 0, 0, 360, 50, -1)
    cv2.rectangle(image, (int(0.46 * size), 0), (int(0.54 * size), size), 210, -1)
    return np.asarray(cv2.GaussianBlur(image, (0, 0), 3), dtype=np.uint8)


def test_a_chest_is_not_doubted_and_its_negative_is() -> None:
    assert not list(grey_doubts(_chest()))
    [doubt] = grey_doubts(255 - _chest())
    assert "right way round" in doubt


def test_a_bright_border_around_a_dark_middle_is_doubted() -> None:
    image = np.full((200, 160), 255, np.uint8)
    image[30:170, 30:130] = 20
    assert any("right way round" in doubt for doubt in grey_doubts(image))


@pytest.mark.parametrize("level", [0, 120, 243])
def test_a_window_of_another_kind_of_image_is_doubted(level: int) -> None:
    image = np.full((100, 100), level, np.uint8)
    image[:4] = _chest(100)[:4]
    [doubt] = grey_doubts(image)
    assert doubt.startswith("Little contrast: 9")


def _in_every_format(folder: Path, grey: npt.NDArray[np.uint8]) -> list[Path]:
    """The image as PNG of 8 bits, JPEG and DICOM."""
    paths = [folder / "a.png", folder / "a.jpg"]
    for path in paths:
        assert cv2.imwrite(str(path), grey)
    window = {"WindowCenter": 2040, "WindowWidth": 4080, "VOILUTFunction": "LINEAR_EXACT"}
    deep = grey.astype(np.uint16) * 16
    return [*paths, write_dicom(folder / "a.dcm", deep, window, bits=12)]


def test_every_format_is_doubted(tmp_path: Path) -> None:
    from cxrloc.datasets.images.read import read_image

    flat = np.full((100, 100), 243, np.uint8)
    flat[:4] = _chest(100)[:4]
    for doubt, grey in (("Little contrast: 9", flat), ("right way round", 255 - _chest())):
        paths = _in_every_format(tmp_path, grey)
        deep = tmp_path / "deep.png"
        assert cv2.imwrite(str(deep), grey.astype(np.uint16) * 257)
        for path in (*paths, *([deep] if "right" in doubt else [])):  # the stretch mends the other
            assert any(doubt in warning for warning in read_image(path).warnings), path
    colour = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    for path in (tmp_path / "c.png", tmp_path / "c.jpg"):
        assert cv2.imwrite(str(path), cv2.resize(colour, (80, 80)))
        assert any("in colour" in warning for warning in read_image(path).warnings), path


def test_a_ct_window_on_a_chest_is_doubted_in_dicom_too(tmp_path: Path) -> None:
    from cxrloc.datasets.images.read import read_image

    pixels = (_chest().astype(np.uint16) + 1) * 16
    window = {"WindowCenter": 40, "WindowWidth": 400}
    image = read_image(write_dicom(tmp_path / "a.dcm", pixels, window, bits=12))
    assert any(
        "Little contrast: 100% of the pixels" in w
        or "Little contrast: 9" in w
        or "No contrast" in w
        for w in image.warnings
    )


def test_colour_is_told_from_the_noise_of_a_grey_jpeg() -> None:
    grey = np.dstack([_chest()] * 3)
    noisy = cv2.imdecode(cv2.imencode(".jpg", grey, [cv2.IMWRITE_JPEG_QUALITY, 30])[1], 1)
    assert noisy is not None
    assert not list(colour_doubts(noisy))
    photograph = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    assert "in colour" in next(iter(colour_doubts(photograph)))
    assert "in colour" in next(iter(colour_doubts(photograph.astype(np.uint16) * 257)))
    assert not list(colour_doubts(_chest()))


def test_no_real_image_is_doubted(shared_data: Path) -> None:
    paths = sorted((shared_data / "nih" / "images").glob("*"))[::12]
    if not paths:
        pytest.skip("no NIH images; set CXRLOC_TEST_DATA to their folder")
    images = [read_grey(path) for path in paths]
    assert sum(bool(list(grey_doubts(image))) for image in images) == 0
    assert all(list(grey_doubts(255 - image)) for image in images)
