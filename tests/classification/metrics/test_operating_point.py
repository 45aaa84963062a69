"""Youden's threshold on hand-computed cases."""

from __future__ import annotations

import math

import numpy as np
import pytest

from cxrloc.classification.metrics.operating_point import at_sensitivity, operating_points, youden


def test_the_threshold_lies_midway_between_the_scores_that_it_parts() -> None:
    point = youden([0, 0, 1, 1], [0.1, 0.2, 0.6, 0.9])
    assert point.threshold == pytest.approx(0.4)
    assert (point.sensitivity, point.specificity) == (1.0, 1.0)


def test_a_hand_computed_overlap() -> None:
    # cuts below .2, .3, .4, .8: J = 0 + 1/3, 1/3 - .., by hand: (2/2 - 2/3), (1/2 - 2/3), ..
    point = youden([0, 1, 0, 0, 1], [0.1, 0.2, 0.3, 0.4, 0.8])
    # J: 1 - 2/3 = .333; 1/2 - 2/3; 1/2 - 1/3; 1/2 - 0 = .5
    assert point.threshold == pytest.approx(0.6)
    assert (point.sensitivity, point.specificity) == (0.5, 1.0)


def test_among_equal_gains_the_more_sensitive_threshold_is_taken() -> None:
    # below .3: 2/2 - 1/2 = .5; below .4: 1/2 - 1/2; below .8: 1/2 - 0 = .5
    point = youden([0, 1, 0, 1], [0.1, 0.3, 0.4, 0.8])
    assert point.threshold == pytest.approx(0.2)


def test_tied_scores_stay_together() -> None:
    point = youden([0, 1, 0, 1], [0.2, 0.5, 0.5, 0.5])
    assert point.threshold == pytest.approx(0.35)
    assert (point.sensitivity, point.specificity) == (1.0, 0.5)


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        ([0, 0, math.nan], "no positive image in the validation data"),
        ([1, 1, math.nan], "no negative image in the validation data"),
        ([], "no positive image in the validation data"),
        ([1, 0, 0], "no threshold is better than chance on validation data"),
    ],
)
def test_there_is_no_threshold_and_the_reason_is_said(labels: list[float], reason: str) -> None:
    point = youden(labels, [0.1, 0.2, 0.3][: len(labels)])
    assert point.threshold is None
    assert point.reason == reason


def test_unknown_labels_are_left_out() -> None:
    assert youden([0, math.nan, 1], [0.2, 0.9, 0.4]).threshold == pytest.approx(0.3)


def test_neighbouring_floats_are_still_parted() -> None:
    low = 0.3
    high = float(np.nextafter(low, 1))
    threshold = youden([0, 1], [low, high]).threshold
    assert threshold is not None
    assert low < threshold <= high


def test_each_disease_has_its_own_threshold() -> None:
    labels = np.array([[0.0, 1.0], [1.0, math.nan]])
    points = operating_points(labels, np.array([[0.2, 0.5], [0.4, 0.5]]), ("Mass", "Hernia"))
    assert points["Mass"].threshold == pytest.approx(0.3)
    assert points["Hernia"].reason == "no negative image in the validation data"


@pytest.mark.parametrize(
    ("asked", "threshold", "sensitivity", "specificity"),
    [
        # 4 positives at .9 .7 .5 .2, negatives at .8 .4 .3
        (0.5, 0.6, 0.5, 2 / 3),  # two of four are enough; the cut lies between .5 and .7
        (0.75, 0.45, 0.75, 2 / 3),  # exactly three of four
        (0.76, 0.2, 1.0, 0.0),  # only all four reach it: everything is called present
    ],
)
def test_the_highest_threshold_that_reaches_the_sensitivity_asked_for(
    asked: float, threshold: float, sensitivity: float, specificity: float
) -> None:
    labels, scores = [1, 1, 1, 1, 0, 0, 0, math.nan], [0.9, 0.7, 0.5, 0.2, 0.8, 0.4, 0.3, 0.1]
    point = at_sensitivity(labels, scores, asked)
    assert point.threshold == pytest.approx(threshold)
    assert point.sensitivity == pytest.approx(sensitivity)
    assert point.specificity == pytest.approx(specificity)


def test_a_sensitivity_needs_both_classes_and_to_be_a_share() -> None:
    assert at_sensitivity([0, 0], [0.1, 0.2], 0.9).threshold is None
    assert at_sensitivity([1, 1], [0.1, 0.2], 0.9).reason == (
        "no negative image in the validation data"
    )
    with pytest.raises(ValueError, match="sensitivity: got 90, expected between 0 and 1"):
        at_sensitivity([0, 1], [0.1, 0.2], 90)
