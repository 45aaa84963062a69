"""Figures of examinations by part: operating points, and published figures beside."""

from __future__ import annotations

import numpy as np

from cxrloc.classification.metrics.examinations import (
    PredictedUnits,
    agreements,
    by_level,
    examination_points,
    has_multi_image_examinations,
)
from cxrloc.classification.metrics.scored_images import ScoredImages
from cxrloc.classification.report.examinations import (
    level_records,
    level_tables,
    part_tables,
    published,
    published_note,
)
from cxrloc.classification.report.tables import tables_markdown, text_rows

NAN = float("nan")


def images(
    scores: list[float], labels: list[float], examinations: tuple[str, ...], parts: str = ""
) -> ScoredImages:
    """One disease; an examination's first letter is its patient; letters of `parts`: body parts."""
    names = tuple(f"i{n}" for n in range(len(scores)))
    patients = tuple(s[:1] or name for s, name in zip(examinations, names, strict=True))
    columns = np.array(scores)[:, None], np.array(labels)[:, None]
    folds = np.zeros(len(names), dtype=np.int64)
    return ScoredImages(
        ("Abnormal",),
        names,
        patients,
        folds,
        *columns,
        study_ids=examinations,
        body_parts=tuple(parts),
    )


def test_images_have_examinations_where_two_of_them_share_one() -> None:
    assert has_multi_image_examinations(("p1", "p1", ""))
    assert not has_multi_image_examinations(("p1", "p2"))
    assert not has_multi_image_examinations(("", ""))  # chest images know no examinations
    assert not has_multi_image_examinations(())


def test_the_point_is_chosen_on_the_means_of_examinations_not_on_images() -> None:
    # of images .5 of an abnormal one lies under .6 of a normal one;
    # of examinations .7 is over .6 and .1
    validation = images([0.9, 0.5, 0.6, 0.1], [1, 1, 0, 0], ("p1", "p1", "q1", "r1"))
    point = examination_points(validation)["Abnormal"]
    assert point.threshold is not None
    assert 0.6 < point.threshold <= 0.7
    assert (point.sensitivity, point.specificity) == (1.0, 1.0)


def test_validation_of_one_class_gives_no_point_and_says_why() -> None:
    point = examination_points(images([0.2, 0.3], [0, 0], ("p1", "p1")))
    assert point["Abnormal"].threshold is None
    assert "no positive" in point["Abnormal"].reason
    assert (
        examination_points(images([0.2, 0.3], [0, 1], ("p1", "q1"))) == {}
    )  # no examination of two images


def test_thirteen_images_of_an_examination_count_once_among_examinations_and_as_images() -> None:
    # twelve of its images show nothing (.3) and one does (.9): the mean is .346
    scores, labels = [0.3] * 12 + [0.9, 0.2, 0.6], [1.0] * 13 + [0.0, 0.0]
    whole = images(scores, labels, ("p1",) * 13 + ("q1", "r1"), "E" * 13 + "EH")
    levels = by_level(whole, np.array([0.34]), 0, 0)
    examination, image = ({(r.body_part, r.rule): r for r in levels[level]} for level in levels)
    assert list(levels) == ["study", "image"]
    elbow, point = examination["E", "0.5"], examination["E", "validation"]
    assert (elbow.units, elbow.patients, elbow.true_positive, elbow.false_negative) == (2, 2, 0, 1)
    assert (point.true_positive, point.true_negative) == (1, 1)  # .346 is over .34
    assert (image["E", "0.5"].units, image["E", "0.5"].true_positive) == (14, 1)
    assert (examination["all", "0.5"].units, image["all", "0.5"].units) == (3, 15)
    assert examination["all", "0.5"].auc.value == 0.5  # .346 is over .2 and under .6


def test_images_without_examinations_and_parts_have_no_tables() -> None:
    assert by_level(images([0.2, 0.6], [0, 1], ("", "")), None, 0, 0) == {}
    single = by_level(images([0.2, 0.6], [0, 1], ("p1", "q1"), "EH"), None, 0, 0)
    assert list(single) == ["image"]  # an examination of one image is that image


def test_below_figures_over_all_parts_stand_those_of_images_by_part() -> None:
    scores, labels = [0.9, 0.2, 0.3, 0.4, 0.8, 0.6], [1.0, 0, 1, 0, 1, 0]
    whole = images(scores, labels, ("",) * 6, "HHHHEW")
    (table,) = part_tables(whole, 0, 0)
    header, *rows = text_rows(table.rows)
    assert [row[0] for row in rows] == ["E", "H", "W", "all"]
    auc = header.index("AUC")
    # of the hand's 2 x 2 pairs, .3 under .4 alone is wrong
    assert rows[1][auc].startswith(".750")
    assert [row[auc][:9] for row in (rows[0], rows[2])] == ["undefined"] * 2
    assert [row[3] for row in rows] == ["1", "2", "0", "3"]
    assert "quote it with the rows by part" in tables_markdown([table])
    for one_part in ("HHHHHH", ""):
        assert part_tables(images(scores, labels, ("",) * 6, one_part), 0, 0) == []


def test_published_figures_stand_beside_the_part_and_level_they_are_of() -> None:
    team = "(Team 6, X-Ray Machine Learning 2019)"
    assert f"accuracy 0.638 {team}" == published("image", "XR_FOREARM")
    assert f"accuracy 0.711 {team}; kappa .389 (Rajpurkar" in published("study", "XR_FINGER")
    assert (
        published("study", "all")
        == "kappa .705 (Rajpurkar et al. 2018); AUC .929 (Rajpurkar et al. 2018)"
    )
    assert "(five DenseNet-169; hidden test part of 207 studies)" in published_note()
    assert "Team 6, X-Ray Machine Learning 2019 (Conv4 224 grey)" in published_note()
    assert published("study", "XR_CHEST") == ""


def test_examinations_without_a_point_are_named_below_and_none_leaves_the_matrix_empty() -> None:
    scores, labels = np.array([[0.9, 0.4, 0.8, 0.1]]).T, np.array([[1.0, 1.0, 0.0, 0.0]]).T
    cuts = np.array([[0.5, 0.5, np.nan, np.nan]]).T  # elbows have a point, hands none
    units = PredictedUnits(tuple("abcd"), ("E", "E", "H", "H"), labels, scores, cuts)
    levels = {"study": agreements(units, 5, 0), "image": []}
    table = level_tables(levels, ("Abnormal",))[0]
    header, *rows = text_rows(table.rows)
    there = header.index("TP / FN / FP / TN at the validation point")
    assert [row[there] for row in rows] == ["1 / 1 / 0 / 0", "", "1 / 1 / 0 / 0"]
    assert [note[:14] for note in table.notes[-2:]] == ["H: 2 of 2 left", "all: 2 of 4 le"]
    cells = [(r["without_point"], r["true_positive"]) for r in level_records(levels, ("Abnormal",))]
    assert cells == [(0, 1), (0, 1), (0, 0), (2, None), (0, 1), (2, 1)]


def test_examinations_of_chests_have_no_figures_of_mura_beside_them() -> None:
    examinations = ("p1/study1", "p1/study1", "q1/study1", "r1/study1")
    levels = by_level(images([0.9, 0.5, 0.4, 0.2], [1, 1, 0, 0], examinations), None, 0, 0)
    tables = level_tables(levels, ("Abnormal",))
    texts = [text_rows(table.rows) for table in tables]
    assert [[row[0] for row in rows] for _, *rows in texts] == [["all"], ["all"]]
    assert {header[-1] for header, *_ in texts} == {"TP / FN / FP / TN at the validation point"}
    text = tables_markdown(tables)
    for word in ("published", "Published", "MURA", "row of all parts", "Rajpurkar"):
        assert word not in text
    assert {record["published"] for record in level_records(levels, ("Abnormal",))} == {""}
    parted = by_level(images([0.9, 0.5, 0.4, 0.2], [1, 1, 0, 0], examinations, "EEHH"), None, 0, 0)
    assert "AUC .929 (Rajpurkar" in tables_markdown(level_tables(parted, ("Abnormal",)))
