"""Settings: bad values name their key; tests/configs/test_configs.py tries those of configs/."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from typing import Any, get_args

import pytest

from cxrloc.classification.choices import Architecture, Loss, Optimizer, Sampler
from cxrloc.classification.config import ClassifierConfig, DataConfig, ModelConfig
from cxrloc.classification.network.backbones import ARCHITECTURES
from cxrloc.classification.train_config import TrainConfig
from cxrloc.classification.training.losses.labels import LOSSES
from cxrloc.classification.training.optimization import OPTIMIZERS
from cxrloc.classification.training.samplers import SAMPLERS
from cxrloc.configs.command_line import load_config


def guided(**model: Any) -> ClassifierConfig:
    return ClassifierConfig(model=ModelConfig(**model), train=TrainConfig(box_loss_weight=1))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: ModelConfig(size=230), r"model\.size: got 230, expected a multiple of 32"),
        (
            lambda: ModelConfig(architecture="resnet19"),  # type: ignore[arg-type]
            r"model\.architecture: got 'resnet19', expected one of resnet18, .*, conv4$",
        ),
        (lambda: ModelConfig(frozen_stages=2), r"model\.frozen_stages: got 2, expected 0 with"),
        (lambda: TrainConfig(lr=0), r"train\.lr: got 0, expected more than 0"),
        (lambda: TrainConfig(small_share=1), r"train\.small_share: got 1, expected a share"),
        (
            lambda: TrainConfig(loss="dice"),  # type: ignore[arg-type]
            r"train\.loss: got 'dice', expected one of auto, bce, bce_weighted, bce_two_sided",
        ),
        (
            lambda: TrainConfig(optimizer="lion"),  # type: ignore[arg-type]
            r"train\.optimizer: got 'lion', expected one of adamw, adam, sgd",
        ),
        (
            lambda: TrainConfig(schedule="poly"),  # type: ignore[arg-type]
            r"train\.schedule: .* one of one_cycle, .* reduce_on_plateau, triangular, triangular2",
        ),
        (
            lambda: TrainConfig(sampler="random"),  # type: ignore[arg-type]
            r"train\.sampler: got 'random', expected one of uniform, inverse_frequency, capped",
        ),
        (
            lambda: TrainConfig(loss="focal", positive_weight_cap=5),
            r"train\.positive_weight_cap: got 5, expected 0 with train\.loss focal; bce_weighted",
        ),
        (
            lambda: TrainConfig(class_weight_bias=5),
            r"train\.class_weight_bias: got 5, expected 0 with train\.loss auto; bce_two_sided",
        ),
        (lambda: TrainConfig(focal_alpha=1), r"train\.focal_alpha: got 1, expected a share in"),
        (lambda: TrainConfig(stage2_lr=0), r"train\.stage2_lr: got 0, expected more than 0"),
        (lambda: ModelConfig(clahe_clip=-1), r"model\.clahe_clip: got -1, expected 0 \(off\) or"),
        (
            lambda: ClassifierConfig(
                train=TrainConfig(hierarchy="parents_first", monitor="val_auc")
            ),
            r"train\.monitor: got 'val_auc', expected val_loss with train\.two_stage or",
        ),
        (
            lambda: ClassifierConfig(train=TrainConfig(two_stage=True)),
            r"train\.two_stage: got True, expected false with model\.weights none",
        ),
        (
            lambda: TrainConfig(weights_average=1.0),
            r"train\.weights_average: got 1\.0, expected a share in \[0, 1\)",
        ),
        (
            lambda: ClassifierConfig(train=TrainConfig(box_inside_weight=2)),
            r"train\.box_inside_weight: got 2, expected 5 with train\.box_loss_weight 0",
        ),
        (lambda: guided(head="two_layer"), r"box_loss_weight: got 1, expected 0 with model\.head"),
        (lambda: guided(architecture="convnext_tiny"), r"box_loss_weight: .* whose cells have no"),
        (lambda: guided(demographics=("age",)), r"box_loss_weight: .* with model\.demographics"),
        (lambda: DataConfig(fold=-1), r"data\.fold: got -1, expected a fold number from 0, or all"),
        (lambda: DataConfig(diseases=("Mass", "Mass")), r"data\.diseases: .* each disease once"),
    ],
)
def test_a_bad_value_names_its_key(build: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()  # type: ignore[operator]


@pytest.mark.parametrize(
    ("key", "value", "choices"),
    [
        ("train.sampler", "random", ("uniform", "inverse_frequency", "capped")),
        ("model.architecture", "resnet19", ("resnet18", "densenet161", "simple_cnn")),
    ],
)
def test_an_unknown_choice_ends_with_status_2_its_key_and_the_choices(
    capsys: pytest.CaptureFixture[str], key: str, value: str, choices: tuple[str, ...]
) -> None:
    with pytest.raises(SystemExit) as stop:
        load_config(ClassifierConfig, [f"--{key}", value])
    assert stop.value.code == 2
    message = capsys.readouterr().err
    for word in (key, *choices):
        assert word in message


@pytest.mark.parametrize(
    ("choices", "registry"),
    [
        (Architecture, ARCHITECTURES),
        (Loss, {"auto": None, **LOSSES}),
        (Optimizer, OPTIMIZERS),
        (Sampler, SAMPLERS),
    ],
)
def test_the_choices_of_a_setting_are_the_keys_of_its_registry(
    choices: Any, registry: Mapping[str, object]
) -> None:
    assert set(get_args(choices)) == set(registry)


def test_an_unknown_key_ends_with_status_2_and_its_name(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as stop:
        load_config(ClassifierConfig, ["--train.learning_rate", "1"])
    assert stop.value.code == 2
    assert "train.learning_rate" in capsys.readouterr().err


def test_the_settings_can_be_read_without_torch() -> None:
    code = "import sys, cxrloc.classification.config; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
