"""Set up Lightning's trainer for gate and detector alike: processes, logs, exact resume."""

from __future__ import annotations

import logging
import shutil
import signal
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback, Checkpoint
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger
from lightning.pytorch.plugins.io import TorchCheckpointIO
from lightning.pytorch.strategies import DDPStrategy

from cxrloc.classification.training.distributed import machines, member
from cxrloc.classification.training.progress_bar import TrainingBar
from cxrloc.datasets.files.atomic import whole_file
from cxrloc.datasets.files.runs.early import SIGNALS

_STATE, _LOGS = "checkpoints", "logs"


@dataclass(frozen=True)
class Folders:
    """Where a training keeps its state for resuming, and its logs."""

    state: Path
    logs: Path

    @classmethod
    def under(cls, folder: Path, stage: str = "") -> Folders:
        """The folders of a training, or of one stage of it, in its run folder."""
        return cls(folder / _STATE / stage, folder / _LOGS / stage)

    @property
    def title(self) -> str:
        """The training's name on the progress bar: its run folder's, and the stage's if any."""
        if self.state.name == _STATE:
            return f"train {self.state.parent.name}"
        return f"train {self.state.parents[1].name} {self.state.name}"

    @property
    def last(self) -> Path:
        """The checkpoint from which an interrupted training resumes."""
        return self.state / "last.ckpt"


def forget_checkpoints(folder: Path) -> None:
    """Delete the files that were only needed to resume the training of this run folder."""
    shutil.rmtree(folder / _STATE, ignore_errors=True)


def run_trainer(
    module: L.LightningModule,
    loaders: tuple[Any, Any | None],
    folders: Folders,
    callbacks: Sequence[Callback],
    *,
    epochs: int,
    device: torch.device,
    precision: Any = "32-true",
    checkpoint_every: int = 0,
) -> None:
    """Train to the end, resuming from the last checkpoint of an interrupted run.

    Args:
        module: trained in place.
        loaders: training batches, and Lightning's validation batches, if any.
        folders: folders of this training.
        callbacks: in addition to the progress bar and the checkpoint, which is written after them.
        epochs: total number, including those of an earlier run.
        device: with several processes on GPUs, each takes its own.
        precision: Lightning's name for it.
        checkpoint_every: steps between checkpoints within an epoch; 0 waits for its end.

    Raises:
        KeyboardInterrupt: if the user interrupted it.
    """
    last = folders.last if folders.last.is_file() else None
    handlers = {each: signal.getsignal(each) for each in SIGNALS}
    with _quiet():
        trainer = _Trainer(
            accelerator=device.type,
            **_processes(device),
            precision=precision,
            max_epochs=epochs,
            callbacks=[
                TrainingBar(folders.title),
                _OwnHandler(handlers[signal.SIGTERM]),
                *callbacks,
                _LastCheckpoint(folders.last, checkpoint_every),
            ],
            plugins=[_WholeCheckpoints()],
            logger=_loggers(folders.logs),
            log_every_n_steps=1,
            num_sanity_val_steps=0,
            enable_model_summary=False,
            default_root_dir=folders.state,
        )
        try:
            # weights_only: a checkpoint is read without unpickling code
            trainer.fit(module, *loaders, None, last, weights_only=True)
        except SystemExit as stop:
            if trainer.interrupted:  # by Ctrl+C, which Lightning ignores from then on
                signal.signal(signal.SIGINT, handlers[signal.SIGINT])
                raise KeyboardInterrupt from stop
            raise


def _loggers(folder: Path) -> list[Logger]:
    return [
        TensorBoardLogger(folder, name="tensorboard", version=""),
        # flush every row: after a kill, rows before the last checkpoint would not be written again
        CSVLogger(folder, name="csv", flush_logs_every_n_steps=1),
    ]


def _processes(device: torch.device) -> dict[str, Any]:
    """This process alone, or DDP over all members of `process_group`."""
    if member().world_size == 1:
        return {"devices": [device.index or 0] if device.type == "cuda" else 1}
    here, nodes = machines()
    return {
        "devices": here,
        "num_nodes": nodes,
        # the buffers are BatchNorm statistics, which the processes share anyway
        "strategy": DDPStrategy(broadcast_buffers=False),
        "use_distributed_sampler": False,  # Lightning's repeats images to even out the ranks
    }


class _OwnHandler(Callback):
    """Leave SIGTERM to the tool: Lightning's handler waits for the other processes."""

    def __init__(self, handler: Any) -> None:
        self.handler = handler

    def on_train_start(self, *_: Any) -> None:
        if threading.current_thread() is threading.main_thread() and self.handler is not None:
            signal.signal(signal.SIGTERM, self.handler)


class _WholeCheckpoints(TorchCheckpointIO):
    """Writes checkpoints next to where they belong; Lightning's are moved from the system's folder.

    A killed process left the unfinished file there for ever.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None
    ) -> None:
        with whole_file(Path(path)) as temporary:
            torch.save(checkpoint, temporary)


class _Trainer(L.Trainer):
    """A trainer that stops at once when told to, but never while it saves any checkpoint.

    The file's writer ends in a finalizer, and Python drops what is raised there.
    """

    def save_checkpoint(self, *arguments: Any, **settings: Any) -> None:
        with _interrupts_deferred():
            super().save_checkpoint(*arguments, **settings)


class _LastCheckpoint(Checkpoint):
    """Save the state after every epoch and, if requested, every so many steps within one.

    Never both at the end of an epoch: a run resumed after the last step would skip whatever belongs
    to the epoch's end. Lightning runs a `Checkpoint` after all other callbacks, whose state it
    includes.
    """

    def __init__(self, path: Path, every_steps: int) -> None:
        self.path, self.every_steps = path, every_steps

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        due = self.every_steps and trainer.global_step % self.every_steps == 0
        if due and not trainer.is_last_batch:
            self._save(trainer)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._save(trainer)

    def _save(self, trainer: L.Trainer) -> None:
        trainer.save_checkpoint(self.path, weights_only=False)


@contextmanager
def _interrupts_deferred() -> Iterator[None]:
    """Defer orders to stop to the end of the block: Python drops one that comes in a finalizer."""
    if (
        threading.current_thread() is not threading.main_thread()
    ):  # only the main thread handles signals
        yield
        return
    pending: list[tuple[int, FrameType | None]] = []
    handlers = {each: signal.getsignal(each) for each in SIGNALS}
    for each in SIGNALS:
        signal.signal(each, lambda number, frame: pending.append((number, frame)))
    try:
        yield
    finally:
        for each, handler in handlers.items():
            signal.signal(each, handler)
    for number, frame in pending[:1]:
        handler = handlers[signal.Signals(number)]
        if callable(handler):
            handler(number, frame)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence Lightning's tips, and its advice on loaders, wrong for already decoded pixels."""
    logger = logging.getLogger("lightning.pytorch.utilities.rank_zero")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*does not have many workers.*")
            warnings.filterwarnings("ignore", ".*LeafSpec.*")
            # torch 2.8, which we support, lacks the replacement that newer versions recommend
            warnings.filterwarnings("ignore", ".*broadcast_buffers.*deprecated.*")
            warnings.filterwarnings("ignore", ".*recommended to use .*sync_dist=True.*")
            warnings.filterwarnings("ignore", ".*exists and is not empty.*")
            # the sampler skips the batches that a killed run has already used
            warnings.filterwarnings("ignore", ".*dataloader is not resumable.*")
            yield
    finally:
        logger.setLevel(level)
