"""Share code between the backends' trainings: identity of a run, checks, and the optimizer."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from cxrloc.classification.bundle.file import read_metadata
from cxrloc.datasets.files.manifest import file_sha256, run_manifest
from cxrloc.detection.config import DetectorConfig, Init, TrainConfig
from cxrloc.detection.data import DetectionSet, class_counts


def run_mark(
    config: DetectorConfig,
    train_set: DetectionSet,
    validation_set: DetectionSet | None,
    init: Init,
) -> str:
    """Hash of everything that determines a detector's weights: settings, boxes, initial weights."""
    settings = dataclasses.asdict(config)
    for part, name in (
        ("train", "checkpoint_every"),
        ("train", "threads"),
        ("model", "vote_threshold"),
    ):
        settings[part].pop(name)
    sets = [
        [
            [r.image_id, [(b.disease, *b.box_xyxy, *b.polygons) for b in r.boxes]]
            for r in images.radiographs
        ]
        for images in (train_set, validation_set)
        if images is not None
    ]
    start = [init.kind, init.path and file_sha256(init.path)]
    return fingerprint(settings, sets, train_set.negatives, start)


def is_finished(bundle: Path, mark: str) -> bool:
    """Whether the run with this `run_mark` has already written its bundle.

    Raises:
        ValueError: if the bundle belongs to another run.
    """
    if not bundle.is_file():
        return False
    if read_metadata(bundle, "maskrcnn").get("fingerprint") != mark:
        raise ValueError(
            f"{bundle} was trained with another config or other images; choose another out folder, "
            "or delete it to train again"
        )
    return True


def check_images(train_set: DetectionSet) -> None:
    """Refuse to train without images.

    Raises:
        ValueError: if there is no radiograph.
    """
    if not len(train_set):
        raise ValueError("no training image: no radiograph of the training folds has a box")


def training_facts(
    config: DetectorConfig,
    train_set: DetectionSet,
    mark: str,
    report: object,
    started: float,
    folder: Path,
) -> dict[str, Any]:
    """Facts about the training for the bundle, whichever backend made it.

    Args:
        mark: result of `run_mark`.
        report: report on the initial weights; its first line is kept.
        started: seconds since the epoch.
        folder: of the bundle.
    """
    manifest = run_manifest(
        config, seed=config.seed, hashes={"run": mark}, started=started, folder=folder
    )
    return {
        "fingerprint": mark,
        "train_boxes": dict(class_counts(train_set)),
        "train_images": len(train_set),
        "weights": str(report).splitlines()[0],
        "manifest": manifest,
    }


@dataclass
class Best:
    """The best validation so far, and how many have been worse since then."""

    score: float = -math.inf
    step: int = -1
    worse: int = 0

    def better(self, score: float, step: int) -> bool:
        """Record a validation at this step; returns whether it is the best."""
        if score <= self.score:
            self.worse += 1
            return False
        self.score, self.step, self.worse = score, step, 0
        return True

    def stops(self, config: TrainConfig) -> bool:
        """Whether the training has waited long enough for a better validation."""
        return bool(config.patience) and self.worse >= config.patience


def kept(best: Best, config: TrainConfig) -> dict[str, Any]:
    """Facts for the bundle about which weights it holds."""
    average = {"weights_average": config.weights_average} if config.weights_average else {}
    if best.step < 0:
        return {"kept": "last", **average}
    chosen = {"kept": f"best of validation, step {best.step}", "validation_ap": best.score}
    return {**chosen, **average}


@contextmanager
def torch_threads(number: int) -> Iterator[None]:
    """Let torch compute with this many threads (0 keeps its default) and restore them afterwards.

    The number of threads changes the order of sums, so a later training in this process would not
    reproduce the figures of a separate process.
    """
    before = torch.get_num_threads()
    if number:
        torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def seed_step(config: DetectorConfig, step: int) -> None:
    """Seed the network's random draws of this step, so that a resumed run repeats them."""
    torch.manual_seed(config.seed * 1_000_003 + step)


def check_architecture(init: Init, architecture: str) -> None:
    """Refuse a gate with another architecture than the detector's.

    Raises:
        FileNotFoundError, ValueError: for a missing or unreadable gate, or another architecture.
    """
    if init.kind != "gate" or init.path is None:
        return
    trained = read_metadata(init.path, "classifier")["architecture"]
    if trained != architecture:
        raise ValueError(
            f"{init.path} is a {trained}, but model.architecture is {architecture}; set it to match"
        )


def check_gate(path: Path, fold: int | None, folds_sha256: str) -> None:
    """Refuse a classifier trained on images of the detector's test fold.

    Args:
        fold: None for the official split, which asks for a gate without a fold.

    Raises:
        ValueError: for the bundle of another fold, of other folds, or of unknown ones.
    """
    metadata = read_metadata(path, "classifier")
    gate_fold = metadata.get("fold")
    if gate_fold is None:
        print(f"{path} belongs to no fold: make sure that it was not trained on boxed images")
        return
    if fold is None:
        raise ValueError(
            f"{path} was trained with test fold {gate_fold}, on images of the official test part; "
            "set model.gate to a gate trained with data.split official"
        )
    if gate_fold != fold:
        raise ValueError(
            f"{path} was trained with test fold {gate_fold}, on images used to test fold {fold}; "
            "set model.gate to the run folder with all folds"
        )
    made_with = metadata.get("manifest", {}).get("hashes", {}).get("folds")
    if made_with is None:
        raise ValueError(f"{path} states no hash of its training folds; train it again")
    if made_with != folds_sha256:
        raise ValueError(
            f"{path} was trained with other folds than this prepared folder's; train the gate "
            "on it again"
        )


def fingerprint(*parts: Any) -> str:
    """Hex SHA-256 of JSON-ready values."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def make_optimizer(
    model: nn.Module, config: TrainConfig, body: nn.Module | None = None
) -> torch.optim.Optimizer:
    """AdamW or SGD; biases and norms do not decay; `body` learns at `backbone_lr_factor`."""
    in_body = {id(p) for p in body.parameters()} if body is not None else set()
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for parameter in model.parameters():
        if parameter.requires_grad:
            key = (id(parameter) in in_body, parameter.ndim > 1)
            groups.setdefault(key, []).append(parameter)
    settings = [
        {
            "params": parameters,
            "lr": config.lr * (config.backbone_lr_factor if slow else 1.0),
            "weight_decay": config.weight_decay if decays else 0.0,
        }
        for (slow, decays), parameters in groups.items()
    ]
    if config.optimizer == "sgd":
        return torch.optim.SGD(settings, lr=config.lr, momentum=0.9)
    return torch.optim.AdamW(settings, lr=config.lr, fused=True)
