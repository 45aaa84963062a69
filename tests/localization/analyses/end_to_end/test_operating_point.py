"""The operating point: thresholds of other patients, and all boxes over them, by hand."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from builders import coco_ground_truth, evaluated
from cxrloc.classification.report.tables import Cell, ResultTable
from cxrloc.localization.analyses.end_to_end.operating_point import operating_point
from cxrloc.localization.analyses.end_to_end.score_thresholds import (
    OWN_PARTS,
    over,
    parts_of,
    score_thresholds,
)
from cxrloc.localization.evaluation.detections import place
from cxrloc.localization.evaluation.ground_truth import GroundTruth, ground_truth_from_coco
from cxrloc.localization.localizer import Localization
from localization.report.boxes_of_patients import coco_of, perfect, rows

SQUARE = (0, 0, 10, 10)
FAR = (50, 50, 60, 60)


def _coco(folds: int | None = 2) -> dict[str, Any]:
    """Six images with two masses each and six without, of twelve patients; folds in turn."""
    boxes = [(f"{i}", "Mass", xywh) for i in range(6) for xywh in (SQUARE, (20, 0, 10, 10))]
    coco = coco_ground_truth(("Mass",), boxes, images=[f"{i}" for i in range(6, 12)])
    for n, image in enumerate(coco["images"]):
        image |= {} if folds is None else {"fold": n % folds}
    return coco


def _truth(folds: int | None = 2) -> GroundTruth:
    return ground_truth_from_coco(_coco(folds))


def _boxes(scores: dict[int, float]) -> list[Localization]:
    """On each image one box, right where there is a mass."""
    return [Localization(f"{i}", "Mass", SQUARE, score) for i, score in scores.items()]


def test_the_images_of_a_fold_get_the_threshold_of_the_other_folds() -> None:
    """Even images: masses at .8, none at .5. Odd ones: masses at .6, none at .2."""
    truth = _truth()
    scores = {i: ((0.8, 0.6), (0.5, 0.2))[i >= 6][i % 2] for i in range(12)}
    parts, placed = parts_of(truth.images), place(truth, _boxes(scores))

    thresholds = score_thresholds(placed, np.ones(12, np.bool_), parts)

    assert parts.names == ("fold 0", "fold 1")
    np.testing.assert_allclose(thresholds[:, 0], [0.4, 0.65])  # midway, of the other fold
    kept = over(placed, thresholds, parts)
    assert kept.tolist() == [i % 2 == 0 for i in range(12)]


def test_no_score_of_a_patients_own_part_moves_its_threshold() -> None:
    truth = _truth()
    scores = {i: 0.8 - 0.05 * i for i in range(12)}
    parts, looked = parts_of(truth.images), np.ones(12, np.bool_)

    before = score_thresholds(place(truth, _boxes(scores)), looked, parts)
    turned = scores | {i: 1 - scores[i] for i in range(0, 12, 2)}
    after = score_thresholds(place(truth, _boxes(turned)), looked, parts)

    assert before[0, 0] == after[0, 0]
    assert before[1, 0] != after[1, 0]


def test_without_folds_patients_are_parted_by_a_hash_of_their_name() -> None:
    coco = coco_of(rows(images=40, boxes=80))
    parts = parts_of(ground_truth_from_coco(coco).images)
    by_patient: dict[str, set[int]] = {}
    for image, part in zip(
        sorted(i["file_name"] for i in coco["images"]), parts.of_image, strict=True
    ):
        by_patient.setdefault(f"P{int(image) // 2}", set()).add(int(part))

    assert {len(of_patient) for of_patient in by_patient.values()} == {1}
    assert len(set(parts.of_image.tolist())) == OWN_PARTS
    assert "5 parts by a hash of the patient" in parts.source
    fewer = dict(coco, images=coco["images"][::-1])
    assert (
        parts_of(ground_truth_from_coco(fewer).images).of_image.tolist() == parts.of_image.tolist()
    )


def test_folds_that_share_a_patient_are_not_used() -> None:
    coco = _coco()
    coco["images"][1]["patient_id"] = coco["images"][0]["patient_id"]

    assert "has no folds that keep patients apart" in parts_of(_truth_of(coco).images).source


def _truth_of(coco: dict[str, Any]) -> GroundTruth:
    return ground_truth_from_coco(coco)


def test_where_no_threshold_can_be_chosen_every_box_counts() -> None:
    truth = _truth()
    placed = place(truth, _boxes(dict.fromkeys(range(12), 0.5)))  # no better than chance
    parts = parts_of(truth.images)

    thresholds = score_thresholds(placed, np.ones(12, np.bool_), parts)

    assert np.isnan(thresholds).all()
    assert over(placed, thresholds, parts).all()


def _rates(table: ResultTable, localizer: str, threshold: float, **lead: str) -> dict[str, float]:
    (row,) = (
        r
        for r in table.rows
        if (r.lead["localizer"], r.lead["threshold"]) == (localizer, threshold)
        and lead.items() <= r.lead.items()
    )
    figures = {n: c.estimate.value for n, c in row.cells.items() if isinstance(c, Cell)}
    return figures | {n: float(str(v)) for n, v in row.trail.items()}


def test_recall_precision_and_f1_by_hand() -> None:
    """All at one score: one hit on each of 6 images, its copy, a far box, one on 6 others."""
    found = _boxes(dict.fromkeys(range(12), 0.5))
    found += [Localization(f"{i}", "Mass", box, 0.5) for i in range(6) for box in (SQUARE, FAR)]

    section = operating_point(evaluated(_coco(), {"mine": found}))

    rates = _rates(section.tables[0], "mine", 0.5)
    assert rates["boxes"] == 12
    assert rates["predicted boxes"] == 24
    assert rates["hits"] == 6
    assert rates["recall"] == 0.5
    assert rates["precision"] == 0.25
    assert rates["F1"] == pytest.approx(2 * 6 / (12 + 24))
    assert rates["false boxes per image"] == 18 / 12
    assert "mine finds 6 of 12 boxes with 24 of its own, F1 .333" in section.finding


def test_results_equal_to_the_ground_truth_have_recall_and_precision_1() -> None:
    truth = rows(images=20, boxes=90)
    section = operating_point(
        evaluated(coco_of(truth, images=("096", "098")), {"perfect": perfect(truth)})
    )

    for t in (0.1, 0.3, 0.5, 0.75):
        rates = _rates(section.tables[0], "perfect", t)
        assert (rates["recall"], rates["precision"], rates["F1"]) == (1, 1, 1)
        assert rates["false boxes per image"] == 0
        control = _rates(section.tables[0], "constant_box", t)
        assert control["hits"] < 90


def test_a_positive_without_a_box_is_ignored_or_counted_and_a_gate_stops_boxes() -> None:
    coco = _coco()
    coco["images"][6]["not_exhaustive_category_ids"] = [1]
    gate = {(f"{i}", "Mass"): i != 0 for i in range(12)}
    scores = {**dict.fromkeys(range(6), 0.9), 6: 0.9}

    table = operating_point(evaluated(coco, {"mine": _boxes(scores)}, gate)).tables[0]

    alone = {"setting": "every disease asked"}
    ignored = _rates(table, "mine", 0.5, **alone, **{"unboxed positives": "ignored"})
    counted = _rates(table, "mine", 0.5, **alone, **{"unboxed positives": "counted"})
    gated = _rates(table, "mine", 0.5, setting="end to end", **{"unboxed positives": "ignored"})
    assert (ignored["hits"], ignored["predicted boxes"]) == (6, 6)
    assert (counted["hits"], counted["predicted boxes"]) == (6, 7)
    assert (gated["hits"], gated["predicted boxes"], gated["boxes"]) == (5, 5, 12)


def test_a_disease_without_a_predicted_box_has_no_precision() -> None:
    truth = rows(images=8, boxes=24)
    nodules = [box for box in perfect(truth) if box.disease == "Nodule"]

    table = operating_point(evaluated(coco_of(truth), {"mine": nodules})).tables[1]

    of_mine = {
        str(row.lead["measure"]): row.cells
        for row in table.rows
        if (row.lead["localizer"], row.lead["threshold"]) == ("mine", 0.5)
    }
    opacity = {name: cells["Opacity"] for name, cells in of_mine.items()}
    values = {n: c.estimate.value for n, c in opacity.items() if isinstance(c, Cell)}
    assert values["recall"] == values["F1"] == 0
    assert np.isnan(values["precision"])
    macro = of_mine["precision"]["macro mean"]
    assert isinstance(macro, Cell)
    assert macro.estimate.value == 1


def test_the_order_of_the_file_changes_nothing() -> None:
    truth = rows(images=10, boxes=40)
    found = [dataclasses.replace(b, score=1 / (n + 2)) for n, b in enumerate(perfect(truth))]

    forward = operating_point(evaluated(coco_of(truth), {"mine": found}))
    backward = operating_point(evaluated(coco_of(truth[::-1]), {"mine": found[::-1]}))

    assert forward.tables[0].rows == backward.tables[0].rows
