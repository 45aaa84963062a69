"""Each public set, read and prepared: the published boxes, and results equal to them score 1."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from builders import prepare
from cxrloc.datasets.prepared.coco import load_coco
from cxrloc.datasets.readers.registry.datasets import find_dataset
from cxrloc.localization.evaluation.box_scores import score_boxes
from cxrloc.localization.evaluation.coco_ap import coco_ap
from cxrloc.localization.evaluation.detections import place
from cxrloc.localization.evaluation.ground_truth import ground_truth_from_coco
from cxrloc.localization.predictions.results_file import read_predictions
from datasets.readers.box_sets import layouts

HEART, NORMAL = layouts.VINDR_IDS


def _vindr(root: Path) -> layouts.Published:
    layouts.vindr(root)
    return {(HEART, "Cardiomegaly", (100, 100, 210, 160))}  # the mean of the two who agree


def _vindr_one_reader(root: Path) -> layouts.Published:
    layouts.vindr(root)
    return {(HEART, "Cardiomegaly", (100, 100, 220, 160))}


SETS: dict[str, tuple[Callable[[Path], layouts.Published], int, dict[str, str]]] = {
    "chestx-det": (layouts.chest_x_det, 3, {}),
    "rsna": (layouts.rsna, 3, {}),
    "vindr": (_vindr, 2, {}),
    "vindr R9": (_vindr_one_reader, 1, {"readers": "R9"}),
    "siim": (layouts.siim, 2, {}),
    "chexlocalize": (layouts.chexlocalize, 2, {}),
}


@pytest.mark.parametrize("name", SETS)
def test_the_prepared_boxes_are_the_published_ones_and_score_1(name: str, tmp_path: Path) -> None:
    write, images, options = SETS[name]
    published = write(tmp_path)
    index = find_dataset(name.split()[0]).index(tmp_path, **options)
    assert all(r.path is not None for r in index.radiographs)
    out = prepare(
        tmp_path / "out",
        index.radiographs,
        {r.image_id: 0 for r in index.radiographs},
        boxed_diseases=index.boxed_diseases,
    )
    coco = load_coco(out / "ground_truth.json")
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
    (tmp_path / "results.json").write_text(json.dumps(results))
    predicted = read_predictions(tmp_path / "results.json", coco)
    scores = score_boxes(place(ground_truth_from_coco(coco), predicted))
    assert scores.iou.tolist() == [1.0] * len(published)


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
