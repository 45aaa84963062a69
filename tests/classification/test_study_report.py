"""When there are studies to report, and the operating point that their validation gives."""

from __future__ import annotations

import numpy as np

from cxrloc.classification.study_report import have_studies, study_points
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
