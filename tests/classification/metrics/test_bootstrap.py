"""The bootstrap: vectorised and slow versions agree; missing diseases, single patients, seeds."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import norm

from cxrloc.classification.metrics.bootstrap import (
    ClusterBootstrap,
    macro_mean,
    resample_counts,
    tail_of,
)

RNG = np.random.default_rng(3)
PATIENTS = [f"p{i}" for i in RNG.integers(0, 12, size=40)]
# disease 2 has three boxes only, so some resamples draw none of them
DISEASES = np.array([2, 2, 2, *RNG.integers(0, 2, size=37)])
VALUES = RNG.random((40, 2))


def _bootstrap(resamples: int = 60, seed: int = 1) -> ClusterBootstrap:
    return ClusterBootstrap.of(PATIENTS, DISEASES, 3, resamples=resamples, seed=seed)


def _slow(bootstrap: ClusterBootstrap, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Per-disease and macro means of each resample, box by box."""
    names = sorted(set(PATIENTS))
    per_disease, macros = [], []
    for row in bootstrap.counts:
        drawn = [
            i
            for name, times in zip(names, row, strict=True)
            for _ in range(int(times))
            for i in range(len(PATIENTS))
            if PATIENTS[i] == name
        ]
        means = []
        for disease in range(3):
            picked = [values[i] for i in drawn if DISEASES[i] == disease]
            means.append(sum(picked) / len(picked) if picked else math.nan)
        per_disease.append(means)
        defined = [m for m in means if not math.isnan(m)]
        macros.append(sum(defined) / len(defined))
    return np.array(per_disease), np.array(macros)


def test_vectorised_means_equal_those_of_a_slow_loop_over_the_same_resamples() -> None:
    bootstrap = _bootstrap()
    samples = np.moveaxis(bootstrap.draws(VALUES).samples, -1, 0)  # (B, M, D + 1)

    for measure in range(2):
        per_disease, macros = _slow(bootstrap, VALUES[:, measure])
        np.testing.assert_allclose(samples[:, measure, :-1], per_disease, rtol=1e-12)
        np.testing.assert_allclose(samples[:, measure, -1], macros, rtol=1e-12)


def test_intervals_are_the_expanded_percentiles_of_the_slow_loop() -> None:
    bootstrap = _bootstrap()
    per_disease, macros = _slow(bootstrap, VALUES[:, 1])
    patients = [len({PATIENTS[i] for i in range(40) if DISEASES[i] == d}) for d in range(3)]

    figures = bootstrap.estimates(VALUES)[1]

    tail = tail_of(3 / sum(1 / n for n in patients), 0.95)
    expected = np.quantile(macros, [tail, 1 - tail])
    assert (figures.macro.low, figures.macro.high) == pytest.approx(tuple(expected))
    for disease, estimate in enumerate(figures.per_disease):
        defined = per_disease[~np.isnan(per_disease[:, disease]), disease]
        tail = tail_of(patients[disease], 0.95)
        assert estimate.low == pytest.approx(np.quantile(defined, tail))
        assert estimate.high == pytest.approx(np.quantile(defined, 1 - tail))
        assert estimate.value == pytest.approx(VALUES[disease == DISEASES, 1].mean())


@pytest.mark.parametrize(
    ("patients", "tail"),
    # Student's t .975 of 9, 49 and 574 degrees of freedom is 2.2622, 2.0096 and 1.9641
    [
        (10, norm.cdf(-2.2622 * math.sqrt(10 / 9))),
        (50, norm.cdf(-2.0096 * math.sqrt(50 / 49))),
        (575, norm.cdf(-1.9641 * math.sqrt(575 / 574))),
    ],
)
def test_the_tail_is_that_of_hesterbergs_expanded_percentiles(patients: int, tail: float) -> None:
    assert tail_of(patients, 0.95) == pytest.approx(tail, abs=1e-5)
    assert tail_of(patients, 0.95) < 0.025


def test_intervals_of_few_patients_exclude_a_true_null_one_time_in_twenty() -> None:
    rng = np.random.default_rng(8)
    excluded = 0
    for seed in range(600):
        differences = rng.normal(0, 0.1, 15)
        bootstrap = ClusterBootstrap.of(
            [str(i) for i in range(15)], np.zeros(15, np.intp), 1, resamples=400, seed=seed
        )
        excluded += bootstrap.estimates(differences[:, None])[0].per_disease[0].excludes_zero

    assert 0.03 <= excluded / 600 <= 0.07  # plain percentiles: .10


def test_resamples_without_a_disease_are_counted() -> None:
    bootstrap = _bootstrap()
    per_disease, _ = _slow(bootstrap, VALUES[:, 0])

    expected = int(np.isnan(per_disease).any(axis=1).sum())

    assert 0 < expected < 60
    assert bootstrap.resamples_without_a_disease == expected


def test_every_resample_draws_as_many_patients_as_there_are() -> None:
    counts = resample_counts(7, 50, seed=0)

    assert counts.shape == (50, 7)
    assert counts.sum(axis=1).tolist() == [7] * 50


def test_one_seed_gives_one_result_and_another_gives_another() -> None:
    first, again, other = (_bootstrap(seed=seed).estimates(VALUES)[0] for seed in (5, 5, 6))

    assert first == again
    assert first.macro.low != other.macro.low
    assert first.macro.value == other.macro.value


def test_all_boxes_of_a_patient_move_together() -> None:
    # one patient all 1, one all 0: a resample's mean is 0, .5 or 1, however many boxes there are
    bootstrap = ClusterBootstrap.of(
        ["a"] * 30 + ["b"] * 30, np.zeros(60, dtype=np.intp), 1, resamples=200, seed=0
    )
    samples = bootstrap.draws(np.repeat([1.0, 0.0], 30)[:, None]).samples

    assert sorted(set(samples.ravel().tolist())) == [0.0, 0.5, 1.0]


def test_the_interval_of_paired_differences_is_narrower_than_the_localizers_own() -> None:
    bootstrap = _bootstrap(resamples=500)
    better = np.clip(VALUES[:, 0] + 0.05, 0, 2)

    own, difference = bootstrap.estimates(np.column_stack([better, better - VALUES[:, 0]]))

    assert difference.macro.value == pytest.approx(0.05)
    assert difference.macro.excludes_zero
    assert difference.macro.high - difference.macro.low < 1e-9
    assert own.macro.high - own.macro.low > 0.05


def test_a_single_patient_has_no_interval() -> None:
    bootstrap = ClusterBootstrap.of(["a", "a"], np.array([0, 0]), 1, resamples=20, seed=0)

    figures = bootstrap.estimates(np.array([[0.2], [0.4]]))[0]

    assert figures.macro.value == pytest.approx(0.3)
    assert math.isnan(figures.macro.low)
    assert math.isnan(figures.per_disease[0].high)
    assert not figures.macro.excludes_zero


def test_a_disease_of_one_patient_has_a_value_without_an_interval() -> None:
    rare = ClusterBootstrap.of(["a", "b", "c"], np.array([0, 0, 1]), 2, resamples=50, seed=0)

    figures = rare.estimates(np.array([[0.2], [0.4], [0.8]]))[0]

    assert figures.per_disease[1].value == pytest.approx(0.8)
    assert math.isnan(figures.per_disease[1].low)
    assert figures.macro.value == pytest.approx((0.3 + 0.8) / 2)
    assert not math.isnan(figures.macro.low)


def test_macro_mean_leaves_out_what_is_undefined() -> None:
    means = macro_mean(np.array([[0.2, math.nan, 0.4], [math.nan] * 3]))

    assert means[0] == pytest.approx(0.3)
    assert math.isnan(means[1])


@pytest.mark.parametrize(("patients", "resamples"), [(0, 10), (3, 0)])
def test_no_patients_or_no_resamples_are_an_error(patients: int, resamples: int) -> None:
    with pytest.raises(ValueError, match="expected >= 1 patients and resamples"):
        resample_counts(patients, resamples, seed=0)


def test_resamples_that_are_not_kept_give_the_same_intervals() -> None:
    resamples = 600  # more than are drawn at once
    whole = _bootstrap(resamples)
    once = ClusterBootstrap.macros_once(PATIENTS, DISEASES, 3, VALUES, resamples=resamples, seed=1)
    kept = [figures.macro for figures in whole.estimates(VALUES)]
    assert whole.macros(VALUES) == kept
    assert len(once) == len(kept) == 2
    for a, b in zip(once, kept, strict=True):
        assert (a.value, a.low, a.high) == pytest.approx((b.value, b.low, b.high), rel=1e-12)
