"""Figures of several diseases with their resamples, on shares worked by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from cxrloc.classification.metrics.bootstrap import resample_counts, tail_of
from cxrloc.classification.metrics.sampled import bootstrap_all, bootstrap_ratios, image_weights

PATIENTS = ["a", "a", "b", "c", "d"]
# the second disease: patients c and d alone have an image that counts
ABOVE = np.array([[1, 0], [0, 0], [1, 0], [0, 1], [1, 0]], dtype=np.float64)
BELOW = np.array([[1, 0], [1, 0], [1, 0], [1, 1], [1, 1]], dtype=np.float64)


def _slow(seed: int) -> np.ndarray:
    """(R, 2) shares of each resample."""
    drawn = resample_counts(4, 300, seed)[:, [0, 0, 1, 2, 3]]
    with np.errstate(invalid="ignore"):
        return np.asarray((drawn @ ABOVE) / (drawn @ BELOW))


def test_each_share_varies_as_the_patients_do_that_carry_it() -> None:
    shares = bootstrap_ratios(ABOVE, BELOW, PATIENTS, 300, seed=2)
    slow = _slow(2)

    assert shares.points.tolist() == [0.6, 0.5]
    assert shares.patients.tolist() == [4, 2]
    for column, estimate in enumerate(shares.estimates):
        tail = tail_of(float(shares.patients[column]))
        ends = np.nanquantile(slow[:, column], [tail, 1 - tail])
        assert (estimate.low, estimate.high) == pytest.approx(tuple(ends))
    assert shares.estimates[1].replicates == int((~np.isnan(slow[:, 1])).sum()) < 300


def test_a_resample_without_a_disease_averages_over_the_others() -> None:
    macro = bootstrap_ratios(ABOVE, BELOW, PATIENTS, 300, seed=2).macro
    slow = _slow(2)

    assert macro.value == pytest.approx(0.55)
    tail = tail_of(2 / (1 / 4 + 1 / 2))
    ends = np.quantile(np.nanmean(slow, axis=1), [tail, 1 - tail])
    assert (macro.low, macro.high) == pytest.approx(tuple(ends))
    assert macro.replicates == int((~np.isnan(slow).any(axis=1)).sum())


def test_a_disease_without_the_figure_is_undefined_and_not_in_the_mean() -> None:
    nowhere = BELOW * [1, 0]
    shares = bootstrap_ratios(ABOVE * [1, 0], nowhere, PATIENTS, 50, seed=0)

    assert not shares.estimates[1].defined
    assert shares.macro == shares.estimates[0]
    nothing = bootstrap_ratios(0 * ABOVE, 0 * BELOW, PATIENTS, 50, seed=0)
    assert nothing.macro.reason == "undefined for every disease"


def test_several_figures_share_their_resamples_bit_for_bit() -> None:
    rng = np.random.default_rng(3)
    patients = [f"p{n}" for n in rng.integers(0, 40, size=200)]
    below = [(rng.random((200, 3)) < share).astype(float) for share in (0.9, 0.05)]
    ratios = {str(n): (rng.random(part.shape) * part, part) for n, part in enumerate(below)}
    together = bootstrap_all(ratios, patients, 100, seed=7)

    for name, (numerators, denominators) in ratios.items():
        alone = bootstrap_ratios(numerators, denominators, patients, 100, seed=7)
        assert np.array_equal(together[name].points, alone.points)
        assert np.array_equal(together[name].samples, alone.samples, equal_nan=True)
        carry = denominators.T > 0
        carriers = [len({p for p, has in zip(patients, c, strict=True) if has}) for c in carry]
        assert together[name].patients.tolist() == alone.patients.tolist() == carriers


def test_a_paired_difference_has_the_patients_of_the_share_with_fewer() -> None:
    first = bootstrap_ratios(ABOVE, BELOW, PATIENTS, 50, seed=0)
    difference = first - bootstrap_ratios(1 - ABOVE, np.ones((5, 2)), PATIENTS, 50, seed=0)

    assert difference.patients.tolist() == [4, 2]
    assert difference.points.tolist() == pytest.approx([0.6 - 0.4, 0.5 - 0.8])
    same = first - first
    assert (same.macro.low, same.macro.high) == (0, 0)
    assert not math.isnan(same.estimates[1].low)


def test_the_weights_of_images_are_the_draws_of_their_patients_in_any_chunks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("cxrloc.classification.metrics.sampled._CHUNK_ELEMENTS", 12)
    chunks = list(image_weights(["b", "a", "b", "c"], 7, seed=4))

    assert [len(chunk) for chunk in chunks] == [3, 3, 1]
    counts = resample_counts(3, 7, seed=4)
    np.testing.assert_array_equal(np.concatenate(chunks), counts[:, [1, 0, 1, 2]])


def test_nothing_is_drawn_of_a_single_patient() -> None:
    assert list(image_weights(["a", "a"], 7, seed=4)) == []
