"""Several boxes of a disease on an image: k boxes answer for k, matched one to one."""

from __future__ import annotations

import csv
import dataclasses
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builders import coco_ground_truth, evaluated
from cxrloc.localization.analyses.end_to_end.looks import points
from cxrloc.localization.analyses.leakage import audits
from cxrloc.localization.analyses.means import means
from cxrloc.localization.analyses.taxonomy.taxonomy import BoxOutcome, classify_boxes, taxonomies
from cxrloc.localization.comparison_report.headline import headline
from cxrloc.localization.comparison_report.summary import per_box_csv, summary
from cxrloc.localization.evaluation.box_scores import BoxScores, score_boxes
from cxrloc.localization.evaluation.contest import shared_boxes, twins
from cxrloc.localization.evaluation.detections import EVERY_DISEASE, place
from cxrloc.localization.evaluation.evaluated import Evaluated
from cxrloc.localization.evaluation.ground_truth import GroundTruth, ground_truth_from_coco
from cxrloc.localization.localizer import Localization
from localization.report.boxes_of_patients import DISEASES, coco_of, perfect, rows

LEFT, RIGHT, BELOW = (0.0, 0.0, 10.0, 10.0), (30.0, 0.0, 10.0, 10.0), (0.0, 40.0, 10.0, 10.0)


def _truth(*boxes: tuple[float, ...]) -> GroundTruth:
    """One image with these boxes (xywh) of one disease; sorted by their corners."""
    return ground_truth_from_coco(coco_ground_truth(("Mass",), [("1", "Mass", b) for b in boxes]))


def _scores(truth: GroundTruth, *boxes: tuple[tuple[float, ...], float]) -> BoxScores:
    """Scores of boxes given as (xywh, score)."""
    found = [
        Localization("1", "Mass", (x, y, x + w, y + h), score) for (x, y, w, h), score in boxes
    ]
    return score_boxes(place(truth, found))


def test_k_boxes_answer_for_k_each_for_the_one_it_fits() -> None:
    half = (35.0, 0.0, 10.0, 10.0)  # 50 of 150 with the right box

    scores = _scores(_truth(LEFT, RIGHT), (half, 0.9), (LEFT, 0.4))

    np.testing.assert_allclose(scores.iou, [1, 1 / 3])
    np.testing.assert_allclose(scores.iobb, [1, 0.5])
    np.testing.assert_allclose(scores.iogt, [1, 0.5])
    np.testing.assert_allclose(scores.score, [0.4, 0.9])
    np.testing.assert_allclose(scores.top_iou, [0, 1 / 3])  # only the best-scored box


def test_a_box_beyond_the_kth_score_does_not_count() -> None:
    scores = _scores(_truth(LEFT, RIGHT), (BELOW, 0.9), (LEFT, 0.8), (RIGHT, 0.7))

    assert scores.iou.tolist() == [1, 0]
    assert scores.any_iou.tolist() == [1, 1]
    assert scores.score.tolist() == [0.8, 0.9]  # the box below is left for the right one
    assert scores.predicted.tolist() == [True, True]


def test_too_few_boxes_leave_the_others_without_one() -> None:
    scores = _scores(_truth(LEFT, RIGHT, BELOW), (RIGHT, 0.5))

    assert scores.predicted.tolist() == [False, False, True]
    assert scores.iou.tolist() == [0, 0, 1]


def test_the_same_box_k_times_gains_nothing() -> None:
    truth = _truth(LEFT, RIGHT, BELOW)
    once, thrice = _scores(truth, (LEFT, 0.9)), _scores(truth, *[(LEFT, 0.9)] * 3)

    assert thrice.iou.tolist() == once.iou.tolist() == [1, 0, 0]
    assert thrice.top_iou.tolist() == [1, 0, 0]


def test_what_overlaps_nothing_is_in_the_wrong_place_and_what_is_not_there_is_no_box() -> None:
    truth = _truth(LEFT, RIGHT, BELOW)
    boxes = [((0.0, 0.0, 10.0, 10.0), 0.9), ((50.0, 50.0, 60.0, 60.0), 0.8)]
    placed = place(truth, [Localization("1", "Mass", corners, s) for corners, s in boxes])

    outcomes = classify_boxes(placed, score_boxes(placed))

    names = [list(BoxOutcome)[i] for i in outcomes]
    assert names == [BoxOutcome.HIT, BoxOutcome.WRONG_PLACE, BoxOutcome.NO_BOX]


def test_the_second_box_of_another_name_is_seen_where_two_are_asked_for() -> None:
    coco = coco_ground_truth(("Mass", "Nodule"), [("1", "Mass", LEFT), ("1", "Mass", RIGHT)])
    truth = ground_truth_from_coco(coco)
    named = [
        Localization("1", "Nodule", (0, 0, 10, 10), 0.9),
        Localization("1", "Nodule", (30, 0, 40, 10), 0.8),
    ]
    placed = place(truth, named)

    outcomes = classify_boxes(placed, score_boxes(placed))

    assert [list(BoxOutcome)[i] for i in outcomes] == [BoxOutcome.OTHER_NAME] * 2


@pytest.fixture(scope="module")
def compared() -> Evaluated:
    """The ground truth itself, and each of its boxes moved by a fifth, as two localizers."""
    truth = rows()
    moved = [
        Localization(i, d, (x + w / 5, y, x + w * 1.2, y + h), 1 / (n + 1))
        for n, (i, d, (x, y, w, h)) in enumerate(truth)
    ]
    return evaluated(coco_of(truth), {"moved": moved, "perfect": perfect(truth)})


def test_results_equal_to_the_ground_truth_are_perfect(compared: Evaluated) -> None:
    assert (len(compared.truth), compared.comparison.images) == (283, 50)
    assert compared.truth.several
    scores = compared.scores["perfect"]
    for name in ("iou", "iobb", "iogt", "any_iou"):
        np.testing.assert_allclose(getattr(scores, name), 1, err_msg=name)
    skills = [s for s in compared.comparison.skills if s.localizer == "perfect"]
    assert {round(s.estimates.macro.value, 12) for s in skills} == {1}
    hits = [t.share("all boxes", BoxOutcome.HIT) for t in taxonomies(compared)]
    assert hits[1] == 100


def test_the_headline_names_the_perfect_results(compared: Evaluated) -> None:
    said = headline(compared, audits(compared))

    assert said.winner == "perfect"
    assert said.sentence.startswith("perfect localizes better than moved: its mean IoU of 1.000")


def test_top_1_stands_beside_its_ceiling(compared: Evaluated) -> None:
    truth = compared.truth
    pairs = len(set(zip(truth.image_ids, truth.diseases, strict=True)))
    top = compared.scores["perfect"].top_iou
    assert top.sum() == pytest.approx(pairs)

    section = means(compared)

    table = next(table for table in section.tables if table.name == "top_1")
    ceiling, _, of_perfect = table.rows[:3]
    assert ceiling.lead["localizer"] == "perfect results"
    assert ceiling.cells == of_perfect.cells
    assert f"perfect results would find {pairs} of the 283 boxes" in section.paragraphs[-1]


def test_files_say_the_rule_and_which_box_is_meant(compared: Evaluated) -> None:
    record = summary(compared.comparison, {})
    lines = list(csv.DictReader(io.StringIO(per_box_csv(compared.comparison))))

    assert record["settings"]["rule"] == "top-k"
    assert "mean_iou top-1" in record["localizers"][0]["measures"]
    assert len({(line["image"], line["disease"], line["box"]) for line in lines}) == 283


def test_a_false_box_is_one_without_a_partner_that_it_hits(compared: Evaluated) -> None:
    alone = {
        p.localizer: p
        for p in points(compared)
        if (p.setting, p.threshold) == ("disease given", 0.5)
    }
    assert alone["perfect"].hits == 283
    assert alone["perfect"].false_boxes().boxes == 0
    for name, scores in compared.control_scores.items():
        if name in alone:  # told the number, a control answers as in the other tables
            assert alone[name].hits == (scores.iou > 0.5).sum()
    assert all(point.setting != EVERY_DISEASE for point in alone.values())


def test_with_one_box_of_a_disease_everywhere_top_k_is_top_1() -> None:
    truth = ground_truth_from_coco(coco_of([(f"{i:03}", "Nodule", LEFT) for i in range(6)]))
    rng = np.random.default_rng(0)
    boxes = [
        Localization(f"{i % 6:03}", "Nodule", (x, 0, x + 10, 10), float(s))
        for i, (x, s) in enumerate(rng.uniform(0, 9, (30, 2)))
    ]
    placed = place(truth, boxes)

    assert not truth.several
    assert placed.answers.tolist() == placed.top.tolist()
    scores = score_boxes(placed)
    assert scores.top_iou.tolist() == scores.iou.tolist()
    assert (
        scores.iou.tolist()
        == placed.best_iou[placed.top][np.argsort(placed.image[placed.top])].tolist()
    )


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None)
def test_the_order_of_images_of_boxes_and_of_results_changes_nothing(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth = rows(seed % 1000, images=4, boxes=14)
    scores = rng.permutation(20) / 20  # no two alike
    found = [
        Localization(i, d, (x, y, x + w, y + h), float(s))
        for (i, d, (x, y, w, h)), s in zip(rows(seed % 1000 + 1, 4, 20), scores, strict=True)
    ]
    mixed = [truth[i] for i in rng.permutation(len(truth))]

    before = score_boxes(place(ground_truth_from_coco(coco_of(truth)), found))
    shuffled = [found[i] for i in rng.permutation(len(found))]
    after = score_boxes(place(ground_truth_from_coco(coco_of(mixed)), shuffled))

    for field in dataclasses.fields(BoxScores):
        first, second = getattr(before, field.name), getattr(after, field.name)
        np.testing.assert_array_equal(first, second, err_msg=field.name)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None)
def test_more_copies_of_a_localizers_boxes_never_help_it(seed: int) -> None:
    truth = ground_truth_from_coco(coco_of(rows(seed % 1000, images=3, boxes=9)))
    found = perfect(rows(seed % 1000 + 1, images=3, boxes=9))
    rng = np.random.default_rng(seed)
    scored = [dataclasses.replace(box, score=float(rng.uniform())) for box in found]

    once, twice = (score_boxes(place(truth, boxes)).iou for boxes in (scored, scored * 2))

    assert twice.sum() <= once.sum() + 1e-12


def test_two_localizers_that_answer_with_the_same_boxes_are_twins() -> None:
    truth = rows(images=12, boxes=60)
    same = evaluated(coco_of(truth), {"a": perfect(truth), "b": perfect(truth[::-1])})
    assert twins(same) == {"a": ("b",)}
    half = place(same.truth, perfect(truth[::2]))
    assert shared_boxes(same.inputs.predictions["a"], half) == pytest.approx(0.5)
    assert set(DISEASES) == set(same.truth.disease_names)
