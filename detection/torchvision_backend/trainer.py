"""Train the torchvision detector with Lightning: one seed gives one result, even after a kill.

Everything random in step n depends on (seed, n), and an image's augmentation on (seed, epoch,
image). So a run that was killed and resumed at its last checkpoint ends with the same weights as an
uninterrupted one. N torchrun processes take the steps of one: see docs/how-to/scale_out.md.
"""

from __future__ import annotations

import dataclasses
import json
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import lightning as L
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel
from tqdm import tqdm

from cxrloc.classification.bundle.file import read_bundle, read_metadata, write_bundle
from cxrloc.classification.network.precision import resolve_device
from cxrloc.classification.training.distributed import (
    mean_over_ranks,
    member,
    run_on_rank_zero,
)
from cxrloc.classification.training.optimization import averaged_copy, warmed_up_cosine
from cxrloc.classification.training.sync_batch_norm import (
    own_batch_statistics,
    share_batch_statistics,
)
from cxrloc.classification.training.trainer import Folders, forget_checkpoints, run_trainer
from cxrloc.detection.config import DetectorConfig, Init
from cxrloc.detection.data import DetectionSet
from cxrloc.detection.mask_rcnn import bundle_metadata
from cxrloc.detection.run_config import MaskRCNNFolder
from cxrloc.detection.torchvision_backend.data import Batch, training_loader
from cxrloc.detection.torchvision_backend.initial_weights import build_detector
from cxrloc.detection.torchvision_backend.network import MaskRCNN
from cxrloc.detection.torchvision_backend.predictor import TorchvisionPredictor
from cxrloc.detection.torchvision_backend.sampling import loss_counts, share_sampling
from cxrloc.detection.training import (
    Best,
    check_images,
    is_finished,
    kept,
    make_optimizer,
    run_mark,
    seed_step,
    training_facts,
)
from cxrloc.detection.validation import ValidationScores, scores_line, validation_scores

_MAX_BAD_STEPS = 10


class DetectorTraining(L.LightningModule):
    """Losses, optimizer, schedule and validation around a `MaskRCNN`."""

    def __init__(
        self,
        model: MaskRCNN,
        config: DetectorConfig,
        validation_set: DetectionSet | None,
        steps: int,
        mark: str,
    ) -> None:
        """Prepare a training of `steps` in total; `mark` identifies its checkpoints."""
        super().__init__()
        if member().world_size > 1:
            share_batch_statistics(model, resolve_device(config.train.device).type)
        share_sampling(model)
        self.model = model.train()
        self.config, self.validation_set, self.mark = config, validation_set, mark
        self.steps, self.best, self.best_weights = steps, Best(), dict[str, Tensor]()
        self.bad_steps, self.loss_is_finite = 0, True
        # in a dict, so that Lightning does not take it for a part of the network
        self._average: dict[str, AveragedModel] = {}
        self._resumed_average: dict[str, Tensor] = {}

    @property
    def network(self) -> MaskRCNN:
        """The network to validate and keep: the average of the weights, if there is one."""
        average = self._average.get("model")
        return self.model if average is None else cast(MaskRCNN, average.module)

    def on_fit_start(self) -> None:
        """Begin the average on the training's device."""
        if decay := self.config.train.weights_average:
            self._average["model"] = averaged_copy(self.model, decay)
            if self._resumed_average:
                self._average["model"].load_state_dict(self._resumed_average)

    def on_train_start(self) -> None:
        """Stop at once if the interrupted run had just stopped early."""
        self.trainer.should_stop = self.best.stops(self.config.train)

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        images, targets = batch
        seed_step(self.config, self.global_step)
        losses = self.model(images, targets)
        means = torch.stack(list(losses.values()))
        counts = loss_counts(self.model)
        terms = torch.tensor([counts[name] for name in losses], device=means.device)
        part, means = mean_over_ranks(means, terms)
        total = means.sum()
        self.loss_is_finite = bool(torch.isfinite(total))
        self.log("loss", total, prog_bar=True, batch_size=len(images))
        self.log_dict(dict(zip(losses, means, strict=True)), batch_size=len(images))
        self.log("lr", self.trainer.optimizers[0].param_groups[-1]["lr"], batch_size=len(images))
        return part.sum()

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip the norm over all parameters by `train.clip_norm` instead of Lightning's settings.

        A step with a loss or gradient that is not finite changes no weights.

        Raises:
            RuntimeError: if that happens ten times in a row.
        """
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        norm = nn.utils.clip_grad_norm_(parameters, self.config.train.clip_norm or math.inf)
        if self.loss_is_finite and bool(torch.isfinite(norm)):
            self.bad_steps = 0
            return
        self.bad_steps += 1
        if self.bad_steps >= _MAX_BAD_STEPS:
            raise RuntimeError(
                f"the loss or its gradient was not finite {_MAX_BAD_STEPS} times in a row "
                f"(step {self.global_step}, lr {self.config.train.lr}); lower train.lr or set "
                "train.precision to fp32"
            )
        optimizer.zero_grad(set_to_none=True)  # optimizers skip parameters without a gradient

    def optimizer_step(self, *arguments: Any, **settings: Any) -> None:
        """Also update the average, before any checkpoint of this step."""
        super().optimizer_step(*arguments, **settings)
        if self._average:
            self._average["model"].update_parameters(self.model)

    def on_train_epoch_end(self) -> None:
        """Validate if it is due, and keep the best weights."""
        epoch, train = self.current_epoch + 1, self.config.train
        if not self.validation_set or (epoch % train.validate_every and epoch != train.epochs):
            return
        scores = run_on_rank_zero(self._score)
        self.log("val_ap", scores.average_precision)
        self.log("val_mean_iou", scores.mean_iou)
        if self.best.better(scores.average_precision, self.global_step):
            weights = self.network.state_dict().items()
            self.best_weights = {name: value.detach().clone() for name, value in weights}
        self.trainer.should_stop = self.best.stops(train)

    def _score(self) -> ValidationScores:
        assert self.validation_set is not None
        config = self.config
        predictor = TorchvisionPredictor(
            self.network, config.diseases, config.size, config.train.precision, str(self.device)
        )
        scores = validation_scores(predictor, self.validation_set)
        self.model.train()
        tqdm.write(scores_line(self.global_step, scores))
        return scores

    def configure_optimizers(self) -> Any:
        train = self.config.train
        optimizer = make_optimizer(self.model, train, self.model.backbone.body)
        schedule = LambdaLR(
            optimizer, lambda step: warmed_up_cosine(step, self.steps, train.warmup_steps)
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["detector"] = {
            "mark": self.mark,
            "bad_steps": self.bad_steps,
            "best": vars(self.best),
            "best_weights": self.best_weights,
            "average": {name: model.state_dict() for name, model in self._average.items()},
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        state = checkpoint["detector"]
        self.bad_steps, self.best = state["bad_steps"], Best(**state["best"])
        self.best_weights = state["best_weights"]
        self._resumed_average = state["average"].get("model", {})


def train(
    config: DetectorConfig,
    train_set: DetectionSet,
    validation_set: DetectionSet | None,
    out_dir: Path,
    init: Init,
    extra: Mapping[str, Any],
) -> Path:
    """Train and write the bundle in `out_dir`; a finished detector is not trained again.

    Under torchrun all processes call it together.
    """
    started, bundle = time.time(), MaskRCNNFolder(out_dir).detector
    check_images(train_set)
    mark = run_mark(config, train_set, validation_set, init)
    if run_on_rank_zero(_was_finished, bundle, mark, config):
        return bundle
    model, report = build_detector(config, init)
    print(report, flush=True)
    outcome = fit(model, config, train_set, validation_set, mark, out_dir)
    facts = training_facts(config, train_set, mark, report, started, out_dir)
    metadata = bundle_metadata(config, {**facts, **outcome, **extra})
    run_on_rank_zero(_write, bundle, model, metadata)
    return bundle


def fit(
    model: MaskRCNN,
    config: DetectorConfig,
    train_set: DetectionSet,
    validation_set: DetectionSet | None,
    mark: str,
    out_dir: Path,
) -> dict[str, Any]:
    """Train `model`, resuming from the last checkpoint if any; return facts for the bundle.

    Afterwards it has the last weights or, with validation images, the best ones; of their average,
    if there is one.

    Raises:
        ValueError: if the checkpoint belongs to another config or other data.
        KeyboardInterrupt: if the user interrupted it.
    """
    folders = Folders.under(out_dir)
    done = run_on_rank_zero(steps_done, folders.last, mark)
    loader = training_loader(train_set, config, done)
    steps = len(loader) * config.train.epochs
    if done:
        print(f"resumed at step {done} of {steps}", flush=True)
    module = DetectorTraining(model, config, validation_set, steps, mark)
    run_trainer(
        module,
        (loader, None),
        folders,
        [],
        epochs=config.train.epochs,
        device=resolve_device(config.train.device),
        checkpoint_every=config.train.checkpoint_every,
    )
    own_batch_statistics(model)
    model.load_state_dict(module.best_weights or module.network.state_dict())
    return {"steps": steps, **kept(module.best, config.train)}


def steps_done(last: Path, mark: str) -> int:
    """Steps taken by the run with this `run_mark` at its last checkpoint; 0 without one.

    Raises:
        ValueError: if the checkpoint belongs to another run.
    """
    if not last.is_file():
        return 0
    state = torch.load(last, map_location="cpu", weights_only=True, mmap=True)
    if state["detector"]["mark"] != mark:
        raise ValueError(
            f"{last} belongs to a run with another config or other images; choose another out "
            "folder, or delete this file to start over"
        )
    return int(state["global_step"])


def _was_finished(bundle: Path, mark: str, config: DetectorConfig) -> bool:
    if not is_finished(bundle, mark):
        return False
    # settings that do not affect the weights (box voting) may change: record the new ones
    settings = json.loads(json.dumps(dataclasses.asdict(config.model)))
    if read_metadata(bundle, "maskrcnn")["model"] != settings:
        tensors, metadata = read_bundle(bundle, "maskrcnn")
        write_bundle(bundle, tensors, {**metadata, "model": settings})
    return True


def _write(bundle: Path, model: MaskRCNN, metadata: Mapping[str, Any]) -> None:
    model.eval().fold_norms()
    write_bundle(bundle, model.state_dict(), metadata)
    forget_checkpoints(bundle.parent)
