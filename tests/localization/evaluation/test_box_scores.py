"""Scores of boxes: four boxes by hand, ties, misses, and what must not change them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from builders import coco_ground_truth
from cxrloc.localization.evaluation.box_scores import ANY, BoxScores, Measure, score_boxes
from cxrloc.localization.evaluation.detections import place
from cxrloc.localization.evaluation.ground_truth import GroundTruth, ground_truth_from_coco
from cxrloc.localization.localizer import Localization

DISEASES = ("Mass", "Nodule")
SQUARE = [0.0, 0.0, 10.0, 10.0]
FOUR = [
    ("1_0", "Mass", SQUARE),
    ("2_0", "Mass", SQUARE),
    ("3_0", "Nodule", SQUARE),
    ("4_0", "Nodule", SQUARE),
]
PREDICTED = [
    Localization("1_0", "Mass", (0, 0, 10, 10), 0.9),  # the box itself
    Localization("2_0", "Mass", (5, 0, 15, 10), 0.8),  # half of each box is shared: 50 / 150
    Localization("3_0", "Nodule", (2, 2, 4, 4), 0.7),  # inside: 4 of its 4, 4 of the other's 100
]


def _truth(boxes: Sequence[tuple[str, str, Sequence[float]]]) -> GroundTruth:
    return ground_truth_from_coco(coco_ground_truth(DISEASES, boxes))


def _scores(truth: GroundTruth, boxes: Sequence[Localization]) -> BoxScores:
    return score_boxes(place(truth, boxes))


def test_four_boxes_have_the_scores_computed_by_hand() -> None:
    scores = _scores(_truth(FOUR), PREDICTED)

    np.testing.assert_allclose(scores.iou, [1, 1 / 3, 0.04, 0])
    np.testing.assert_allclose(scores.iobb, [1, 0.5, 1, 0])
    np.testing.assert_allclose(scores.iogt, [1, 0.5, 0.04, 0])
    np.testing.assert_allclose(scores.score, [0.9, 0.8, 0.7, 0])
    assert scores.predicted.tolist() == [True, True, True, False]


def test_the_box_with_the_highest_score_counts_and_any_takes_the_best() -> None:
    truth = _truth(FOUR[:1])
    boxes = [
        Localization("1_0", "Mass", (2, 2, 4, 4), 0.2),  # IoBB 1, IoGT .04
        Localization("1_0", "Mass", (5, 0, 15, 10), 0.9),
        Localization("1_0", "Mass", (0, 0, 10, 9), 0.5),  # IoU .9, IoBB 1
    ]

    scores = _scores(truth, boxes)

    assert scores.iou[0] == pytest.approx(1 / 3)
    assert scores.any_iou[0] == pytest.approx(0.9)
    assert scores.any_iobb[0] == 1
    assert scores.any_iogt[0] == pytest.approx(0.9)  # of the two with IoBB 1 the larger


def test_of_equal_scores_the_first_in_the_file_counts() -> None:
    truth = _truth(FOUR[:1])
    exact, half = PREDICTED[0], Localization("1_0", "Mass", (5, 0, 15, 10), 0.9)

    assert _scores(truth, [exact, half]).iou[0] == 1
    assert _scores(truth, [half, exact]).iou[0] == pytest.approx(1 / 3)


def test_one_box_for_two_ground_truth_boxes_leaves_the_other_a_miss() -> None:
    truth = _truth([("1_0", "Mass", SQUARE), ("1_0", "Mass", [50.0, 50.0, 10.0, 10.0])])

    assert _scores(truth, PREDICTED[:1]).iou.tolist() == [1, 0]


def test_no_predictions_at_all_are_all_misses() -> None:
    scores = _scores(_truth(FOUR), [])

    for name in ("iou", "iobb", "iogt", "score", "any_iou", "any_iobb", "any_iogt"):
        assert getattr(scores, name).tolist() == [0, 0, 0, 0], name


def test_predictions_without_a_ground_truth_box_change_nothing() -> None:
    truth = ground_truth_from_coco(coco_ground_truth(DISEASES, FOUR, images=["5_0"]))
    stray = [
        Localization("1_0", "Nodule", (0, 0, 10, 10), 1),
        Localization("5_0", "Mass", (0, 0, 1, 1), 1),
    ]

    np.testing.assert_array_equal(
        _scores(truth, [*stray, *PREDICTED]).iou, _scores(truth, PREDICTED).iou
    )


def test_only_where_turns_the_other_boxes_into_misses() -> None:
    scores = _scores(_truth(FOUR), PREDICTED)

    gated = scores.only_where(np.array([False, True, True, True]))

    np.testing.assert_allclose(gated.iou, [0, 1 / 3, 0.04, 0])
    np.testing.assert_allclose(gated.any_iobb, [0, 0.5, 1, 0])
    np.testing.assert_allclose(gated.score, [0, 0.8, 0.7, 0])
    assert gated.predicted.tolist() == [False, True, True, False]


def test_the_order_of_rows_in_both_files_changes_nothing() -> None:
    forward = _truth(FOUR)
    backward = _truth(FOUR[::-1])

    assert forward.image_ids == backward.image_ids == ("1_0", "2_0", "3_0", "4_0")
    assert forward.disease_names == backward.disease_names == ("Mass", "Nodule")
    np.testing.assert_array_equal(
        _scores(forward, PREDICTED).iou, _scores(backward, PREDICTED[::-1]).iou
    )


@pytest.mark.parametrize("scale", [0.25, 2.5, 3.0])
def test_scaling_image_and_boxes_together_changes_nothing(scale: float) -> None:
    scaled_truth = _truth([(i, d, [v * scale for v in b]) for i, d, b in FOUR])
    x = [tuple(v * scale for v in p.box_xyxy) for p in PREDICTED]
    scaled = [
        Localization(p.image_id, p.disease, (b[0], b[1], b[2], b[3]), p.score)
        for p, b in zip(PREDICTED, x, strict=True)
    ]

    before = _scores(_truth(FOUR), PREDICTED)
    after = _scores(scaled_truth, scaled)

    for name in ("iou", "iobb", "iogt", "any_iou"):
        np.testing.assert_allclose(getattr(before, name), getattr(after, name), atol=1e-12)


@pytest.mark.parametrize(
    ("measure", "key", "values"),
    [
        (Measure("iou"), "mean_iou", [1, 1 / 3, 0.04, 0]),
        (Measure("iou", 1 / 3), "acc_iou@0.333333", [1, 0, 0, 0]),  # strictly over it
        (Measure("iobb", 0.5), "acc_iobb@0.5", [1, 0, 1, 0]),
        (Measure("iogt", rule=ANY), "mean_iogt any", [1, 1, 0.04, 0]),
        (Measure("iou", 0.75, ANY), "acc_iou@0.75 any", [1, 1, 0, 0]),
    ],
)
def test_a_measure_has_a_key_and_a_value_for_every_box(
    measure: Measure, key: str, values: list[float]
) -> None:
    better = Localization("2_0", "Mass", (0, 0, 10, 10), 0.1)
    scores = _scores(_truth(FOUR), [*PREDICTED, better])

    assert measure.key == key
    np.testing.assert_allclose(measure.of_scores(scores), values)
