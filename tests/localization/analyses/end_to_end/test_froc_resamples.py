"""FROC against slow loops: the curve, the resamples, and the intervals made of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from cxrloc.classification.metrics.bootstrap import tail_of
from cxrloc.localization.analyses.end_to_end.false_boxes import BOUNDS, COUNTED
from cxrloc.localization.analyses.end_to_end.froc import (
    GRID,
    POINTS,
    Sweep,
    resampled_sensitivity,
    sensitivity_at,
)
from cxrloc.localization.boxes import iou
from cxrloc.localization.evaluation.ground_truth import ABSENT, BOXED, GroundTruth
from cxrloc.localization.localizer import Localization
from localization.analyses.end_to_end.froc_world import RIGHT, curve_of, random_world, swept


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
        over_cut = [b for b in boxes if b.score >= cut]
        for image, patient, disease, box in zip(
            truth.image_ids, truth.patient_ids, truth.diseases, truth.boxes_xyxy, strict=True
        ):
            same_pair = [b for b in over_cut if (b.image_id, b.disease) == (image, disease)]
            hits += times[patient] * any(iou([b.box_xyxy], [box])[0] > 0.5 for b in same_pair)
        for b in over_cut:
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
    truth, boxes = random_world(seed)
    swept_boxes, bootstrap = swept(truth, boxes, bound)
    at = [0.05, 0.3, 0.8, 3.0]
    patients = sorted(set(truth.images.patient_ids))
    once = dict.fromkeys(patients, 1)

    expected = [_slow(truth, boxes, bound, once, x) for x in at]
    assert sensitivity_at(swept_boxes, at) == pytest.approx(expected)
    assert expected[0] < expected[-1]
    samples = resampled_sensitivity(swept_boxes, at, bootstrap.counts[:4])
    for drawn, row in zip(bootstrap.counts[:4].astype(int).tolist(), samples, strict=True):
        times = dict(zip(patients, drawn, strict=True))
        assert row == pytest.approx([_slow(truth, boxes, bound, times, x) for x in at])


def test_intervals_are_those_of_all_other_figures_of_as_many_patients() -> None:
    truth, boxes = random_world(7)
    swept_boxes, bootstrap = swept(truth, boxes)
    samples = resampled_sensitivity(swept_boxes, POINTS, bootstrap.counts)
    tail = tail_of(len(set(truth.patient_ids)), 0.95)

    curve = curve_of(truth, boxes)

    for i, estimate in enumerate(curve.at_points):
        ends = np.quantile(samples[:, i], [tail, 1 - tail]).tolist()
        assert (estimate.low, estimate.high) == pytest.approx(tuple(ends))
    ends = np.quantile(samples.mean(axis=1), [tail, 1 - tail]).tolist()
    assert (curve.mean.low, curve.mean.high) == pytest.approx(tuple(ends))
    assert curve.mean.low < curve.mean.value < curve.mean.high


def test_many_scores_are_thinned_to_a_band_just_below_the_exact_one() -> None:
    rng = np.random.default_rng(0)
    patient = np.arange(1000)
    swept_boxes = Sweep(
        rng.random(1000), patient, rng.random(1000), patient, np.ones(1000), np.ones(1000)
    )

    exact = sensitivity_at(swept_boxes, GRID)
    thinned = resampled_sensitivity(swept_boxes, GRID, np.ones((1, 1000)))[0]

    assert (thinned <= exact).all()
    assert (exact - thinned).max() <= 1 / 190
