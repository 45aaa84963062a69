"""Interrupted, failed and repeated runs of the prediction tool."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest

from cxrloc.datasets.files.storage import Storage
from cxrloc.localization.diagnosis.engines import work
from cxrloc.tools import predict
from tools.prediction.predicting import counts, draw_image, run


@pytest.mark.slow
def test_the_same_command_again_leaves_what_is_done_and_does_the_rest(
    bundles: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images, out = tmp_path / "images", tmp_path / "out"
    for seed, name in enumerate(("a.png", "b.png", "c.png")):
        draw_image(images / name, seed)
    assert run(bundles["all"], [images], out) == 0
    (out / "b.json").unlink()  # as if killed before b's JSON, which is written last
    draw_image(images / "c.png", seed=7)  # another image of the old name
    (out / "a.boxes.jpg").write_bytes(b"left as it is")
    stale = {name: (out / f"{name}.boxes.jpg").read_bytes() for name in "abc"}
    capsys.readouterr()

    assert run(bundles["all"], [images], out) == 0

    assert counts(capsys) == "3 images found: 1 done already, 2 done now"
    again = {name: (out / f"{name}.boxes.jpg").read_bytes() for name in "abc"}
    assert (out / "b.json").is_file()
    assert again["a"] == b"left as it is"
    assert again["c"] != stale["c"]
    assert run(bundles["all"], [images], out) == 0
    assert counts(capsys) == "3 images found: 3 done already, 0 done now"


@pytest.mark.slow
def test_an_interrupted_run_says_what_is_done_and_the_next_one_does_the_rest(
    bundles: dict[str, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for seed, name in enumerate(("a.png", "b.png", "c.png")):
        draw_image(tmp_path / "images" / name, seed)

    def stopped_at_c(source: str) -> bytes:
        if source.endswith("c.png"):
            raise KeyboardInterrupt
        return Path(source).read_bytes()

    with monkeypatch.context() as patched:
        patched.setattr(work, "read_source", stopped_at_c)
        assert run(bundles["none"], [tmp_path / "images"], tmp_path / "out") == 130
    assert counts(capsys) == "3 images found: 0 done already, 2 done now"
    assert run(bundles["none"], [tmp_path / "images"], tmp_path / "out") == 0
    assert counts(capsys) == "3 images found: 2 done already, 1 done now"


def test_an_interrupt_while_the_models_load_is_no_traceback(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(predict, "_diagnoser", interrupted)
    assert run(tmp_path / "x.safetensors", [tmp_path], tmp_path / "out") == 130
    assert "predict: interrupted; the same command does the rest" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_full_disk_is_said(
    bundles: dict[str, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(storage: Storage, name: str) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Storage, "whole_file", full)
    (tmp_path / "0.png").write_bytes(b"no picture")
    images = [tmp_path / "0.png", draw_image(tmp_path / "a.png"), draw_image(tmp_path / "b.png")]
    assert run(bundles["none"], images, tmp_path / "out") == 2
    printed = capsys.readouterr()
    assert "predict: error: writing to " in printed.err
    assert "No space left on device" in printed.err
    assert "3 images found: 0 done already, 0 done now" in printed.out
    assert f"not done: cannot read image {tmp_path / '0.png'}" in printed.err


@pytest.mark.slow
def test_an_interrupt_after_the_last_image_says_that_the_rest_can_be_done(
    bundles: dict[str, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupted(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(predict, "_finish", interrupted)
    assert run(bundles["none"], [draw_image(tmp_path / "a.png")], tmp_path / "out") == 130
    printed = capsys.readouterr()
    assert "1 done now" in printed.out
    assert "the same command does the rest" in printed.err
    assert "nothing was done" not in printed.err


@pytest.mark.slow
def test_another_model_or_setting_does_every_image_again(
    bundles: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image, out = draw_image(tmp_path / "a.png"), tmp_path / "out"
    assert run(bundles["all"], [image], out) == 0
    capsys.readouterr()
    assert run(bundles["none"], [image], out) == 0
    assert counts(capsys) == "1 images found: 0 done already, 1 done now"
    assert json.loads((out / "a.json").read_text())["annotations"] == []
    assert run(bundles["none"], [image], out, "--precision", "bf16") == 0
    assert counts(capsys) == "1 images found: 0 done already, 1 done now"
    assert json.loads((out / "a.json").read_text())["runtime"] == "torch bf16 on cpu"
