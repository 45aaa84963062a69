"""Manifests tell paths from their own folder; `--full-paths` leaves them whole."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from cxrloc.configs.command_line import run_tool, tool_parser
from cxrloc.configs.help_page import add_full_paths
from cxrloc.datasets.files.manifest import run_manifest
from cxrloc.datasets.files.runs.shown_paths import own_setting, shown_path, shown_settings


@dataclass(frozen=True)
class Data:
    prepared: str
    cache: str = ""
    weights: str = "imagenet"


@dataclass(frozen=True)
class Config:
    data: Data
    gate: Path
    predictions: tuple[str, ...]
    patient: str = "/([0-9]+)_"
    out: str = "runs/x"
    boxes: str = "rsna=data,siim=imagenet"
    shards: str = "s3://bucket/a"


def test_a_manifest_names_no_folder_above_what_it_shares_with_its_inputs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "Smith_John"
    (home / "data").mkdir(parents=True)
    (home / "imagenet").mkdir()
    (home / "a.json").touch()
    monkeypatch.chdir(home)
    absolute = str(home / "data" / "list.csv")
    monkeypatch.setattr(sys, "argv", ["/usr/bin/cxrloc", "verb", f"--list={absolute}", "a/b"])
    config = Config(Data("data", absolute), home / "gate", (f"x={home}/a.json", "y=a.json"))

    manifest = run_manifest(
        config, seed=0, hashes={absolute: "0", "folds": "1"}, started=0.0, folder=home / "runs/x"
    )

    assert "Smith" not in json.dumps(manifest)
    assert manifest["command"] == ["cxrloc", "verb", "--list=../../data/list.csv", "a/b"]
    assert manifest["hashes"] == {"../../data/list.csv": "0", "folds": "1"}
    assert manifest["config"] == {
        "data": {"prepared": "../../data", "cache": "../../data/list.csv", "weights": "imagenet"},
        "gate": "../../gate",
        "predictions": ["x=../../a.json", "y=../../a.json"],
        "patient": "/([0-9]+)_",
        "out": ".",
        "boxes": "rsna=../../data,siim=../../imagenet",
        "shards": "s3://bucket/a",
    }


def test_full_paths_stay_whole_for_one_run_of_a_tool(tmp_path: Path) -> None:
    def job() -> int:
        parser = tool_parser("Do it.")
        add_full_paths(parser)
        assert vars(parser.parse_args(["--full-paths"])) == {}
        assert shown_path(tmp_path / "a", tmp_path) == str(tmp_path / "a")
        assert shown_settings({"gate": tmp_path}, tmp_path) == {"gate": tmp_path}
        return 0

    assert run_tool("tool", job) == 0
    assert shown_path(tmp_path / "a", tmp_path) == "a"
    with own_setting():
        assert shown_settings([1, None, "/a"], tmp_path) == [1, None, "/a"]
