"""The section of the strata: its table, its sentences, its figure."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest

from builders import evaluated
from cxrloc.classification.report.tables import Cell, TableRow
from cxrloc.localization.analyses.strata.section import strata
from cxrloc.localization.analyses.strata.strata import reference_of, strata_of
from cxrloc.localization.localizer import Localization
from cxrloc.localization.report.glossary import lookup
from localization.analyses.strata.view_world import coco_of, image_of, view_world


def test_the_section_prints_counts_differences_and_who_has_no_interval() -> None:
    world = view_world(gated=True)

    section = strata(world)

    assert section.key == "strata"
    (table,) = section.tables
    blocks = list(dict.fromkeys(row.block for row in table.rows))
    assert blocks == ["view", "sex", "age", "box area", "diseases on the image"]
    row = next(r for r in table.rows if r.lead["stratum"] == "view unknown")
    assert row.trail == {"diseases": 2, "boxes": 4, "patients": 4}
    assert "no interval" in row.note
    notes = " ".join(table.notes)
    assert "Fewer than 10 patients, so no interval: view unknown" in notes
    assert "within the disease" in notes
    assert "there is no test" in notes
    assert "there is no test" in section.paragraphs[0]
    reference = reference_of(world.comparison)
    assert reference is not None
    reference_row = next(r for r in table.rows if r.lead["localizer"] == reference.name)
    assert reference_row.cells["mean_iou minus reference"] == ""
    finding = section.paragraphs[1]
    assert finding.startswith("mine: mean IoU minus the reference control's ranges from")
    assert "view unknown" not in finding  # its four patients would make any extreme


def test_every_column_has_an_explanation() -> None:
    for row in strata(view_world()).tables[0].rows:
        for column in (*row.lead, *row.cells, *row.trail):
            assert lookup(column).definition


def test_without_a_control_there_is_no_difference_and_one_panel() -> None:
    world = view_world()
    world.comparison = replace(world.comparison, localizers=world.comparison.localizers[:1])

    section = strata(world)

    assert list(section.tables[0].rows[0].cells) == ["mean_iou", "acc_iou@0.5"]
    assert "There is no control to subtract" in section.tables[0].notes
    assert len(section.figures[0].figure.axes) == 1


def test_the_figure_has_a_line_per_stratum_and_marks_gated_twins_hollow() -> None:
    world = view_world(gated=True)

    section = strata(world)

    figure = section.figures[0]
    left, right = figure.figure.axes
    names = [text.get_text() for text in left.get_yticklabels()]
    assert names == [s.name for s in strata_of(world.truth)]
    legend = figure.figure.legends[0]
    reference = reference_of(world.comparison)
    assert reference is not None
    labels = [text.get_text() for text in legend.get_texts()]
    assert labels == ["mine", "mine, gated", f"{reference.name} (control)"]
    given, gated = legend.get_lines()[:2]
    assert given.get_color() == gated.get_color() == given.get_markerfacecolor()
    assert gated.get_markerfacecolor() == "white"
    assert "minus" in right.get_xlabel()
    assert all(paragraph in figure.alt for paragraph in section.paragraphs[1:])


def test_the_order_of_images_boxes_and_predictions_changes_no_figure() -> None:
    sides = np.random.default_rng(0).uniform(10, 60, 24).tolist()
    images = [image_of(i, patient=f"p{i // 2}", view="AP" if i % 3 else "PA") for i in range(24)]
    coco = coco_of(images, [(i, 1 + i % 2, side) for i, side in enumerate(sides)], size=2)
    boxes = [Localization(f"{i}.png", "AB"[i % 2], (12, 10, 40, 50), 0.5) for i in range(20)]
    mixed = {key: random.Random(1).sample(coco[key], len(coco[key])) for key in coco}

    plain, other = (
        strata(evaluated(c, {"mine": f})).tables[0]
        for c, f in ((coco, boxes), (mixed, boxes[::-1]))
    )

    assert [row.lead for row in plain.rows] == [row.lead for row in other.rows]
    for row, same in zip(plain.rows, other.rows, strict=True):
        assert _figures(row) == pytest.approx(_figures(same), nan_ok=True)


def _figures(row: TableRow) -> list[float]:
    """Values and intervals of all cells."""
    estimates = [cell.estimate for cell in row.cells.values() if isinstance(cell, Cell)]
    return [figure for e in estimates for figure in (e.value, e.low, e.high)]
