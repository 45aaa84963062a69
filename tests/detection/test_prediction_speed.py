"""The benchmark of predictions: what it runs is real, what it prints is what it measured."""

from __future__ import annotations

import json
from pathlib import Path

from cxrloc.detection import prediction_speed
from cxrloc.detection.prediction_speed import PRESENT
from cxrloc.detection.side_costs import compare, cost_table


def test_the_textbook_way_and_ours_write_the_same_number_of_boxes(tmp_path: Path) -> None:
    film = prediction_speed._film_file(tmp_path)
    prediction_speed._textbook(film, prediction_speed._bundle(96))
    prediction_speed._predictor(film, prediction_speed._diagnoser(96, "torch"))()

    assert len(json.loads((tmp_path / "textbook.json").read_text())) == PRESENT
    assert len(list(tmp_path.glob("textbook*.png"))) == PRESENT
    record = json.loads((tmp_path / "film.json").read_text())
    assert len(record["annotations"]) == PRESENT
    assert record["runtime"] == "torch fp32 on cpu"
    assert (tmp_path / "film.boxes.jpg").is_file()
    assert (tmp_path / "film.heat.jpg").is_file()


def test_every_stage_and_every_peer_runs(tmp_path: Path) -> None:
    film = prediction_speed._film_file(tmp_path)

    stages = prediction_speed._stage_sides(film, 64)
    peers = prediction_speed._map_sides(film, 64)
    _, *detectors = prediction_speed._mask_rcnn_sides(film, 96).values()  # torchvision's take long
    for run in (*stages.values(), *peers.values(), *detectors):
        run()

    first, *_, last = stages
    assert (first, last) == ("network", "all but the network")
    table = cost_table("stages", compare({"JSON": stages["JSON"]}, 1))
    assert table.splitlines()[1].split()[0] == "JSON"
    assert "1.00" in table
