"""Train one stage of the gate and keep its best epoch; resuming after a kill changes nothing."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint

from cxrloc.classification.network.precision import resolve_device, resolve_precision
from cxrloc.classification.train_config import TrainConfig
from cxrloc.classification.training.batches import Loader
from cxrloc.classification.training.gate_training import AVERAGE
from cxrloc.classification.training.trainer import Folders, run_trainer

# one entry per epoch: {"epoch": 0, "train_loss": .., "val_loss": .., "val_auc": ..}
History = list[dict[str, float]]
# figure that chooses an epoch -> whether lower or higher is better
MONITORS = {"val_loss": "min", "val_auc": "max"}


def fit(
    module: L.LightningModule,
    loaders: tuple[Loader, Loader],
    config: TrainConfig,
    monitor: str,
    folders: Folders,
) -> tuple[dict[str, torch.Tensor], History]:
    """Train to the end, resuming from the last finished epoch of an interrupted run.

    Args:
        module: contains the network as `model`, and logs `monitor` when it validates.
        loaders: training and validation batches.
        config: epochs, device and patience.
        monitor: a key of `MONITORS`.
        folders: folders of this stage.

    Returns:
        The network's tensors at the best epoch, and the figures of all epochs.

    Raises:
        KeyboardInterrupt: if the user interrupted it.
    """
    history, best = _History(), _best_checkpoint(folders.state, monitor)
    stopping = EarlyStopping(monitor, patience=config.patience, mode=MONITORS[monitor])
    device = resolve_device(config.device)
    precision = resolve_precision(config.precision, device)
    run_trainer(
        module,
        loaders,
        folders,
        [stopping, history, best],
        epochs=config.epochs,
        device=device,
        precision="bf16-mixed" if precision == "bf16" else "32-true",
    )
    entries = finite(history.entries, config.lr)
    return _best_weights(Path(best.best_model_path)), entries


def best_entry(history: History, monitor: str) -> dict[str, float]:
    """The epoch chosen by `monitor` (a key of `MONITORS`), the first among equals."""
    best = min if MONITORS[monitor] == "min" else max
    return best(history, key=lambda entry: entry[monitor])


def finite(entries: History, lr: float) -> History:
    """Keep the epochs with finite figures; early stopping ends a run at the first other one.

    Raises:
        ValueError: if there is none.
    """
    good = [entry for entry in entries if all(map(math.isfinite, entry.values()))]
    if not good:
        raise ValueError(f"the loss was never finite; lower train.lr (it is {lr})")
    if len(good) < len(entries):
        print("the loss became infinite or NaN, so training stopped; consider a lower train.lr")
    return good


def _best_checkpoint(folder: Path, monitor: str) -> ModelCheckpoint:
    return ModelCheckpoint(
        dirpath=folder,
        filename="best-{epoch}",
        monitor=monitor,
        mode=MONITORS[monitor],
        save_weights_only=True,
        enable_version_counter=False,
    )


class _History(Callback):
    """Figures of every epoch, saved in the checkpoint so that a resumed run keeps all of them."""

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
    if not path.is_file():  # killed between writing a better epoch and recording it
        path = max(path.parent.glob("best-*.ckpt"), key=lambda p: p.stat().st_mtime)
    checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    state, prefix = checkpoint["state_dict"], "model."
    if AVERAGE in checkpoint:
        state, prefix = checkpoint[AVERAGE], "module."
    return {n.removeprefix(prefix): t for n, t in state.items() if n.startswith(prefix)}
