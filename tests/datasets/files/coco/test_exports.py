"""Exports of annotation tools in their exact form: all findings, none lost, none moved."""

from __future__ import annotations

from pathlib import Path

import pytest

from cxrloc.datasets.files.coco.read import read_coco
from datasets.files.coco.exports import DISEASES, EXPORTS, FINDINGS, SIZES_WH, written


@pytest.mark.parametrize("tool", EXPORTS)
def test_all_findings_of_an_export_are_read(tool: str, tmp_path: Path) -> None:
    foreign = read_coco(written(tmp_path / "gt.json", EXPORTS[tool]()))

    coco = foreign.coco
    names = {c["id"]: c["name"] for c in coco["categories"]}
    stems = {image["id"]: list(SIZES_WH)[place] for place, image in enumerate(coco["images"])}
    assert [image["file_name"].count("\\") for image in coco["images"]] == [0, 0, 0, 0]
    assert tuple(names.values()) == DISEASES
    assert [a["id"] for a in coco["annotations"]] == [1, 2, 3, 4, 5, 6, 7]
    assert not any(a["iscrowd"] for a in coco["annotations"])
    found = [
        (stems[a["image_id"]], names[a["category_id"]], *a["bbox"]) for a in coco["annotations"]
    ]
    for finding, expected in zip(found, FINDINGS, strict=True):
        assert finding[:2] == expected[:2]
        assert finding[2:] == pytest.approx(expected[2:], abs=0.01)  # YOLO has six digits
    assert not any("CHECK" in note for note in foreign.notes)


def test_a_mask_painted_in_cvat_is_a_finding_and_no_crowd(tmp_path: Path) -> None:
    foreign = read_coco(written(tmp_path / "gt.json", EXPORTS["CVAT"]()))

    assert foreign.notes == (
        "painted masks that CVAT marks as crowds, counted as single findings: 1",
    )


def test_the_project_of_roboflow_is_no_category(tmp_path: Path) -> None:
    coco = read_coco(written(tmp_path / "gt.json", EXPORTS["Roboflow"]())).coco

    assert [(c["id"], c["name"]) for c in coco["categories"]] == [
        (1, "Effusion"),
        (2, "Infiltration"),
        (3, "Nodule"),
    ]
    assert coco["info"]["left_out_categories"] == [[0, "chest-findings"]]
