"""train_classifier.py in two stages: both are reported, both bundles are kept."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import pytest
from safetensors.torch import save_file

from builders import read_pixels
from cxrloc.classification.bundle.classifier import load_classifier
from cxrloc.classification.inference.gate import Gate
from cxrloc.classification.inference.gate_table import read_gate_table
from cxrloc.classification.network.classifier import build_classifier
from cxrloc.datasets.radiograph import LoadedImage
from cxrloc.tools.train_classifier import main


@pytest.fixture(scope="module")
def folder(prepared_images: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run in two stages with CLAHE: 24 images of 12 patients, official split."""
    folder = tmp_path_factory.mktemp("images")
    images = [
        {
            "labels": {"Mass": float(n % 2)},
            "patient": f"p{n // 2}",
            "fold": n // 2 % 3,
            "block": 30 * (n % 2),
        }
        for n in range(24)
    ]
    official = {f"{n:02d}.png": "test" if n < 8 else "train_val" for n in range(24)}
    prepared_images(folder, images, boxed_diseases=("Mass",), official=official)
    model, _ = build_classifier("simple_cnn", 1)
    tensors = {n.removeprefix("backbone."): t for n, t in model.state_dict().items()}
    save_file(tensors, folder / "start.safetensors")
    assert main(arguments(folder)) == 0
    return folder


def arguments(folder: Path) -> list[str]:
    options = {
        "data.prepared": folder / "prepared",
        "data.split": "official",
        "out": folder / "run",
        "data.validation_share": 0.3,
        "data.workers": 1,
        "model.architecture": "simple_cnn",
        "model.size": 64,
        "model.weights": folder / "start.safetensors",
        "model.clahe_clip": 2.0,
        "train.two_stage": "true",
        "train.stage1_epochs": 2,
        "train.epochs": 2,
        "train.lr": 0.05,
        "train.batch_size": 4,
        "train.precision": "fp32",
        "train.device": "cpu",
        "train.bootstrap": 20,
    }
    return [f"--{key}={value}" for key, value in options.items()]


@pytest.mark.slow
def test_both_stages_are_reported_with_their_bundles_one_of_which_is_the_gate(
    folder: Path,
) -> None:
    metrics = json.loads((folder / "run" / "metrics.json").read_text())
    stages = metrics["stages"]
    assert [stage["stage"] for stage in stages] == [1, 2]
    assert [len(metrics["history"]), *(stage["epochs"] for stage in stages)] == [4, 2, 2]
    (chosen,) = [stage for stage in stages if stage["chosen"]]
    assert chosen["bundle"] == "classifier.safetensors"
    assert chosen["best_epoch"] == metrics["best_epoch"]
    assert chosen["test"]["macro_auc"] == metrics["test"]["macro_auc"]
    best = max(stages, key=lambda stage: stage["validation"]["macro_auc"])
    assert best["validation"]["macro_auc"] == chosen["validation"]["macro_auc"]
    for stage in stages:
        auc = metrics["history"][stage["best_epoch"]]["val_auc"]
        assert stage["validation"]["macro_auc"] == pytest.approx(auc)
    page = (folder / "run" / "metrics.md").read_text()
    assert "| 1, head on a frozen backbone | 2 |" in page
    assert "| 2, all layers | 2 |" in page


@pytest.mark.slow
def test_the_gate_equalises_images_as_the_training_did(folder: Path) -> None:
    bundle = load_classifier(folder / "run" / "classifier.safetensors")
    assert bundle.preprocessing.clahe_clip == 2.0
    gate = Gate(bundle, precision="fp32")
    for row in read_gate_table(folder / "run" / "gate.csv"):
        pixels = read_pixels(folder / row.image_id, cv2.IMREAD_GRAYSCALE)
        again = gate([LoadedImage(row.image_id, pixels, (64, 64))])
        assert again.probabilities[0, 0] == pytest.approx(row.probability, abs=1e-5)


@pytest.mark.slow
def test_the_other_stage_is_a_bundle_of_its_own_with_thresholds(folder: Path) -> None:
    metrics = json.loads((folder / "run" / "metrics.json").read_text())
    (other,) = [stage for stage in metrics["stages"] if not stage["chosen"]]
    assert other["bundle"] == f"classifier_stage{other['stage']}.safetensors"
    bundle = load_classifier(folder / "run" / other["bundle"])
    assert bundle.thresholds["Mass"] is not None
    assert bundle.manifest["config"]["train"]["two_stage"] is True
    assert not (folder / "run" / "checkpoints").exists()


@pytest.mark.slow
def test_a_finished_run_is_not_trained_again_nor_with_other_settings(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (folder / "run" / "classifier.safetensors").stat().st_mtime_ns
    assert main(arguments(folder)) == 0
    assert (folder / "run" / "classifier.safetensors").stat().st_mtime_ns == before
    settings = folder / "run" / "settings.json"
    stored = json.loads(settings.read_text())
    stored["train.two_stage"] = False
    settings.write_text(json.dumps(stored))
    assert main(arguments(folder)) == 2
    assert "(train.two_stage was False, now True)" in capsys.readouterr().err
