"""train_classifier.py on images with uncertain and blank labels, by each policy."""

from __future__ import annotations

import json
import math
from pathlib import Path

import cv2
import numpy as np
import pytest

from cxrloc.classification.bundle.classifier import load_classifier
from cxrloc.classification.config import ClassifierConfig, DataConfig, ModelConfig
from cxrloc.classification.inference.gate import Gate
from cxrloc.classification.runs.run import open_run
from cxrloc.datasets.label_policies import POLICIES
from cxrloc.datasets.prepared.folder import write_prepared
from cxrloc.datasets.radiograph import LoadedImage, Radiograph
from cxrloc.localization.cam.localizer import GradCamLocalizer
from cxrloc.tools.train_classifier import main

NAN = math.nan
# cardiomegaly and its parent of the images in turn; every fourth is uncertain of the first
LABELS = ((1.0, NAN), (0.0, 0.0), (NAN, 0.0), (0.0, NAN))


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 images of 12 patients, official split: 8 images are test images."""
    folder = tmp_path_factory.mktemp("images")
    rng, images, folds = np.random.default_rng(0), [], {}
    for n in range(24):
        pixels = rng.integers(0, 100, (64, 64), dtype=np.uint8)
        pixels[8:40, 8:24] += np.uint8(100 * (n % 4 == 0))
        path = folder / f"{n:02d}.png"
        cv2.imwrite(str(path), pixels)
        labels = dict(
            zip(("Cardiomegaly", "Enlarged Cardiomediastinum"), LABELS[n % 4], strict=True)
        )
        uncertain = ("Cardiomegaly",) if n % 4 == 2 else ()
        images.append(
            Radiograph(
                path.name, path, f"p{n // 2}", "PA", labels, (), (64, 64), uncertain=uncertain
            )
        )
        folds[path.name] = n // 2 % 3
    write_prepared(
        folder / "prepared",
        images,
        boxed_diseases=("Cardiomegaly",),
        folds=folds,
        k=3,
        official={r.image_id: "test" if n < 8 else "train_val" for n, r in enumerate(images)},
        summary="",
        manifest={},
    )
    return folder / "prepared"


def arguments(prepared: Path, out: Path, policy: str, *more: str) -> list[str]:
    options = {
        "data.prepared": prepared,
        "data.split": "official",
        "data.validation_share": 0.3,
        "data.workers": 1,
        "data.uncertain": policy,
        "data.blank": "negative",
        "data.closure": "true",
        "out": out,
        "model.architecture": "simple_cnn",
        "model.size": 64,
        "train.epochs": 2,
        "train.batch_size": 8,
        "train.precision": "fp32",
        "train.device": "cpu",
        "train.bootstrap": 20,
    }
    return [*(f"--{key}={value}" for key, value in options.items()), *more]


@pytest.mark.parametrize("policy", POLICIES)
def test_every_policy_trains_and_scores_certain_labels_alone(
    policy: str, prepared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments(prepared, tmp_path, policy)) == 0
    assert f"Uncertain labels: {policy} in training" in capsys.readouterr().out
    metrics = json.loads((tmp_path / "metrics.json").read_text())["test"]["diseases"]
    assert (metrics["Cardiomegaly"]["positives"], metrics["Cardiomegaly"]["known"]) == (2, 6)
    # every image with cardiomegaly has its parent too, blank ones have none
    parent = metrics["Enlarged Cardiomediastinum"]
    assert (parent["positives"], parent["known"]) == (2, 8)
    manifest = load_classifier(tmp_path / "classifier.safetensors").manifest
    assert manifest["labels"]["Enlarged Cardiomediastinum"]["raised_blank"] == 6
    assert manifest["labels"]["Cardiomegaly"]["uncertain"] == 6
    assert manifest["config"]["data"]["uncertain"] == policy


def test_gate_and_cam_of_three_classes_have_one_output_a_disease(
    prepared: Path, tmp_path: Path
) -> None:
    assert main(arguments(prepared, tmp_path, "three_class", "--train.epochs=1")) == 0
    bundle = load_classifier(tmp_path / "classifier.safetensors")
    image = LoadedImage(
        "a", np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8), (64, 64)
    )
    gate = Gate(bundle)
    assert gate([image]).probabilities.shape == (1, 2)
    boxes = GradCamLocalizer(gate).localize([image], ["Cardiomegaly"]).boxes
    assert {box.disease for box in boxes} <= {"Cardiomegaly"}


def test_a_hierarchy_trains_the_parent_first_and_is_reported_as_one_network(
    prepared: Path, tmp_path: Path
) -> None:
    more = "--train.epochs=1", "--train.hierarchy=parents_first"
    assert main(arguments(prepared, tmp_path, "ones", *more)) == 0
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert [entry["stage"] for entry in metrics["history"]] == [1, 2]
    assert metrics["best_epoch"] == 1
    assert "stages" not in metrics


def test_a_folder_begun_with_another_policy_is_not_gone_on_with(
    prepared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments(prepared, tmp_path, "ones", "--train.epochs=1")) == 0
    assert main(arguments(prepared, tmp_path, "zeros", "--train.epochs=1")) == 2
    assert "data.uncertain was 'ones', now 'zeros'" in capsys.readouterr().err


def test_the_policy_is_for_training_images_alone(prepared: Path) -> None:
    data = DataConfig(prepared=str(prepared), uncertain="ones", workers=1)
    run = open_run(ClassifierConfig(data=data, model=ModelConfig(size=64)))
    ids = ["00.png", "01.png", "02.png", "03.png"]
    assert run.training_images(ids).labels[:, 0].tolist() == [1, 0, 1, 0]
    np.testing.assert_array_equal(run.images(ids).labels[:, 0], [1, 0, NAN, 0])
    np.testing.assert_array_equal(run.images(ids).labels[:, 1], [NAN, 0, 0, NAN])


def test_three_classes_refuse_a_loss_of_two(prepared: Path, tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(arguments(prepared, tmp_path, "three_class", "--train.loss=focal"))
    assert stopped.value.code == 2
