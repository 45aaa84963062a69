"""The whole comparison: which analyses are made, what stands where, and how one is added."""

from __future__ import annotations

import csv
import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from builders import evaluated
from cxrloc.classification.report.tables import ResultTable, TableRow
from cxrloc.datasets.provenance.sidecar import LookedAt, read_provenance, write_provenance
from cxrloc.localization.cam.heat_maps import HeatMaps
from cxrloc.localization.comparison_report.build import ANALYSES, build_report
from cxrloc.localization.comparison_report.files import page_of, stamped, write_results
from cxrloc.localization.comparison_report.inputs import read_localizers
from cxrloc.localization.evaluation.evaluated import ComparisonInputs, Evaluated
from cxrloc.localization.localizer import Localization
from cxrloc.localization.report.glossary import lookup
from cxrloc.localization.report.page import render_report
from cxrloc.localization.report.sections import Section

DISEASES = ("Mass", "Nodule")
BOX = (8.0, 8.0, 24.0, 24.0)


def _coco(patients: int = 12) -> dict[str, Any]:
    """Per patient an image with both diseases boxed, and one without anything."""
    names = [(f"{p:02}_{i}", p) for p in range(patients) for i in (0, 1)]
    images: list[dict[str, Any]] = [
        {
            "id": n,
            "file_name": name,
            "width": 64,
            "height": 64,
            "patient_id": str(p),
            "fold": p % 3,
            "labels": list(DISEASES) if name.endswith("0") else [],
        }
        for n, (name, p) in enumerate(names, start=1)
    ]
    boxed = [image["id"] for image in images if image["file_name"].endswith("0")]
    annotations = [
        {"id": 2 * n + c, "image_id": n, "category_id": c, "bbox": [8 + n % 5, 8, 16, 16]}
        for n in boxed
        for c in (1, 2)
    ]
    categories = [{"id": c, "name": d} for c, d in enumerate(DISEASES, start=1)]
    return {"images": images, "annotations": annotations, "categories": categories}


COCO = _coco()
EVERYWHERE = [
    Localization(i["file_name"], d, BOX, 0.5 + 0.01 * i["id"])
    for i in COCO["images"]
    for d in DISEASES
]
ON_BOXED_IMAGES = [box for box in EVERYWHERE if box.image_id.endswith("_0")]


def _inputs(predictions: dict[str, list[Localization]], **inputs: Any) -> ComparisonInputs:
    return evaluated(COCO, predictions, resamples=30, **inputs).inputs


def _sections(predictions: dict[str, list[Localization]], **inputs: Any) -> dict[str, Section]:
    report = build_report(_inputs(predictions, **inputs))
    return {section.key: section for section in report.sections}


@pytest.mark.slow
def test_every_analysis_is_there_with_controls_and_every_column_is_explained() -> None:
    gate = {(i["file_name"], d): i["id"] % 4 != 1 for i in COCO["images"] for d in DISEASES}
    cells = {(b.image_id, b.disease): np.eye(4, dtype=np.float32) for b in ON_BOXED_IMAGES}
    maps = HeatMaps.of(cells, name="cam", aligned=False)

    by_key = _sections({"cam": EVERYWHERE}, gate=gate, maps={"cam": maps}, score_by_gate=True)

    keys = (
        "means accuracy paired end_to_end operating_point wafroc coco_ap gate_scores ladder "
        "pointing taxonomy synonyms strata leakage"
    )
    assert list(by_key) == keys.split()
    for key in (
        "means",
        "accuracy",
        "paired",
        "end_to_end",
        "wafroc",
        "coco_ap",
        "taxonomy",
        "strata",
    ):
        for table in by_key[key].tables:
            text = " ".join(str({**row.lead, **row.trail}) for row in table.rows)
            assert "constant_box" in text, table.name
    for section in by_key.values():
        assert section.finding.endswith("."), section.key
        for table in section.tables:
            for row in table.rows:
                for column in {**row.lead, **row.cells, **row.trail}.keys() - set(DISEASES):
                    assert lookup(column).definition, (table.name, column)
        for figure in section.figures:
            assert len(figure.alt) > 40, figure.name


@pytest.mark.slow
def test_controls_alone_are_compared_without_ladder() -> None:
    by_key = _sections({})

    assert "ladder" not in by_key
    assert "constant_box" in by_key["end_to_end"].paragraphs[-1]
    assert by_key["leakage"].tables[0].rows == ()


def _boxes_drawn(compared: Evaluated) -> Section:
    """A section that nobody has thought of yet."""
    rows = tuple(
        TableRow("boxes", {"localizer": name}, {}, {"boxes": len(boxes)})
        for name, boxes in compared.inputs.predictions.items()
    )
    table = ResultTable("boxes_drawn", "Boxes drawn", rows, ("counted",))
    words = ("As many as it takes.",)
    return Section("boxes_drawn", "How many boxes are drawn?", "Some.", words, (table,))


@pytest.mark.slow
def test_a_new_section_is_one_function_and_one_entry() -> None:
    inputs = _inputs({"some": ON_BOXED_IMAGES, "all": EVERYWHERE})

    report = build_report(inputs, analyses=(*ANALYSES, _boxes_drawn))

    keys = (
        "means accuracy paired end_to_end operating_point wafroc coco_ap pointing taxonomy "
        "synonyms strata leakage boxes_drawn"
    )
    assert [section.key for section in report.sections] == keys.split()
    assert "How many boxes are drawn?" in render_report(page_of(report, {}))


def test_the_tables_of_a_new_section_are_written_and_the_answer_does_not_change(
    tmp_path: Path,
) -> None:
    inputs = _inputs({"some": ON_BOXED_IMAGES, "all": EVERYWHERE})

    report = build_report(inputs, analyses=(_boxes_drawn,))
    write_results(report, {}, tmp_path)

    with (tmp_path / "boxes_drawn.csv").open(newline="") as handle:
        rows = [(row["localizer"], row["boxes"]) for row in csv.DictReader(handle)]
    assert rows == [("some", "24"), ("all", "48")]
    assert "How many boxes are drawn?" in (tmp_path / "report.html").read_text()
    assert report.answer == build_report(inputs, analyses=()).answer


def test_an_analysis_that_gives_none_is_left_out() -> None:
    inputs, asked = _inputs({"some": ON_BOXED_IMAGES}), list[Evaluated]()

    def nothing(compared: Evaluated) -> None:
        asked.append(compared)

    report = build_report(inputs, analyses=(nothing, _boxes_drawn, nothing))

    assert len(asked) == 2
    assert asked[0] is asked[1]
    assert [section.key for section in report.sections] == ["boxes_drawn"]


def test_a_stamp_stands_in_title_notes_and_every_row_and_nothing_changes_without_one() -> None:
    table = ResultTable("t", "Title", (TableRow("b", {"localizer": "a"}, {}, note="n"),), ("note",))

    marked = stamped(table, "LEAKED: a")

    assert marked.title == "LEAKED: a. Title"
    assert marked.notes == ("LEAKED: a", "note")
    assert marked.rows[0].note == "LEAKED: a; n"
    assert stamped(table, "") is table
    assert dataclasses.replace(marked, title="Title", notes=("note",), rows=table.rows) == table


def test_masks_are_read_from_where_the_sidecar_says_and_once(tmp_path: Path) -> None:
    rectangle = {"size": [64, 64], "counts": [100, 5, 3991]}
    mask = {"image_id": 1, "category_id": 1, "score": 0.5, "segmentation": rectangle}
    (tmp_path / "masks.json").write_text(json.dumps([mask]))
    files = {}
    for name in ("box", "mask_box", "plain"):
        files[name] = tmp_path / f"{name}.json"
        files[name].write_text("[]")
        mask_file = None if name == "plain" else tmp_path / "masks.json"
        write_provenance(files[name], [LookedAt(("00_0",))], masks=mask_file)
    provenances = {name: read_provenance(path) for name, path in files.items()}

    _, masks_of, _ = read_localizers(files, provenances, COCO)

    assert list(masks_of) == ["box"]
    assert masks_of["box"][0].image_id == COCO["images"][0]["file_name"]
    assert masks_of["box"][0].rle["size"] == [64, 64]


def test_masks_of_a_file_are_left_alone_where_its_sidecar_names_another(tmp_path: Path) -> None:
    entry = {"image_id": 1, "category_id": 1, "bbox": [8, 8, 16, 16], "score": 0.5}
    mask = {"segmentation": {"size": [64, 64], "counts": [100, 5, 3991]}}
    files = {name: tmp_path / f"{name}.json" for name in ("own", "beside")}
    files["own"].write_text(json.dumps([{**entry, **mask}, entry]))
    files["beside"].write_text(json.dumps([{**entry, "segmentation": "no mask"}]))
    (tmp_path / "masks.json").write_text(json.dumps([{**entry, **mask, "score": 0.7}]))
    write_provenance(files["beside"], [LookedAt(("00_0",))], masks=tmp_path / "masks.json")
    provenances = {name: read_provenance(path) for name, path in files.items()}

    boxes, masks, _ = read_localizers(files, provenances, COCO)

    assert {name: len(columns) for name, columns in boxes.items()} == {"own": 2, "beside": 1}
    assert [mask.score for mask in masks["own"]] == [0.5]
    assert [mask.score for mask in masks["beside"]] == [0.7]
