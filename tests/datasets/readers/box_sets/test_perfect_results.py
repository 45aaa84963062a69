"""Each public set, prepared as a whole: the published boxes, and results equal to them score 1."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from cxrloc.datasets.prepared.coco import load_coco
from cxrloc.localization.evaluation.coco_ap import coco_ap
from cxrloc.tools.prepare_data import main
from datasets.readers.box_sets import layouts

HEART, NORMAL = layouts.VINDR_IDS


def _vindr(root: Path) -> layouts.Published:
    layouts.vindr(root)
    return {(HEART, "Cardiomegaly", (100, 100, 210, 160))}  # the mean of the two who agree


def _vindr_one_reader(root: Path) -> layouts.Published:
    layouts.vindr(root)
    return {(HEART, "Cardiomegaly", (100, 100, 220, 160))}


SETS: dict[str, tuple[Callable[[Path], layouts.Published], int, list[str]]] = {
    "chestx-det": (layouts.chest_x_det, 3, []),
    "rsna": (layouts.rsna, 3, []),
    "vindr": (_vindr, 2, []),
    "vindr R9": (_vindr_one_reader, 1, ["--readers", "R9"]),
    "siim": (layouts.siim, 2, []),
    "chexlocalize": (layouts.chexlocalize, 2, []),
}


@pytest.mark.parametrize("name", SETS)
def test_the_prepared_boxes_are_the_published_ones_and_score_1(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, images, options = SETS[name]
    monkeypatch.setattr("cxrloc.tools.prepare_data.patient_folds", _all_in_fold_0)
    published = write(tmp_path)
    arguments = ["--dataset", name.split()[0], "--root", str(tmp_path), "--workers", "1"]
    assert main([*arguments, "--out", str(tmp_path / "out"), "--folds", "3", *options]) == 0
    coco = load_coco(tmp_path / "out" / "ground_truth.json")
    assert len(coco["images"]) == images
    assert _boxes(coco) == published
    results = [
        {key: a[key] for key in ("image_id", "category_id", "bbox")} | {"score": 0.5}
        for a in coco["annotations"]
    ]
    boxed = {a["category_id"] for a in coco["annotations"]}
    precision = coco_ap(coco, results)
    names = [c["name"] for c in coco["categories"] if c["id"] in boxed]
    assert [precision.per_disease[disease]["ap_50_95"] for disease in names] == [1.0] * len(names)
    assert set(precision.undefined).isdisjoint(names)


def _all_in_fold_0(radiographs: list[object], *rest: object) -> dict[str, int]:
    """Folds for sets of fewer patients than folds."""
    return {radiograph.image_id: 0 for radiograph in radiographs}  # type: ignore[attr-defined]


def _boxes(coco: dict[str, list[dict[str, object]]]) -> layouts.Published:
    images = {image["id"]: image["file_name"] for image in coco["images"]}
    diseases = {category["id"]: category["name"] for category in coco["categories"]}
    found = set()
    for annotation in coco["annotations"]:
        x, y, w, h = json.loads(json.dumps(annotation["bbox"]))
        corners = x, y, x + w, y + h
        found.add((images[annotation["image_id"]], diseases[annotation["category_id"]], corners))
    assert len(found) == len(coco["annotations"])
    return found  # type: ignore[return-value]
