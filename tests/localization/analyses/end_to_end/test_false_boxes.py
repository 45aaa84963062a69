"""False boxes: four images counted by hand, in every setting, on every set of images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from builders import decisions
from cxrloc.classification.metrics.bootstrap import Estimate, tail_of
from cxrloc.classification.metrics.sampled import ImageBootstrap
from cxrloc.localization.analyses.end_to_end.false_boxes import (
    ALL_IMAGES,
    BOXED_IMAGES,
    COUNTED,
    IGNORED,
    IMAGES_WITHOUT_FINDING,
    OperatingPoint,
    end_to_end_table,
    false_box_table,
    operating_points,
)
from cxrloc.localization.evaluation.detections import (
    DISEASE_GIVEN,
    END_TO_END,
    EVERY_DISEASE,
    GATED,
    check_coverage,
    place,
    settings_of,
)
from cxrloc.localization.evaluation.ground_truth import BoolArray, ground_truth_from_coco
from cxrloc.localization.localizer import Localization

# a: Mass boxed. b, of the same patient: Nodule boxed, Mass labelled without a box. c: no finding.
# d: only a finding that nobody boxes
COCO: dict[str, Any] = {
    "categories": [{"id": 1, "name": "Mass"}, {"id": 2, "name": "Nodule"}],
    "images": [
        {
            "id": 1,
            "file_name": "a",
            "width": 64,
            "height": 64,
            "patient_id": "p1",
            "labels": ["Mass"],
        },
        {
            "id": 2,
            "file_name": "b",
            "width": 64,
            "height": 64,
            "patient_id": "p1",
            "labels": ["Mass", "Nodule"],
            "not_exhaustive_category_ids": [1],
        },
        {"id": 3, "file_name": "c", "width": 64, "height": 64, "patient_id": "p2", "labels": []},
        {
            "id": 4,
            "file_name": "d",
            "width": 64,
            "height": 64,
            "patient_id": "p3",
            "labels": ["Hernia"],
        },
    ],
    "annotations": [
        {"id": 1, "image_id": 1, "category_id": 1, "bbox": [10, 10, 20, 20], "iscrowd": 0},
        {"id": 2, "image_id": 2, "category_id": 2, "bbox": [10, 10, 20, 20], "iscrowd": 0},
    ],
}
TRUTH = ground_truth_from_coco(COCO)
IMAGES = TRUTH.images
RIGHT, ELSEWHERE = (10.0, 10.0, 30.0, 30.0), (40.0, 40.0, 60.0, 60.0)
BOXES = [
    Localization("a", "Mass", RIGHT, 0.9),  # hit
    Localization("a", "Nodule", RIGHT, 0.8),  # false: absent
    Localization("b", "Mass", RIGHT, 0.7),  # neither: labelled, not boxed
    Localization("b", "Nodule", ELSEWHERE, 0.6),  # false: wrong place
    Localization("b", "Nodule", RIGHT, 0.5),  # would hit, but is not the top-1
    Localization("c", "Mass", RIGHT, 0.4),  # false: absent
    Localization("d", "Nodule", RIGHT, 0.3),  # false: absent
]
PRESENT = {("a", "Mass"), ("b", "Mass"), ("b", "Nodule"), ("c", "Mass")}
GATE = {(i, d): (i, d) in PRESENT for i in IMAGES.image_ids for d in IMAGES.diseases}


def _looked(images: str) -> BoolArray:
    return np.array([image in images for image in IMAGES.image_ids])


def _points(
    boxes: Sequence[Localization] = BOXES,
    looked_at: str = "abcd",
    thresholds: tuple[float, ...] = (0.5,),
) -> dict[str, list[OperatingPoint]]:
    settings = settings_of(IMAGES, _looked(looked_at), decisions(IMAGES, GATE))
    detections = place(TRUTH, boxes)
    bootstrap = ImageBootstrap.of(IMAGES.patient_ids, resamples=200, seed=0)
    return {
        name: operating_points("mine", detections, setting, IMAGES, thresholds, bootstrap)
        for name, setting in settings.items()
    }


@pytest.mark.parametrize(
    ("setting", "images", "ignored", "counted", "boxed", "clear"),
    [
        (DISEASE_GIVEN, 2, 1 / 2, 2 / 2, 1 / 2, math.nan),
        (GATED, 2, 1 / 2, 2 / 2, 1 / 2, math.nan),
        (END_TO_END, 4, 2 / 4, 3 / 4, 1 / 2, 1.0),
        (EVERY_DISEASE, 4, 4 / 4, 5 / 4, 2 / 2, 1.0),
    ],
)
def test_false_boxes_per_image_of_four_images_by_hand(
    setting: str, images: int, ignored: float, counted: float, boxed: float, clear: float
) -> None:
    point = _points()[setting][0]

    assert (point.images, point.hits, point.boxes, point.sensitivity.value) == (images, 1, 2, 0.5)
    assert point.false_boxes(ALL_IMAGES, IGNORED).per_image.value == ignored
    assert point.false_boxes(ALL_IMAGES, COUNTED).per_image.value == counted
    assert point.false_boxes(BOXED_IMAGES, IGNORED).per_image.value == boxed
    for bound in (IGNORED, COUNTED):  # an image without finding has no unboxed positive
        value = point.false_boxes(IMAGES_WITHOUT_FINDING, bound).per_image.value
        assert value == pytest.approx(clear, nan_ok=True)
    assert point.boxed_images_only == (setting in (DISEASE_GIVEN, GATED))


def test_each_disease_has_its_own_false_boxes_and_sensitivity() -> None:
    point = _points()[EVERY_DISEASE][0]

    mass, nodule = point.false_boxes().per_disease
    assert (mass.value, nodule.value) == (1 / 4, 3 / 4)
    assert point.false_boxes(bound=COUNTED).per_disease[0].value == 2 / 4
    assert point.per_disease == (1.0, 0.0)
    assert (point.false_boxes().boxes, point.false_boxes().patients) == (4, 3)


def test_a_looser_threshold_makes_a_wrong_place_a_hit_and_the_test_is_strict() -> None:
    half = [Localization("a", "Mass", (10, 10, 30, 20), 0.9)]  # IoU exactly .5

    at_half, at_less = _points(half, thresholds=(0.5, 0.4))[EVERY_DISEASE]

    assert (at_half.hits, at_half.false_boxes().boxes) == (0, 1)
    assert (at_less.hits, at_less.false_boxes().boxes) == (1, 0)


def test_images_that_were_not_looked_at_are_left_out_of_every_count() -> None:
    boxes = [box for box in BOXES if box.image_id in ("a", "c")]

    points = _points(boxes, "ac")

    point = points[EVERY_DISEASE][0]
    assert (point.images, point.hits, point.boxes) == (2, 1, 1)
    assert point.false_boxes().per_image.value == 2 / 2
    assert points[DISEASE_GIVEN][0].images == 1


def test_a_localizer_that_saw_boxed_images_alone_has_no_end_to_end_figures() -> None:
    boxes = [box for box in BOXES if box.image_id in ("a", "b")]

    assert list(_points(boxes, "ab")) == [DISEASE_GIVEN, GATED]


def test_images_that_the_gate_did_not_decide_on_are_left_out_where_it_is_asked() -> None:
    partial = {pair: yes for pair, yes in GATE.items() if pair != ("c", "Nodule")}

    gate = decisions(IMAGES, partial)
    settings = settings_of(IMAGES, _looked("abcd"), gate)

    assert gate.complete.tolist() == [True, True, False, True]
    assert settings[END_TO_END].images.tolist() == [True, True, False, True]
    assert settings[EVERY_DISEASE].images.all()


def test_a_localizer_without_boxes_has_zeros_and_not_nan() -> None:
    for (point,) in _points([]).values():
        assert (point.hits, point.sensitivity.value) == (0, 0)
        assert point.false_boxes().per_image.value == 0
    assert _points([])[EVERY_DISEASE][0].false_boxes().per_image == Estimate(0, 0, 0)


def test_the_order_of_the_predictions_changes_nothing() -> None:
    assert repr(_points(BOXES[::-1])) == repr(_points(BOXES))  # repr: NaN is not equal to NaN


def test_of_equal_scores_the_first_in_the_file_is_the_top_1() -> None:
    twins = [Localization("a", "Mass", box, 0.5) for box in (RIGHT, ELSEWHERE)]

    assert place(TRUTH, twins).top.tolist() == [True, False]
    assert place(TRUTH, twins[::-1]).best_iou.tolist() == [0, 1]


def test_intervals_agree_with_a_slow_loop_over_all_patients_boxed_or_not() -> None:
    bootstrap = ImageBootstrap.of(IMAGES.patient_ids, resamples=200, seed=0)
    false_of, images_of = np.array([2, 1, 1]), np.array([2, 1, 1])  # every disease asked: p1 p2 p3
    slow = [
        sum(times * n for times, n in zip(row, false_of, strict=True))
        / sum(times * n for times, n in zip(row, images_of, strict=True))
        for row in bootstrap.counts
    ]

    figure = _points()[EVERY_DISEASE][0].false_boxes().per_image

    assert bootstrap.counts.shape == (200, 3)
    tail = tail_of(3, 0.95)  # all three patients, though boxes are of one alone
    assert figure == Estimate(1.0, *np.quantile(slow, [tail, 1 - tail]).tolist())
    gated = _points()[END_TO_END][0].false_boxes().per_image  # p1: 1 false, p2: 1, p3: 0
    slow = [(r[0] + r[1]) / (2 * r[0] + r[1] + r[2]) for r in bootstrap.counts]
    ends = np.quantile(slow, [tail, 1 - tail]).tolist()
    assert (gated.low, gated.high) == pytest.approx(tuple(ends))
    assert gated.low < 0.5 < gated.high


def test_the_tables_show_settings_side_by_side_and_no_image_set_twice() -> None:
    points = [point for of_setting in _points().values() for point in of_setting]

    rows = end_to_end_table(points, ()).rows
    assert [row.lead["setting"] for row in rows] == [
        DISEASE_GIVEN,
        GATED,
        END_TO_END,
        EVERY_DISEASE,
    ]
    clear = [row.cells["false boxes per image without finding"] for row in rows]
    assert clear[:2] == ["none looked at"] * 2
    table = false_box_table(points, IMAGES.diseases, ())
    sets = [(row.lead["setting"], row.lead["image set"]) for row in table.rows]
    assert sets == [
        *[(DISEASE_GIVEN, BOXED_IMAGES)] * 2,
        *[(GATED, BOXED_IMAGES)] * 2,
        *[
            (s, f)
            for s in (END_TO_END, EVERY_DISEASE)
            for f in (ALL_IMAGES, BOXED_IMAGES, IMAGES_WITHOUT_FINDING)
            for _ in (IGNORED, COUNTED)
        ],
    ]


def test_a_box_on_a_image_or_disease_that_the_ground_truth_lacks_is_refused() -> None:
    for image, disease in (("z", "Mass"), ("a", "Hernia")):
        with pytest.raises(ValueError, match=f"a box of {disease} on {image}: the ground truth"):
            place(TRUTH, [Localization(image, disease, RIGHT, 0.5)])


def test_every_image_with_a_box_must_be_one_that_was_looked_at() -> None:
    check_coverage("mine", place(TRUTH, BOXES), _looked("abcd"))
    with pytest.raises(ValueError, match="'mine' has a box on d, which is outside its coverage"):
        check_coverage("mine", place(TRUTH, BOXES), _looked("abc"))
