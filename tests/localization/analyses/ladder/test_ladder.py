"""The oracle ladder: its rungs, its identity, its tables and what it says it saw."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from builders import evaluated
from cxrloc.classification.metrics.bootstrap import MACRO_MEAN
from cxrloc.classification.report.tables import Cell, Value, to_csv, to_markdown
from cxrloc.localization.analyses.ladder.ladder import RUNGS, STEPS, Ladder, climb, ladder
from cxrloc.localization.cam.heat_maps import HeatMaps
from cxrloc.localization.evaluation.ground_truth import GroundTruth, ground_truth_from_coco
from cxrloc.localization.localizer import Localization
from cxrloc.localization.report.glossary import lookup
from cxrloc.localization.report.sections import Section

FRAME = 64
BOXES = ([0, 0, 32, 32], [32, 32, 64, 64], [8, 8, 24, 40], [40, 0, 64, 16])
DISEASES = ("Mass", "Nodule")


def coco(folds: bool = True) -> dict[str, Any]:
    """Eight images of eight patients, four of each disease, in two folds."""
    images, annotations = [], []
    for i in range(8):
        images.append({"id": i, "file_name": f"{i}.png", "width": FRAME, "height": FRAME})
        images[-1] |= {"patient_id": f"p{i}", **({"fold": i % 2} if folds else {})}
        x1, y1, x2, y2 = BOXES[i // 2]
        box = {"bbox": [x1, y1, x2 - x1, y2 - y1], "category_id": 1 + i // 4}
        annotations.append({"id": i, "image_id": i, **box})
    categories = [{"id": c, "name": d} for c, d in enumerate(DISEASES, start=1)]
    return {"images": images, "annotations": annotations, "categories": categories}


def perfect_maps(truth: GroundTruth, count: int = 8) -> HeatMaps:
    """One pixel a cell, hot within the box."""
    pairs = tuple(zip(truth.image_ids, truth.diseases, strict=True))[:count]
    maps = np.zeros((count, FRAME, FRAME), np.float32)
    for heat, (x1, y1, x2, y2) in zip(maps, truth.boxes_xyxy.astype(int), strict=False):
        heat[y1:y2, x1:x2] = 1
    return HeatMaps(pairs, maps, False, "perfect")


def random_maps(truth: GroundTruth) -> HeatMaps:
    cells = np.random.default_rng(0).random((len(truth), 4, 4)).astype(np.float32)
    return replace(perfect_maps(truth), maps=cells)


def truth_of(ground_truth: dict[str, Any]) -> GroundTruth:
    return ground_truth_from_coco(ground_truth)


def quarters(truth: GroundTruth) -> list[Localization]:
    """A quarter of each box: its IoU is .25."""
    return [
        Localization(image, disease, (x1, y1, (x1 + x2) / 2, (y1 + y2) / 2), 1.0)
        for image, disease, (x1, y1, x2, y2) in zip(
            truth.image_ids, truth.diseases, truth.boxes_xyxy.tolist(), strict=True
        )
    ]


def section(ground_truth: dict[str, Any], maps: dict[str, HeatMaps]) -> Section:
    truth = truth_of(ground_truth)
    shown = ladder(evaluated(truth, dict.fromkeys(maps, quarters(truth)), maps=maps))
    assert shown is not None
    return shown


def test_a_perfect_map_loses_nothing_but_by_its_fixed_threshold() -> None:
    truth = truth_of(coco())
    climbed = climb(truth, perfect_maps(truth), np.full(8, 0.25), seed=0)
    np.testing.assert_array_equal(climbed.rungs, [[0.25, 1, 1, 1, 1]] * 8)
    assert not climbed.losses.any()


def test_losses_and_the_tuned_rung_sum_to_one() -> None:
    truth = truth_of(coco())
    climbed = climb(truth, random_maps(truth), np.zeros(8), seed=0)
    np.testing.assert_allclose(climbed.rungs[:, 1] + climbed.losses.sum(axis=1), 1)
    assert (climbed.losses[:, :2] >= 0).all()
    assert (climbed.losses[:, 3] >= 0).all()
    assert climbed.losses.any(axis=0).all()


def test_the_last_rung_is_the_limit_of_the_grid() -> None:
    truth = truth_of(coco())
    climbed = climb(truth, random_maps(truth), np.zeros(8), seed=0)
    # cells of 16 px: two boxes lie on the grid, [8, 8, 24, 40] at best meets [0, 0, 16, 48] or
    # [0, 16, 32, 32], and [40, 0, 64, 16] at best has 24 of 32 x 16
    third = max(8 * 32 / (16 * 48 + 16 * 32 - 8 * 32), 16 * 24 / (32 * 48), 16 * 32 / (32 * 48))
    assert climbed.rungs[:, 4] == pytest.approx([1, 1, 1, 1, third, third, 0.75, 0.75])


def test_boxes_without_a_map_are_zero_on_all_rungs_but_the_last_and_are_counted() -> None:
    truth = truth_of(coco())
    climbed = climb(truth, perfect_maps(truth, 6), np.full(8, 0.25), seed=0)
    np.testing.assert_array_equal(climbed.rungs[6:], [[0, 0, 0, 0, 1]] * 2)
    assert climbed.without_map == 2
    shown = section(coco(), {"a": perfect_maps(truth, 6)})
    assert any("without a heat map: a 2." in note for note in shown.tables[0].notes)
    assert {row.trail["without map"] for row in shown.tables[0].rows} == {2}


def test_an_oracle_below_its_rung_is_a_fault_of_ours() -> None:
    with pytest.raises(AssertionError, match="an oracle is below its rung"):
        Ladder("a", np.array([[0.9, 0.5, 0.4, 0.6, 0.7]]), 0, "ground truth")


def test_the_table_has_a_row_for_each_rung_and_localizer_and_says_what_it_saw() -> None:
    truth = truth_of(coco())
    maps = {"perfect": perfect_maps(truth), "random": random_maps(truth)}
    table, losses = section(coco(), maps).tables
    assert [(row.lead["rung"], row.lead["localizer"]) for row in table.rows] == [
        (rung, name) for rung in RUNGS for name in maps
    ]
    by_row = {(row.lead["rung"], row.lead["localizer"]): row for row in table.rows}
    tuned = by_row["tuned threshold", "perfect"]
    assert {name: value(tuned.cells[name]) for name in tuned.cells} == dict.fromkeys(
        (*DISEASES, MACRO_MEAN), 1.0
    )
    assert value(by_row["fixed threshold", "random"].cells[MACRO_MEAN]) == 0.25
    for (rung, _), row in by_row.items():
        assert ("oracle" in str(row.trail["saw"])) == (rung not in list(RUNGS)[:2])
    assert [row.lead["lost to"] for row in losses.rows[::2]] == list(STEPS)
    rungs = [value(by_row[rung, "random"].cells["Mass"]) for rung in RUNGS]
    lost = [value(row.cells["Mass"]) for row in losses.rows if row.lead["localizer"] == "random"]
    assert lost == pytest.approx(np.diff([*rungs[1:], 1.0]).tolist())


def value(cell: Value) -> float:
    assert isinstance(cell, Cell)
    return cell.estimate.value


def test_every_column_is_explained() -> None:
    for table in section(coco(), {"a": random_maps(truth_of(coco()))}).tables:
        for column in next(csv.reader(io.StringIO(to_csv(table)))):
            name = column.replace("Mass", "disease").replace("Nodule", "disease")
            assert lookup(name).definition
        assert "saw" in to_markdown(table) or table.name == "ladder_losses"


def test_the_section_says_what_came_out_and_what_the_models_saw() -> None:
    shown = section(coco(), {"perfect": perfect_maps(truth_of(coco()))})
    text = " ".join(shown.paragraphs)
    assert "perfect: macro mean IoU 0.250 with its fixed threshold, 1.000 tuned on" in text
    assert "saw the labels of the scored images" in text
    assert shown.key == "ladder"
    (figure,) = shown.figures
    assert "0.25, 1.00, 1.00, 1.00, 1.00" in figure.alt
    assert [axis.get_title() for axis in figure.figure.axes] == [*DISEASES, MACRO_MEAN]


def test_folds_that_had_to_be_drawn_are_said_not_to_be_the_models() -> None:
    bare = coco(folds=False)
    notes = " ".join(section(bare, {"a": random_maps(truth_of(bare))}).tables[0].notes)
    assert "5 patient folds drawn with seed 0; these are not the models' folds" in notes
    notes = " ".join(section(coco(), {"a": random_maps(truth_of(coco()))}).tables[0].notes)
    assert "folds from: ground truth" in notes
    assert "not the models'" not in notes


def test_figures_of_another_ground_truth_are_refused() -> None:
    truth = truth_of(coco())
    with pytest.raises(ValueError, match=r"each of the 8 ground-truth boxes, got shape \(7,\)"):
        climb(truth, random_maps(truth), np.zeros(7), seed=0)


def test_maps_of_a_localizer_that_is_not_compared_are_refused() -> None:
    truth = truth_of(coco())
    with pytest.raises(ValueError, match=r"maps of 'a': expected a name with predictions \(b\)"):
        evaluated(truth, {"b": quarters(truth)}, maps={"a": random_maps(truth)})


def test_without_heat_maps_there_is_no_ladder() -> None:
    truth = truth_of(coco())
    assert ladder(evaluated(truth, {"b": quarters(truth)})) is None


def test_maps_that_learnt_from_boxes_say_so_on_every_rung_that_they_make() -> None:
    rungs = np.array([[0.1, 0.2, 0.3, 0.4, 0.5]])
    told = {
        guided: [Ladder("a", rungs, 0, "ground truth", guided).saw(rung) for rung in RUNGS]
        for guided in (False, True)
    }
    assert told[False] == list(RUNGS.values())
    taught = "the boxes of the training images (maps); "
    assert told[True] == [*(taught + saw for saw in told[False][:4]), told[False][4]]
