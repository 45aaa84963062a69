"""The benchmark of predictions: what it runs is real, what it prints is what it measured."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest

from cxrloc.detection import prediction_speed
from cxrloc.detection.prediction_speed import PRESENT, compare


def test_sides_take_turns_and_are_ratios_of_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = itertools.count()
    now = [0.0]
    monkeypatch.setattr("time.perf_counter", lambda: now[0])
    monkeypatch.setattr("time.process_time", lambda: 2 * now[0])
    ran = []

    def side(name: str, seconds: float) -> None:
        ran.append((next(clock), name))
        now[0] += seconds

    costs = compare({"a": lambda: side("a", 0.5), "b": lambda: side("b", 2.0)}, repeats=3)

    assert [name for _, name in ran] == ["a", "b"] * 4
    assert [(c.wall, c.cpu, c.ratio, c.cpu_ratio) for c in costs] == [
        (0.5, 1.0, 1.0, 1.0),
        (2.0, 4.0, 4.0, 4.0),
    ]


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
    for run in (*stages.values(), *list(peers.values())[:-1]):  # Mask R-CNN at 800 px takes long
        run()

    first, *_, last = stages
    assert (first, last) == ("network", "all but the network")
    table = prediction_speed._table("stages", compare({"JSON": stages["JSON"]}, 1))
    assert table.splitlines()[1].split()[0] == "JSON"
    assert "1.00" in table
