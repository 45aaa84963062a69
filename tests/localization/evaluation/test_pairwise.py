"""Skill over controls and differences: by hand, against a slow loop, with and without a margin."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import builders
from cxrloc.classification.metrics.bootstrap import DiseaseEstimates, Estimate, tail_of
from cxrloc.localization.evaluation.comparison import Comparison, accuracy_curve
from cxrloc.localization.evaluation.pairwise import Difference, skill_over
from cxrloc.localization.localizer import Localization

DISEASES = ("Mass", "Nodule", "Pneumonia")


@pytest.mark.parametrize(
    ("mean", "control", "skill"),
    [
        (0.6, 0.5, 0.2),
        (0.5, 0.5, 0.0),
        (0.25, 0.5, -0.5),
        (1.0, 0.9, 1.0),
        (0.3, 0.0, 0.3),
        (0.5, 1.0, math.nan),
        (0.5, 1 - 1e-12, math.nan),  # perfect but for rounding
        (math.nan, 0.5, math.nan),
        (0.5, math.nan, math.nan),
    ],
)
def test_skill_by_hand(mean: float, control: float, skill: float) -> None:
    assert float(skill_over(mean, control)) == pytest.approx(skill, nan_ok=True)


def _coco_and_boxes(scale: int = 1) -> tuple[dict[str, Any], dict[str, list[Localization]]]:
    """30 boxes on 30 images of 12 patients, two Pneumonia; two localizers near the boxes."""
    rng = np.random.default_rng(5)
    images, annotations = [], []
    boxes: dict[str, list[Localization]] = {"near": [], "far": []}
    for i in range(1, 31):
        disease = 2 if i in (4, 17) else int(rng.integers(0, 2))
        x, y, w, h = (*rng.uniform(5, 25, 2), *rng.uniform(8, 30, 2))
        images.append(
            {
                "id": i,
                "file_name": f"{i}",
                "width": 64 * scale,
                "height": 80 * scale,
                "patient_id": f"p{rng.integers(0, 12)}",
            }
        )
        box = [scale * float(v) for v in (x, y, w, h)]
        annotations.append({"id": i, "image_id": i, "category_id": disease + 1, "bbox": box})
        for name, pixels in (("near", 2.0), ("far", 6.0)):
            dx, dy = rng.normal(0, pixels, 2)
            left, top = scale * float(x + dx), scale * float(y + dy)
            moved = (left, top, left + box[2], top + box[3])
            boxes[name].append(Localization(f"{i}", DISEASES[disease], moved, 0.5))
    categories = [{"id": c, "name": d} for c, d in enumerate(DISEASES, start=1)]
    return {"images": images, "annotations": annotations, "categories": categories}, boxes


def _comparison(resamples: int = 80) -> Comparison:
    return builders.comparison(*_coco_and_boxes(), resamples=resamples)


def _slow_means(comparison: Comparison, values: np.ndarray) -> np.ndarray:
    """Mean of each disease and macro mean in each resample, patient by patient, box by box."""
    truth, rows = comparison.truth, []
    patients = sorted(set(truth.patient_ids))
    for drawn in comparison.bootstrap.counts:
        sums, boxes = dict.fromkeys(DISEASES, 0.0), dict.fromkeys(DISEASES, 0)
        for patient, times in zip(patients, drawn, strict=True):
            for _ in range(int(times)):
                for i, owner in enumerate(truth.patient_ids):
                    if owner == patient:
                        sums[truth.diseases[i]] += values[i]
                        boxes[truth.diseases[i]] += 1
        means = [sums[d] / boxes[d] if boxes[d] else math.nan for d in DISEASES]
        rows.append([*means, np.nanmean(means)])
    return np.array(rows)


def _expanded(comparison: Comparison, samples: np.ndarray) -> np.ndarray:
    """Expanded percentiles of each disease, of its patients, and of the macro mean: (D + 1, 2)."""
    truth = comparison.truth
    pairs = set(zip(truth.patient_ids, truth.diseases, strict=True))
    patients = [sum(disease == d for _, disease in pairs) for d in truth.disease_names]
    harmonic = len(patients) / sum(1 / n for n in patients)
    tails = [tail_of(n, comparison.level) for n in (*patients, max(2, harmonic))]
    return np.array(
        [np.nanquantile(samples[:, i], [tail, 1 - tail]) for i, tail in enumerate(tails)]
    )


def _iou(comparison: Comparison, label: str) -> np.ndarray:
    return next(r.scores.iou for r in comparison.localizers if r.label == label)


def _intervals(estimates: DiseaseEstimates) -> np.ndarray:
    return np.array([[e.low, e.high] for e in estimates.columns])


@pytest.mark.parametrize("threshold", [None, 0.3])
def test_intervals_of_skill_are_those_of_a_slow_loop_over_patients(threshold: float | None) -> None:
    comparison = _comparison()
    measure = "mean_iou" if threshold is None else f"acc_iou@{threshold:g}"
    means = {
        label: _slow_means(comparison, iou if threshold is None else iou > threshold)
        for label in ("near", "constant_box")
        for iou in [_iou(comparison, label)]
    }
    skill = (means["near"] - means["constant_box"]) / (1 - means["constant_box"])
    assert np.isnan(skill[:, 2]).any()  # some resamples draw no Pneumonia

    estimates = next(
        s.estimates
        for s in comparison.skills
        if (s.localizer, s.control, s.measure) == ("near", "constant_box", measure)
    )

    expected = _expanded(comparison, skill)
    np.testing.assert_allclose(_intervals(estimates), expected, rtol=1e-9)


@pytest.mark.parametrize("threshold", [None, 0.5])
def test_intervals_of_differences_are_those_of_a_slow_loop_over_paired_differences(
    threshold: float | None,
) -> None:
    comparison = _comparison()
    near, far = _iou(comparison, "near"), _iou(comparison, "far")
    measure = "mean_iou"
    if threshold is not None:
        measure = f"acc_iou@{threshold:g}"
        near, far = (near > threshold).astype(float), (far > threshold).astype(float)

    estimates = next(
        d.estimates
        for d in comparison.differences
        if (d.localizer, d.minus, d.measure) == ("near", "far", measure)
    )

    expected = _expanded(comparison, _slow_means(comparison, near - far))
    np.testing.assert_allclose(_intervals(estimates), expected, rtol=1e-9, atol=1e-12)


def test_the_macro_skill_is_that_of_the_macro_means() -> None:
    comparison = _comparison()
    near = next(r for r in comparison.localizers if r.label == "near").estimates["mean_iou"]
    control = comparison.reference.estimates["mean_iou"]
    skill = next(
        s for s in comparison.skills if (s.localizer, s.control) == ("near", "constant_box")
    )

    assert comparison.reference.name == "constant_box"
    for value, m, c in zip(skill.estimates.columns, near.columns, control.columns, strict=True):
        assert value.value == pytest.approx((m.value - c.value) / (1 - c.value))


def test_skill_is_of_four_measures_over_every_control_and_of_controls_over_the_reference() -> None:
    comparison = _comparison()

    measures = list(dict.fromkeys(s.measure for s in comparison.skills))
    pairs = [(s.localizer, s.control) for s in comparison.skills if s.measure == "mean_iou"]
    controls = ["prior_box", "constant_box", "center_box", "random_map"]
    assert measures == ["mean_iou", "acc_iou@0.1", "acc_iou@0.3", "acc_iou@0.5"]
    assert pairs == [
        *((name, control) for name in ("near", "far") for control in controls),
        *((c, "constant_box") for c in controls if c != "constant_box"),
    ]


def test_images_three_times_as_large_give_the_same_figures() -> None:
    plain, large = (builders.comparison(*_coco_and_boxes(scale), resamples=40) for scale in (1, 3))

    for row, other in zip(plain.localizers, large.localizers, strict=True):
        if row.name != "random_map":  # drawn on the pixels of the image
            for measure, figures in row.estimates.items():
                _assert_same(figures, other.estimates[measure])
    for small, tripled in zip(plain.differences, large.differences, strict=True):
        if small.minus != "random_map":
            _assert_same(small.estimates, tripled.estimates)


def _assert_same(small: DiseaseEstimates, tripled: DiseaseEstimates) -> None:
    a, b = ([[e.value, e.low, e.high] for e in d.columns] for d in (small, tripled))
    np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("low", "margin", "noninferior"),
    [
        (-0.04, 0.05, True),
        (-0.05, 0.05, False),  # strictly above
        (-0.06, 0.05, False),
        (0.02, 0.05, True),
        (math.nan, 0.05, False),
        (-0.04, None, None),
    ],
)
def test_noninferior_is_an_interval_that_lies_above_minus_the_margin(
    low: float, margin: float | None, noninferior: bool | None
) -> None:
    macro, disease = Estimate(0.1, low, 0.2), Estimate(0.0, -0.5, 0.5)
    difference = Difference("mean_iou", "a", "b", DiseaseEstimates((disease,), macro), margin)

    assert difference.noninferior is noninferior
    assert difference.noninferior_per_disease == ((None,) if margin is None else (False,))


@pytest.mark.parametrize("margin", [0.0, 1.0, -0.05, math.nan])
def test_a_margin_that_cannot_be_one_is_refused(margin: float) -> None:
    with pytest.raises(ValueError, match=r"0 < margin < 1, for example 0\.05"):
        builders.comparison(*_coco_and_boxes(), resamples=5, noninferiority_margin=margin)


def test_the_accuracy_curve_goes_through_the_accuracies_of_the_tables() -> None:
    comparison = _comparison()
    near = comparison.localizers[0]

    value, low, high = accuracy_curve(near, comparison, [0.0, 0.3, 0.5, 0.9999])

    for i, t in ((1, 0.3), (2, 0.5)):
        macro = near.estimates[f"acc_iou@{t}"].macro
        assert (value[i], low[i], high[i]) == pytest.approx((macro.value, macro.low, macro.high))
    assert value[0] == 1.0  # every box overlaps by something
    assert (np.diff(value) <= 0).all()
    assert (low <= value).all()
    assert (value <= high).all()
