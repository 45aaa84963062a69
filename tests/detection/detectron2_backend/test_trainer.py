"""Trainings by detectron2: samples, checkpoints, what is refused."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from detection.detectron2_backend.rectangles import (
    DISEASES,
    config,
    needs_detectron2,
    rectangles,
)

from cxrloc.classification.bundle.file import read_bundle, write_bundle
from cxrloc.classification.training.distributed import Member
from cxrloc.classification.training.optimization import warmed_up_cosine
from cxrloc.detection.config import Init
from cxrloc.detection.detectron2_backend import backend, trainer
from cxrloc.detection.training import Best

TESTS = Path(__file__).resolve().parents[2]


def test_several_processes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer, "member", lambda: Member(0, 2))
    with pytest.raises(ValueError, match="trains in one process: start it without torchrun"):
        trainer.train(config(), rectangles(1), None, Path("nowhere"), Init(), {})


@needs_detectron2
def test_the_samples_are_boxes_classes_and_negatives_of_the_set(tmp_path: Path) -> None:
    from cxrloc.detection.detectron2_backend.data import Draws, coco_records

    data = rectangles(2, negatives=1)
    records = coco_records(data, tmp_path / "train_coco.json", "cxrloc_test")
    assert [record["image_id"] for record in records] == [1, 2, 3]
    draws = Draws(records, data, dataclasses.replace(config(epochs=2), seed=0))
    # one batch of all three images an epoch
    assert (draws.steps, len(draws)) == (2, 6)
    for epoch in (0, 1):
        seen = {s["image_id"]: s for s in (draws[i] for i in range(3 * epoch, 3 * epoch + 3))}
        assert sorted(seen) == [1, 2, 3]
        assert len(seen[3]["instances"]) == 0
        assert seen[1]["instances"].gt_classes.tolist() == [DISEASES.index("Nodule")]
        assert seen[2]["instances"].gt_classes.tolist() == [DISEASES.index("Mass")]
        # the image is 128 high, the square 64: half of the box
        half = np.array(data.radiographs[0].boxes[0].box_xyxy) / 2
        assert seen[1]["instances"].gt_boxes.tensor.tolist() == [half.tolist()]
        polygon = seen[1]["instances"].gt_masks.polygons[0][0]
        assert polygon.tolist() == half[[0, 1, 2, 1, 2, 3, 0, 3]].tolist()
        assert torch.equal(seen[1]["image"][0], seen[1]["image"][2])
    resumed = Draws(records, data, draws.config, first_step=1)
    assert [resumed[i]["image_id"] for i in range(3)] == [draws[i]["image_id"] for i in range(3, 6)]
    assert len(resumed) == 3


@needs_detectron2
@pytest.mark.slow
def test_a_killed_run_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    data = rectangles(8)
    settings = config(epochs=3, checkpoint_every=2, validate_every=1, weights_average=0.9)
    whole = backend.train_detector(settings, data, rectangles(2), tmp_path / "whole", Init(), {})
    killed = tmp_path / "killed"
    code = f"""
        from pathlib import Path
        import time
        from detection.detectron2_backend.rectangles import config, rectangles
        from cxrloc.detection.config import Init
        from cxrloc.detection.detectron2_backend import backend, data
        class Slow(data.Draws):
            def __getitem__(self, number):
                if number >= 4 * 4:
                    time.sleep(120)
                return super().__getitem__(number)
        from cxrloc.detection.detectron2_backend import trainer
        trainer.Draws = Slow
        settings = config(epochs=3, checkpoint_every=2, validate_every=1, weights_average=0.9)
        backend.train_detector(
            settings, rectangles(8), rectangles(2), Path({str(killed)!r}), Init(), {{}})
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)],
        env={**os.environ, "PYTHONPATH": str(TESTS)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    waited_until = time.time() + 90
    while not (killed / "model_0000003.pth").exists() and time.time() < waited_until:
        assert process.poll() is None
        time.sleep(0.1)
    while "0000003" not in (killed / "last_checkpoint").read_text() and time.time() < waited_until:
        time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (killed / "maskrcnn.safetensors").exists()
    resumed = backend.train_detector(settings, data, rectangles(2), killed, Init(), {})
    expected, metadata = read_bundle(whole)
    tensors, resumed_metadata = read_bundle(resumed)
    assert metadata["kept"] == resumed_metadata["kept"]
    assert metadata["validation_ap"] == resumed_metadata["validation_ap"]
    for name, tensor in expected.items():
        torch.testing.assert_close(tensors[name], tensor, rtol=0, atol=0, msg=name)
    rows = [line.split('"iteration": ')[1] for line in (killed / "loss.jsonl").open()]
    assert len(rows) == len(set(rows))


@needs_detectron2
def test_a_checkpoint_or_bundle_of_another_run_is_refused(tmp_path: Path) -> None:
    from cxrloc.detection.detectron2_backend.checkpointer import tensors_only_checkpointer
    from cxrloc.detection.detectron2_backend.trainer import RunState

    layer, run = torch.nn.Linear(1, 1), RunState("one", Best(0.5, 7, 2))
    tensors_only_checkpointer(layer, tmp_path, run=run).save("model_0000001")
    same = RunState("one")
    tensors_only_checkpointer(layer, tmp_path, run=same).resume_or_load("")
    assert same.best == Best(0.5, 7, 2)
    other = tensors_only_checkpointer(layer, tmp_path, run=RunState("two"))
    with pytest.raises(ValueError, match="another config or other images; choose another out"):
        other.resume_or_load("")
    write_bundle(
        tmp_path / "maskrcnn.safetensors",
        {"w": torch.zeros(1)},
        {"kind": "maskrcnn", "fingerprint": "x"},
    )
    with pytest.raises(ValueError, match="trained with another config"):
        backend.train_detector(config(), rectangles(1), None, tmp_path, Init(), {})


@needs_detectron2
def test_a_checkpoint_that_wants_to_run_code_is_not_read(tmp_path: Path) -> None:
    from cxrloc.detection.detectron2_backend.checkpointer import tensors_only_checkpointer

    layer = torch.nn.Linear(1, 1)
    torch.save({"model": layer.state_dict(), "trap": print}, tmp_path / "model_0000001.pth")
    (tmp_path / "last_checkpoint").write_text("model_0000001.pth")
    with pytest.raises(Exception, match=r"[Ww]eights.only"):
        tensors_only_checkpointer(layer, tmp_path).resume_or_load("")


@needs_detectron2
def test_no_training_image_is_an_error_that_says_so(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no training image"):
        backend.train_detector(config(), rectangles(0), None, tmp_path, Init(), {})


@needs_detectron2
def test_the_learning_rate_is_the_one_of_the_other_backend(tmp_path: Path) -> None:
    settings = config(epochs=5)
    backend.train_detector(settings, rectangles(8), None, tmp_path, Init(), {})
    rows = [json.loads(line) for line in (tmp_path / "loss.jsonl").open()]
    last = [row for row in rows if "lr" in row][-1]
    # ten steps, warmed up over four: the last step is number 9 of the cosine
    assert last["iteration"] == 9
    assert math.isclose(last["lr"], 3e-3 * warmed_up_cosine(9, 10, 4), rel_tol=1e-5)
