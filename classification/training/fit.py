"""Run Lightning's trainer over one stage of a training: its best epoch, resumed after a kill."""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint, TQDMProgressBar
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.strategies import DDPStrategy

from cxrloc.classification.config import TrainConfig
from cxrloc.classification.network.precision import resolve_device, resolve_precision
from cxrloc.classification.training.batches import Loader
from cxrloc.classification.training.distributed import machines, member

# one entry an epoch: {"epoch": 0, "train_loss": .., "val_loss": .., "val_auc": ..}
History = list[dict[str, float]]
# what an epoch is chosen by -> whether less or more of it is better
MONITORS = {"val_loss": "min", "val_auc": "max"}


@dataclass(frozen=True)
class Folders:
    """Where a stage keeps what it needs to go on after a kill, and where it logs."""

    state: Path
    logs: Path


def fit(
    module: L.LightningModule,
    loaders: tuple[Loader, Loader],
    config: TrainConfig,
    monitor: str,
    folders: Folders,
) -> tuple[dict[str, torch.Tensor], History]:
    """Train to the end, from the last finished epoch if an earlier run was killed.

    Args:
        module: has the network as `model`, and logs `monitor` when it validates.
        loaders: of training and of validation batches.
        config: how long, on what, and the patience.
        monitor: a key of `MONITORS`.
        folders: of this stage alone.

    Returns:
        The network's tensors at the best epoch, and the figures of all epochs.

    Raises:
        KeyboardInterrupt: when the user stopped it.
    """
    history, best = _History(), _checkpoint("best", folders.state, monitor)
    stopping = EarlyStopping(monitor, patience=config.patience, mode=MONITORS[monitor])
    # "last" behind "best": a resumed run then knows of the best epoch so far
    callbacks = [stopping, history, best, _checkpoint("last", folders.state)]
    trainer = _trainer(config, folders, callbacks)
    last = folders.state / "last.ckpt"
    # weights_only: a checkpoint is read without unpickling code
    with _quiet():
        trainer.fit(module, *loaders, ckpt_path=last if last.is_file() else None, weights_only=True)
    if trainer.interrupted:
        raise KeyboardInterrupt
    entries = finite(history.entries, config.lr)
    return _best_weights(Path(best.best_model_path)), entries


def best_entry(history: History, monitor: str) -> dict[str, float]:
    """The epoch that `monitor` (a key of `MONITORS`) chooses, the first one of equals."""
    best = min if MONITORS[monitor] == "min" else max
    return best(history, key=lambda entry: entry[monitor])


def finite(entries: History, lr: float) -> History:
    """Epochs whose figures are numbers; early stopping ends a run at the first that is not.

    Raises:
        ValueError: when there is none.
    """
    good = [entry for entry in entries if all(map(math.isfinite, entry.values()))]
    if not good:
        raise ValueError(f"the loss was never finite; lower train.lr (it is {lr})")
    if len(good) < len(entries):
        print("the loss became infinite or NaN, training ended there; consider a lower train.lr")
    return good


def _trainer(config: TrainConfig, folders: Folders, callbacks: list[Callback]) -> L.Trainer:
    device = resolve_device(config.device)
    precision = resolve_precision(config.precision, device)
    return L.Trainer(
        accelerator=device.type,
        **_processes(device),
        precision="bf16-mixed" if precision == "bf16" else "32-true",
        max_epochs=config.epochs,
        callbacks=[TQDMProgressBar(refresh_rate=5), *callbacks],
        logger=[
            TensorBoardLogger(folders.logs, name="tensorboard", version=""),
            CSVLogger(folders.logs, name="csv"),
        ],
        log_every_n_steps=1,
        num_sanity_val_steps=0,
        enable_model_summary=False,
        default_root_dir=folders.state,
    )


def _processes(device: torch.device) -> dict[str, Any]:
    """This process alone, or DDP over all that `process_group` joined."""
    if member().world_size == 1:
        return {"devices": [device.index or 0] if device.type == "cuda" else 1}
    here, nodes = machines()
    return {
        "devices": here,
        "num_nodes": nodes,
        # the buffers are BatchNorm's statistics, which the processes share anyway
        "strategy": DDPStrategy(broadcast_buffers=False),
        "use_distributed_sampler": False,  # Lightning's repeats images to make the ranks even
    }


def _checkpoint(name: str, folder: Path, monitor: str | None = None) -> ModelCheckpoint:
    return ModelCheckpoint(
        dirpath=folder,
        filename=name if monitor is None else name + "-{epoch}",
        monitor=monitor,
        mode="min" if monitor is None else MONITORS[monitor],
        save_weights_only=monitor is not None,
        enable_version_counter=False,
    )


class _History(Callback):
    """Figures of every epoch, kept in the checkpoint, so that a resumed run has all of them."""

    def __init__(self) -> None:
        self.entries: History = []

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        figures = {k: float(v) for k, v in trainer.callback_metrics.items()}
        self.entries.append({"epoch": trainer.current_epoch, **figures})

    def state_dict(self) -> dict[str, Any]:
        return {"entries": self.entries}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.entries = list(state_dict["entries"])


def _best_weights(path: Path) -> dict[str, torch.Tensor]:
    if not path.is_file():  # killed between writing a better epoch and noting it down
        path = max(path.parent.glob("best-*.ckpt"), key=lambda p: p.stat().st_mtime)
    state = torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
    return {n.removeprefix("model."): t for n, t in state.items() if n.startswith("model.")}


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
            # torch 2.8, which we support, does not have what newer ones want instead
            warnings.filterwarnings("ignore", ".*broadcast_buffers.*deprecated.*")
            warnings.filterwarnings("ignore", ".*recommended to use .*sync_dist=True.*")
            warnings.filterwarnings("ignore", ".*exists and is not empty.*")
            yield
    finally:
        logger.setLevel(level)
