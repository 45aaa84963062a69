"""Manifests tell paths from their own folder; `--full-paths` leaves them whole."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from builders import coco_ground_truth
from cxrloc.configs.command_line import run_tool, tool_parser
from cxrloc.configs.help_page import add_full_paths
from cxrloc.datasets.files.atomic import write_text
from cxrloc.datasets.files.manifest import run_manifest, write_json
from cxrloc.datasets.files.parse import read_json
from cxrloc.datasets.files.runs.shown_paths import (
    keep_full_paths,
    own_setting,
    shown_path,
    shown_settings,
)
from cxrloc.tools.compare_localizers import main as compare


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


@pytest.mark.parametrize("full", [False, True])
def test_what_is_no_text_is_escaped_so_that_the_file_can_be_read_again(
    tmp_path: Path, full: bool
) -> None:
    folder = tmp_path / os.fsdecode(b"b\xffd")
    folder.mkdir()
    with own_setting():
        if full:
            keep_full_paths()
        settings = {"data": folder / "a", "out": str(folder), "name": "half \ud800"}
        manifest = run_manifest(
            settings, seed=0, hashes={str(folder / "a"): "0"}, started=0.0, folder=tmp_path
        )
    write_json(folder / "manifest.json", manifest)
    read = read_json(folder / "manifest.json")
    begin = f"{tmp_path}/" if full else ""
    assert read["hashes"] == {f"{begin}b\\xffd/a": "0"}
    assert read["config"]["data"] == f"{begin}b\\xffd/a"
    assert read["config"]["name"] == "half \\ud800"
    write_text(folder / "a.txt", f"{folder}")
    assert (folder / "a.txt").read_text() == f"{tmp_path}/b\\udcffd"


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


def test_no_file_of_a_comparison_names_the_folders_of_its_inputs_unless_asked(
    tmp_path: Path,
) -> None:
    """Folders may be named after patients, and be no text."""
    folder = tmp_path / os.fsdecode(b"MEIER^ANNA <b>'\"& 1950 \xff")
    folder.mkdir()
    boxes = [(f"{n}_0.png", "Mass", (4 * n, 3, 20, 20)) for n in (1, 2, 3)]
    coco = coco_ground_truth(["Mass"], boxes, patient_of=lambda name: name.split("_")[0])
    keys = ("image_id", "category_id", "bbox")
    found = [{key: a[key] for key in keys} | {"score": 0.5} for a in coco["annotations"]]
    (folder / "gt.json").write_text(json.dumps(coco))
    (folder / "mine.json").write_text(json.dumps(found))
    words = ["--ground-truth", f"{folder}/gt.json", "--predictions", f"mine={folder}/mine.json"]
    words += ["--resamples", "10", "--out"]
    assert compare([*words, str(folder / "out")]) == 0
    assert compare([*words, str(tmp_path / "full"), "--full-paths"]) == 0

    short, full = (
        {path.name for path in out.iterdir() if b"MEIER" in path.read_bytes()}
        for out in (folder / "out", tmp_path / "full")
    )
    assert short == set()
    assert full >= {"report.html", "summary.json"}
    page = (tmp_path / "full" / "report.html").read_text()
    assert "MEIER^ANNA <b>" not in page  # it is text, not markup
    config = read_json(tmp_path / "full" / "summary.json")["manifest"]["config"]
    assert config["ground_truth"].endswith("1950 \\xff/gt.json")
