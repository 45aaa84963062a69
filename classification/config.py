"""Settings of a classifier training; torch is not imported here, so that `--help` stays quick."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


def _require(ok: bool, key: str, value: object, expected: str) -> None:
    if not ok:
        raise ValueError(f"{key}: got {value!r}, expected {expected}")


@dataclass(frozen=True)
class DataConfig:
    """What is trained on.

    Attributes:
        prepared: folder that tools/prepare_data.py wrote.
        split: folds (patient-wise, from the prepared folder), official (the data set's own test
            list) or sampled (Deep MedIA: at most 5,000 images a disease, 80/10/10 by patient).
        fold: the test fold to run, or all; used with split folds only.
        diseases: names of the outputs, in order; empty takes every disease that has a label.
        cache: folder of the decoded pixels; empty is `pixel_cache` in the prepared folder.
        validation_share: share of the official training patients that validate (split official).
        strict: stop at an unreadable file, which is otherwise named, counted and left out.
        workers: threads that decode films the first time.
        loader_workers: processes that feed batches; 0 is best with the decoded pixels in memory.
    """

    prepared: str = ""
    split: Literal["folds", "official", "sampled"] = "folds"
    fold: int | Literal["all"] = "all"
    diseases: tuple[str, ...] = ()
    cache: str = ""
    validation_share: float = 0.1
    strict: bool = False
    workers: int = 2
    loader_workers: int = 0

    def __post_init__(self) -> None:
        fold_ok = self.fold == "all" or (isinstance(self.fold, int) and self.fold >= 0)
        _require(fold_ok, "data.fold", self.fold, "a fold number from 0, or all")
        repeats = len(set(self.diseases)) == len(self.diseases)
        _require(repeats, "data.diseases", self.diseases, "each disease once")
        share_ok = 0 < self.validation_share < 1
        _require(share_ok, "data.validation_share", self.validation_share, "a share in (0, 1)")
        _require(self.workers >= 1, "data.workers", self.workers, "at least 1")
        _require(self.loader_workers >= 0, "data.loader_workers", self.loader_workers, "0 or more")


@dataclass(frozen=True)
class ModelConfig:
    """The network.

    Attributes:
        architecture: resnet18, resnet34 or resnet50.
        size: side of the square input in pixels, a multiple of 32; the last map is size / 32 wide.
        head: linear, or two_layer (Deep MedIA).
        hidden: width of the two-layer head.
        weights: none, imagenet (torchvision's, by name), or the path of a .safetensors or .pth
            file, which may hold a part of the tensors.
        frozen_stages: leave the stem (1) and layer1 .. layer4 (2 .. 5) as they were loaded.
    """

    architecture: str = "resnet18"
    size: int = 224
    head: Literal["linear", "two_layer"] = "linear"
    hidden: int = 256
    weights: str = "none"
    frozen_stages: int = 0

    def __post_init__(self) -> None:
        size_ok = 64 <= self.size <= 1024 and self.size % 32 == 0
        _require(size_ok, "model.size", self.size, "a multiple of 32 from 64 to 1024")
        _require(self.hidden >= 1, "model.hidden", self.hidden, "at least 1")
        _require(bool(self.weights), "model.weights", self.weights, "none, imagenet or a path")
        _require(0 <= self.frozen_stages <= 5, "model.frozen_stages", self.frozen_stages, "0 to 5")
        pretrained = self.frozen_stages == 0 or self.weights != "none"
        expected = "0 with model.weights none: frozen random layers learn nothing"
        _require(pretrained, "model.frozen_stages", self.frozen_stages, expected)


@dataclass(frozen=True)
class TrainConfig:
    """How it is trained.

    Attributes:
        epochs: at most this many; `patience` may end the run before.
        batch_size: films per step.
        lr: peak learning rate of AdamW.
        weight_decay: of AdamW.
        schedule: one_cycle (warm up, then down), cosine (down) or constant; per step.
        warmup_share: share of the steps that warm up (one_cycle).
        positive_weight_cap: weigh positives by negatives / positives of the training images, at
            most by this; 0 leaves them unweighted.
        small_share: share of the epochs, the first ones, trained at half the input size (quicker).
        patience: epochs without a better validation loss before stopping.
        rotation_degrees, shift, scale, brightness: largest random change of a training film; shift
            as a share of the side, scale and brightness as a share of 1.
        flip: mirror half of the films. Off by default: the heart has a side.
        precision: auto (bf16 where the hardware is fast at it), fp32 or bf16.
        device: auto, cpu, cuda or cuda:N.
        seed: of the start weights, the order of the films and the random changes.
        bootstrap: replicates of the patient bootstrap behind each interval.
    """

    epochs: int = 20
    batch_size: int = 16
    lr: float = 5e-4
    weight_decay: float = 1e-2
    schedule: Literal["one_cycle", "cosine", "constant"] = "one_cycle"
    warmup_share: float = 0.2
    positive_weight_cap: float = 0.0
    small_share: float = 0.0
    patience: int = 20
    rotation_degrees: float = 5.0
    shift: float = 0.05
    scale: float = 0.08
    brightness: float = 0.15
    flip: bool = False
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    device: str = "auto"
    seed: int = 0
    bootstrap: int = 1000

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "patience"):
            _require(getattr(self, name) >= 1, f"train.{name}", getattr(self, name), "at least 1")
        _require(self.lr > 0, "train.lr", self.lr, "more than 0")
        for name in ("warmup_share", "small_share", "shift", "scale", "brightness"):
            value = getattr(self, name)
            _require(0 <= value < 1, f"train.{name}", value, "a share in [0, 1)")
        for name in (
            "weight_decay",
            "positive_weight_cap",
            "rotation_degrees",
            "bootstrap",
            "seed",
        ):
            value = getattr(self, name)
            _require(value >= 0, f"train.{name}", value, "0 or more")


@dataclass(frozen=True)
class ClassifierConfig:
    """A whole classifier run.

    Attributes:
        out: run folder; a run that was killed goes on there with the same command.
        data, model, train: see their classes.
    """

    out: str = "runs/classifier"
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
