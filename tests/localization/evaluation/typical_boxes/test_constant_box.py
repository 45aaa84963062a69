"""The box that agrees best with many: against a grid, its rivals, and searches one by one."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import numpy as np
import pytest

from cxrloc.localization.boxes import box_iou_matrix
from cxrloc.localization.evaluation.ground_truth import FloatArray
from cxrloc.localization.evaluation.typical_boxes.constant_box import (
    best_constant_box,
    constant_boxes_without,
)


def mean_iou(candidates: FloatArray, boxes: FloatArray) -> FloatArray:
    return np.asarray(box_iou_matrix(candidates, boxes).mean(axis=1))


def test_the_best_constant_box_is_that_of_an_exhaustive_search_on_a_grid() -> None:
    boxes = np.array([[0.1, 0.1, 0.5, 0.6], [0.2, 0.3, 0.7, 0.5], [0.3, 0.0, 0.6, 0.7]])
    best = mean_iou(best_constant_box(boxes)[None], boxes)[0]
    grid = np.array(list(product(np.arange(11) / 10, repeat=4)))
    highest = mean_iou(grid, boxes).max()  # boxes turned inside out score 0
    assert best == pytest.approx(highest, abs=1e-3)  # the search stops at 1/1024 of the frame
    assert best > mean_iou(boxes, boxes).max() + 2e-3


def test_the_best_constant_box_agrees_at_least_as_well_as_the_median_and_as_any_of_the_boxes() -> (
    None
):
    rng = np.random.default_rng(4)
    for n in (1, 2, 7, 40):
        corner, size = rng.uniform(0, 0.6, (n, 2)), rng.uniform(0.05, 0.4, (n, 2))
        boxes = np.hstack([corner, corner + size])
        rivals = np.vstack([boxes, np.median(boxes, axis=0)])
        best = mean_iou(best_constant_box(boxes)[None], boxes)[0]
        assert best >= mean_iou(rivals, boxes).max()
        if n == 1:
            assert best_constant_box(boxes) == pytest.approx(boxes[0])


def test_no_box_has_no_best_box() -> None:
    with pytest.raises(ValueError, match="expected at least one box, got none"):
        best_constant_box(np.zeros((0, 4)))


def test_of_two_equally_good_constant_boxes_the_order_of_the_file_does_not_choose() -> None:
    boxes = np.array([[0.0, 0.0, 0.5, 0.5], [0.5, 0.5, 1.0, 1.0]])

    assert best_constant_box(boxes).tolist() == best_constant_box(boxes[::-1]).tolist()


def _random_boxes(rng: np.random.Generator, n: int) -> FloatArray:
    corner, size = rng.uniform(0, 0.6, (n, 2)), rng.uniform(0.05, 0.4, (n, 2))
    return np.hstack([corner, corner + size])


def _mirrored_boxes(rng: np.random.Generator, n: int) -> FloatArray:
    """Left and right alike, on a coarse grid: many places are equally good but for rounding."""
    corner, size = rng.integers(0, 4, (n, 2)) / 7, rng.integers(1, 4, (n, 2)) / 7
    boxes = np.hstack([corner, corner + size])
    return np.vstack([boxes, np.abs([1, 0, 1, 0] - boxes[:, [2, 1, 0, 3]])])


@pytest.mark.parametrize("boxes_of", [_random_boxes, _mirrored_boxes])
@pytest.mark.parametrize("seed", range(24))
def test_the_box_without_an_owner_is_the_best_of_the_boxes_of_the_others(
    seed: int, boxes_of: Callable[[np.random.Generator, int], FloatArray]
) -> None:
    rng = np.random.default_rng(seed)
    n, owners = int(rng.integers(2, 25)), int(rng.integers(1, 8))
    boxes = boxes_of(rng, n)
    owner = rng.integers(-1, owners, len(boxes))  # several boxes of one owner, some of nobody

    without = constant_boxes_without(boxes, owner)

    assert len(without) == owner.max() + 2
    for i, box in enumerate(without[:-1]):
        others = boxes[owner != i]
        if len(others):
            np.testing.assert_array_equal(box, best_constant_box(others))
        else:
            assert np.isnan(box).all()
    np.testing.assert_array_equal(without[-1], best_constant_box(boxes))


def test_no_move_of_a_side_by_the_smallest_step_helps_where_a_search_has_ended() -> None:
    rng = np.random.default_rng(0)
    boxes, owner = _random_boxes(rng, 20), np.repeat(np.arange(5), 4)
    sides = np.concatenate([np.eye(4), -np.eye(4)]) / 1024

    for i, box in enumerate(constant_boxes_without(boxes, owner)):
        others = boxes[owner != i]
        here = mean_iou(box[None], others)[0]
        assert mean_iou(box + sides, others).max() <= here + 1e-12
        assert here >= mean_iou(others, others).max()


def test_an_only_owner_leaves_no_box() -> None:
    boxes = np.array([[0.1, 0.2, 0.3, 0.4], [0.1, 0.2, 0.3, 0.5]])

    (without, every) = constant_boxes_without(boxes, np.array([0, 0]))

    assert np.isnan(without).all()
    assert every.tolist() == best_constant_box(boxes).tolist()
