"""When there are studies to report, and the operating point that their validation gives."""

from __future__ import annotations

import numpy as np

from cxrloc.classification.study_metrics import JudgedUnits, agreements
from cxrloc.classification.study_report import _records, _tables, have_studies, study_points
from cxrloc.datasets.radiograph import Radiograph


def film(image: str, study: str, label: float) -> Radiograph:
    labels = {"Abnormal": label}
    return Radiograph(image, None, study[:1] or image, "", labels, study_id=study)


def test_films_have_studies_where_two_of_them_share_one() -> None:
    assert have_studies([film("a", "p1", 0), film("b", "p1", 0), film("c", "", 0)])
    assert not have_studies([film("a", "p1", 0), film("b", "p2", 0)])
    assert not have_studies([film("a", "", 0), film("b", "", 0)])  # chest films know no studies


def test_the_point_is_chosen_on_the_means_of_studies_not_on_images() -> None:
    films = [film(*row) for row in (("a", "p1", 1), ("b", "p1", 1), ("c", "q1", 0), ("d", "r1", 0))]
    scores = np.array([[0.9], [0.5], [0.6], [0.1]])
    labels = np.array([[1.0], [1.0], [0.0], [0.0]])
    # of images .5 of an abnormal one lies under .6 of a normal one; of studies .7 is over .6 and .1
    point = study_points(films, labels, scores, ("Abnormal",))["Abnormal"]
    assert point.threshold is not None
    assert 0.6 < point.threshold <= 0.7
    assert (point.sensitivity, point.specificity) == (1.0, 1.0)


def test_validation_of_one_class_gives_no_point_and_says_why() -> None:
    films = [film("a", "p1", 0), film("b", "p1", 0)]
    point = study_points(films, np.zeros((2, 1)), np.array([[0.2], [0.3]]), ("Abnormal",))
    assert point["Abnormal"].threshold is None
    assert "no positive" in point["Abnormal"].reason


def test_studies_without_a_point_are_named_below_and_none_leaves_the_matrix_empty() -> None:
    scores, labels = np.array([[0.9, 0.4, 0.8, 0.1]]).T, np.array([[1.0, 1.0, 0.0, 0.0]]).T
    cuts = np.array([[0.5, 0.5, np.nan, np.nan]]).T  # elbows have a point, hands none
    judged = JudgedUnits(tuple("abcd"), ("E", "E", "H", "H"), labels, scores, cuts)
    found = {"study": agreements(judged, 5, 0), "image": []}
    table = _tables(found, ("Abnormal",))[0]
    there = table.header.index("TP / FN / FP / TN there")
    assert [row[there] for row in table.rows] == ["1 / 1 / 0 / 0", "", "1 / 1 / 0 / 0"]
    assert [note[:14] for note in table.notes[-2:]] == ["H: 2 of 2 are ", "all: 2 of 4 ar"]
    cells = [(r["without_point"], r["true_positive"]) for r in _records(found, ("Abnormal",))]
    assert cells == [(0, 1), (0, 1), (0, 0), (2, None), (0, 1), (2, 1)]
