"""Define one step and one epoch of a classifier's training, for Lightning."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import lightning as L
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel

from cxrloc.classification.bundle.preprocessing import Preprocessing
from cxrloc.classification.metrics.ranking import classifier_metrics
from cxrloc.classification.network.backbones import ARCHITECTURES
from cxrloc.classification.network.classifier import ChestClassifier
from cxrloc.classification.network.precision import resolve_device
from cxrloc.classification.train_config import TrainConfig
from cxrloc.classification.training.batches import Batch, Changes
from cxrloc.classification.training.distributed import gather, mean_over_ranks, member
from cxrloc.classification.training.losses.boxes import BoxLoss
from cxrloc.classification.training.losses.labels import LabelLoss
from cxrloc.classification.training.optimization import (
    averaged_copy,
    make_optimizer,
    make_schedule,
)
from cxrloc.classification.training.sync_batch_norm import share_batch_statistics

AVERAGE = "average"  # key of the averaged weights in a checkpoint


class GateTraining(L.LightningModule):
    """Loss, augmentation, optimizer and schedule around a `ChestClassifier`.

    With `train.weights_average` the moving average of the weights is validated and kept. With
    `train.box_loss_weight` each batch also has the pairs and masks of `BoxRegions`.
    """

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
        # an earlier stage leaves the model in evaluation mode, and Lightning does not change that
        self.model = model.train().to(memory_format=torch.channels_last)
        self.preprocessing = preprocessing
        self.config = config
        self.steps_per_epoch = steps_per_epoch
        self.small_epochs = int(config.small_share * config.epochs)
        self.loss = loss or LabelLoss()
        self.box_loss = BoxLoss(config) if config.box_loss_weight else None
        # in dicts: Lightning must not count the average among the weights that it trains
        self._average: dict[str, AveragedModel] = {}
        self._resumed_average: dict[str, Tensor] = {}
        self.predicted: list[Batch] = []  # logits and labels of the validation images of this epoch
        self.frozen = list(frozen_layers(model, frozen_stages))
        model.requires_grad_(True)  # an earlier stage may have frozen more
        for layer in self.frozen:
            layer.requires_grad_(False)

    @property
    def network(self) -> nn.Module:
        """The network to validate and keep: the average of the weights, if there is one."""
        average = self._average.get("model")
        return self.model if average is None else average.module

    def on_fit_start(self) -> None:
        """Begin the average on the training's device."""
        if self.config.weights_average:
            self._average["model"] = averaged_copy(self.model, self.config.weights_average).eval()
            if self._resumed_average:
                self._average["model"].load_state_dict(self._resumed_average)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the average of a checkpoint for `on_fit_start`."""
        self._resumed_average = checkpoint.get(AVERAGE, {})

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Also save the average."""
        if average := self._average.get("model"):
            checkpoint[AVERAGE] = average.state_dict()

    def optimizer_step(self, *arguments: Any, **settings: Any) -> None:
        """Also update the average, before any checkpoint of this step."""
        super().optimizer_step(*arguments, **settings)
        if average := self._average.get("model"):
            average.update_parameters(self.model)

    def on_train_epoch_start(self) -> None:
        # so that dropout is the same in a run that was killed and resumed
        torch.manual_seed(_seed_of(self.config.seed, self.current_epoch, member().rank))
        for layer in self.frozen:
            layer.eval()  # a frozen BatchNorm keeps its running statistics too

    def training_step(self, batch: Batch, batch_index: int) -> torch.Tensor:
        squares, labels, *others = batch
        rng = np.random.default_rng([self.config.seed, self.current_epoch, batch_index])
        changes = Changes.draw(len(squares), self.config, rng, member())
        with torch.autocast(squares.device.type, enabled=False):
            changed = changes.of_images(squares.float())
        if self.current_epoch < self.small_epochs:
            changed = F.avg_pool2d(changed, 2)
        normalised = self.preprocessing.normalise(changed)
        if self.box_loss is not None:
            return self._guided_loss(normalised, labels, others, changes)
        return self._image_loss(self.model(normalised, *others).logits, labels)

    def _image_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        share_of_loss, loss = mean_over_ranks(self.loss(logits, labels), (~labels.isnan()).sum())
        self.log("train_loss", loss, on_epoch=True, on_step=False, batch_size=len(labels))
        return share_of_loss

    def _guided_loss(
        self, images: Tensor, labels: Tensor, regions: Sequence[Tensor], changes: Changes
    ) -> Tensor:
        assert self.box_loss is not None
        output, (pairs, masks) = self.model(images), regions
        with torch.autocast(images.device.type, enabled=False):
            cells = self.model.cell_logits(output.features)
            moved = changes.of_masks(masks, pairs[:, 0])
            share_of_loss, loss = mean_over_ranks(*self.box_loss(cells, labels, pairs, moved))
        self.log("train_box_loss", loss, on_epoch=True, on_step=False, batch_size=len(labels))
        return self._image_loss(output.logits, labels) + self.config.box_loss_weight * share_of_loss

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        squares, labels, *demographics = batch
        logits = self.network(self.preprocessing.to_tensor(squares), *demographics).logits
        self.predicted.append((logits.cpu(), labels.cpu()))

    def on_validation_epoch_end(self) -> None:
        """Evaluate all images once each, whichever process predicted them."""
        outputs, labels = (gather(torch.cat(part)) for part in zip(*self.predicted, strict=True))
        self.predicted.clear()
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

    None if no disease has a positive and a negative, NaN if a score is not finite.
    """
    if not np.isfinite(scores).all():
        return float("nan")
    diseases, images = (list(map(str, range(n))) for n in (labels.shape[1], len(labels)))
    macro = classifier_metrics(labels, scores, diseases, images, replicates=0).macro_auc
    return macro.value if macro.defined else None


def frozen_layers(model: ChestClassifier, stages: int) -> Iterator[nn.Module]:
    """Layers of the first stages of the network's family: 1 is the stem, 5 the whole backbone."""
    for stage in ARCHITECTURES[model.architecture].family.stages[:stages]:
        for name in stage:
            yield model.backbone.get_submodule(name)


def _seed_of(*numbers: int) -> int:
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])
