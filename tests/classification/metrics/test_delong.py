"""DeLong's test against its own definition, counted out pair by pair."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from cxrloc.classification.metrics.delong import delong_test, holm


def by_definition(labels: np.ndarray, first: np.ndarray, second: np.ndarray) -> tuple[float, float]:
    """Difference and standard error from the matrix of psi(X, Y), equations 2 to 5 of DeLong."""
    v10, v01 = [], []
    for scores in (first, second):
        x, y = scores[labels == 1], scores[labels == 0]
        psi = np.array([[1.0 if a > b else 0.5 if a == b else 0.0 for b in y] for a in x])
        v10.append(psi.mean(axis=1))
        v01.append(psi.mean(axis=0))
    covariance = np.cov(v10) / len(v10[0]) + np.cov(v01) / len(v01[0])
    contrast = np.array([1.0, -1.0])
    difference = float(np.mean(v10[0]) - np.mean(v10[1]))
    return difference, math.sqrt(contrast @ covariance @ contrast)


def test_a_case_worked_by_hand() -> None:
    # positive .9 .4, negative .5 .1: V10 = 1, 1/2 and V01 = 1/2, 1; AUC 3/4
    # positive .9 .8, negative .2 .1: all 1; AUC 1
    test = delong_test([1, 1, 0, 0], [0.9, 0.4, 0.5, 0.1], [0.9, 0.8, 0.2, 0.1])
    assert test.difference == pytest.approx(-0.25)
    # the differences 0, -1/2 and -1/2, 0 have variance 1/8 each: 1/8 / 2 + 1/8 / 2 = 1/8
    assert test.standard_error == pytest.approx(math.sqrt(1 / 8))
    assert test.z == pytest.approx(-0.25 * math.sqrt(8))
    assert test.p == pytest.approx(2 * norm.cdf(-0.25 * math.sqrt(8)))


@pytest.mark.parametrize("seed", range(4))
def test_midranks_give_what_the_definition_gives_with_ties_and_unknown_labels(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = (rng.random(60) < 0.3).astype(float)
    first = np.round(rng.random(60) + 0.3 * labels, 1)
    second = np.round(rng.random(60) + 0.5 * labels, 1)
    difference, error = by_definition(labels, first, second)
    unknown = np.full(3, math.nan), np.ones(3), np.zeros(3)
    test = delong_test(
        *(np.append(a, b) for a, b in zip((labels, first, second), unknown, strict=True))
    )
    assert test.difference == pytest.approx(difference, abs=1e-12)
    assert test.difference == pytest.approx(
        roc_auc_score(labels, first) - roc_auc_score(labels, second), abs=1e-12
    )
    assert test.standard_error == pytest.approx(error, abs=1e-12)


def test_the_second_minus_the_first_is_the_same_test_with_the_other_sign() -> None:
    rng = np.random.default_rng(1)
    labels, first, second = (rng.random(40) < 0.5).astype(float), rng.random(40), rng.random(40)
    there, back = delong_test(labels, first, second), delong_test(labels, second, first)
    assert there.difference is not None
    assert back.difference == -there.difference
    assert there.p == back.p


def test_under_the_null_one_test_in_twenty_rejects() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat([0.0, 1.0], 60)
    shared = rng.normal(size=(500, 120)) + labels
    noise = rng.normal(size=(2, 500, 120))
    p = [delong_test(labels, s + a, s + b).p for s, a, b in zip(shared, *noise, strict=True)]
    rejected = np.mean(np.array(p) < 0.05)
    assert 0.02 < rejected < 0.08  # 25 of 500 expected, standard deviation 4.9


@pytest.mark.parametrize(
    ("labels", "first", "second", "reason"),
    [
        ([0, 0, math.nan], [0.1, 0.2, 0.3], [0.1, 0.2, 0.3], "with and without the disease"),
        ([], [], [], "with and without the disease"),
        ([1, 0, 0], [0.1, 0.2, 0.3], [0.9, 0.2, 0.3], "two images with and two without"),
        ([1, 1, 0, 0], [0.9, 0.8, 0.2, 0.1], [0.2, 0.1, 0.9, 0.8], "the same for all images"),
    ],
)
def test_where_no_test_can_be_made_it_says_why(
    labels: list[float], first: list[float], second: list[float], reason: str
) -> None:
    test = delong_test(labels, first, second)
    assert math.isnan(test.p)
    assert reason in test.reason


def test_the_same_ranking_is_no_difference_at_all() -> None:
    test = delong_test([1, 1, 0, 0], [0.9, 0.4, 0.5, 0.1], [0.8, 0.3, 0.4, 0.2])
    assert (test.difference, test.p) == (0.0, 1.0)


def test_holm_by_hand() -> None:
    # sorted .01 .02 .04: times 3, 2, 1; never below the one before
    assert holm([0.04, 0.01, 0.02]) == pytest.approx([0.04, 0.03, 0.04])
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.6, 0.5]) == [1.0, 1.0]
    assert holm([0.02]) == [0.02]
    assert holm([]) == []


def test_holm_does_not_count_tests_that_were_not_made() -> None:
    assert holm([0.01, math.nan, 0.03]) == pytest.approx([0.02, math.nan, 0.03], nan_ok=True)
