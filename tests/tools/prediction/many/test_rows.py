"""Many images: tables, several processes, Spark; the same rows wherever they are made."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from builders import prepare
from cxrloc.datasets.prepared.coco import load_coco
from cxrloc.datasets.prepared.folder import PreparedFolder
from cxrloc.datasets.radiograph import Box, Radiograph
from cxrloc.localization.predictions.results_file import read_predictions
from tools.prediction.predicting import DISEASES, counts, draw_image, run

TABLE = ("--write", "table")
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in what a shell starts with &


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """19 images, which are two parts; two have one name, one is no image."""
    folder = tmp_path_factory.mktemp("many") / "images"
    for seed in range(17):
        draw_image(folder / f"{seed:02d}.png", seed)
    draw_image(folder / "other" / "00.png", 17)
    (folder / "05b.png").write_bytes(b"no picture")
    return folder


def table(out: Path, name: str) -> pd.DataFrame:
    return pd.read_parquet(out / f"{name}.parquet")


def same_rows(first: Path, second: Path) -> None:
    for name in ("findings", "boxes"):
        ours, theirs = table(first, name), table(second, name)
        exact = [c for c in ours.columns if ours[c].dtype != float]
        pd.testing.assert_frame_equal(ours[exact], theirs[exact])
        rest = ours.columns.difference(exact)
        pd.testing.assert_frame_equal(ours[rest], theirs[rest], atol=1e-6, rtol=1e-6)


@pytest.fixture(scope="module")
def expected(bundles: dict[str, Path], images: Path, tmp_path_factory: Any) -> Path:
    """JSON and tables of this process."""
    out: Path = tmp_path_factory.mktemp("expected") / "out"
    assert run(bundles["all"], [images], out, "--write", "json,table") == 1
    return out


@pytest.mark.slow
def test_the_tables_hold_what_the_json_files_hold_and_why_an_image_failed(expected: Path) -> None:
    findings, boxes = table(expected, "findings"), table(expected, "boxes")

    assert not list(expected.glob("*.jpg"))
    assert len(list((expected / "findings.parquet").glob("part-*"))) == 2
    failed = findings[findings["failure"].notna()]
    assert failed[["image", "result"]].values.tolist() == [["05b.png", "05b"]]
    assert failed["failure"].item().startswith("not an image, or of an unknown format")
    assert failed["disease"].isna().all()
    rest = findings[findings["failure"].isna()]
    assert sorted(set(rest["result"])) == sorted(path.stem for path in expected.glob("*.json"))
    for result, rows in rest.groupby("result"):
        record = json.loads((expected / f"{result}.json").read_text())
        keys = ["disease", "probability", "threshold", "present"]
        told = [[finding[key] for key in keys] for finding in record["findings"]]
        assert rows[keys].values.tolist() == told
        assert rows[["width", "height"]].values.tolist() == [[100, 120]] * len(DISEASES)
        ours = boxes[boxes["result"] == result]
        sides = ["x", "y", "width", "height"]
        assert ours[sides].values.tolist() == [box["bbox"] for box in record["annotations"]]
        assert ours["score"].tolist() == [box["score"] for box in record["annotations"]]
    assert rest.groupby("result")["path"].first()["00_2"].endswith("images/other/00.png")


@pytest.mark.slow
def test_compare_reads_the_boxes_by_the_names_of_a_ground_truth(
    expected: Path, images: Path, tmp_path: Path
) -> None:
    """Two images have one name: their paths tell them apart."""
    listed = [
        Radiograph(
            path.relative_to(images).as_posix(), path, str(path), "PA", {}, boxes, (120, 100)
        )
        for path in sorted(images.rglob("*.png"))
        if path.name != "05b.png"
        for boxes in [(Box("Mass", (10, 20, 60, 80)),)]
    ]
    folder = prepare(
        tmp_path / "p", listed, {r.image_id: 0 for r in listed}, boxed_diseases=DISEASES, k=1
    )
    coco = load_coco(PreparedFolder(folder).ground_truth)

    read = read_predictions(expected / "coco_results" / "grad_cam.json", coco)

    boxes = table(expected, "boxes")
    assert [box.score for box in read] == boxes["score"].tolist()
    of_other = boxes[boxes["result"] == "00_2"]
    assert [b.disease for b in read if b.image_id == "other/00.png"] == of_other["disease"].tolist()
    first = {"00.png", "other/00.png"} & {box.image_id for box in read}
    assert first == {"00.png", "other/00.png"}


@pytest.mark.slow
def test_finished_parts_and_images_are_not_done_again(
    bundles: dict[str, Path],
    images: Path,
    expected: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    shutil.copytree(expected, out)
    for path in out.glob("*.json"):
        path.unlink()
    parts = sorted((out / "findings.parquet").glob("part-*"))
    parts[1].unlink()  # as if killed before the second part
    (out / "boxes.parquet" / "part-00007.parquet").write_bytes(b"of a longer listing")
    before = parts[0].stat().st_mtime_ns

    assert run(bundles["all"], [images], out, "--write", "json,table") == 1

    assert counts(capsys) == "19 images found: 15 done already, 3 done now"
    assert parts[0].stat().st_mtime_ns == before
    same_rows(expected, out)
    # other models: what was done counts for nothing
    assert run(bundles["none"], [images], out, *TABLE) == 1
    printed = capsys.readouterr().out
    assert printed.startswith("19 images found: 0 done already, 18 done now (0 with a disease")
    assert "0 boxes of grad_cam are in" in printed
    assert json.loads((out / "coco_results" / "grad_cam.json").read_text()) == []
    assert not table(out, "findings")["present"].any()


@pytest.mark.slow
def test_two_processes_make_the_rows_of_one_and_lose_no_image_when_one_is_killed(
    bundles: dict[str, Path], images: Path, expected: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    process = predicting(bundles["all"], images, out, "--write", "json,table", "--workers", "2")
    wait_for(lambda: len(list(out.glob("*.json"))) > 0, process)
    os.kill(worker_processes(process.pid)[-1], signal.SIGKILL)
    _, errors = process.communicate(timeout=400)

    assert process.returncode == 1, errors
    assert errors.count("not done") == 1  # the file that is no image
    same_rows(expected, out)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_ends_all_processes_within_three_seconds(
    bundles: dict[str, Path], images: Path, tmp_path: Path, number: int
) -> None:
    out = tmp_path / "out"
    process = predicting(bundles["all"], images, out, "--workers", "2")
    wait_for(lambda: len(list(out.glob("*.json"))) > 0, process)
    children = worker_processes(process.pid)
    began = time.monotonic()
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)

    assert time.monotonic() - began < 3 + 7  # 3 s on a machine that does nothing else
    assert process.returncode == 128 + number
    assert "the same command does the rest" in errors
    assert not [child for child in children if Path(f"/proc/{child}").exists()]


@pytest.mark.slow
def test_spark_makes_the_rows_of_this_machine_in_a_store(
    bundles: dict[str, Path],
    images: Path,
    expected: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if importlib.util.find_spec("pyspark") is None or shutil.which("java") is None:
        pytest.skip("PySpark or Java is not installed: pip install 'cxrloc[spark]', Java 17")
    out = tmp_path / "out"
    spark = ("--engine", "spark", "--master", "local[2]", "--write", "json,table")
    assert run(bundles["all"], [images], out, *spark) == 1
    assert counts(capsys) == "19 images found: 0 done already, 18 done now"
    same_rows(expected, out)
    assert len(list(out.glob("*.json"))) == 18
    assert run(bundles["all"], [images], out, *spark) == 1
    assert counts(capsys) == "19 images found: 18 done already, 0 done now"


@pytest.mark.slow
def test_images_and_results_may_be_in_a_store(
    bundles: dict[str, Path], images: Path, expected: Path, tmp_path: Path
) -> None:
    urls = [f"file://{images}", f"file://{tmp_path}/out"]
    assert run(bundles["all"], urls[:1], urls[1], "--write", "table,pictures") == 1  # type: ignore[arg-type]

    ours, theirs = table(tmp_path / "out", "boxes"), table(expected, "boxes")
    assert ours["path"].tolist()[0] == f"file://{images}/00.png"
    pd.testing.assert_frame_equal(ours.drop(columns="path"), theirs.drop(columns="path"))
    assert (tmp_path / "out" / "00_2.heat.jpg").is_file()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--write", "pictures"), "expected json or table too"),
        (("--master", "local[2]"), "give both"),
        (("--engine", "spark"), "add table to --write"),
        (("--engine", "spark", *TABLE, "--workers", "2"), "--workers is for this machine"),
        ((*TABLE, "--export", "coco"), "add json to --write"),
    ],
)
def test_options_that_do_not_go_together_are_refused(
    options: tuple[str, ...], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path / "x.safetensors", [tmp_path], tmp_path / "out", *options) == 2
    assert message in capsys.readouterr().err


def predicting(bundle: Path, images: Path, out: Path, *more: str) -> subprocess.Popen[str]:
    words = ["-m", "cxrloc.tools.cli", "predict", str(images), "--gate", str(bundle)]
    command = [sys.executable, *words, "--out", str(out), *more]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for(happened: Any, process: subprocess.Popen[str]) -> None:
    until = time.monotonic() + 300
    while not happened():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.05)


def worker_processes(parent: int) -> list[int]:
    """The processes that predict, of a running command."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            stat = (folder / "stat").read_text().rpartition(")")[2].split()
            words = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if int(stat[1]) == parent and b"spawn_main" in words:
            found.append(int(folder.name))
    return sorted(found)
