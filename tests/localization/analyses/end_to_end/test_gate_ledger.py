"""The gate's ledger: each charge by hand, sums, and agreement with the accuracy tables."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from builders import coco_ground_truth, comparison, evaluated
from cxrloc.classification.report.tables import Cell
from cxrloc.localization.analyses.end_to_end.gate_ledger import (
    Ledger,
    Loss,
    charges,
    gate_ledgers,
    ledger_table,
)
from cxrloc.localization.evaluation.box_scores import score_boxes
from cxrloc.localization.evaluation.detections import place
from cxrloc.localization.evaluation.ground_truth import GroundTruth, ground_truth_from_coco
from cxrloc.localization.localizer import Localization

RIGHT, ELSEWHERE = (10.0, 10.0, 30.0, 30.0), (40.0, 40.0, 60.0, 60.0)


def _coco(diseases: list[str]) -> dict[str, Any]:
    """Image i of patient i has one box, of the i-th disease."""
    boxes = [(f"{i}", disease, (10, 10, 20, 20)) for i, disease in enumerate(diseases)]
    return coco_ground_truth(list(dict.fromkeys(diseases)), boxes)


FIVE = ["Mass", "Mass", "Mass", "Nodule", "Nodule"]
COCO = _coco(FIVE)
TRUTH = ground_truth_from_coco(COCO)
FOUND = [
    Localization("0", "Mass", RIGHT, 0.5),
    Localization("1", "Mass", RIGHT, 0.5),
    Localization("2", "Mass", ELSEWHERE, 0.5),
    Localization("3", "Nodule", ELSEWHERE, 0.5),
]
GATE = {(str(i), d): i not in (1, 2) for i, d in enumerate(FIVE)}


def _ledgers(
    truth: GroundTruth, boxes: list[Localization], gate: dict[tuple[str, str], bool]
) -> list[Ledger]:
    """Of one localizer, without those of the controls."""
    everyone = evaluated(truth, {"mine": boxes}, gate, resamples=100, seed=4)
    ledgers = gate_ledgers(everyone, (0.1, 0.5))
    return [ledger for ledger in ledgers if ledger.localizer == "mine"]


def test_each_of_five_boxes_is_charged_to_another_account() -> None:
    passes = np.array([True, False, False, True, True])
    charged = charges(score_boxes(place(TRUTH, FOUND)), passes, 0.5)

    names = [list(Loss)[i] for i in charged]
    assert names == [Loss.HIT, Loss.GATE_HIT, Loss.GATE_MISS, Loss.WRONG_PLACE, Loss.NO_BOX]


def test_the_ledger_counts_by_disease_and_shares_by_box_and_by_disease() -> None:
    ledger = _ledgers(TRUTH, FOUND, GATE)[1]

    assert ledger.counts.tolist() == [[1, 0], [1, 0], [1, 0], [0, 1], [0, 1]]
    assert [e.value for e in ledger.shares] == [0.2] * 5
    assert [e.value for e in ledger.macro] == pytest.approx([1 / 6] * 3 + [1 / 4] * 2)
    assert ledger.share(Loss.HIT).low < 0.2 < ledger.share(Loss.HIT).high


def test_a_box_with_iou_of_exactly_the_threshold_is_not_hit() -> None:
    half = [Localization("0", "Mass", (10, 10, 30, 20), 0.5)]

    low, high = _ledgers(TRUTH, half, GATE)

    assert (low.count(Loss.HIT), high.count(Loss.HIT), high.count(Loss.WRONG_PLACE)) == (1, 0, 1)


def _random(seed: int) -> tuple[dict[str, Any], list[Localization], dict[tuple[str, str], bool]]:
    rng = np.random.default_rng(seed)
    diseases = [("Mass", "Nodule", "Effusion")[i] for i in rng.integers(0, 3, 60)]
    boxes, gate = [], {}
    for i, disease in enumerate(diseases):
        gate[str(i), disease] = bool(rng.random() < 0.6)
        if rng.random() < 0.8:
            x, y = rng.uniform(5, 20, 2)
            boxes.append(Localization(str(i), disease, (x, y, x + 20, y + 20), rng.random()))
    return _coco(diseases), boxes, gate


@pytest.mark.parametrize("seed", range(5))
def test_every_box_is_charged_exactly_once(seed: int) -> None:
    coco, boxes, gate = _random(seed)
    truth = ground_truth_from_coco(coco)

    for ledger in _ledgers(truth, boxes, gate):
        assert ledger.counts.sum() == 60
        per_disease = dict(zip(truth.disease_names, ledger.counts.sum(axis=0), strict=True))
        assert per_disease == truth.boxes_per_disease
        assert sum(e.value for e in ledger.shares) == pytest.approx(1, abs=1e-12)
        assert sum(e.value for e in ledger.macro) == pytest.approx(1, abs=1e-12)


def test_hits_and_what_the_gate_cost_are_the_accuracies_of_the_other_tables() -> None:
    coco, boxes, gate = _random(9)
    compared = comparison(coco, {"mine": boxes}, gate, resamples=100, seed=4)
    given, gated = compared.localizers[:2]

    ledger = _ledgers(compared.truth, boxes, gate)[1]

    assert ledger.macro[0] == gated.estimates["acc_iou@0.5"].macro
    would_be = ledger.macro[0].value + ledger.macro[1].value
    assert would_be == pytest.approx(given.estimates["acc_iou@0.5"].macro.value)
    assert ledger.count(Loss.GATE_HIT) > 0


def test_a_localizer_without_boxes_loses_all_that_passes_for_want_of_a_box() -> None:
    ledger = _ledgers(TRUTH, [], GATE)[1]

    assert [ledger.count(charge) for charge in Loss] == [0, 0, 2, 0, 3]


def test_the_table_has_a_row_per_charge_whose_counts_sum_to_the_boxes() -> None:
    table = ledger_table(_ledgers(TRUTH, FOUND, GATE), TRUTH, ("a note",))

    assert [row.block for row in table.rows] == ["hit: IoU > 0.1"] * 5 + ["hit: IoU > 0.5"] * 5
    assert [row.lead["charge"] for row in table.rows[5:]] == list(Loss)
    counts: list[list[Any]] = [
        [row.cells[c] for c in ("Mass", "Nodule", "all diseases")] for row in table.rows[5:]
    ]
    assert np.sum(counts, axis=0).tolist() == [3, 2, 5]
    share = table.rows[5].cells["share"]
    assert isinstance(share, Cell)
    assert share.estimate.value == 0.2
    assert table.notes[-1] == "a note"


def test_a_boxed_image_that_the_gate_does_not_know_is_an_error() -> None:
    with pytest.raises(ValueError, match="no decision for Nodule on 4"):
        _ledgers(TRUTH, FOUND, {pair: yes for pair, yes in GATE.items() if pair[0] != "4"})
