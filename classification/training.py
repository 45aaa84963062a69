"""One classifier training on Lightning: best epoch by validation loss, resumed after a kill."""

from __future__ import annotations

import logging
import math
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint, TQDMProgressBar
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from torch import nn
from torch.nn import functional as F

from cxrloc.classification.bundle import read_bundle, write_bundle
from cxrloc.classification.config import ClassifierConfig, TrainConfig
from cxrloc.classification.data import Batch, FilmBatches, augment, make_loader
from cxrloc.classification.losses import masked_bce, positive_weights
from cxrloc.classification.models import ChestClassifier, Preprocessing
from cxrloc.classification.precision import resolve_device, resolve_precision

# one entry an epoch: {"epoch": 0, "train_loss": .., "val_loss": ..}
LossHistory = list[dict[str, float]]


@dataclass(frozen=True)
class Trained:
    """The network at its best epoch (evaluation mode, on the CPU) and the losses of all epochs."""

    model: ChestClassifier
    history: LossHistory

    @property
    def best_epoch(self) -> int:
        """Number (from 0) of the epoch with the lowest validation loss."""
        return int(min(self.history, key=lambda entry: entry["val_loss"])["epoch"])


class GateTraining(L.LightningModule):
    """Loss, random changes, optimizer and schedule around a `ChestClassifier`."""

    def __init__(
        self,
        model: ChestClassifier,
        preprocessing: Preprocessing,
        config: TrainConfig,
        steps_per_epoch: int,
        weights: torch.Tensor | None = None,
        frozen_stages: int = 0,
    ) -> None:
        super().__init__()
        self.model = model.to(memory_format=torch.channels_last)
        self.preprocessing = preprocessing
        self.config = config
        self.total_steps = config.epochs * steps_per_epoch
        self.small_epochs = int(config.small_share * config.epochs)
        self.frozen = list(frozen_layers(model, frozen_stages))
        self.register_buffer("positive_weights", weights, persistent=False)
        for layer in self.frozen:
            layer.requires_grad_(False)

    def on_train_epoch_start(self) -> None:
        for layer in self.frozen:
            layer.eval()  # the running statistics of a frozen BatchNorm stay too

    def training_step(self, batch: Batch, batch_index: int) -> torch.Tensor:
        squares, labels = batch
        rng = np.random.default_rng([self.config.seed, self.current_epoch, batch_index])
        with torch.autocast(squares.device.type, enabled=False):
            grey = augment(squares.float(), self.config, rng)
        if self.current_epoch < self.small_epochs:
            grey = F.avg_pool2d(grey.unsqueeze(1), 2).squeeze(1)
        loss = self._loss(self.preprocessing.normalise(grey), labels)
        self.log("train_loss", loss, on_epoch=True, on_step=False, batch_size=len(labels))
        return loss

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        squares, labels = batch
        loss = self._loss(self.preprocessing.to_tensor(squares), labels)
        self.log("val_loss", loss, prog_bar=True, batch_size=len(labels))

    def configure_optimizers(self) -> Any:
        trained = [p for p in self.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(
            trained, lr=self.config.lr, weight_decay=self.config.weight_decay, fused=True
        )
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, self._rate)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }

    def _loss(self, x: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        weights = self.positive_weights
        assert weights is None or isinstance(weights, torch.Tensor)
        return masked_bce(self.model(x).logits, labels, weights)

    def _rate(self, step: int) -> float:
        return learning_rate_factor(step, self.total_steps, self.config)


def learning_rate_factor(step: int, total: int, config: TrainConfig) -> float:
    """Share of the peak learning rate at a step: linear warm-up (one_cycle), then half a cosine."""
    if config.schedule == "constant":
        return 1.0
    warmup = int(config.warmup_share * total) if config.schedule == "one_cycle" else 0
    if step < warmup:
        return (step + 1) / (warmup + 1)
    progress = min(1.0, (step - warmup) / max(1, total - warmup))
    return max(0.5 * (1 + math.cos(math.pi * progress)), 1e-3)


def frozen_layers(model: ChestClassifier, stages: int) -> Iterator[nn.Module]:
    """Layers of the first stages: 1 is the stem, 2 to 5 are layer1 to layer4."""
    names = [["conv1", "bn1"], ["layer1"], ["layer2"], ["layer3"], ["layer4"]]
    for name in [n for stage in names[:stages] for n in stage]:
        yield model.backbone.get_submodule(name)


def train(
    model: ChestClassifier,
    parts: tuple[FilmBatches, FilmBatches],
    config: ClassifierConfig,
    folder: Path,
) -> Trained:
    """Train to the end, from the last finished epoch if an earlier run was killed.

    Args:
        model: with its start weights; changed in place.
        parts: training and validation films.
        config: of the run.
        folder: logs and, until `forget_checkpoints`, the state of the run.

    Raises:
        KeyboardInterrupt: when the user stopped it.
    """
    finished = folder / "checkpoints" / "trained.safetensors"
    if not finished.is_file():
        best, history = _fit(model, parts, config, folder)
        write_bundle(finished, best, {"kind": "classifier", "history": history})
    tensors, metadata = read_bundle(finished, "classifier")
    model.load_state_dict(tensors)
    return Trained(model.eval(), metadata["history"])


def forget_checkpoints(folder: Path) -> None:
    """Delete what was only needed to resume."""
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)


def _fit(
    model: ChestClassifier,
    parts: tuple[FilmBatches, FilmBatches],
    config: ClassifierConfig,
    folder: Path,
) -> tuple[dict[str, torch.Tensor], LossHistory]:
    films, validation = parts
    _check_parts(films, validation)
    L.seed_everything(config.train.seed, verbose=False)
    size, workers = config.train.batch_size, config.data.loader_workers
    loader = make_loader(films, size, config.train.seed, workers)
    module = GateTraining(
        model,
        Preprocessing(config.model.size),
        config.train,
        len(loader.sampler),  # type: ignore[arg-type]
        positive_weights(films.labels, config.train.positive_weight_cap),
        config.model.frozen_stages,
    )
    history, best = _History(), _checkpoint("best", folder, monitor="val_loss")
    trainer = _trainer(config.train, folder, [history, best])
    last = folder / "checkpoints" / "last.ckpt"
    # weights_only: a checkpoint is read without unpickling code
    with _quiet():
        trainer.fit(
            module,
            loader,
            make_loader(validation, size, workers=workers),
            ckpt_path=last if last.is_file() else None,
            weights_only=True,
        )
    if trainer.interrupted:
        raise KeyboardInterrupt
    entries = _finite(history.entries, config.train.lr)
    return _best_weights(Path(best.best_model_path)), entries


def _trainer(config: TrainConfig, folder: Path, callbacks: list[Callback]) -> L.Trainer:
    device = resolve_device(config.device)
    precision = resolve_precision(config.precision, device)
    logs = folder / "logs"
    return L.Trainer(
        accelerator=device.type,
        devices=[device.index or 0] if device.type == "cuda" else 1,
        precision="bf16-mixed" if precision == "bf16" else "32-true",
        max_epochs=config.epochs,
        callbacks=[
            EarlyStopping("val_loss", patience=config.patience),
            TQDMProgressBar(refresh_rate=5),
            *callbacks,
            # after "best": a resumed run then knows of the best epoch so far
            _checkpoint("last", folder),
        ],
        logger=[
            TensorBoardLogger(logs, name="tensorboard", version=""),
            CSVLogger(logs, name="csv"),
        ],
        log_every_n_steps=1,
        num_sanity_val_steps=0,
        enable_model_summary=False,
        default_root_dir=folder,
    )


def _checkpoint(name: str, folder: Path, monitor: str | None = None) -> ModelCheckpoint:
    return ModelCheckpoint(
        dirpath=folder / "checkpoints",
        filename=name if monitor is None else name + "-{epoch}",
        monitor=monitor,
        save_weights_only=monitor is not None,
        enable_version_counter=False,
    )


class _History(Callback):
    """Losses of every epoch, kept in the checkpoint, so that a resumed run has all of them."""

    def __init__(self) -> None:
        self.entries: LossHistory = []

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        losses = {k: float(v) for k, v in trainer.callback_metrics.items()}
        self.entries.append({"epoch": trainer.current_epoch, **losses})

    def state_dict(self) -> dict[str, Any]:
        return {"entries": self.entries}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.entries = list(state_dict["entries"])


def _finite(entries: LossHistory, lr: float) -> LossHistory:
    """Epochs whose losses are numbers; early stopping ends a run at the first that is not."""
    finite = [entry for entry in entries if all(map(math.isfinite, entry.values()))]
    if not finite:
        raise ValueError(f"the loss was never finite; lower train.lr (it is {lr})")
    if len(finite) < len(entries):
        print("the loss became infinite or NaN, training ended there; consider a lower train.lr")
    return finite


def _best_weights(path: Path) -> dict[str, torch.Tensor]:
    if not path.is_file():  # killed between writing a better epoch and noting it down
        path = max(path.parent.glob("best-*.ckpt"), key=lambda p: p.stat().st_mtime)
    state = torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
    return {n.removeprefix("model."): t for n, t in state.items() if n.startswith("model.")}


def _check_parts(films: FilmBatches, validation: FilmBatches) -> None:
    for part, name in ((films, "training"), (validation, "validation")):
        if not len(part) or np.isnan(part.labels).all():
            raise ValueError(f"the {name} part has {len(part)} films and no known label")


@contextmanager
def _quiet() -> Iterator[None]:
    """Without Lightning's advice on loaders, which the decoded pixels make wrong, and its tips."""
    logger = logging.getLogger("lightning.pytorch.utilities.rank_zero")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*does not have many workers.*")
            warnings.filterwarnings("ignore", ".*LeafSpec.*")
            warnings.filterwarnings("ignore", ".*exists and is not empty.*")
            yield
    finally:
        logger.setLevel(level)
