"""Training images: boxes in the square's frame, augmentation, negatives."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from cxrloc.datasets.radiograph import Box, Radiograph
from cxrloc.detection.config import AugmentConfig
from cxrloc.detection.data import DetectionSet, Sample, augmented, class_counts, training_images

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


def _sample() -> Sample:
    square = np.zeros((100, 100), np.uint8)
    square[30:60, 20:40] = 200
    corners = np.array([[20.0, 30], [40, 30], [40, 60], [20, 60]])
    boxes = np.array([[20, 30, 40, 60]], np.float32)
    return Sample(square, boxes, np.array([1]), ((corners,),))


def test_outlines_are_scaled_like_boxes() -> None:
    triangle = (256.0, 512.0, 512.0, 512.0, 512.0, 1024.0)
    boxes = (Box("Mass", (256, 512, 512, 1024), (triangle,)), Box("Mass", (0, 0, 8, 8)))
    data = DetectionSet((_radiograph("a", boxes),), {}, 128, ("Mass",))
    (outline,), without = data.outlines(0)
    assert outline.tolist() == [[32, 64], [64, 64], [64, 128]]
    assert without == ()


@pytest.mark.parametrize("seed", range(6))
def test_the_box_moves_with_what_it_surrounds(seed: int) -> None:
    augment = AugmentConfig(scale=0.3, translate=0.1, brightness=0, contrast=0, flip=0.5)
    moved = augmented(_sample(), augment, np.random.default_rng(seed))
    extent = _extent(moved.square)
    assert np.abs(moved.boxes[0] - extent).max() <= 1.0  # a bright edge may share a pixel
    assert moved.labels.tolist() == [1]
    ((outline,),) = moved.outlines
    assert [*outline.min(axis=0), *outline.max(axis=0)] == pytest.approx(moved.boxes[0], abs=1e-4)


def test_a_flip_mirrors_the_box() -> None:
    flip = AugmentConfig(scale=0, translate=0, brightness=0, contrast=0, flip=1)
    moved = augmented(_sample(), flip, np.random.default_rng(0))
    assert moved.boxes.tolist() == [[60, 30, 80, 60]]
    assert moved.outlines[0][0].tolist() == [[80, 30], [60, 30], [60, 60], [80, 60]]
    assert _extent(moved.square) == [60, 30, 80, 60]


def test_without_strength_nothing_changes() -> None:
    before = _sample()
    same = augmented(before, STILL, np.random.default_rng(0))
    assert (same.square == before.square).all()
    assert (same.boxes == before.boxes).all()
    assert (same.outlines[0][0] == before.outlines[0][0]).all()


def test_flips_are_off_by_default() -> None:
    assert AugmentConfig().flip == 0


def test_brightness_saturates_instead_of_wrapping() -> None:
    pixels = np.full((64, 64), 250, np.uint8)
    bright = Sample(pixels, np.zeros((0, 4), np.float32), np.zeros(0, np.int64), ())
    strong = AugmentConfig(scale=0, translate=0, brightness=0.5, contrast=0)
    for seed in range(8):
        rng = np.random.default_rng(seed)
        added = 0.5 * np.random.default_rng(seed).uniform(-1, 1, 5)[3] * 255
        moved = augmented(bright, strong, rng).square
        assert abs(int(moved[32, 32]) - np.clip(250 + added, 0, 255)) <= 1


def test_a_box_that_leaves_the_square_is_dropped_and_a_part_is_clipped() -> None:
    square = np.zeros((100, 100), np.uint8)
    boxes = np.array([[-30, 10, 10, 20], [-5, 10, 15, 20]], np.float32)
    outlines = ((), (np.array([[-5.0, 10], [15, 10], [15, 20]]),))
    before = Sample(square, boxes, np.array([1, 2]), outlines)
    kept = augmented(before, STILL, np.random.default_rng(0))
    assert kept.boxes.tolist() == [[0, 10, 15, 20]]
    assert kept.labels.tolist() == [2]
    assert kept.outlines[0][0].tolist() == outlines[1][0].tolist()  # the square cuts it off later


def _pool() -> list[Radiograph]:
    mass, hernia = Box("Mass", (0, 0, 10, 10)), Box("Hernia", (0, 0, 10, 10))
    return [
        _radiograph("boxed", (mass,), Mass=1, Effusion=0),
        _radiograph("unboxed", Mass=1, Effusion=0),
        _radiograph("doubtful", Mass=math.nan, Effusion=0),
        _radiograph("other", Mass=0, Effusion=0, Hernia=1),
        _radiograph("other_boxed", (hernia,), Mass=0, Effusion=0, Hernia=1),
        *(_radiograph(f"clean{i}", Mass=0, Effusion=0) for i in range(5)),
    ]


def test_only_an_image_without_any_finding_is_a_negative() -> None:
    diseases = ("Mass", "Effusion")
    assert [r.image_id for r in training_images(_pool(), diseases, negatives=False)] == ["boxed"]
    chosen = [r.image_id for r in training_images(_pool(), diseases, negatives=True)]
    assert chosen == ["boxed", *(f"clean{i}" for i in range(5))]


@pytest.mark.parametrize(("share", "count"), [(0, 0), (0.5, 1), (2, 4), (math.inf, 5)])
def test_every_epoch_has_the_boxed_images_and_other_negatives(share: float, count: int) -> None:
    boxed = [replace(_pool()[0], image_id=f"boxed{i}") for i in range(2)]
    images = (*boxed, *training_images(_pool(), ("Mass",), negatives=True)[1:])
    order = DetectionSet(images, {}, 64, ("Mass",), share).order(seed=0)
    epochs = [order.positions(epoch).tolist() for epoch in range(20)]
    assert {len(epoch) for epoch in epochs} == {len(order)} == {2 + count}
    assert all({0, 1} <= set(epoch) and len(set(epoch)) == len(epoch) for epoch in epochs)
    assert len({i for epoch in epochs for i in epoch}) == 2 + (5 if count else 0)
    assert epochs[3] == order.positions(3).tolist()
    assert len({tuple(epoch) for epoch in epochs}) > 1
