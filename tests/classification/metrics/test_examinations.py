"""Studies by hand: the mean over the images, kappa, and the parts beside the whole."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from cxrloc.classification.metrics.examinations import (
    ALL_PARTS,
    HALF,
    VALIDATION,
    PredictedUnits,
    ReaderAgreement,
    agreements,
    examinations_of,
    kappa,
)

NAN = math.nan


def units(
    scores: list[float], labels: list[float], parts: str, patients: str = "", cut: float = NAN
) -> PredictedUnits:
    """One disease; a letter an image for part and patient."""
    column = np.array(scores)[:, None]
    people = tuple(patients or [str(n) for n in range(len(scores))])
    return PredictedUnits(
        people, tuple(parts), np.array(labels)[:, None], column, np.full_like(column, cut)
    )


def matrix(row: ReaderAgreement) -> tuple[int, int, int, int]:
    return row.true_positive, row.false_negative, row.false_positive, row.true_negative


def test_an_examination_has_the_mean_of_its_images_and_their_label() -> None:
    images = units([0.2, 0.9, 0.7, 0.4, 0.6], [1, 0, 1, 0, NAN], "EHEEW", "ABACD")
    examinations = examinations_of(images, ["e1", "h1", "e1", "", ""], np.full((5, 1), 0.25))
    assert examinations.patients == ("A", "B", "C", "D")
    assert examinations.body_parts == ("E", "H", "E", "W")
    np.testing.assert_allclose(examinations.scores[:, 0], [0.45, 0.9, 0.4, 0.6])
    np.testing.assert_array_equal(examinations.labels[:, 0], [1, 0, 0, NAN])
    assert examinations.thresholds.tolist() == [[0.25]] * 4


def test_an_abnormal_examination_may_be_found_by_its_mean_alone() -> None:
    images = units([0.9, 0.4, 0.3], [1, 1, 0], "EEE", "AAB")
    examinations = examinations_of(images, ["a", "a", "b"], np.full((3, 1), NAN))
    of_images, of_examinations = (agreements(j, 0, 0)[0] for j in (images, examinations))
    assert (of_images.true_positive, of_images.false_negative) == (1, 1)
    assert (of_examinations.true_positive, of_examinations.false_negative) == (
        1,
        0,
    )  # (.9 + .4) / 2


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        # of 50: agreed 35 = .7, by chance .5 * .6 + .5 * .4 = .5
        ((20, 5, 10, 15), 0.4),
        ((10, 0, 0, 10), 1.0),
        ((0, 10, 10, 0), -1.0),
        ((5, 5, 5, 5), 0.0),
        ((0, 0, 0, 9), NAN),  # all alike: chance agrees always
    ],
)
def test_kappa_by_hand_and_as_scikit_learn_has_it(
    counts: tuple[int, int, int, int], expected: float
) -> None:
    computed = float(kappa(np.array(counts)))
    assert computed == pytest.approx(expected, nan_ok=True)
    tp, fn, fp, tn = counts
    labels, called = [1] * (tp + fn) + [0] * (fp + tn), [1] * tp + [0] * fn + [1] * fp + [0] * tn
    if not math.isnan(expected):
        assert computed == pytest.approx(cohen_kappa_score(labels, called))


def test_the_parts_stand_before_all_of_them_and_each_has_both_rules() -> None:
    images = units([0.8, 0.6, 0.3, 0.7, 0.2], [1, 0, 0, 1, 0], "EEHHH", cut=0.75)
    rows = agreements(images, 0, 0)
    assert [(row.body_part, row.rule) for row in rows] == [
        (part, rule) for part in ("E", "H", ALL_PARTS) for rule in (HALF, VALIDATION)
    ]
    elbow, elbow_cut, hand, hand_cut, both, _ = rows
    cells = [
        (r.true_positive, r.false_negative, r.false_positive, r.true_negative) for r in rows[:5]
    ]
    assert cells == [(1, 0, 1, 0), (1, 0, 0, 1), (1, 0, 0, 2), (0, 1, 0, 2), (2, 0, 1, 2)]
    assert elbow.accuracy.value == 0.5
    assert elbow_cut.accuracy.value == 1
    assert elbow.kappa.value == 0
    assert hand.kappa.value == hand.auc.value == 1
    assert hand_cut.kappa.value == 0
    assert both.accuracy.value == 0.8
    assert both.auc.value == 1  # 1 and 4 above 2, 3 and 5
    assert (both.units, both.patients) == (5, 5)


def test_one_part_alone_is_not_printed_twice_and_no_part_is_all() -> None:
    assert {r.body_part for r in agreements(units([0.1, 0.9], [0, 1], "EE"), 0, 0)} == {"E"}
    nowhere = units([0.1, 0.9], [0, 1], "EE")
    nowhere = PredictedUnits(
        nowhere.patients, ("", ""), nowhere.labels, nowhere.scores, nowhere.thresholds
    )
    assert {r.body_part for r in agreements(nowhere, 0, 0)} == {ALL_PARTS}


def test_a_part_of_one_patient_has_figures_and_no_interval() -> None:
    rows = agreements(units([0.8, 0.2, 0.9, 0.1], [1, 0, 1, 0], "EEHH", "AABC"), 50, 0)
    elbow, hand = rows[0], rows[2]
    assert elbow.accuracy.value == 1
    assert math.isnan(elbow.accuracy.low)
    assert math.isnan(elbow.auc.low)
    assert (hand.accuracy.value, hand.accuracy.low) == (1, 1)


def test_a_part_of_one_class_has_no_auc_and_says_so() -> None:
    rows = agreements(units([0.1, 0.2, 0.9], [0, 0, 1], "EEH"), 10, 0)
    elbow = rows[0]
    assert not elbow.auc.defined
    assert elbow.auc.reason == "all labels in one class"
    assert not elbow.kappa.defined
    assert elbow.accuracy.value == 1


def test_without_an_operating_point_there_are_no_figures_at_it() -> None:
    (_, point) = agreements(units([0.1, 0.9], [0, 1], "EE"), 5, 0)
    assert not point.accuracy.defined
    assert point.kappa.reason == "validation data gave no operating point"
    assert (point.units, point.without_point, point.called) == (2, 2, 0)
    assert matrix(point) == (0, 0, 0, 0)


def test_units_without_an_operating_point_are_not_called_negative() -> None:
    images = units([0.9, 0.4, 0.8, 0.1, 0.9, 0.2], [1, 1, 0, 0, 1, 0], "EEEEEE")
    images.thresholds[:4] = 0.5  # the fold of the last two gave none
    half, point = agreements(images, 20, 0)
    assert matrix(half) == (2, 1, 1, 2)
    assert matrix(point) == (1, 1, 1, 1)
    assert (half.without_point, point.without_point) == (0, 2)
    assert (half.units, point.units, half.called, point.called) == (6, 6, 6, 4)
    assert half.accuracy.value == pytest.approx(4 / 6)
    assert (point.accuracy.value, point.kappa.value) == (0.5, 0)
    assert point.auc == half.auc  # needs no threshold
    alone = agreements(images.select(np.arange(6) < 4), 20, 0)[1]
    assert point.accuracy == alone.accuracy


def test_unknown_labels_are_left_out() -> None:
    row = agreements(units([0.9, 0.1, 0.8], [1, 0, NAN], "EEE"), 0, 0)[0]
    assert (row.units, row.true_positive, row.true_negative) == (2, 1, 1)


def test_intervals_resample_patients_not_images() -> None:
    rng = np.random.default_rng(0)
    right = rng.random(40) < 0.7  # each patient's images are all right or all wrong
    labels = np.tile([1.0, 0.0], 20)
    scores = np.where(right, labels, 1 - labels)
    alone = units(scores.tolist(), labels.tolist(), "E" * 40)
    people = tuple(str(n) for n in np.repeat(np.arange(40), 5))
    labels, scores = (np.repeat(m, 5, axis=0) for m in (alone.labels, alone.scores))
    many = PredictedUnits(people, ("E",) * 200, labels, scores, np.full((200, 1), NAN))
    one, five = (agreements(j, 400, 1)[0] for j in (alone, many))
    assert one.accuracy.value == five.accuracy.value
    for figure in ("accuracy", "kappa", "auc"):
        a, b = getattr(one, figure), getattr(five, figure)
        assert (a.low, a.high) == pytest.approx((b.low, b.high))
        assert a.low < a.value < a.high


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match=r"labels \(2, 1\), scores \(1, 1\), thresholds"):
        PredictedUnits(("A", "B"), ("E", "E"), np.zeros((2, 1)), np.zeros((1, 1)), np.zeros((2, 1)))
