"""The whole tool: from a prepared folder to shards, killed and resumed, errors."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest

from builders import prepare
from cxrloc.datasets.radiograph import Radiograph
from cxrloc.datasets.shards.read import ShardSet
from cxrloc.tools.data.build_shards import main

TOOL = Path(__file__).resolve().parents[3] / "tools" / "data" / "build_shards.py"


def make_prepared(folder: Path, count: int = 12, side: int = 32, official: int = 12) -> Path:
    """Images of noise by three folds; the first `official` of them are in a list: every third test.

    The images are links to two files.
    """
    rng, images = np.random.default_rng(0), folder / "data" / "images"
    images.mkdir(parents=True)
    radiographs, folds = [], {}
    for i in range(count):
        path = images / f"{i:03d}.png"
        if i < 2:
            cv2.imwrite(str(path), rng.integers(0, 256, (side, side), dtype=np.uint8))
        else:
            os.link(images / f"{i % 2:03d}.png", path)
        radiographs.append(Radiograph(path.name, path, f"p{i}", "", {"Mass": float(i % 2)}))
        folds[path.name] = i % 3
    lists = {f"{i:03d}.png": "train_val" if i % 3 else "test" for i in range(official)}
    manifest = {"config": {"root": str(folder / "data")}}
    return prepare(folder / "prepared", radiographs, folds, official=lists, manifest=manifest)


def arguments(prepared: Path, out: Path, *options: str) -> list[str]:
    return ["--prepared", str(prepared), "--out", str(out), "--workers", "1", *options]


def parquet(out: Path) -> dict[str, bytes]:
    return {str(p.relative_to(out)): p.read_bytes() for p in out.glob("size=*/split=*/*.parquet")}


def test_two_sizes_are_written_by_fold_and_the_end_is_a_count(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prepared, out = make_prepared(tmp_path), tmp_path / "out"
    (tmp_path / "data/images/011.png").unlink()
    assert main(arguments(prepared, out, "--size", "8", "16", "--rows", "3")) == 0
    printed = capsys.readouterr().out
    assert "11 images in 12 shards, " in printed
    assert "0 shards were finished before; 1 images cannot be read, see rejects.parquet" in printed
    assert sorted(parquet(out)) == [
        f"size={size}/split=fold{fold}/part-0000{part}.parquet"
        for size in (16, 8)
        for fold in range(3)
        for part in range(2)
    ]
    assert pq.read_table(out / "rejects.parquet")["image_id"].to_pylist() == ["011.png"]
    shards = ShardSet(str(out), 16)
    assert [shards.splits[shards.rows[f"{i:03d}.png"]] for i in range(4)] == [
        "fold0",
        "fold1",
        "fold2",
        "fold0",
    ]
    assert main(arguments(prepared, out, "--size", "8", "16", "--rows", "3")) == 0
    assert "12 shards were finished before; 1 images" in capsys.readouterr().out


def test_official_lists_and_images_elsewhere(tmp_path: Path) -> None:
    prepared = make_prepared(tmp_path)
    assert main(arguments(prepared, tmp_path / "a", "--split", "official", "--size", "8")) == 0
    assert sorted(parquet(tmp_path / "a")) == [
        "size=8/split=test/part-00000.parquet",
        "size=8/split=train_val/part-00000.parquet",
    ]
    # the first image stays: a prepared folder whose images are all gone is refused
    (tmp_path / "data").rename(tmp_path / "moved")
    (tmp_path / "data/images").mkdir(parents=True)
    (tmp_path / "data/images/000.png").write_bytes(b"never read")
    moved = f"file://{tmp_path / 'moved'}"
    options = ["--split", "official", "--size", "8", "--root", moved]
    assert main(arguments(prepared, tmp_path / "b", *options)) == 0
    assert parquet(tmp_path / "b") == parquet(tmp_path / "a")


@pytest.mark.slow
def test_a_killed_run_leaves_whole_shards_and_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prepared, out = make_prepared(tmp_path, count=240, side=1024), tmp_path / "out"
    options = arguments(prepared, out, "--size", "64", "96", "--rows", "8", "--workers", "2")
    process = subprocess.Popen([sys.executable, str(TOOL), *options], stderr=subprocess.DEVNULL)
    done = out / "size=96" / "_done"
    while len(list(done.glob("*.json"))) < 3:
        assert process.poll() is None, "it ended before three shards were finished"
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    killed = parquet(out)
    assert 3 <= len(killed) < 60
    assert not list(out.glob("size=*/_manifest.json"))
    assert main([*options, "--workers", "1"]) == 0
    reused = int(capsys.readouterr().out.partition(" MB; ")[2].split()[0])
    assert 3 <= reused < 60
    assert not list(out.rglob("*.tmp"))
    assert main(arguments(prepared, tmp_path / "whole", "--size", "64", "96", "--rows", "8")) == 0
    whole = parquet(tmp_path / "whole")
    assert len(whole) == 60
    assert parquet(out) == whole
    assert {name: whole[name] for name in killed} == killed


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--split", "official"], "4 images are in neither official list, the first is 008.png"),
        (["--rows", "0"], "rows: got 0, expected at least 1 image a shard"),
        (["--size", "8", "8"], "size: got [8, 8], expected one or more, each once"),
        (["--out", "nowhere://x"], "cannot open nowhere://x"),
        (["--prepared", "gone"], "no prepared folder gone; make it with"),
    ],
)
def test_what_cannot_be_done_is_said_with_status_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    prepared = make_prepared(tmp_path, official=8)
    assert main(arguments(prepared, tmp_path / "out", *options)) == 2
    assert f"error: {message}" in capsys.readouterr().err


@pytest.mark.parametrize("options", [["--engine", "dask"], ["--size", "x"], ["--workers", "0"]])
def test_bad_settings_end_with_status_2(tmp_path: Path, options: list[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(arguments(tmp_path, tmp_path / "out", *options))
    assert stopped.value.code == 2
