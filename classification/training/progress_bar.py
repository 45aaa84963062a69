"""Lightning's progress bar, once for a whole training instead of once for every epoch."""

from __future__ import annotations

from typing import Any

import lightning as L
from lightning.pytorch.callbacks import ProgressBar
from tqdm import tqdm

from cxrloc.datasets.progress import progress

_METRICS_EVERY = 20  # steps: to read the loss off a GPU waits for it


class TrainingBar(ProgressBar):
    """Counts the steps of all epochs, and says the epoch and the logged metrics."""

    def __init__(self, title: str) -> None:
        super().__init__()
        self._title, self._enabled = title, True
        self._bar: tqdm[Any] | None = None

    def disable(self) -> None:
        """Lightning calls it on all processes but the first."""
        self._enabled = False

    def enable(self) -> None:
        self._enabled = True

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self._enabled:
            steps = int(trainer.estimated_stepping_batches)
            done = trainer.global_step
            self._bar = progress(None, self._title, steps, unit="step", initial=done)

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        if self._bar is None:
            return
        if trainer.is_last_batch or trainer.global_step % _METRICS_EVERY == 0:
            self._bar.set_postfix_str(self._said(trainer), refresh=False)
        self._bar.update()

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._close()

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        self._close()

    def _said(self, trainer: L.Trainer) -> str:
        figures = [
            f"{name} {value:.3g}"
            for name, value in trainer.progress_bar_metrics.items()
            if isinstance(value, float)
        ]
        return ", ".join([f"epoch {trainer.current_epoch + 1} of {trainer.max_epochs}", *figures])

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
        self._bar = None
