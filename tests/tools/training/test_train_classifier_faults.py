"""The training tool where something goes wrong: a kill, unreadable images, bad settings."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from cxrloc.classification.bundle.file import read_bundle
from cxrloc.classification.config import ClassifierConfig, DataConfig, ModelConfig
from cxrloc.classification.runs.run import open_run
from cxrloc.tools.train_classifier import main
from tools.training.small_run import ENTRIES, arguments, drawn_images

TOOL = Path(__file__).resolve().parents[3] / "tools" / "train_classifier.py"


@pytest.fixture(scope="module")
def prepared(
    prepared_images: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    return prepared_images(tmp_path_factory.mktemp("images"), drawn_images(), **ENTRIES)


@pytest.mark.slow
def test_a_run_killed_in_the_middle_goes_on_and_ends_as_if_nothing_had_happened(
    prepared: Path, tmp_path: Path
) -> None:
    more = ("--data.fold=0", "--train.epochs=5")
    killed = tmp_path / "killed"
    command = [sys.executable, str(TOOL), *arguments(prepared, killed, *more)]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        wait_for(killed / "fold0" / "checkpoints" / "last.ckpt", process)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    assert not (killed / "fold0" / "classifier.safetensors").exists()
    assert main(arguments(prepared, killed, *more)) == 0
    whole = tmp_path / "whole"
    assert main(arguments(prepared, whole, *more)) == 0
    history = json.loads((killed / "fold0" / "metrics.json").read_text())["history"]
    assert [entry["epoch"] for entry in history] == [0, 1, 2, 3, 4]
    assert history == json.loads((whole / "fold0" / "metrics.json").read_text())["history"]
    ours, theirs = (read_bundle(r / "fold0" / "classifier.safetensors")[0] for r in (killed, whole))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert (killed / "gate.csv").read_bytes() == (whole / "gate.csv").read_bytes()
    # the resumed run did not start over: its own log begins after the first epoch
    logs = sorted((killed / "fold0" / "logs" / "csv").rglob("metrics.csv"))
    assert "\n0," not in logs[-1].read_text()


def wait_for(path: Path, process: subprocess.Popen[bytes], seconds: float = 180) -> None:
    end = time.monotonic() + seconds
    while not path.is_file():
        assert process.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < end, f"{path} did not appear"
        time.sleep(0.01)


def test_an_unreadable_image_is_named_and_left_out_and_stops_a_strict_run(
    prepared_images: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prepared = prepared_images(tmp_path, drawn_images(), **ENTRIES)
    (tmp_path / "03.png").write_bytes((tmp_path / "03.png").read_bytes()[:60])
    data = DataConfig(prepared=str(prepared), workers=1)
    run = open_run(ClassifierConfig(str(tmp_path / "out"), data, ModelConfig(size=64)))
    assert "03.png" not in run.radiographs
    assert len(run.radiographs) == 23
    assert "left out 03.png" in capsys.readouterr().out
    assert main(arguments(prepared, tmp_path / "out", "--data.strict=true")) == 2
    assert "03.png" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--data.fold=7"], "data.fold: got 7, expected 0 to 2 or all"),
        (["--data.diseases=[Gout]"], "data.diseases: no label Gout; expected one of"),
        (["--model.weights=gone.pth"], "no weights file at gone.pth"),
    ],
)
def test_data_and_names_that_do_not_exist_end_with_status_2(
    prepared: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    more: list[str],
    message: str,
) -> None:
    assert main(arguments(prepared, tmp_path, *more)) == 2
    assert message in capsys.readouterr().err


def test_a_folder_that_was_not_prepared_says_how_to_prepare_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([f"--out={tmp_path}", f"--data.prepared={tmp_path / 'none'}"]) == 2
    assert "cxrloc prepare" in capsys.readouterr().err
    assert main([f"--out={tmp_path}"]) == 2
    assert "data.prepared is empty" in capsys.readouterr().err


def test_a_bad_setting_ends_with_status_2_and_names_its_key(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["--train.epochs=many"])
    assert stop.value.code == 2
    assert "train.epochs" in capsys.readouterr().err
