"""Training images: boxes in the square's frame, augmentation, negatives."""

from __future__ import annotations

import numpy as np
import pytest

from cxrloc.datasets.radiograph import Box, Radiograph
from cxrloc.detection.config import AugmentConfig
from cxrloc.detection.data import DetectionSet, augmented, class_counts, with_negatives

STILL = AugmentConfig(scale=0, translate=0, brightness=0, contrast=0)


def _radiograph(name: str, boxes: tuple[Box, ...] = (), **labels: float) -> Radiograph:
    return Radiograph(name, None, name, "PA", labels, boxes)


def test_boxes_are_scaled_to_the_square_and_numbered_from_one() -> None:
    boxes = (Box("Mass", (256, 512, 512, 1024)), Box("Hernia", (0, 0, 9, 9)))
    data = DetectionSet((_radiograph("a", boxes),), {}, 128, ("Effusion", "Mass"))
    scaled, labels = data.boxes(0)
    assert scaled.tolist() == [[32, 64, 64, 128]]
    assert labels.tolist() == [2]
    assert class_counts(data) == {"Effusion": 0, "Mass": 1}


def test_a_image_without_boxes_has_empty_arrays() -> None:
    boxes, labels = DetectionSet((_radiograph("a"),), {}, 128, ("Mass",)).boxes(0)
    assert boxes.shape == (0, 4)
    assert labels.shape == (0,)


def _extent(square: np.ndarray) -> list[int]:
    rows, columns = np.flatnonzero((square > 100).any(1)), np.flatnonzero((square > 100).any(0))
    return [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]


def _square() -> tuple[np.ndarray, np.ndarray]:
    square = np.zeros((100, 100), np.uint8)
    square[30:60, 20:40] = 200
    return square, np.array([[20, 30, 40, 60]], np.float32)


@pytest.mark.parametrize("seed", range(6))
def test_the_box_moves_with_what_it_surrounds(seed: int) -> None:
    square, box = _square()
    augment = AugmentConfig(scale=0.3, translate=0.1, brightness=0, contrast=0, flip=0.5)
    moved, boxes, labels = augmented(
        square, box, np.array([1]), augment, np.random.default_rng(seed)
    )
    assert np.abs(boxes[0] - _extent(moved)).max() <= 1.0  # a bright edge may share a pixel
    assert labels.tolist() == [1]


def test_a_flip_mirrors_the_box() -> None:
    square, box = _square()
    flip = AugmentConfig(scale=0, translate=0, brightness=0, contrast=0, flip=1)
    moved, boxes, _ = augmented(square, box, np.array([1]), flip, np.random.default_rng(0))
    assert boxes.tolist() == [[60, 30, 80, 60]]
    assert _extent(moved) == [60, 30, 80, 60]


def test_without_strength_nothing_changes() -> None:
    square, box = _square()
    same, boxes, _ = augmented(square, box, np.array([1]), STILL, np.random.default_rng(0))
    assert (same == square).all()
    assert (boxes == box).all()


def test_flips_are_off_by_default() -> None:
    assert AugmentConfig().flip == 0


def test_brightness_saturates_instead_of_wrapping() -> None:
    bright = np.full((64, 64), 250, np.uint8)
    none = np.zeros((0, 4), np.float32)
    strong = AugmentConfig(scale=0, translate=0, brightness=0.5, contrast=0)
    for seed in range(8):
        rng = np.random.default_rng(seed)
        added = 0.5 * np.random.default_rng(seed).uniform(-1, 1, 5)[3] * 255
        moved, _, _ = augmented(bright, none, np.zeros(0, np.int64), strong, rng)
        assert abs(int(moved[32, 32]) - np.clip(250 + added, 0, 255)) <= 1


def test_a_box_that_leaves_the_square_is_dropped_and_a_part_is_clipped() -> None:
    square = np.zeros((100, 100), np.uint8)
    boxes = np.array([[-30, 10, 10, 20], [-5, 10, 15, 20]], np.float32)
    _, kept, labels = augmented(square, boxes, np.array([1, 2]), STILL, np.random.default_rng(0))
    assert kept.tolist() == [[0, 10, 15, 20]]
    assert labels.tolist() == [2]


def _pool() -> list[Radiograph]:
    box = (Box("Mass", (0, 0, 10, 10)),)
    return [
        _radiograph("boxed", box, Mass=1, Effusion=0),
        _radiograph("labelled", Mass=1, Effusion=0),
        *(_radiograph(f"clean{i}", Mass=0, Effusion=0) for i in range(5)),
    ]


@pytest.mark.parametrize(("negatives", "count"), [(0, 0), (0.9, 1), (3, 3), (99, 5)])
def test_negatives_are_a_share_or_a_number(negatives: float, count: int) -> None:
    names = [r.image_id for r in with_negatives(_pool(), ("Mass", "Effusion"), negatives, 0)]
    assert names[0] == "boxed"
    assert len(names) == 1 + count


def test_a_image_labelled_with_the_disease_is_never_a_negative() -> None:
    names = [r.image_id for r in with_negatives(_pool(), ("Mass", "Effusion"), 99, 0)]
    assert "labelled" not in names
