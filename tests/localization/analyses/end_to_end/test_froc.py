"""FROC: a curve by hand, against slow loops, ties, bounds, and that it never falls or turns NaN."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from cxrloc.classification.metrics.bootstrap import Estimate, ImageBootstrap, tail_of
from cxrloc.localization.analyses.end_to_end.false_boxes import (
    BOUNDS,
    COUNTED,
    IGNORED,
)
from cxrloc.localization.analyses.end_to_end.froc import (
    GRID,
    POINTS,
    Froc,
    Sweep,
    froc,
    froc_table,
    resampled_sensitivity,
    sensitivity_at,
    sweep,
)
from cxrloc.localization.boxes import iou
from cxrloc.localization.evaluation.detections import EVERY_DISEASE, Setting, place, settings_of
from cxrloc.localization.evaluation.ground_truth import (
    ABSENT,
    BOXED,
    GroundTruth,
    ImageTable,
    ground_truth_from_coco,
)
from cxrloc.localization.localizer import Localization

RIGHT, ELSEWHERE = (10.0, 10.0, 30.0, 30.0), (40.0, 40.0, 60.0, 60.0)


def _world(status: Sequence[str]) -> GroundTruth:
    """Images 0, 1, ... of patients 0, 0, 1, 1, ...: per disease `B`oxed, `U`nboxed or `-`."""
    coco: dict[str, Any] = {
        "categories": [{"id": 1, "name": "Mass"}, {"id": 2, "name": "Nodule"}],
        "images": [
            {
                "id": i,
                "file_name": f"{i:02d}",
                "width": 64,
                "height": 64,
                "patient_id": f"p{i // 2}",
                "not_exhaustive_category_ids": [c for c, s in enumerate(row, start=1) if s == "U"],
            }
            for i, row in enumerate(status)
        ],
        "annotations": [
            {"id": 10 * i + c, "image_id": i, "category_id": c, "bbox": [10, 10, 20, 20]}
            for i, row in enumerate(status)
            for c, s in enumerate(row, start=1)
            if s == "B"
        ],
    }
    return ground_truth_from_coco(coco)


FOUR = _world(["B-", "UB", "--", "--"])
BOXES = [
    Localization("00", "Mass", RIGHT, 0.9),  # hit
    Localization("00", "Nodule", RIGHT, 0.8),  # false: absent
    Localization("01", "Mass", RIGHT, 0.7),  # neither: labelled, not boxed
    Localization("01", "Nodule", ELSEWHERE, 0.6),  # false: wrong place
    Localization("01", "Nodule", RIGHT, 0.5),  # hit, though not the top-1
    Localization("01", "Nodule", (11, 10, 30, 30), 0.45),  # the same box again: nothing
    Localization("02", "Mass", RIGHT, 0.4),  # false: absent
]


def _everything(images: ImageTable) -> Setting:
    return settings_of(images, np.ones(len(images), np.bool_), None)[EVERY_DISEASE]


def _sweep(
    truth: GroundTruth,
    boxes: Sequence[Localization],
    bound: str = IGNORED,
    disease: int | None = None,
) -> tuple[Sweep, ImageBootstrap]:
    bootstrap = ImageBootstrap.of(truth.images.patient_ids, resamples=50, seed=2)
    setting = _everything(truth.images)
    return sweep(place(truth, boxes), setting, 0.5, bound, bootstrap, disease), bootstrap


def _froc(
    truth: GroundTruth, boxes: Sequence[Localization], bound: str = IGNORED, resamples: int = 50
) -> Froc:
    bootstrap = ImageBootstrap.of(truth.images.patient_ids, resamples=resamples, seed=2)
    setting = _everything(truth.images)
    return froc("mine", place(truth, boxes), setting, 0.5, bound, bootstrap)


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
    found, _ = _sweep(FOUR, BOXES, bound)

    assert sensitivity_at(found, [at]).tolist() == [expected]


def test_the_points_of_four_images_and_their_mean() -> None:
    curve = _froc(FOUR, BOXES)

    assert [e.value for e in curve.at_points] == [0.5, 0.5, 1, 1, 1]
    assert curve.mean.value == pytest.approx(0.8)
    assert (curve.images, curve.boxes) == (4, 2)


def test_a_disease_is_swept_on_its_own() -> None:
    mass, _ = _sweep(FOUR, BOXES, disease=0)
    nodule, _ = _sweep(FOUR, BOXES, disease=1)

    assert sensitivity_at(mass, [0.0]).tolist() == [1.0]
    assert sensitivity_at(nodule, [0.0, 0.49, 0.5]).tolist() == [0.0, 0.0, 1.0]


def test_detections_of_equal_score_enter_together() -> None:
    tied = [Localization(b.image_id, b.disease, b.box_xyxy, 1.0) for b in BOXES]

    found, _ = _sweep(FOUR, tied)

    # both boxes and all three false ones at once: nothing below 3/4 false boxes per image
    assert sensitivity_at(found, [0.74, 0.75]).tolist() == [0.0, 1.0]


def test_a_perfect_localizer_finds_all_without_a_false_box() -> None:
    truth = _world(["B-", "UB", "--", "-B"])
    boxes = [
        Localization(image, disease, RIGHT, 0.5)
        for image, disease in zip(truth.image_ids, truth.diseases, strict=True)
    ]

    curve = _froc(truth, boxes)

    assert len(boxes) == 3
    assert curve.at_points == (Estimate(1, 1, 1),) * 5
    assert curve.curve.min() == 1


def test_a_localizer_without_boxes_finds_nothing_and_is_never_nan() -> None:
    truth = _world(["B-", "UB", "--", "--", "B-", "-B"])

    curve = _froc(truth, [], resamples=20)

    assert curve.at_points == (Estimate(0, 0, 0),) * 5
    assert curve.mean == Estimate(0, 0, 0)
    assert not curve.curve.any()


def _random(seed: int) -> tuple[GroundTruth, list[Localization]]:
    """30 images; scores in steps of .1, so that many are equal."""
    rng = np.random.default_rng(seed)
    truth = _world(["".join(rng.choice(list("B-U"), 2)) for _ in range(30)])
    boxes = []
    for _ in range(90):
        x, y = rng.uniform(6, 18, 2)
        disease = ("Mass", "Nodule")[rng.integers(2)]
        score = float(rng.integers(1, 10)) / 10
        boxes.append(
            Localization(f"{rng.integers(30):02d}", disease, (x, y, x + 20, y + 20), score)
        )
    return truth, boxes


def _slow(
    truth: GroundTruth,
    boxes: Sequence[Localization],
    bound: str,
    times: dict[str, int],
    at: float,
) -> float:
    """The rule in words: image by image, `times` says how often each patient was drawn."""
    images, best = truth.images, 0.0
    row_of = images.row_of
    total = sum(times[p] for p in images.patient_ids)
    number = sum(times[p] for p in truth.patient_ids)
    for cut in sorted({b.score for b in boxes}):
        hits = false = 0.0
        kept = [b for b in boxes if b.score >= cut]
        for image, patient, disease, box in zip(
            truth.image_ids, truth.patient_ids, truth.diseases, truth.boxes_xyxy, strict=True
        ):
            mine = [b for b in kept if (b.image_id, b.disease) == (image, disease)]
            hits += times[patient] * any(iou([b.box_xyxy], [box])[0] > 0.5 for b in mine)
        for b in kept:
            status = images.status[row_of[b.image_id], images.diseases.index(b.disease)]
            missed = status == BOXED and iou([b.box_xyxy], [RIGHT])[0] <= 0.5
            unboxed = status not in (ABSENT, BOXED) and bound == COUNTED
            patient = images.patient_ids[row_of[b.image_id]]
            false += times[patient] * bool(status == ABSENT or missed or unboxed)
        if false / total <= at:
            best = max(best, hits / number)
    return best


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("bound", BOUNDS)
def test_curve_and_resamples_equal_a_slow_loop(seed: int, bound: str) -> None:
    truth, boxes = _random(seed)
    found, bootstrap = _sweep(truth, boxes, bound)
    at = [0.05, 0.3, 0.8, 3.0]
    patients = sorted(set(truth.images.patient_ids))
    once = dict.fromkeys(patients, 1)

    expected = [_slow(truth, boxes, bound, once, x) for x in at]
    assert sensitivity_at(found, at) == pytest.approx(expected)
    assert expected[0] < expected[-1]
    samples = resampled_sensitivity(found, at, bootstrap.counts[:4])
    for drawn, row in zip(bootstrap.counts[:4].astype(int).tolist(), samples, strict=True):
        times = dict(zip(patients, drawn, strict=True))
        assert row == pytest.approx([_slow(truth, boxes, bound, times, x) for x in at])


def test_intervals_are_those_of_all_other_figures_of_as_many_patients() -> None:
    truth, boxes = _random(7)
    found, bootstrap = _sweep(truth, boxes)
    samples = resampled_sensitivity(found, POINTS, bootstrap.counts)
    tail = tail_of(len(set(truth.patient_ids)), 0.95)

    curve = _froc(truth, boxes)

    for i, estimate in enumerate(curve.at_points):
        ends = np.quantile(samples[:, i], [tail, 1 - tail]).tolist()
        assert (estimate.low, estimate.high) == pytest.approx(tuple(ends))
    ends = np.quantile(samples.mean(axis=1), [tail, 1 - tail]).tolist()
    assert (curve.mean.low, curve.mean.high) == pytest.approx(tuple(ends))
    assert curve.mean.low < curve.mean.value < curve.mean.high


def test_boxes_of_a_single_patient_have_a_curve_without_a_band() -> None:
    curve = _froc(FOUR, BOXES)  # images 0 and 1 are of one patient

    assert not np.isnan(curve.curve[0]).any()
    assert np.isnan(curve.curve[1:]).all()


@pytest.mark.parametrize("seed", [3, 4])
def test_sensitivity_never_falls_and_counting_unboxed_positives_never_raises_it(seed: int) -> None:
    truth, boxes = _random(seed)

    ignored, counted = (_froc(truth, boxes, bound) for bound in BOUNDS)

    for curve in (ignored, counted):
        assert (np.diff(curve.curve) >= 0).all()
        assert (curve.curve[1] <= curve.curve[0]).all()
        assert (curve.curve[0] <= curve.curve[2]).all()
    assert (counted.curve[0] <= ignored.curve[0]).all()
    assert (counted.curve[0] < ignored.curve[0]).any()


def test_the_order_of_the_predictions_changes_nothing() -> None:
    truth, boxes = _random(5)

    forth, back = _froc(truth, boxes), _froc(truth, boxes[::-1])

    assert (forth.at_points, forth.mean) == (back.at_points, back.mean)
    np.testing.assert_array_equal(forth.curve, back.curve)


def test_only_the_order_of_the_scores_matters() -> None:
    truth, boxes = _random(6)
    squared = [Localization(b.image_id, b.disease, b.box_xyxy, b.score**2 - 5) for b in boxes]

    np.testing.assert_array_equal(_froc(truth, boxes).curve, _froc(truth, squared).curve)


def test_many_scores_are_thinned_to_a_band_just_below_the_exact_one() -> None:
    rng = np.random.default_rng(0)
    patient = np.arange(1000)
    found = Sweep(
        rng.random(1000), patient, rng.random(1000), patient, np.ones(1000), np.ones(1000)
    )

    exact = sensitivity_at(found, GRID)
    thinned = resampled_sensitivity(found, GRID, np.ones((1, 1000)))[0]

    assert (thinned <= exact).all()
    assert (exact - thinned).max() <= 1 / 190


def test_the_table_pools_diseases_and_names_its_points() -> None:
    curve = _froc(FOUR, BOXES)

    rows = froc_table([curve], ()).rows

    assert [row.lead["unboxed positives"] for row in rows] == [IGNORED]
    assert list(rows[0].cells) == [*(f"sensitivity@{x:g}" for x in POINTS), "mean sensitivity"]
    assert rows[0].trail == {"images": 4, "boxes": 2}
