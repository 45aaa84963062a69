"""One classifier training: in one stage, or a head on a frozen backbone first and then all layers.

One stage keeps the epoch with the lowest validation loss. Two stages keep the epoch with the
highest macro AUC on the validation images in each, and the second starts from the best of the
first. `train.hierarchy` has two stages of another kind: see
`cxrloc.classification.training.label_hierarchy`.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from cxrloc.classification.bundle.file import read_bundle, write_bundle
from cxrloc.classification.bundle.preprocessing import Preprocessing
from cxrloc.classification.config import ClassifierConfig, TrainConfig
from cxrloc.classification.metrics.ranking import classifier_metrics
from cxrloc.classification.network.backbones import ARCHITECTURES, STAGES
from cxrloc.classification.network.classifier import ChestClassifier
from cxrloc.classification.network.precision import resolve_device
from cxrloc.classification.training.batches import (
    Batch,
    ImageBatches,
    augment,
    fit_preprocessing,
    make_loader,
)
from cxrloc.classification.training.distributed import (
    gather,
    mean_over_ranks,
    member,
    run_on_rank_zero,
)
from cxrloc.classification.training.fit import History, best_entry, fit
from cxrloc.classification.training.label_hierarchy import (
    child_labels,
    children_config,
    only,
    top_labels,
)
from cxrloc.classification.training.losses import LabelLoss, make_loss
from cxrloc.classification.training.optimization import make_optimizer, make_schedule
from cxrloc.classification.training.samplers import make_order
from cxrloc.classification.training.sync_batch_norm import (
    own_batch_statistics,
    share_batch_statistics,
)
from cxrloc.classification.training.trainer import Folders


@dataclass(frozen=True)
class Trained:
    """A network at its best epoch (evaluation mode, on the CPU), and how it came there.

    Attributes:
        model: at `best_epoch`.
        history: figures of all epochs, numbered from 0 and, of two stages, through both.
        best_epoch: number of the epoch that was kept.
        stages: of two, the best of each in order; one of them is `model` (by validation AUC, the
            first where the second is no better). Empty where there are no stages.
    """

    model: ChestClassifier
    history: History
    best_epoch: int
    stages: tuple[Trained, ...] = ()


class GateTraining(L.LightningModule):
    """Loss, random changes, optimizer and schedule around a `ChestClassifier`."""

    def __init__(
        self,
        model: ChestClassifier,
        preprocessing: Preprocessing,
        config: TrainConfig,
        steps_per_epoch: int,
        loss: LabelLoss | None = None,
        frozen_stages: int = 0,
    ) -> None:
        super().__init__()
        if member().world_size > 1:
            share_batch_statistics(model, resolve_device(config.device).type)
        # an earlier stage leaves it in evaluation mode, and Lightning as it finds it
        self.model = model.train().to(memory_format=torch.channels_last)
        self.preprocessing = preprocessing
        self.config = config
        self.steps_per_epoch = steps_per_epoch
        self.small_epochs = int(config.small_share * config.epochs)
        self.loss = loss or LabelLoss()
        self.judged: list[Batch] = []  # logits and labels of the validation images of this epoch
        self.frozen = list(frozen_layers(model, frozen_stages))
        model.requires_grad_(True)  # an earlier stage may have frozen more
        for layer in self.frozen:
            layer.requires_grad_(False)

    def on_train_epoch_start(self) -> None:
        # a network that drops out at random does so alike in a run that was killed and went on
        torch.manual_seed(_seed_of(self.config.seed, self.current_epoch, member().rank))
        for layer in self.frozen:
            layer.eval()  # the running statistics of a frozen BatchNorm stay too

    def training_step(self, batch: Batch, batch_index: int) -> torch.Tensor:
        squares, labels, *demographics = batch
        rng = np.random.default_rng([self.config.seed, self.current_epoch, batch_index])
        with torch.autocast(squares.device.type, enabled=False):
            changed = augment(squares.float(), self.config, rng, member())
        if self.current_epoch < self.small_epochs:
            changed = F.avg_pool2d(changed, 2)
        logits = self.model(self.preprocessing.normalise(changed), *demographics).logits
        mine, loss = mean_over_ranks(self.loss(logits, labels), (~labels.isnan()).sum())
        self.log("train_loss", loss, on_epoch=True, on_step=False, batch_size=len(labels))
        return mine

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        squares, labels, *demographics = batch
        logits = self.model(self.preprocessing.to_tensor(squares), *demographics).logits
        self.judged.append((logits.cpu(), labels.cpu()))

    def on_validation_epoch_end(self) -> None:
        """Judge all images, each once, whichever process it went through."""
        outputs, labels = (gather(torch.cat(part)) for part in zip(*self.judged, strict=True))
        self.judged.clear()
        loss = self.loss(outputs.to(self.device), labels.to(self.device))
        self.log("val_loss", loss, prog_bar=True)
        logits = self.loss.disease_logits(outputs)
        auc = macro_auc(labels.double().numpy(), logits.double().numpy())
        if auc is not None:
            self.log("val_auc", auc, prog_bar=True)

    def configure_optimizers(self) -> Any:
        optimizer = make_optimizer(self, self.config)
        schedule = make_schedule(optimizer, self.config, self.steps_per_epoch)
        return {"optimizer": optimizer, "lr_scheduler": schedule}


def macro_auc(labels: np.ndarray[Any, Any], scores: np.ndarray[Any, Any]) -> float | None:
    """Mean AUC over the diseases that have one; labels and scores are (N, D), NaN is unknown.

    None when no disease has a positive and a negative, NaN when a score is not finite.
    """
    if not np.isfinite(scores).all():
        return float("nan")
    diseases, images = (list(map(str, range(n))) for n in (labels.shape[1], len(labels)))
    return classifier_metrics(labels, scores, diseases, images, replicates=0).macro_auc.value


def frozen_layers(model: ChestClassifier, stages: int) -> Iterator[nn.Module]:
    """Layers of the first stages of the network's family: 1 is the stem, 5 the whole backbone."""
    for stage in ARCHITECTURES[model.architecture].family.stages[:stages]:
        for name in stage:
            yield model.backbone.get_submodule(name)


def train(
    model: ChestClassifier,
    parts: tuple[ImageBatches, ImageBatches],
    config: ClassifierConfig,
    folder: Path,
) -> Trained:
    """Train to the end, from the last finished epoch if an earlier run was killed.

    Args:
        model: with its start weights; changed in place.
        parts: training and validation images.
        config: of the run.
        folder: logs and, until `forget_checkpoints`, the state of the run.

    Raises:
        ValueError: for a part without images or labels; for two stages, validation images without
            an AUC.
        KeyboardInterrupt: when the user stopped it.
    """
    _check_parts(*parts)
    preprocessing = preprocessing_of(config, parts[0], folder)
    if config.train.hierarchy == "parents_first":
        return _parents_first(model, parts, config, preprocessing, folder)
    if not config.train.two_stage:
        return _stage(model, parts, config, preprocessing, "val_loss", Folders.under(folder))
    _check_auc(parts[1])
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
        images = only(parts[0], labels), only(parts[1], labels)
        _check_parts(*images)
        print(f"stage {number} of 2: {', '.join(labels)}", flush=True)
        folders = Folders.under(folder, f"stage{number}")
        stage = _stage(model, images, settings, preprocessing, "val_loss", folders)
        start = len(history)
        history += [{**e, "epoch": start + i, "stage": number} for i, e in enumerate(stage.history)]
    best = start + stage.history.index(best_entry(stage.history, "val_loss"))
    return Trained(stage.model, history, best)


def stage_configs(config: ClassifierConfig) -> tuple[ClassifierConfig, ClassifierConfig]:
    """Settings of the first stage (whole backbone frozen) and of the second (lower rate)."""
    first = replace(config.train, epochs=config.train.stage1_epochs)
    second = replace(config.train, lr=config.train.stage2_lr)
    frozen = replace(config.model, frozen_stages=STAGES)
    return replace(config, model=frozen, train=first), replace(config, train=second)


def joined(stages: Sequence[Trained]) -> Trained:
    """Two stages as one training: epochs numbered through, the better validation AUC chosen."""
    history: History = []
    numbered = []
    for number, stage in enumerate(stages, start=1):
        start = len(history)
        history += [{**e, "epoch": start + i, "stage": number} for i, e in enumerate(stage.history)]
        best = start + stage.history.index(best_entry(stage.history, "val_auc"))
        numbered.append(replace(stage, history=history[start:], best_epoch=best))
    chosen = max(numbered, key=lambda stage: history[stage.best_epoch]["val_auc"])
    return Trained(chosen.model, history, chosen.best_epoch, tuple(numbered))


def preprocessing_of(config: ClassifierConfig, images: ImageBatches, folder: Path) -> Preprocessing:
    """Of a training on these images in this folder, which keeps its mean image until the end."""
    return run_on_rank_zero(fit_preprocessing, config.model, images, Folders.under(folder).state)


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
        run_on_rank_zero(write_bundle, finished, best, {"kind": "classifier", "history": history})
    tensors, metadata = read_bundle(finished, "classifier")
    own_batch_statistics(model)
    model.load_state_dict(tensors)
    history = metadata["history"]
    return Trained(model.eval(), history, int(best_entry(history, monitor)["epoch"]))


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
    loader = make_loader(images, size, order, workers, member())
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


def _seed_of(*numbers: int) -> int:
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


def _check_parts(images: ImageBatches, validation: ImageBatches) -> None:
    for part, name in ((images, "training"), (validation, "validation")):
        if not len(part) or np.isnan(part.labels).all():
            raise ValueError(f"the {name} part has {len(part)} images and no known label")


def _check_auc(validation: ImageBatches) -> None:
    if macro_auc(validation.labels, np.zeros(validation.labels.shape)) is None:
        raise ValueError(
            "train.two_stage chooses by the validation AUC, but no disease has a positive and a "
            f"negative among the {len(validation)} validation images; take more, or one stage"
        )
