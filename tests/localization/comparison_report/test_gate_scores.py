"""The gate's probability as a factor of the score: figures by hand."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from builders import coco_ground_truth, evaluated
from cxrloc.classification.report.tables import Cell, TableRow
from cxrloc.localization.comparison_report.gate_scores import (
    CUT,
    OWN,
    TIMES,
    gate_scores,
    times_gate,
)
from cxrloc.localization.evaluation.evaluated import Evaluated
from cxrloc.localization.evaluation.gate_decisions import GateDecisions
from cxrloc.localization.localizer import Localization

BOX = (0.0, 0.0, 10.0, 10.0)
WITH, WITHOUT = ("a", "b", "c", "d"), ("e", "f", "g", "h")
# the gate overlooks d, and is rather sure of each image without the mass
PROBABILITY = dict(zip(WITH + WITHOUT, (0.9, 0.9, 0.8, 0.4, 0.1, 0.1, 0.2, 0.2), strict=True))


def _evaluated(scale: float = 1.0, **inputs: object) -> Evaluated:
    """Right boxes where there is a mass; boxes on the other images score as high or higher."""
    coco = coco_ground_truth(("Mass",), [(i, "Mass", BOX) for i in WITH], images=WITHOUT)
    scores = dict(zip(WITH + WITHOUT, (0.5, 0.6, 0.7, 0.8, 0.5, 0.6, 0.7, 0.9), strict=True))
    boxes = [Localization(i, "Mass", BOX, scale * s) for i, s in scores.items()]
    gate = {(i, "Mass"): PROBABILITY[i] > 0.5 for i in scores}
    compared = evaluated(coco, {"cam": boxes}, gate, **{"score_by_gate": True} | inputs)
    decided = compared.inputs.gate
    assert decided is not None
    probability = np.array([[PROBABILITY[i]] for i in compared.images.image_ids])
    graded = GateDecisions(decided.present, decided.known, probability)
    return Evaluated(dataclasses.replace(compared.inputs, gate=graded))


def _rows() -> dict[tuple[str, str], TableRow]:
    section = gate_scores(_evaluated())
    assert section is not None
    rows = section.tables[0].rows
    return {(str(row.lead["localizer"]), str(row.lead["score"])): row for row in rows}


def test_every_localizer_is_scored_in_three_ways_and_the_control_in_one() -> None:
    assert list(_rows()) == [
        *(("cam", way) for way in (OWN, CUT, TIMES)),
        ("constant_box", TIMES),
    ]


def test_a_factor_ranks_better_than_the_score_alone_and_loses_no_lesion() -> None:
    rows = _rows()
    merits = {way: _value(rows["cam", way].cells["wAFROC"]) for way in (OWN, CUT, TIMES)}
    # of 16 pairs of a lesion and an image without: own score 3 ties and (0 + 1 + 2 + 3) wins;
    # behind the gate three lesions win all, and the one that is cut ties with images without a box
    assert merits[OWN] == pytest.approx((0 + 1 + 2 + 3 + 1.5) / 16)
    assert merits[CUT] == pytest.approx((3 * 4 + 4 * 0.5) / 16)
    assert merits[TIMES] == 1  # the least product with a mass, .32, is above the most without, .18
    differences = rows["cam", TIMES].trail
    assert _value(differences["wAFROC minus own score"]) == pytest.approx(1 - merits[OWN])
    assert _value(differences["wAFROC minus cut by the gate"]) == pytest.approx(1 - merits[CUT])
    assert rows["cam", TIMES].cells["AP .5"] == pytest.approx(1)
    assert rows["cam", CUT].cells["AP .5"] == pytest.approx(76 / 101)  # recalls 0 to .75
    assert (rows["cam", CUT].trail["boxes"], rows["cam", TIMES].trail["images"]) == (4, 8)


def test_the_finding_names_the_three_figures() -> None:
    section = gate_scores(_evaluated())
    assert section is not None
    assert section.finding == ("wAFROC: cam .469, cut by the gate .875, score x gate 1.000.")
    assert "cam, score x gate: wAFROC 1.000" in section.paragraphs[1]


def test_it_is_left_out_unless_asked_for() -> None:
    assert gate_scores(_evaluated(score_by_gate=False)) is None
    coco = coco_ground_truth(("Mass",), [("a", "Mass", BOX)])
    assert gate_scores(evaluated(coco, {}, score_by_gate=True)) is None


def test_scores_below_0_are_refused() -> None:
    compared = _evaluated(-1.0)
    gate = compared.inputs.gate
    assert gate is not None
    with pytest.raises(ValueError, match=r"'cam' has a score of -0\.9; to be multiplied"):
        times_gate("cam", compared.inputs.predictions["cam"], gate)


def _value(cell: object) -> float:
    assert isinstance(cell, Cell)
    return cell.estimate.value
