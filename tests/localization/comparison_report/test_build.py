"""The whole comparison: which images were looked at, which analyses are made, what stands where."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cxrloc.classification.inference.gate_table import GateRow
from cxrloc.classification.report.tables import ResultTable, TableRow
from cxrloc.datasets.provenance.sidecar import LookedAt, read_provenance, write_provenance
from cxrloc.localization.cam.heat_maps import HeatMaps
from cxrloc.localization.comparison_report.build import StudyInputs, coverage_of, run_study
from cxrloc.localization.comparison_report.files import read_masks, stamped
from cxrloc.localization.evaluation.image_table import image_table
from cxrloc.localization.localizer import Localization
from cxrloc.localization.report.glossary import lookup
from cxrloc.localization.report.sections import Section

DISEASES = ("Mass", "Nodule")
BOX = (8.0, 8.0, 24.0, 24.0)


def _coco(patients: int = 12) -> dict[str, Any]:
    """Per patient an image with both diseases boxed, and one without anything."""
    names = [(f"{p:02}_{i}", p) for p in range(patients) for i in (0, 1)]
    images: list[dict[str, Any]] = [
        {"id": n, "file_name": name, "width": 64, "height": 64, "patient_id": str(p), "fold": p % 3,
         "labels": list(DISEASES) if name.endswith("0") else []}
        for n, (name, p) in enumerate(names, start=1)
    ]  # fmt: skip
    boxed = [image["id"] for image in images if image["file_name"].endswith("0")]
    annotations = [
        {"id": 2 * n + c, "image_id": n, "category_id": c, "bbox": [8 + n % 5, 8, 16, 16]}
        for n in boxed for c in (1, 2)
    ]  # fmt: skip
    categories = [{"id": c, "name": d} for c, d in enumerate(DISEASES, start=1)]
    return {"images": images, "annotations": annotations, "categories": categories}


COCO = _coco()
EVERYWHERE = [
    Localization(i["file_name"], d, BOX, 0.5 + 0.01 * i["id"])
    for i in COCO["images"]
    for d in DISEASES
]
ON_BOXED_IMAGES = [box for box in EVERYWHERE if box.image_id.endswith("_0")]


def test_a_file_of_others_has_looked_at_all_images_if_it_has_a_box_on_an_unboxed_one() -> None:
    images = image_table(COCO)

    coverage = coverage_of(images, {"all": EVERYWHERE, "some": ON_BOXED_IMAGES, "none": []}, {})

    assert coverage["all"] == frozenset(images.image_ids)
    assert coverage["some"] == frozenset(i for i in images.image_ids if i.endswith("_0"))
    assert coverage["none"] == coverage["some"]


def test_a_sidecar_says_which_images_were_looked_at(tmp_path: Path) -> None:
    (tmp_path / "mine.json").write_text("[]")
    looked_at = LookedAt(("00_0", "00_1", "not in the ground truth"))
    write_provenance(tmp_path / "mine.json", [looked_at])
    provenance = read_provenance(tmp_path / "mine.json")

    coverage = coverage_of(image_table(COCO), {"mine": ON_BOXED_IMAGES}, {"mine": provenance})

    assert coverage == {"mine": frozenset({"00_0", "00_1"})}


def _sections(**inputs: Any) -> dict[str, Section]:
    study = run_study(StudyInputs(COCO, resamples=30, **inputs))
    return {section.key: section for section in study.sections}


@pytest.mark.slow
def test_every_analysis_is_there_with_controls_and_every_column_is_explained() -> None:
    gate = [
        GateRow(i["file_name"], i["patient_id"], d, 0.6, 0.5, present=i["id"] % 4 != 1)
        for i in COCO["images"]
        for d in DISEASES
    ]
    cells = {(b.image_id, b.disease): np.eye(4, dtype=np.float32) for b in ON_BOXED_IMAGES}
    maps = HeatMaps.of(cells, name="cam", aligned=False)

    found = _sections(predictions={"cam": EVERYWHERE}, gate=gate, maps={"cam": maps})

    keys = "means accuracy paired end_to_end coco_ap ladder taxonomy synonyms strata leakage"
    assert list(found) == keys.split()
    for key in ("means", "accuracy", "paired", "end_to_end", "coco_ap", "taxonomy", "strata"):
        for table in found[key].tables:
            text = " ".join(str({**row.lead, **row.trail}) for row in table.rows)
            assert "constant_box" in text, table.name
    for section in found.values():
        for table in section.tables:
            for row in table.rows:
                for column in {**row.lead, **row.cells, **row.trail}.keys() - set(DISEASES):
                    assert lookup(column).definition, (table.name, column)
        for figure in section.figures:
            assert len(figure.alt) > 40, figure.name


@pytest.mark.slow
def test_controls_alone_are_a_study_without_ladder() -> None:
    found = _sections(predictions={})

    assert "ladder" not in found
    assert "constant_box" in found["end_to_end"].paragraphs[-1]
    assert found["leakage"].tables[0].rows == ()


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
        beside = None if name == "plain" else tmp_path / "masks.json"
        write_provenance(files[name], [LookedAt(("00_0",))], masks=beside)
    provenances = {name: read_provenance(path) for name, path in files.items()}

    found = read_masks(files, provenances, COCO)

    assert list(found) == ["box"]
    assert found["box"][0]["image_id"] == 1
    assert found["box"][0]["segmentation"]["size"] == [64, 64]
