"""All of NIH in one command: its dry run from the images to the report, and what it does again."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml

from cxrloc.configs.command_line import load_config
from cxrloc.datasets.phantoms.nih import PhantomConfig, make_phantom
from cxrloc.datasets.provenance.sidecar import read_provenance
from cxrloc.tools import cli
from cxrloc.tools.experiments.pipelines import nih_full, steps
from cxrloc.tools.experiments.pipelines.nih_full import NihFullConfig, main, training_steps
from cxrloc.tools.experiments.pipelines.steps import Step, run_step

SMALL_GATE = {"architecture": "simple_cnn", "map_stride": 32}
SMALL_DETECTOR = {"fpn_channels": 16, "box_hidden": 16, "mask_channels": 8}


@pytest.fixture
def small_networks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The shipped configs with networks that train in a second."""
    for name, smaller in (("full_gate", SMALL_GATE), ("full_maskrcnn", SMALL_DETECTOR)):
        config = yaml.safe_load((nih_full.CONFIGS / f"{name}.yaml").read_text())
        config["model"].update(smaller)
        config["train"] |= {"batch_size": 4, "precision": "fp32"}
        config["data"] |= {"workers": 1}
        config["data"].pop("loader_workers", None)
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(config))
    monkeypatch.setattr(nih_full, "CONFIGS", tmp_path)


@pytest.mark.slow
@pytest.mark.usefixtures("small_networks")
def test_a_dry_run_does_every_step_on_all_images_and_a_second_does_only_what_is_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    done: list[str] = []

    def in_this_process(title: str, arguments: Sequence[str], processes: int = 1) -> None:
        done.append(arguments[0])
        assert cli.main([*arguments]) == 0, title

    monkeypatch.setattr(steps, "run_step", in_this_process)
    monkeypatch.setattr("cxrloc.datasets.phantoms.nih.SHARE_TRAIN_VAL", 0.5)
    nih, out = tmp_path / "nih", tmp_path / "run"
    make_phantom(PhantomConfig(patients=36, seed=3, image_size=64), nih, workers=1)
    command = ["--nih", str(nih), "--out", str(out), "--weights", "none", "--device", "cpu"]
    assert main([*command, "--dry-run"]) == 0
    boxes = ["localize", "tune-cam", "localize"]
    assert done == ["prepare", "train-gate", "train-maskrcnn", *boxes, "compare", "predict"]
    assert "Dry run: the figures mean nothing" in capsys.readouterr().out
    assert not (out / "gate").exists()  # nothing that the real run would take for its own
    dry = out / "dry_run"
    tested = _ground_truth(out / "prepared" / "ground_truth_test.json")
    for results in ("grad_cam.json", "grad_cam_tuned.json", "maskrcnn/mask_rcnn.json"):
        provenance = read_provenance(dry / results)
        assert provenance is not None
        looked_at = [image for images in provenance.images_by_model.values() for image in images]
        assert sorted(looked_at) == sorted(tested), results
    summary = json.loads((dry / "comparison" / "summary.json").read_text())
    assert summary["ground_truth"]["images"] == len({i for i in tested if tested[i]})
    assert (dry / "comparison" / "afp_iobb.md").is_file()
    caches = list((dry / "pixel_cache").glob("*.npy"))
    assert [path.name.split("_")[1] for path in caches] == ["64"]  # gate and detector share one
    done.clear()
    assert main([*command, "--dry-run"]) == 0
    # trainings know themselves what is left; train-maskrcnn pools its boxes again
    assert done == ["train-gate", "train-maskrcnn", "compare", "predict"]


def _ground_truth(path: Path) -> dict[str, int]:
    """Image -> number of its boxes."""
    coco = json.loads(path.read_text())
    counts = {image["id"]: 0 for image in coco["images"]}
    for annotation in coco["annotations"]:
        counts[annotation["image_id"]] += 1
    return {image["file_name"]: counts[image["id"]] for image in coco["images"]}


def test_a_step_is_done_again_when_what_it_was_made_of_is_newer(tmp_path: Path) -> None:
    result, source = tmp_path / "result", tmp_path / "source"
    found = [Step("", [], result, (source,)).is_done]
    for times in ({source: 1, result: 2}, {source: 3}):
        for path, time in times.items():
            path.touch()
            os.utime(path, (time, time))
        found.append(Step("", [], result, (source,)).is_done)
    source.unlink()
    assert [*found, Step("", [], result, (source,)).is_done] == [False, True, False, False]
    assert not Step("", []).is_done


def test_real_runs_train_at_the_configs_sizes_on_as_many_processes_as_asked(tmp_path: Path) -> None:
    command = ["--nih", str(tmp_path), "--out", "runs", "--cache", "/big", "--processes", "9"]
    trainings = training_steps(load_config(NihFullConfig, command))
    assert [step.processes for step in trainings] == [8, 4]  # batches of 32 and of 4 images
    for step in trainings:
        assert step.arguments[step.arguments.index("--data.cache") + 1] == "/big"
        assert not {"--size", "--model.size", "--train.epoch_steps"} & set(step.arguments)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--nih", "nowhere"], "--nih nowhere is no folder"),
        (["--weights", "nothing.pth"], "--weights nothing.pth does not exist; expected a file,"),
        (["--processes", "-1"], r"--processes -1: expected 0 \(all GPUs\) or more"),
    ],
)
def test_wrong_usage_ends_before_anything_is_begun(
    more: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["--nih", str(tmp_path), *more])
    assert stop.value.code == 2
    assert message.replace("\\", "") in capsys.readouterr().err


def test_a_step_says_its_time_and_memory_and_a_failed_one_its_status(
    capfd: pytest.CaptureFixture[str],
) -> None:
    run_step("Show the version", ["--version"])
    output = capfd.readouterr().out
    assert "=== Show the version\n$ cxrloc --version\ncxrloc " in output
    assert " MB of memory\n" in output
    with pytest.raises(OSError, match="the step above ended with status 2; see its message"):
        run_step("Fail", ["no-such-verb"])
