"""Train one stage of the gate and keep its best epoch, exact after a kill and a resume."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint

from cxrloc.classification.config import TrainConfig
from cxrloc.classification.network.precision import resolve_device, resolve_precision
from cxrloc.classification.training.batches import Loader
from cxrloc.classification.training.trainer import Folders, run_trainer

# one entry an epoch: {"epoch": 0, "train_loss": .., "val_loss": .., "val_auc": ..}
History = list[dict[str, float]]
# what an epoch is chosen by -> whether less or more of it is better
MONITORS = {"val_loss": "min", "val_auc": "max"}


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
