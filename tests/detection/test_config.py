"""Settings of a detector refuse what cannot work, and say what would."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from cxrloc.detection.config import DetectorConfig, Init, ModelConfig, TrainConfig, resolve_init
from cxrloc.detection.run_config import DataConfig, MaskRCNNConfig


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"fpn_levels": (2, 4)}, "neighbouring levels"),
        ({"fpn_levels": (1, 2)}, "levels 2 .* to 5"),
        ({"anchor_sizes": (0.1, 0.2)}, "expected 5 values or a multiple"),
        ({"anchor_sizes": (0.1, 0.2, 0.4, 0.3, 0.5)}, "ascending values, finest level first"),
        ({"anchor_sizes": (0.1, 0.2, 0.3, 0.4, 32.0)}, "fractions of the square's side"),
        ({"weights": "coco"}, "resnet50 only"),
        ({"weights": "gate"}, "needs model.gate"),
        ({"frozen_stages": 2}, "freeze random filters"),
        (
            {"architecture": "efficientnet_lite0", "norm": "group"},
            "norm group: expected batch, fro",
        ),
        ({"frozen_stages": 6, "weights": "coco", "architecture": "resnet50"}, "0 .* to 5"),
    ],
)
def test_a_network_that_cannot_work_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ModelConfig(**values)


def test_a_level_may_have_several_anchors() -> None:
    sizes = (0.1, 0.2, 0.25, 0.3, 0.5, 1.0)
    model = ModelConfig(fpn_levels=(4, 5), anchor_sizes=sizes)
    assert model.anchor_sides(100) == [(10, 20), (25, 30), (50, 100)]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"weights_average": 1.0}, r"train.weights_average: got 1.0, expected a share in \[0, 1"),
        ({"patience": -1}, "train.patience: got -1"),
        ({"validate_every": 0}, "train.validate_every: got 0"),
        ({"epochs": 0}, "train.epochs: got 0"),
        ({"lr": math.nan}, "train.lr: got nan, expected more than 0"),
        ({"lr": 1e308}, "train.lr: got 1e[+]308"),
        ({"clip_norm": math.inf}, "train.clip_norm: got inf"),
    ],
)
def test_a_training_that_cannot_work_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TrainConfig(**values)


def test_early_stopping_needs_validation_images_and_a_backend_that_can() -> None:
    patient = TrainConfig(patience=2)
    with pytest.raises(ValueError, match=r"patience 2: without validation images"):
        _run(train=patient)
    data = DataConfig(prepared="p", validation=True)
    assert _run(train=patient, data=data).train.patience == 2
    with pytest.raises(ValueError, match=r"patience 2: the detectron2 backend trains to the end"):
        _run(train=patient, data=data, backend="detectron2")


def test_batch_norm_is_trained_from_scratch_and_frozen_with_weights() -> None:
    assert ModelConfig().resolved_norm() == "batch"
    assert ModelConfig(weights="gate", gate="g").resolved_norm() == "frozen"
    assert ModelConfig(norm="group").resolved_norm() == "group"


@pytest.mark.parametrize("size", [32, 300, 2048])
def test_a_size_that_the_network_cannot_take_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match="multiple of 32 from 64 to 1024"):
        DetectorConfig(size=size)


def test_detectron2_has_no_lite0() -> None:
    model = ModelConfig("efficientnet_lite0")
    with pytest.raises(ValueError, match="efficientnet_lite0: expected resnet18 or resnet50 with"):
        DetectorConfig(backend="detectron2", model=model)


def test_the_gate_of_the_same_fold_is_taken(tmp_path: Path) -> None:
    for fold in (0, 1):
        (tmp_path / f"fold{fold}").mkdir()
        (tmp_path / f"fold{fold}" / "classifier.safetensors").touch()
    model = ModelConfig(weights="gate", gate=str(tmp_path))
    assert resolve_init(model, 1) == Init("gate", tmp_path / "fold1" / "classifier.safetensors")


def test_a_single_bundle_serves_as_gate(tmp_path: Path) -> None:
    (tmp_path / "one.safetensors").touch()
    model = ModelConfig(weights="gate", gate=str(tmp_path / "one.safetensors"))
    assert resolve_init(model, 1).path == tmp_path / "one.safetensors"


def test_missing_weights_stop_the_run_and_never_become_random_ones(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="never means random weights"):
        resolve_init(ModelConfig(weights=str(tmp_path / "no.pth")), 0)
    with pytest.raises(FileNotFoundError, match=r"classifier\.safetensors"):
        resolve_init(ModelConfig(weights="gate", gate=str(tmp_path)), 0)


def _run(**values: Any) -> MaskRCNNConfig:
    return MaskRCNNConfig(**{"out": "o", "data": DataConfig(prepared="p"), **values})


def test_folds_are_all_or_those_asked_for() -> None:
    assert _run().test_folds(5) == (0, 1, 2, 3, 4)
    assert _run(folds=3).test_folds(3) == (0, 1, 2)
    assert _run(data=DataConfig(prepared="p", folds=[2, 0])).test_folds(3) == (2, 0)


def test_folds_that_do_not_exist_are_refused() -> None:
    with pytest.raises(ValueError, match="prepared with 5 folds"):
        _run(folds=3).test_folds(5)
    with pytest.raises(ValueError, match=r"data\.folds \[5\].*0 to 4"):
        _run(data=DataConfig(prepared="p", folds=[5])).test_folds(5)


def test_a_run_needs_its_folders() -> None:
    with pytest.raises(ValueError, match="out is empty"):
        MaskRCNNConfig(data=DataConfig(prepared="p"))
    with pytest.raises(ValueError, match=r"data\.prepared is empty"):
        MaskRCNNConfig(out="o")


def test_the_official_split_has_one_detector_and_no_folds() -> None:
    official = DataConfig(prepared="p", split="official")
    assert _run(data=official).test_folds(5) == (None,)
    with pytest.raises(ValueError, match=r"folds 5: data\.split official has no folds; omit it"):
        _run(data=official, folds=5)
    with pytest.raises(ValueError, match=r"data.folds \[0\]: data.split official has no folds"):
        DataConfig(prepared="p", split="official", folds=[0])
