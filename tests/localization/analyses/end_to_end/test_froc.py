"""FROC: a curve by hand, ties, bounds, and that it never falls or turns NaN."""

from __future__ import annotations

import numpy as np
import pytest

from cxrloc.classification.metrics.bootstrap import Estimate
from cxrloc.localization.analyses.end_to_end.false_boxes import BOUNDS, COUNTED, IGNORED
from cxrloc.localization.analyses.end_to_end.froc import POINTS, froc_table, sensitivity_at
from cxrloc.localization.localizer import Localization
from localization.analyses.end_to_end.froc_world import (
    BOXES,
    FOUR,
    RIGHT,
    curve_of,
    random_world,
    swept,
    truth_of,
)


@pytest.mark.parametrize(
    ("bound", "at", "expected"),
    [
        (IGNORED, 0.0, 0.5),  # at score .9 one of two boxes, nothing false
        (IGNORED, 0.49, 0.5),
        (IGNORED, 0.5, 1.0),  # at score .5 two false boxes on four images
        (IGNORED, 8.0, 1.0),
        (COUNTED, 0.5, 0.5),
        (COUNTED, 0.75, 1.0),  # the box on the unboxed positive is the third
    ],
)
def test_the_curve_of_four_images_by_hand(bound: str, at: float, expected: float) -> None:
    swept_boxes, _ = swept(FOUR, BOXES, bound)

    assert sensitivity_at(swept_boxes, [at]).tolist() == [expected]


def test_the_points_of_four_images_and_their_mean() -> None:
    curve = curve_of(FOUR, BOXES)

    assert [e.value for e in curve.at_points] == [0.5, 0.5, 1, 1, 1]
    assert curve.mean.value == pytest.approx(0.8)
    assert (curve.images, curve.boxes) == (4, 2)


def test_a_disease_is_swept_on_its_own() -> None:
    mass, _ = swept(FOUR, BOXES, disease=0)
    nodule, _ = swept(FOUR, BOXES, disease=1)

    assert sensitivity_at(mass, [0.0]).tolist() == [1.0]
    assert sensitivity_at(nodule, [0.0, 0.49, 0.5]).tolist() == [0.0, 0.0, 1.0]


def test_detections_of_equal_score_enter_together() -> None:
    tied = [Localization(b.image_id, b.disease, b.box_xyxy, 1.0) for b in BOXES]

    swept_boxes, _ = swept(FOUR, tied)

    # both boxes and all three false ones at once: nothing below 3/4 false boxes per image
    assert sensitivity_at(swept_boxes, [0.74, 0.75]).tolist() == [0.0, 1.0]


def test_a_perfect_localizer_finds_all_without_a_false_box() -> None:
    truth = truth_of(["B-", "UB", "--", "-B"])
    boxes = [
        Localization(image, disease, RIGHT, 0.5)
        for image, disease in zip(truth.image_ids, truth.diseases, strict=True)
    ]

    curve = curve_of(truth, boxes)

    assert len(boxes) == 3
    assert curve.at_points == (Estimate(1, 1, 1),) * 5
    assert curve.curve.min() == 1


def test_a_localizer_without_boxes_finds_nothing_and_is_never_nan() -> None:
    truth = truth_of(["B-", "UB", "--", "--", "B-", "-B"])

    curve = curve_of(truth, [], resamples=20)

    assert curve.at_points == (Estimate(0, 0, 0),) * 5
    assert curve.mean == Estimate(0, 0, 0)
    assert not curve.curve.any()


def test_boxes_of_a_single_patient_have_a_curve_without_a_band() -> None:
    curve = curve_of(FOUR, BOXES)  # images 0 and 1 are of one patient

    assert not np.isnan(curve.curve[0]).any()
    assert np.isnan(curve.curve[1:]).all()


@pytest.mark.parametrize("seed", [3, 4])
def test_sensitivity_never_falls_and_counting_unboxed_positives_never_raises_it(seed: int) -> None:
    truth, boxes = random_world(seed)

    ignored, counted = (curve_of(truth, boxes, bound) for bound in BOUNDS)

    for curve in (ignored, counted):
        assert (np.diff(curve.curve) >= 0).all()
        assert (curve.curve[1] <= curve.curve[0]).all()
        assert (curve.curve[0] <= curve.curve[2]).all()
    assert (counted.curve[0] <= ignored.curve[0]).all()
    assert (counted.curve[0] < ignored.curve[0]).any()


def test_the_order_of_the_predictions_changes_nothing() -> None:
    truth, boxes = random_world(5)

    forth, back = curve_of(truth, boxes), curve_of(truth, boxes[::-1])

    assert (forth.at_points, forth.mean) == (back.at_points, back.mean)
    np.testing.assert_array_equal(forth.curve, back.curve)


def test_only_the_order_of_the_scores_matters() -> None:
    truth, boxes = random_world(6)
    squared = [Localization(b.image_id, b.disease, b.box_xyxy, b.score**2 - 5) for b in boxes]

    np.testing.assert_array_equal(curve_of(truth, boxes).curve, curve_of(truth, squared).curve)


def test_the_table_pools_diseases_and_names_its_points() -> None:
    curve = curve_of(FOUR, BOXES)

    rows = froc_table([curve], ()).rows

    assert [row.lead["unboxed positives"] for row in rows] == [IGNORED]
    assert list(rows[0].cells) == [*(f"sensitivity@{x:g}" for x in POINTS), "mean sensitivity"]
    assert rows[0].trail == {"images": 4, "boxes": 2}
