"""Scores as expected IoU: the mean IoU of such boxes on other patients."""

from __future__ import annotations

import numpy as np
import pytest

from cxrloc.localization.evaluation.detections import Detections, place
from cxrloc.localization.fusion.calibration import expected_iou
from localization.fusion.world import FOLDS, IMAGES, shifted, truth

PARTS = np.arange(IMAGES) % FOLDS


def _placed(score_by: dict[bool, float], right: float = 0.0, wrong: float = 0.5) -> Detections:
    """Every other image of a fold has a box of the one kind."""
    even = [i // FOLDS % 2 == 0 for i in range(IMAGES)]
    boxes = shifted(lambda i: right if even[i] else wrong, lambda i: score_by[even[i]])
    return place(truth(), boxes)


def test_a_score_becomes_the_mean_iou_of_boxes_with_such_a_score_on_other_patients() -> None:
    placed = _placed({True: 0.9, False: 0.2})
    known = [i for i in range(IMAGES) if i % FOLDS == 1]  # with 0 apart, what tells about fold 2
    overlap = placed.best_iou  # 1 or 1 / 3, and 0 on images without a mass
    expected = {
        even: np.mean([overlap[i] for i in known if (i // FOLDS % 2 == 0) == even])
        for even in (True, False)
    }

    found = expected_iou(placed, PARTS, 0)

    for i in range(2, IMAGES, FOLDS):
        assert found[i] == pytest.approx(expected[i // FOLDS % 2 == 0], abs=2e-6)


def test_scores_that_say_the_opposite_are_pooled_and_keep_their_order() -> None:
    found = expected_iou(_placed({True: 0.2, False: 0.9}), PARTS, 0)[2::FOLDS]

    assert np.ptp(found) == pytest.approx(0, abs=2e-6)
    assert found[1] > found[0]


def test_the_scale_of_the_scores_changes_nothing() -> None:
    scores = np.random.default_rng(0).permutation(IMAGES)
    first = place(truth(), shifted(lambda i: i % 7 / 7, lambda i: float(scores[i])))
    second = place(truth(), shifted(lambda i: i % 7 / 7, lambda i: float(scores[i]) ** 3 / 9 - 40))

    np.testing.assert_array_equal(expected_iou(first, PARTS, 1), expected_iou(second, PARTS, 1))


def test_no_box_of_the_part_itself_or_of_the_part_apart_is_used() -> None:
    def boxes(moved: int) -> Detections:
        return place(truth(), shifted(lambda i: 0.6 if i % FOLDS == moved else i % 7 / 10))

    found = {moved: expected_iou(boxes(moved), PARTS, 0) for moved in (-1, 0, 1, 2)}

    for part in range(FOLDS):
        mine = part == PARTS
        np.testing.assert_array_equal(found[-1][mine], found[0][mine])
        np.testing.assert_array_equal(found[-1][mine], found[part][mine])
    assert (found[-1][PARTS == 1] != found[2][PARTS == 1]).any()


def test_a_localizer_that_was_never_seen_expects_nothing() -> None:
    only = place(truth(), [shifted(lambda i: 0.0)[0]])

    assert expected_iou(only, PARTS, 0) == pytest.approx([0], abs=2e-6)
