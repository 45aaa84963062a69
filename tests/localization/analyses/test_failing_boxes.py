"""Wang's AFP: boxes that pass the test with no true box, over the number of true boxes."""

from __future__ import annotations

import pytest

from builders import coco_ground_truth, evaluated
from cxrloc.classification.report.tables import Cell
from cxrloc.datasets.labels.names import NIH_BOXED_DISEASES
from cxrloc.localization.analyses.means import accuracy, failing_boxes
from cxrloc.localization.evaluation.evaluated import Evaluated
from cxrloc.localization.localizer import Localization

DISEASES = ("Mass", "Nodule")


def drawn(gate: dict[tuple[str, str], bool] | None = None) -> Evaluated:
    """Three true boxes on two images, one more image without; seven predicted boxes."""
    true = [("a", "Mass", (0, 0, 20, 20)), ("a", "Nodule", (30, 30, 10, 10))]
    true.append(("b", "Mass", (0, 0, 20, 20)))
    coco = coco_ground_truth(DISEASES, true, images=("a", "b", "c"), patient_of=lambda name: name)
    predicted = [
        Localization("a", "Mass", (0, 0, 10, 20), 0.9),  # IoU .5, IoBB 1
        Localization("a", "Mass", (0, 0, 40, 20), 0.8),  # IoU .5, IoBB .5
        Localization("a", "Nodule", (0, 0, 10, 10), 0.7),  # in the wrong place
        Localization("b", "Mass", (0, 0, 20, 20), 0.6),
        Localization("b", "Nodule", (0, 0, 20, 20), 0.5),  # b has no nodule
        Localization("b", "Nodule", (0, 0, 9, 9), 0.4),
        Localization("c", "Mass", (0, 0, 20, 20), 0.3),  # c has no box at all: not counted
    ]
    return evaluated(coco, {"cam": predicted}, gate, thresholds=(0.25, 0.5), published=False)


def figures(compared: Evaluated, overlap: str) -> dict[tuple[str, float], list[float]]:
    """(setting, threshold) -> number of boxes over three, of Mass, Nodule and their mean."""
    found = {}
    for row in failing_boxes(compared, overlap).rows:
        if row.lead["localizer"] != "cam":
            continue
        cells = [cell.estimate.value for cell in row.cells.values() if isinstance(cell, Cell)]
        threshold = row.lead["threshold"]
        assert isinstance(threshold, float)
        found[str(row.lead["setting"]), threshold] = [3 * value for value in cells]
    return found


def test_every_box_that_fails_counts_and_the_test_is_strict() -> None:
    every = "every disease asked"
    found = figures(drawn(), "iou")
    assert list(found) == [(every, 0.25), (every, 0.5)]
    assert found[every, 0.25] == pytest.approx([0, 3, 1.5])
    assert found[every, 0.5] == pytest.approx([2, 3, 2.5])
    assert figures(drawn(), "iobb")[every, 0.5] == pytest.approx([1, 3, 2])


def test_the_controls_stand_beside_them_with_a_box_of_every_disease_on_every_image() -> None:
    rows = failing_boxes(drawn(), "iou").rows
    assert {row.lead["localizer"] for row in rows} == {"cam", "prior_box", "constant_box"}


def test_behind_a_gate_its_boxes_alone_can_fail() -> None:
    passed = {(image, disease): disease == "Mass" for image in "abc" for disease in DISEASES}
    assert figures(drawn(passed), "iou")["gated", 0.5] == pytest.approx([2, 0, 1])


def test_wangs_figures_stand_beside_those_on_nihs_diseases() -> None:
    true = [("a", disease, (0, 0, 9, 9)) for disease in NIH_BOXED_DISEASES]
    coco = coco_ground_truth(NIH_BOXED_DISEASES, true)
    boxes = [Localization("a", "Mass", (0, 0, 9, 9), 1)]
    section = accuracy(evaluated(coco, {"cam": boxes}))
    table = next(table for table in section.tables if table.name == "afp_iobb")
    rows = [row for row in table.rows if row.lead["setting"] == "published"]
    assert {row.trail["boxes"] for row in rows} == {984}
    first = rows[0].cells["Atelectasis"]
    assert isinstance(first, Cell)
    assert (rows[0].lead["threshold"], first.printed) == (0.1, "0.8323")
