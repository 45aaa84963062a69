"""How often tests and intervals find a difference where there is none, and where there is one."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import ttest_1samp

from cxrloc.classification.metrics.bootstrap import ClusterBootstrap
from cxrloc.localization.evaluation.ground_truth import FloatArray, GroundTruth
from cxrloc.localization.evaluation.paired_tests import PairTests, paired_tests
from localization.boxes_of_patients import boxes_of_patients

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
