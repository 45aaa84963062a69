"""compare(): thresholds, controls, the gate, differences; how often it finds one by chance."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from scipy.stats import ttest_1samp

import builders
from cxrloc.classification.metrics.bootstrap import ClusterBootstrap
from cxrloc.datasets.labels.names import NIH_BOXED_DISEASES
from cxrloc.localization.evaluation.comparison import Comparison, ScoredLocalizer
from cxrloc.localization.evaluation.ground_truth import FloatArray, GroundTruth
from cxrloc.localization.evaluation.paired_tests import PairTests, paired_tests
from cxrloc.localization.localizer import Localization
from localization.report.boxes_of_patients import boxes_of_patients


def _coco(
    boxes: Sequence[tuple[str, str, tuple[float, ...]]], diseases: list[str]
) -> dict[str, Any]:
    xywh = [(n, d, (x1, y1, x2 - x1, y2 - y1)) for n, d, (x1, y1, x2, y2) in boxes]
    return builders.coco_ground_truth(diseases, xywh, patient_of=lambda name: name.split("_")[0])


BOX = (10.0, 10.0, 20.0, 20.0)
FOUR = [("1_0", "Mass", BOX), ("2_0", "Mass", BOX), ("3_0", "Nodule", BOX), ("4_0", "Nodule", BOX)]
COCO = _coco(FOUR, ["Mass", "Nodule"])
PREDICTED = [
    Localization("1_0", "Mass", BOX, 0.9),  # IoU 1
    Localization("2_0", "Mass", (10, 10, 20, 15), 0.8),  # IoU and IoGT exactly .5, IoBB 1
    Localization("3_0", "Nodule", (12, 12, 14, 14), 0.7),  # IoU and IoGT .04, IoBB 1
]


def _row(comparison: Comparison, label: str) -> ScoredLocalizer:
    return next(row for row in comparison.localizers if row.label == label)


def _values(comparison: Comparison, label: str, measure: str) -> list[float]:
    figures = _row(comparison, label).estimates[measure]
    return [*(e.value for e in figures.per_disease), figures.macro.value]


@pytest.mark.parametrize(
    ("measure", "mass", "nodule"),
    [
        ("mean_iou", 0.75, 0.02),
        ("mean_iobb", 1.0, 0.5),
        ("mean_iogt", 0.75, 0.02),
        ("acc_iou@0.4", 1.0, 0.0),
        ("acc_iou@0.5", 0.5, 0.0),  # strictly greater: the box with IoU .5 fails
        ("acc_iobb@0.9", 1.0, 0.5),
        ("acc_iogt@0.5", 0.5, 0.0),
        ("acc_iou@0.5 any", 0.5, 0.0),
    ],
)
def test_means_and_accuracies_of_four_boxes_by_hand(
    measure: str, mass: float, nodule: float
) -> None:
    comparison = builders.comparison(COCO, {"mine": PREDICTED}, resamples=20)

    expected = [mass, nodule, (mass + nodule) / 2]
    assert _values(comparison, "mine", measure) == pytest.approx(expected)


def test_controls_are_added_and_never_see_the_patient_they_are_scored_on() -> None:
    other = (30.0, 30.0, 60.0, 60.0)
    coco = _coco([("1_0", "Mass", BOX), ("1_1", "Mass", BOX), ("2_0", "Mass", other)], ["Mass"])

    comparison = builders.comparison(coco, {}, resamples=20)

    labels = [row.label for row in comparison.localizers]
    assert labels == ["prior_box", "constant_box", "center_box", "random_map"]
    assert all(row.is_control for row in comparison.localizers)
    # patient 1 gets the box of patient 2 and the other way round: they do not overlap
    assert _row(comparison, "prior_box").scores.iou.tolist() == [0, 0, 0]
    assert comparison.differences == ()


def test_a_gate_adds_rows_in_which_what_it_misses_is_a_miss() -> None:
    gate = {(image, disease): image != "1_0" for image, disease, _ in FOUR}

    comparison = builders.comparison(COCO, {"mine": PREDICTED}, gate, resamples=20)

    labels = [(row.label, row.setting) for row in comparison.localizers[:2]]
    assert labels == [("mine", "disease given"), ("mine, gated", "gated")]
    assert _values(comparison, "mine", "mean_iou")[0] == pytest.approx(0.75)
    assert _values(comparison, "mine, gated", "mean_iou")[0] == pytest.approx(0.25)
    assert comparison.gate_passes == 3
    # a control is told the disease: the gate does not touch it
    assert _row(comparison, "prior_box").scores.iou.tolist() == [1, 1, 1, 1]


def test_a_gate_without_a_decision_for_a_box_names_it() -> None:
    gate = {(image, disease): True for image, disease, _ in FOUR[:3]}

    with pytest.raises(ValueError, match=r"no decision for Nodule on 4_0 \(and 0 more of 4"):
        builders.comparison(COCO, {"mine": PREDICTED}, gate)


def test_differences_are_those_of_the_means_and_pair_every_localizer_with_every_control() -> None:
    comparison = builders.comparison(COCO, {"a": PREDICTED, "b": PREDICTED[:1]}, resamples=20)

    of_means = [d for d in comparison.differences if d.measure == "mean_iou"]
    pairs = [(d.localizer, d.minus) for d in of_means]
    controls = ["prior_box", "constant_box", "center_box", "random_map"]
    assert pairs == [("a", "b"), *(("a", c) for c in controls), *(("b", c) for c in controls)]
    assert [(t.localizer, t.minus) for t in comparison.tests] == pairs
    a_minus_b = comparison.differences[0].estimates
    assert a_minus_b.macro.value == pytest.approx((0.25 + 0.02) / 2)
    assert a_minus_b.per_disease[0].value == pytest.approx(0.25)


def test_images_without_patients_are_compared_as_their_own_clusters() -> None:
    images = [{k: v for k, v in i.items() if k != "patient_id"} for i in COCO["images"]]

    comparison = builders.comparison({**COCO, "images": images}, {"mine": PREDICTED}, resamples=20)

    assert comparison.patients == 4
    assert _row(comparison, "prior_box").scores.iou.tolist() == [1, 1, 1, 1]
    assert "4 of 4 images have no patient id" in comparison.truth.notes[0]


def _nih_like(boxes: int, seed: int = 0) -> tuple[dict[str, Any], list[Localization]]:
    """A ground truth of NIH's size and a localizer that is right but for noise."""
    rng = np.random.default_rng(seed)
    rows, predicted = [], []
    for i in range(boxes):
        image, disease = f"{i // 3}_{i}", NIH_BOXED_DISEASES[i % 8]
        corner, side = rng.uniform(0, 30, 2), rng.uniform(5, 30, 2)
        box = tuple(np.round([*corner, *(corner + side)], 3))
        rows.append((image, disease, box))
        x1, y1, x2, y2 = box + rng.normal(0, 2, 4)
        predicted.append(
            Localization(image, disease, (x1, y1, max(x2, x1 + 1), max(y2, y1 + 1)), 0.5)
        )
    return _coco(rows, list(NIH_BOXED_DISEASES)), predicted


def test_the_order_of_images_boxes_and_predictions_changes_no_figure() -> None:
    coco, boxes = _nih_like(60)
    shuffled = {
        **coco,
        "annotations": random.Random(1).sample(coco["annotations"], 60),
        "images": random.Random(2).sample(coco["images"], len(coco["images"])),
    }

    plain = builders.comparison(coco, {"mine": boxes}, resamples=50)
    mixed = builders.comparison(
        shuffled, {"mine": random.Random(3).sample(boxes, 60)}, resamples=50
    )

    for row, other in zip(plain.localizers, mixed.localizers, strict=True):
        assert row.estimates == other.estimates
    assert plain.differences == mixed.differences
    assert plain.skills == mixed.skills
    assert plain.tests == mixed.tests


def test_five_localizers_on_984_boxes_all_get_an_interval_around_their_mean() -> None:
    coco, boxes = _nih_like(984)
    comparison = builders.comparison(coco, {f"m{i}": boxes for i in range(5)}, resamples=2000)

    for i in range(5):
        macro = _row(comparison, f"m{i}").estimates["mean_iou"].macro
        assert macro.low < macro.value < macro.high


# How often tests and intervals find a difference where there is none, and where there is one
SETS, RESAMPLES = 1000, 500


def _clustered_truth(rng: np.random.Generator, count: int = 160) -> GroundTruth:
    boxes = rng.choice([1, 2, 3, 5], size=count, p=[0.6, 0.2, 0.1, 0.1])
    patients = [f"p{i:03}" for i in np.repeat(np.arange(count), boxes)]
    return boxes_of_patients(patients, rng.choice(["A", "B"], len(patients)).tolist())


def _simulated(
    truth: GroundTruth, shift: float, rng: np.random.Generator
) -> tuple[FloatArray, FloatArray]:
    """IoU (N, SETS) of two localizers: hard and easy patients, own luck per patient and per box.

    Without a shift the two can be exchanged. About 30 % of each one's boxes are misses, of IoU 0.
    """
    patient = np.unique(truth.patient_ids, return_inverse=True)[1]
    shared = rng.normal(0.15, 0.2, (patient.max() + 1, SETS))

    def localizer(shift: float) -> FloatArray:
        of_patient = shared + rng.normal(0, 0.12, shared.shape)
        noise = rng.normal(shift, 0.15, (len(truth), SETS))
        return np.clip(of_patient[patient] + noise, 0, 1)

    return localizer(shift), localizer(0)


def _all_tests(truth: GroundTruth, first: FloatArray, second: FloatArray) -> list[PairTests]:
    return [paired_tests(truth, first[:, i], second[:, i]) for i in range(SETS)]


def _bootstraps(truth: GroundTruth) -> list[ClusterBootstrap]:
    """One for each 100 data sets, so that no luck of the resamples weighs on all of them."""
    return [
        ClusterBootstrap.of(
            truth.patient_ids, truth.disease_index, 2, resamples=RESAMPLES, seed=seed
        )
        for seed in range(SETS // 100)
    ]


def _excluding_zero(truth: GroundTruth, differences: FloatArray) -> tuple[float, float]:
    """Share of intervals of disease A, and of the macro mean, that exclude 0."""
    figures = [
        figure
        for k, bootstrap in enumerate(_bootstraps(truth))
        for figure in bootstrap.estimates(differences[:, 100 * k : 100 * (k + 1)])
    ]
    of_a = [figure.per_disease[0].excludes_zero for figure in figures]
    return float(np.mean(of_a)), float(np.mean([figure.macro.excludes_zero for figure in figures]))


@pytest.mark.slow
@pytest.mark.parametrize(("patients", "of_a_disease"), [(80, 50), (160, 100)])
def test_without_a_difference_one_in_twenty_is_found(patients: int, of_a_disease: int) -> None:
    rng = np.random.default_rng(0)
    truth = _clustered_truth(rng, patients)
    first, second = _simulated(truth, 0.0, rng)
    tests = _all_tests(truth, first, second)
    assert 0.25 < np.mean(first == 0) < 0.35
    assert of_a_disease <= tests[0].per_disease[0].patients <= 1.2 * of_a_disease

    for row in ([t.per_disease[0] for t in tests], [t.macro for t in tests]):
        assert 0.03 <= np.mean([t.wilcoxon_p < 0.05 for t in row]) <= 0.07
        assert np.mean([t.mcnemar_p < 0.05 for t in row]) <= 0.07
    family = [min(t.wilcoxon_holm_p for t in test.per_disease) < 0.05 for test in tests]
    assert np.mean(family) <= 0.07
    for share in _excluding_zero(truth, first - second):
        assert 0.03 <= share <= 0.07


@pytest.mark.slow
def test_a_moderate_difference_is_found() -> None:
    rng = np.random.default_rng(1)
    truth = _clustered_truth(rng)
    first, second = _simulated(truth, 0.08, rng)
    tests = _all_tests(truth, first, second)

    for row in ([t.per_disease[0] for t in tests], [t.macro for t in tests]):
        assert np.mean([t.wilcoxon_p < 0.05 for t in row]) > 0.8
    for share in _excluding_zero(truth, first - second):
        assert share > 0.8


@pytest.mark.slow
def test_a_t_test_on_bootstrap_replicates_finds_a_difference_where_there_is_none() -> None:
    """Why there is none here: with 500 replicates it rejects nearly every true null."""
    rng = np.random.default_rng(0)
    truth = _clustered_truth(rng)
    first, second = _simulated(truth, 0.0, rng)

    replicates = _bootstraps(truth)[0].draws((first - second)[:, :100]).samples[:, 0].T
    rejected = ttest_1samp(replicates, 0, axis=0).pvalue < 0.05
    assert rejected.mean() > 0.8
