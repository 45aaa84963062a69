"""Which images are taken for frontal chest radiographs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file

from builders import chest_pixels
from cxrloc.datasets.images.doubts.chest import (
    CHESTS,
    REFUSED,
    STATISTICS,
    chest_distance,
    chest_doubt,
    judges_chests,
)
from cxrloc.datasets.images.read import read_grey
from cxrloc.datasets.phantoms.drawing.limb import LimbImage, render_limb

Grey = npt.NDArray[np.uint8]
RNG = np.random.default_rng(0)


def _photograph(path: Path) -> Grey:
    read = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    assert read is not None
    return np.asarray(read, np.uint8)


def _china() -> Grey:
    datasets = pytest.importorskip("sklearn.datasets")
    return np.asarray(datasets.load_sample_image("china.jpg").mean(axis=2), np.uint8)


def _portrait() -> Grey:
    cbook = pytest.importorskip("matplotlib.cbook")
    return _photograph(cbook.get_sample_data("grace_hopper.jpg", asfileobj=False))


def _slice(name: str) -> Grey:
    values: Any = dcmread(get_testdata_file(name)).pixel_array.astype(np.float64)  # type: ignore[arg-type]
    low, high = np.percentile(values, (0.5, 99.5))
    return np.asarray(255 * np.clip((values - low) / (high - low), 0, 1), np.uint8)


def _page() -> Grey:
    page = np.full((400, 300), 255, np.uint8)
    for y in range(30, 380, 14):
        cv2.putText(page, "the quick brown fox jumps over", (15, y), 0, 0.4, 0, 1)
    return page


OTHERS: dict[str, Callable[[], Grey]] = {
    "photograph": _china,
    "portrait": _portrait,
    "CT slice": lambda: _slice("CT_small.dcm"),
    "MR slice": lambda: _slice("MR_small.dcm"),
    "limb": lambda: render_limb(LimbImage("XR_ELBOW", "", False, (0, 1, 1), 0), 128),
    "page": _page,
    "noise": lambda: RNG.integers(0, 256, (200, 160), dtype=np.uint8),
    "soft noise": lambda: np.asarray(
        cv2.GaussianBlur(RNG.integers(0, 256, (200, 160), dtype=np.uint8), (0, 0), 9)
    ),
    "black": lambda: np.zeros((300, 300), np.uint8),
    "white": lambda: np.full((64, 64), 255, np.uint8),
    "ramp": lambda: np.tile(np.arange(256, dtype=np.uint8), (200, 1)),
    "one pixel": lambda: np.full((1, 1), 7, np.uint8),
    "strip": lambda: RNG.integers(0, 256, (3, 900), dtype=np.uint8),
    "negative": lambda: 255 - chest_pixels(),
    "upside down": lambda: np.ascontiguousarray(chest_pixels()[::-1]),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_what_is_no_upright_chest_is_refused(kind: str) -> None:
    doubt = chest_doubt(OTHERS[kind]())
    assert doubt is not None
    assert doubt.refused
    assert f"have less than {REFUSED}" in doubt.sentence


@pytest.mark.parametrize("seed", range(6))
def test_drawn_chests_of_any_exposure_size_and_border_are_chests(seed: int) -> None:
    chest = chest_pixels(seed, (256, 220))
    framed = cv2.copyMakeBorder(chest, 0, 0, 70, 50, cv2.BORDER_CONSTANT, value=0)
    for image in (chest, chest // 3, chest // 2 + 120, chest_pixels(seed, (60, 50)), framed):
        assert chest_doubt(np.asarray(image, np.uint8)) is None
    assert chest_distance(chest // 3) == pytest.approx(chest_distance(chest), abs=4)


def test_few_real_chests_are_refused_and_their_negatives_are(shared_data: Path) -> None:
    paths = sorted((shared_data / "nih" / "images").glob("*"))[::20]
    if not paths:
        pytest.skip("no NIH images; set CXRLOC_TEST_DATA to their folder")
    images = [read_grey(path) for path in paths]
    assert sum(chest_distance(image) > REFUSED for image in images) <= 1
    assert all(chest_distance(255 - image) > REFUSED for image in images)


def test_only_gates_of_chest_diseases_expect_chests() -> None:
    assert judges_chests(["Mass", "Effusion"])
    assert judges_chests(["Fracture", "pleural effusion"])
    assert judges_chests(["Lung nodule"])
    assert not judges_chests(["Abnormal"])
    assert not judges_chests(["Fracture", "Cast"])
    assert not judges_chests(["No Finding"])
    assert tuple(CHESTS) == STATISTICS
