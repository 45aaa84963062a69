"""Train a classifier, in one stage or with a frozen backbone first and then all layers.

One stage keeps the epoch that is best by `train.monitor`. Two stages each keep the epoch with the
highest macro AUC on the validation images, and the second starts from the first's best.
`train.hierarchy` uses two stages of another kind: see
`cxrloc.classification.training.label_hierarchy`.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import lightning as L
import numpy as np
import torch

from cxrloc.classification.bundle.file import read_bundle, write_bundle
from cxrloc.classification.bundle.preprocessing import Preprocessing
from cxrloc.classification.config import ClassifierConfig
from cxrloc.classification.network.backbones import STAGES
from cxrloc.classification.network.classifier import ChestClassifier
from cxrloc.classification.training.batches import (
    ImageBatches,
    fit_preprocessing,
    make_loader,
)
from cxrloc.classification.training.distributed import (
    member,
    run_on_rank_zero,
)
from cxrloc.classification.training.fit import History, best_entry, fit
from cxrloc.classification.training.gate_training import GateTraining, macro_auc
from cxrloc.classification.training.label_hierarchy import (
    child_labels,
    children_config,
    select_diseases,
    top_labels,
)
from cxrloc.classification.training.losses.labels import make_loss
from cxrloc.classification.training.samplers import make_order
from cxrloc.classification.training.sync_batch_norm import (
    own_batch_statistics,
)
from cxrloc.classification.training.trainer import Folders


@dataclass(frozen=True)
class Trained:
    """A network at its best epoch (evaluation mode, on the CPU), with its training history.

    Attributes:
        model: network at `best_epoch`.
        preprocessing: preprocessing used in training.
        history: figures of all epochs, numbered from 0 and, with two stages, across both.
        best_epoch: number of the kept epoch.
        stages: with two stages, the best of each in order; one of them is `model` (by validation
            AUC, the first unless the second is better). Empty with one stage.
    """

    model: ChestClassifier
    preprocessing: Preprocessing
    history: History
    best_epoch: int
    stages: tuple[Trained, ...] = ()


def train(
    model: ChestClassifier,
    parts: tuple[ImageBatches, ImageBatches],
    config: ClassifierConfig,
    folder: Path,
) -> Trained:
    """Train to the end, resuming from the last finished epoch of an interrupted run.

    Args:
        model: with its initial weights; changed in place.
        parts: training and validation images.
        config: configuration of the run.
        folder: logs and, until `forget_checkpoints`, the state of the run.

    Raises:
        ValueError: for a part without images or labels; for two stages, validation images without
            an AUC.
        KeyboardInterrupt: if the user interrupted it.
    """
    _check_parts(*parts)
    state = Folders.under(folder).state
    preprocessing = run_on_rank_zero(fit_preprocessing, config.model, parts[0], state)
    if config.train.hierarchy == "parents_first":
        return _parents_first(model, parts, config, preprocessing, folder)
    if config.train.two_stage or config.train.monitor == "val_auc":
        _check_auc(parts[1])
    if not config.train.two_stage:
        monitor, folders = config.train.monitor, Folders.under(folder)
        return _stage(model, parts, config, preprocessing, monitor, folders)
    stages = []
    for number, settings in enumerate(stage_configs(config), start=1):
        print(f"stage {number} of 2: {'the head' if number == 1 else 'all layers'}", flush=True)
        folders = Folders.under(folder, f"stage{number}")
        stage = _stage(model, parts, settings, preprocessing, "val_auc", folders)
        stages.append(replace(stage, model=copy.deepcopy(stage.model)))
    return joined(stages)


def _parents_first(
    model: ChestClassifier,
    parts: tuple[ImageBatches, ImageBatches],
    config: ClassifierConfig,
    preprocessing: Preprocessing,
    folder: Path,
) -> Trained:
    top, below = top_labels(parts[0].diseases), child_labels(parts[0].diseases)
    history: History = []
    for number, (labels, settings) in enumerate(
        ((top, config), (below, children_config(config))), start=1
    ):
        images = select_diseases(parts[0], labels), select_diseases(parts[1], labels)
        _check_parts(*images)
        print(f"stage {number} of 2: {', '.join(labels)}", flush=True)
        folders = Folders.under(folder, f"stage{number}")
        stage = _stage(model, images, settings, preprocessing, "val_loss", folders)
        start = len(history)
        history += [{**e, "epoch": start + i, "stage": number} for i, e in enumerate(stage.history)]
    best = start + stage.history.index(best_entry(stage.history, "val_loss"))
    return Trained(stage.model, preprocessing, history, best)


def stage_configs(config: ClassifierConfig) -> tuple[ClassifierConfig, ClassifierConfig]:
    """Settings of the first stage (whole backbone frozen) and the second (lower rate)."""
    head_train = replace(config.train, epochs=config.train.stage1_epochs)
    second = replace(config.train, lr=config.train.stage2_lr)
    frozen = replace(config.model, frozen_stages=STAGES)
    return replace(config, model=frozen, train=head_train), replace(config, train=second)


def joined(stages: Sequence[Trained]) -> Trained:
    """Join two stages: epochs numbered across both, the better validation AUC chosen."""
    history: History = []
    numbered = []
    for number, stage in enumerate(stages, start=1):
        start = len(history)
        history += [{**e, "epoch": start + i, "stage": number} for i, e in enumerate(stage.history)]
        best = start + stage.history.index(best_entry(stage.history, "val_auc"))
        numbered.append(replace(stage, history=history[start:], best_epoch=best))
    chosen = max(numbered, key=lambda stage: history[stage.best_epoch]["val_auc"])
    return replace(chosen, history=history, stages=tuple(numbered))


def _stage(
    model: ChestClassifier,
    parts: tuple[ImageBatches, ImageBatches],
    config: ClassifierConfig,
    preprocessing: Preprocessing,
    monitor: str,
    folders: Folders,
) -> Trained:
    finished = folders.state / "trained.safetensors"
    if not run_on_rank_zero(finished.is_file):
        best, history = _fit(model, parts, config, preprocessing, monitor, folders)
        run_on_rank_zero(write_bundle, finished, best, {"kind": "stage", "history": history})
    tensors, metadata = read_bundle(finished, "stage")
    own_batch_statistics(model)
    model.load_state_dict(tensors)
    history = metadata["history"]
    best_epoch = int(best_entry(history, monitor)["epoch"])
    return Trained(model.eval(), preprocessing, history, best_epoch)


def _fit(
    model: ChestClassifier,
    parts: tuple[ImageBatches, ImageBatches],
    config: ClassifierConfig,
    preprocessing: Preprocessing,
    monitor: str,
    folders: Folders,
) -> tuple[dict[str, torch.Tensor], History]:
    (images, validation), settings = parts, config.train
    L.seed_everything(settings.seed, verbose=False)
    size, workers = settings.batch_size, config.data.loader_workers
    order = make_order(images.labels, settings, images.groups)
    loader = make_loader(images, size, order, workers, member(), settings.epoch_steps)
    module = GateTraining(
        model,
        preprocessing,
        settings,
        len(loader.sampler),  # type: ignore[arg-type]
        make_loss(settings, images.labels, config.data.uncertain == "three_class"),
        config.model.frozen_stages,
    )
    loaders = loader, make_loader(validation, size, workers=workers, member=member())
    return fit(module, loaders, settings, monitor, folders)


def _check_parts(images: ImageBatches, validation: ImageBatches) -> None:
    for part, name in ((images, "training"), (validation, "validation")):
        if not len(part) or np.isnan(part.labels).all():
            raise ValueError(f"the {name} part has {len(part)} images but no known label")


def _check_auc(validation: ImageBatches) -> None:
    if macro_auc(validation.labels, np.zeros(validation.labels.shape)) is None:
        raise ValueError(
            "train.two_stage and train.monitor val_auc choose by the validation AUC, but no "
            f"disease has a positive and a negative among the {len(validation)} validation images; "
            "use more images, or one stage and val_loss"
        )
