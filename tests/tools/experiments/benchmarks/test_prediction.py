"""The benchmark of predictions: what it runs is real, what it prints is what it measured."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cxrloc.classification.bundle.classifier import ClassifierBundle
from cxrloc.tools.experiments.benchmarks import prediction
from cxrloc.tools.experiments.benchmarks.prediction import PRESENT
from cxrloc.tools.experiments.benchmarks.timing import compare, cost_table


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> ClassifierBundle:
    image = prediction._image_file(tmp_path_factory.mktemp("image"))
    return prediction._untrained(96, image)


def test_the_textbook_way_and_ours_write_the_same_number_of_boxes(
    bundle: ClassifierBundle, tmp_path: Path
) -> None:
    image = prediction._image_file(tmp_path)
    prediction._textbook(image, bundle)
    prediction._predictor(image, prediction._diagnoser(bundle, "torch"))()

    assert len(json.loads((tmp_path / "textbook.json").read_text())) == PRESENT
    assert len(list(tmp_path.glob("textbook*.png"))) == PRESENT
    record = json.loads((tmp_path / "image.json").read_text())
    assert len(record["annotations"]) == PRESENT
    assert record["runtime"] == "torch fp32 on cpu"
    assert (tmp_path / "image.boxes.jpg").is_file()
    assert (tmp_path / "image.heat.jpg").is_file()


def test_every_stage_and_every_peer_runs(bundle: ClassifierBundle, tmp_path: Path) -> None:
    image = prediction._image_file(tmp_path)

    stages = prediction._stage_sides(image, bundle)
    peers = prediction._map_sides(image, bundle)
    _, *detectors = prediction._mask_rcnn_sides(image, 96).values()  # torchvision's take long
    for run in (*stages.values(), *peers.values(), *detectors):
        run()

    first, *_, last = stages
    assert (first, last) == ("network", "all but the network")
    table = cost_table("stages", compare({"JSON": stages["JSON"]}, 1))
    assert table.splitlines()[2].split()[0] == "JSON"
    assert "1.00" in table
