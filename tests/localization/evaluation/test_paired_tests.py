"""Tests of two localizers: by hand, and by counting out all signs."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from scipy.stats import norm, rankdata

from cxrloc.localization.evaluation.ground_truth import FloatArray, GroundTruth
from cxrloc.localization.evaluation.paired_tests import PairedTest, paired_tests
from localization.report.boxes_of_patients import boxes_of_patients


def one_box_each(differences: Sequence[float] | FloatArray) -> PairedTest:
    """One patient a box, one disease; the second localizer has IoU .4 everywhere."""
    truth = boxes_of_patients(range(len(differences)), ["Mass"] * len(differences))
    second = np.full(len(differences), 0.4)
    return paired_tests(truth, second + differences, second).per_disease[0]


def test_ten_gains_of_ten_have_the_smallest_p_of_ten_patients() -> None:
    result = one_box_each(np.arange(1, 11) / 20)

    assert result.wilcoxon_p == pytest.approx(2 / 2**10)
    assert result.rank_biserial == 1
    assert result.mean_difference == pytest.approx(0.275)
    assert (result.boxes, result.patients, result.ties, result.tested) == (10, 10, 0, True)


def test_zeros_are_ranked_and_their_ranks_dropped() -> None:
    """Two zeros have ranks 1 and 2, so the others have 3 to 10, of sum 52; the smallest is lost."""
    result = one_box_each([0, 0, -0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.07, 0.08])

    assert result.rank_biserial == pytest.approx((49 - 3) / 52)
    assert result.wilcoxon_p == pytest.approx(4 / 2**8)  # W- is 0 or 3, W+ is 0 or 3
    assert result.ties == 2


def test_five_gains_among_many_zeros_are_not_significant() -> None:
    """Five fair coins show one side in 2 of 32 throws; the normal approximation says .026."""
    result = one_box_each([0.0] * 25 + [0.1, 0.2, 0.3, 0.4, 0.5])

    assert result.wilcoxon_p == pytest.approx(2 / 2**5)
    assert (result.rank_biserial, result.ties) == (1, 25)


def test_equal_localizers_have_p_1_and_no_effect() -> None:
    result = one_box_each([0.0] * 60)

    assert (result.wilcoxon_p, result.mcnemar_p, result.rank_biserial) == (1, 1, 0)
    assert (result.ties, result.mean_difference) == (60, 0)


@pytest.mark.parametrize("n", [10, 11, 12])
@pytest.mark.parametrize("kind", ["distinct", "ties", "ties and zeros"])
def test_p_is_that_of_all_signs_counted_out(n: int, kind: str) -> None:
    for seed in range(5):
        differences = np.random.default_rng(seed).normal(0.05, 0.1, n).clip(-0.4, 0.6)
        if kind != "distinct":
            differences = differences.round(1)
        if kind == "ties and zeros":
            differences[:3] = 0
        ranks = rankdata(np.abs(differences.round(9))) * (differences != 0)
        signs = np.array(list(product([-1, 1], repeat=n)))
        observed = abs(np.sum(np.sign(differences) * ranks))
        counted = np.mean(np.abs(signs @ ranks) >= observed - 1e-9)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert one_box_each(differences).wilcoxon_p == pytest.approx(counted)


def test_many_patients_have_the_p_of_the_normal_curve() -> None:
    n = 60
    differences = np.random.default_rng(0).normal(0.02, 0.1, n).clip(-0.4, 0.6)

    ranks = rankdata(np.abs(differences))
    z = (ranks[differences > 0].sum() - n * (n + 1) / 4) / math.sqrt(n * (n + 1) * (2 * n + 1) / 24)
    assert 0.01 < one_box_each(differences).wilcoxon_p < 0.9
    assert one_box_each(differences).wilcoxon_p == pytest.approx(2 * norm.sf(abs(z)))


def test_counted_signs_and_normal_curve_agree_where_one_takes_over_from_the_other() -> None:
    differences = np.random.default_rng(1).normal(0.02, 0.1, 51).clip(-0.4, 0.6)
    smallest = np.abs(differences).argmin()

    normal = one_box_each(differences).wilcoxon_p
    differences[smallest] = 0
    counted = one_box_each(differences).wilcoxon_p

    assert 0.01 < normal < 0.9
    assert counted == pytest.approx(normal, rel=0.03)


def test_mcnemar_is_the_binomial_of_the_discordant_patients() -> None:
    """8 to 1: (1 + 9) of 2**9 outcomes are as uneven on one side, as many on the other."""
    first = np.array([0.6] * 8 + [0.4] * 3 + [0.9])
    second = np.array([0.4] * 8 + [0.6] + [0.4] * 2 + [0.9])
    (result,) = paired_tests(boxes_of_patients(range(12), ["Mass"] * 12), first, second).per_disease
    assert (result.first_only, result.second_only) == (8, 1)
    assert result.mcnemar_p == pytest.approx(2 * (1 + 9) / 2**9)


def test_a_hit_is_strictly_over_the_threshold() -> None:
    truth = boxes_of_patients(range(10), ["Mass"] * 10)
    at, over, none = np.full(10, 0.5), np.full(10, 0.501), np.zeros(10)

    assert paired_tests(truth, at, none).macro.first_only == 0
    assert paired_tests(truth, over, none).macro.first_only == 10
    assert paired_tests(truth, at, none, threshold=0.4).macro.first_only == 10


def test_a_patient_of_many_boxes_counts_once() -> None:
    """Patient 0 gains .3 and .1 and loses .1, and each localizer hits one box the other misses."""
    truth = boxes_of_patients([0, 0, 0, *range(1, 10)], ["Mass"] * 12)
    first = np.array([0.7, 0.5, 0.3, *[0.4] * 9])
    second = np.array([0.4, 0.4, 0.4, *[0.4] * 9])

    (result,) = paired_tests(truth, first, second, threshold=0.35).per_disease
    assert (result.boxes, result.patients, result.ties) == (12, 10, 9)
    assert result.mean_difference == pytest.approx(0.1 / 10)
    assert (result.first_only, result.second_only) == (0, 1)  # it misses the third, .3
    (result,) = paired_tests(truth, first, second, threshold=0.45).per_disease
    assert (result.first_only, result.second_only) == (1, 0)  # two boxes, one patient


def test_hits_of_one_patient_that_even_out_speak_for_neither() -> None:
    truth = boxes_of_patients([i // 2 for i in range(20)], ["Mass"] * 20)
    first, second = np.tile([0.6, 0.4], 10), np.tile([0.4, 0.6], 10)

    (result,) = paired_tests(truth, first, second).per_disease
    assert (result.first_only, result.second_only, result.ties) == (0, 0, 10)
    assert (result.mcnemar_p, result.wilcoxon_p) == (1, 1)


def test_the_macro_value_of_a_patient_is_the_mean_over_the_patients_diseases() -> None:
    """Patient 0: Mass +.2 and +.4, Nodule -.1, so (.3 - .1) / 2 = .1. The other nine: no gain."""
    truth = boxes_of_patients([0, 0, 0, *range(1, 10)], ["Mass", "Mass", "Nodule", *["Mass"] * 9])
    first = np.array([0.6, 0.8, 0.45, *[0.4] * 9])
    second = np.array([0.4, 0.4, 0.55, *[0.4] * 9])

    tests = paired_tests(truth, first, second)
    mass, nodule = tests.per_disease
    assert tests.macro.mean_difference == pytest.approx(0.1 / 10)
    assert (tests.macro.boxes, tests.macro.patients, tests.macro.ties) == (12, 10, 9)
    assert (tests.macro.first_only, tests.macro.second_only) == (1, 0)  # 2 boxes to 1
    assert mass.mean_difference == pytest.approx(0.3 / 10)
    assert (nodule.boxes, nodule.second_only) == (1, 1)
    assert nodule.mean_difference == pytest.approx(-0.1)


def test_differences_that_are_zero_but_for_rounding_are_ties() -> None:
    truth = boxes_of_patients([0, 0, 0, *range(1, 10)], ["Mass"] * 12)
    first = np.array([0.1, 0.2, 0.0, *[0.4] * 9])
    second = np.array([0.0, 0.0, 0.3, *[0.4] * 9])

    assert sum(first - second) != 0
    assert paired_tests(truth, first, second).macro.ties == 10


def test_the_family_is_the_diseases_tested_without_the_macro_row() -> None:
    patients = [*range(10), *range(10), *range(9)]
    truth = boxes_of_patients(patients, ["A"] * 10 + ["B"] * 10 + ["C"] * 9)
    gain, wobble = np.arange(1, 11) / 20, np.array([-1, *range(2, 11)]) / 20
    second = np.full(29, 0.4)
    first = second + np.concatenate([gain, wobble, gain[:9]])

    tests = paired_tests(truth, first, second, threshold=0.42)
    a, b, c = tests.per_disease
    assert (a.wilcoxon_p, b.wilcoxon_p) == pytest.approx((2 / 1024, 4 / 1024))
    assert (a.wilcoxon_holm_p, b.wilcoxon_holm_p) == pytest.approx((4 / 1024, 4 / 1024))
    assert (a.mcnemar_p, b.mcnemar_p) == pytest.approx((2 / 1024, 2 / 512))
    assert (a.mcnemar_holm_p, b.mcnemar_holm_p) == pytest.approx((4 / 1024, 4 / 1024))
    assert not c.tested
    assert tests.macro.wilcoxon_holm_p == tests.macro.wilcoxon_p
    assert tests.macro.mcnemar_holm_p == tests.macro.mcnemar_p


def test_under_ten_patients_there_is_no_test_but_what_was_seen_is_told() -> None:
    truth = boxes_of_patients([i % 9 for i in range(30)], ["Mass"] * 30)
    result = paired_tests(truth, np.full(30, 0.6), np.full(30, 0.4)).per_disease[0]

    assert not result.tested
    assert (result.boxes, result.patients, result.first_only) == (30, 9, 9)
    assert result.mean_difference == pytest.approx(0.2)
    for value in (
        result.wilcoxon_p,
        result.wilcoxon_holm_p,
        result.mcnemar_p,
        result.mcnemar_holm_p,
    ):
        assert math.isnan(value)
    assert math.isnan(result.rank_biserial)


def test_no_boxes_give_empty_tests() -> None:
    nothing = replace(
        boxes_of_patients(["a"], ["Mass"]),
        image_ids=(),
        patient_ids=(),
        diseases=(),
        boxes_xyxy=np.zeros((0, 4)),
    )
    tests = paired_tests(nothing, np.zeros(0), np.zeros(0))

    assert [(t.boxes, t.patients, t.tested) for t in tests.per_disease] == [(0, 0, False)]
    assert math.isnan(tests.macro.mean_difference)


def _mixed() -> tuple[GroundTruth, FloatArray, FloatArray]:
    rng = np.random.default_rng(5)
    truth = boxes_of_patients(
        rng.integers(0, 40, 150).tolist(), rng.choice(list("AB"), 150).tolist()
    )
    first, second = rng.normal(0.3, 0.3, (2, 150)).clip(0, 1)
    return truth, first, second


def test_swapping_the_localizers_turns_the_effect_and_nothing_else() -> None:
    truth, first, second = _mixed()
    forth, back = paired_tests(truth, first, second), paired_tests(truth, second, first)

    for a, b in zip(
        (*forth.per_disease, forth.macro), (*back.per_disease, back.macro), strict=True
    ):
        assert a.rank_biserial != 0
        assert b == replace(
            a,
            mean_difference=-a.mean_difference,
            rank_biserial=-a.rank_biserial,
            first_only=a.second_only,
            second_only=a.first_only,
        )


def test_the_order_of_the_boxes_changes_nothing() -> None:
    truth, first, second = _mixed()
    order = np.random.default_rng(0).permutation(len(truth))
    shuffled = replace(
        truth,
        patient_ids=tuple(truth.patient_ids[i] for i in order),
        diseases=tuple(truth.diseases[i] for i in order),
    )

    forth = paired_tests(truth, first, second)
    back = paired_tests(shuffled, first[order], second[order])
    for a, b in zip(
        (*forth.per_disease, forth.macro), (*back.per_disease, back.macro), strict=True
    ):
        assert vars(a) == pytest.approx(vars(b))


@pytest.mark.parametrize(
    ("first", "threshold", "message"),
    [
        ([0.1], 0.5, r"first: expected one IoU per box, shape \(2,\), got \(1,\)"),
        (
            [0.1, math.nan],
            0.5,
            "first: expected IoU in 0..1 and 0 for a miss, got other values or NaN",
        ),
        ([0.1, 1.2], 0.5, "first: expected IoU in 0..1"),
        ([0.1, 0.2], 1.0, "threshold: expected an IoU in 0 <= t < 1, got 1.0"),
    ],
)
def test_errors_name_what_is_wrong(first: list[float], threshold: float, message: str) -> None:
    truth = boxes_of_patients(["a", "b"], ["Mass", "Mass"])
    with pytest.raises(ValueError, match=message):
        paired_tests(truth, np.array(first), np.zeros(2), threshold=threshold)
