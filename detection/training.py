"""What trainings of both backends share: their run's identity, a check, and the optimizer."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from torch import nn

from cxrloc.classification.bundle.file import read_bundle
from cxrloc.datasets.files.manifest import file_sha256
from cxrloc.detection.config import DetectorConfig, Init, TrainConfig
from cxrloc.detection.data import DetectionSet


def run_mark(
    config: DetectorConfig,
    train_set: DetectionSet,
    validation_set: DetectionSet | None,
    init: Init,
) -> str:
    """Hash of everything that decides a detector's weights: settings, boxes, first weights."""
    settings = dataclasses.asdict(config)
    for part, name in (
        ("train", "checkpoint_every"),
        ("train", "threads"),
        ("model", "vote_threshold"),
    ):
        settings[part].pop(name)
    sets = [
        [[r.image_id, [(b.disease, *b.box_xyxy) for b in r.boxes]] for r in images.radiographs]
        for images in (train_set, validation_set)
        if images is not None
    ]
    return fingerprint(settings, sets, [init.kind, init.path and file_sha256(init.path)])


def is_finished(bundle: Path, mark: str) -> bool:
    """Whether the run of this `run_mark` has already written its bundle.

    Raises:
        ValueError: when the bundle is that of another run.
    """
    if not bundle.is_file():
        return False
    if read_bundle(bundle, "maskrcnn")[1].get("fingerprint") != mark:
        raise ValueError(
            f"{bundle} was trained with another config or other images; choose another out folder, "
            "or delete it to train again"
        )
    return True


def check_gate(path: Path, fold: int, folds_sha256: str) -> None:
    """Refuse a classifier that has been trained on images of the detector's test fold.

    Raises:
        ValueError: for the bundle of another fold, or of other folds.
    """
    metadata = read_bundle(path, "classifier")[1]
    gate_fold = metadata.get("fold")
    if gate_fold is None:
        print(f"{path} belongs to no fold: make sure that its training images hold no boxed image")
        return
    if gate_fold != fold:
        raise ValueError(
            f"{path} was trained with test fold {gate_fold}, on images that fold {fold} is "
            "tested on; set model.gate to the run folder with all folds"
        )
    made_with = metadata.get("manifest", {}).get("hashes", {}).get("folds", folds_sha256)
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
