"""Detections on the images of a ground truth: where they are placed, and what each falls on."""

from __future__ import annotations

import numpy as np
import pytest

from builders import coco_ground_truth, decisions, detections_list
from cxrloc.localization.evaluation.detections import place
from cxrloc.localization.evaluation.ground_truth import (
    ABSENT,
    BOXED,
    UNBOXED,
    ground_truth_from_coco,
)
from cxrloc.localization.localizer import Localization
from cxrloc.localization.matching import meetings
from cxrloc.localization.predictions.columns import BoxColumns

SQUARE = (10.0, 10.0, 20.0, 20.0)
FAR = (40.0, 40.0, 50.0, 50.0)
COCO = coco_ground_truth(
    ("Mass", "Nodule"),
    [
        ("b", "Mass", (10, 10, 10, 10)),
        ("b", "Mass", (10, 10, 10, 5)),
        ("a", "Nodule", (10, 10, 10, 10)),
    ],
    images=["c"],
)
COCO["images"][0]["not_exhaustive_category_ids"] = [2]  # b has nodules that nobody boxed
TRUTH = ground_truth_from_coco(COCO)
BOXES = [
    Localization("b", "Mass", SQUARE, 0.5),
    Localization("c", "Nodule", FAR, 0.4),
    Localization("b", "Nodule", SQUARE, 0.3),
    Localization("b", "Mass", FAR, 0.9),
    Localization("a", "Nodule", SQUARE, 0.2),
    Localization("a", "Nodule", FAR, 0.2),
]


def test_boxes_are_placed_on_their_image_and_disease_in_the_order_of_the_file() -> None:
    placed = place(TRUTH, BOXES)

    assert detections_list(placed) == BOXES
    assert placed.status.tolist() == [BOXED, ABSENT, UNBOXED, BOXED, BOXED, BOXED]
    assert detections_list(place(TRUTH, BoxColumns.of(BOXES))) == BOXES
    assert len(place(TRUTH, [])) == 0


@pytest.mark.parametrize(("image", "disease"), [("d", "Mass"), ("a", "Hernia")])
def test_a_box_of_an_unknown_image_or_disease_is_named(image: str, disease: str) -> None:
    with pytest.raises(ValueError, match=f"a box of {disease} on {image}: the ground truth lacks"):
        place(TRUTH, [*BOXES, Localization(image, disease, SQUARE, 0.5)])


def test_the_top_box_of_an_image_and_disease_is_the_first_of_the_highest_scores() -> None:
    assert place(TRUTH, BOXES).top.tolist() == [False, True, True, True, True, False]


def test_overlaps_are_with_the_boxes_of_the_same_image_and_disease_alone() -> None:
    placed = place(TRUTH, BOXES)

    # sorted, the boxes are the nodule on a, the small mass on b, the large mass on b
    assert placed.overlaps.second.tolist() == [0, 1, 2]
    assert placed.overlaps.first.tolist() == [4, 0, 0]
    np.testing.assert_allclose(placed.overlaps.iou, [1, 0.5, 1])
    np.testing.assert_allclose(placed.overlaps.iobb, [1, 0.5, 1])
    np.testing.assert_allclose(placed.overlaps.iogt, [1, 1, 1])
    np.testing.assert_allclose(placed.best_iou, [1, 0, 0, 0, 1, 0])


def test_behind_a_gate_the_detections_on_what_it_says_present_are_left() -> None:
    present = {("b", "Mass"): True, ("a", "Nodule"): False, ("c", "Nodule"): True}

    passing = place(TRUTH, BOXES).passing(decisions(TRUTH.images, present))

    assert detections_list(passing) == [BOXES[0], BOXES[1], BOXES[3]]  # b's nodule: not decided


@pytest.mark.parametrize("seed", range(20))
def test_meetings_are_all_pairs_of_one_key_by_box_then_by_detection(seed: int) -> None:
    rng = np.random.default_rng(seed)
    key = rng.integers(0, 6, rng.integers(0, 30))
    box_key = rng.integers(0, 8, rng.integers(0, 12))

    detection, box = meetings(key, box_key)

    expected = [(i, j) for j, b in enumerate(box_key) for i, k in enumerate(key) if k == b]
    assert list(zip(detection.tolist(), box.tolist(), strict=True)) == expected


@pytest.mark.parametrize(("key", "box_key"), [([], []), ([1], []), ([], [1, 1]), ([2, 0], [1])])
def test_where_nothing_meets_there_are_no_pairs(key: list[int], box_key: list[int]) -> None:
    detection, box = meetings(np.array(key, dtype=np.intp), np.array(box_key, dtype=np.intp))

    assert (detection.tolist(), box.tolist()) == ([], [])
