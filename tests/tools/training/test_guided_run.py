"""A training with boxes: which boxes teach, what the bundle says, what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from cxrloc.classification.bundle.classifier import load_classifier
from cxrloc.classification.bundle.file import read_bundle
from cxrloc.classification.inference.gate import Gate
from cxrloc.datasets.radiograph import Box
from cxrloc.detection.load_diagnoser import load_diagnoser
from cxrloc.localization.cam.guided import GuidedCamLocalizer
from cxrloc.localization.cam.localizer import GradCamLocalizer
from cxrloc.tools.train_classifier import main
from tools.training.small_run import ENTRIES, arguments, drawn_images

GUIDED = (
    "--data.fold=0",
    "--model.architecture=simple_cnn",
    "--train.box_loss_weight=1",
    "--train.weights_average=0.5",
)


def with_boxes(box: tuple[float, float, float, float], *folds: int) -> list[dict[str, Any]]:
    """The images of `drawn_images`, of which those of these folds have another box."""
    images = drawn_images()
    for image in images:
        if image["boxes"] and image["fold"] in folds:
            image["boxes"] = (Box("Mass", box),)
    return images


@pytest.fixture(scope="module")
def train(
    prepared_images: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Path]:
    """`train(images, *options)`: the bundle of fold 0, which trains on fold 2."""

    def bundle(images: list[dict[str, Any]], *more: str) -> Path:
        folder = tmp_path_factory.mktemp("guided")
        prepared = prepared_images(folder, images, **ENTRIES)
        assert main(arguments(prepared, folder / "run", *(more or GUIDED))) == 0
        return folder / "run" / "fold0" / "classifier.safetensors"

    return bundle


@pytest.fixture(scope="module")
def guided(train: Callable[..., Path]) -> Path:
    return train(drawn_images())


@pytest.mark.slow
def test_boxes_of_test_and_validation_images_do_not_change_a_weight(
    train: Callable[..., Path], guided: Path
) -> None:
    elsewhere = (600.0, 600.0, 900.0, 1000.0)
    tensors, metadata = read_bundle(guided)
    unseen = read_bundle(train(with_boxes(elsewhere, 0, 1)))[0]
    seen = read_bundle(train(with_boxes(elsewhere, 2)))[0]
    assert all(torch.equal(tensors[name], unseen[name]) for name in tensors)
    assert not torch.equal(tensors["head.weight"], seen["head.weight"])
    assert metadata["box_supervision"] == {"boxes": 4, "box_loss_weight": 1}


@pytest.mark.slow
def test_a_gate_trained_with_boxes_is_guided_cam_and_never_grad_cam(
    train: Callable[..., Path], guided: Path
) -> None:
    gate = Gate(load_classifier(guided))
    assert GuidedCamLocalizer(gate).name == "guided_cam"
    assert load_diagnoser(guided).cam.name == "guided_cam"
    with pytest.raises(ValueError, match="was trained with boxes, so its maps are not Grad-CAM's"):
        GradCamLocalizer(gate)
    options = (*GUIDED[:2], f"--model.weights={guided}")
    heir = train(drawn_images(), *options)
    supervision = load_classifier(heir).metadata["box_supervision"]
    assert supervision == {"initial_weights": str(guided)}
    assert load_classifier(heir).trained_with_boxes
    plain = load_classifier(train(drawn_images(), *GUIDED[:2]))
    assert plain.metadata["box_supervision"] is None
    with pytest.raises(ValueError, match="guided_cam needs a gate that was trained with boxes"):
        GuidedCamLocalizer(Gate(plain))


def test_a_split_without_boxes_to_learn_from_is_an_error(
    prepared_images: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = drawn_images()
    for image in images:
        image["boxes"] = image["boxes"] if image["fold"] == 0 else ()
    prepared = prepared_images(tmp_path, images, **ENTRIES)
    assert main(arguments(prepared, tmp_path / "run", *GUIDED)) == 2
    message = "none of the 8 training images has a box of Mass, Hernia"
    assert message in capsys.readouterr().err
