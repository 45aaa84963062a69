"""Lightning's trainer of gate and detector: checkpoints within epochs, and Ctrl+C."""

from __future__ import annotations

import csv
import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from torch.utils.data import DataLoader, TensorDataset

from cxrloc.classification.training.trainer import Folders, forget_checkpoints, run_trainer

STEPS, EPOCHS = 4, 3


class Counting(L.LightningModule):
    """Notes which steps and epochs it has been through; `before` may end the program."""

    def __init__(self, before: Callable[[int], None] = lambda step: None) -> None:
        super().__init__()
        self.weight, self.before = torch.nn.Parameter(torch.zeros(1)), before
        self.steps: list[int] = []
        self.epoch_ends: list[int] = []

    def training_step(self, batch: Any, batch_index: int) -> torch.Tensor:
        self.before(self.global_step)
        self.steps.append(self.global_step)
        self.log("loss", float(self.global_step))
        return self.weight.sum()

    def on_train_epoch_end(self) -> None:
        self.epoch_ends.append(self.current_epoch)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=1.0)


def run(
    module: Counting, folder: Path, checkpoint_every: int, callbacks: Sequence[Callback] = ()
) -> Counting:
    steps = TensorDataset(torch.zeros(STEPS))
    loader: DataLoader[tuple[torch.Tensor, ...]] = DataLoader(steps, batch_size=1)
    run_trainer(
        module,
        (loader, None),
        Folders.under(folder),
        callbacks,
        epochs=EPOCHS,
        device=torch.device("cpu"),
        checkpoint_every=checkpoint_every,
    )
    return module


def ends_at(step: int, error: type[BaseException]) -> Callable[[int], None]:
    def before(current: int) -> None:
        if current == step:
            raise error

    return before


@pytest.mark.parametrize(
    ("checkpoint_every", "killed_at", "goes_on_at"),
    [
        (0, 6, 4),  # the end of an epoch is always kept
        (3, 6, 6),
        (3, 7, 6),
        (2, 4, 4),  # step 4 ends an epoch
        (2, 3, 2),
        (4, 3, 0),
    ],
)
def test_a_killed_training_goes_on_at_its_last_checkpoint(
    tmp_path: Path, checkpoint_every: int, killed_at: int, goes_on_at: int
) -> None:
    dying = Counting(ends_at(killed_at, RuntimeError))
    with pytest.raises(RuntimeError):
        run(dying, tmp_path, checkpoint_every)
    resumed = run(Counting(), tmp_path, checkpoint_every)
    # the loader of a test has no sampler that leaves out what was trained on
    assert resumed.steps == list(range(goes_on_at, STEPS * EPOCHS))
    assert resumed.epoch_ends == list(range(goes_on_at // STEPS, EPOCHS))
    assert resumed.weight.item() == -STEPS * EPOCHS
    logs = sorted((tmp_path / "logs" / "csv").glob("version_*/metrics.csv"))
    rows = [int(row["step"]) for log in logs for row in csv.DictReader(log.open())]
    assert rows == [*range(killed_at), *range(goes_on_at, STEPS * EPOCHS)]  # none is missing
    forget_checkpoints(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["logs"]


@pytest.fixture
def heeded() -> Iterator[None]:
    """Python's own handler of Ctrl+C, also where a shell started the tests in its background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heeded")
def test_ctrl_c_is_a_keyboard_interrupt_and_can_be_pressed_again(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(Counting(ends_at(5, KeyboardInterrupt)), tmp_path, 1)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert run(Counting(), tmp_path, 1).steps == list(range(5, STEPS * EPOCHS))


@pytest.mark.usefixtures("heeded")
def test_ctrl_c_during_any_checkpoint_takes_effect_when_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = []

    def save_checkpoint(trainer: L.Trainer, path: Path, *_: object, **settings: object) -> None:
        signal.raise_signal(signal.SIGINT)
        written.append(path)

    monkeypatch.setattr(L.Trainer, "save_checkpoint", save_checkpoint)
    best = ModelCheckpoint(tmp_path, filename="best", monitor="loss", save_weights_only=True)
    for callbacks, name in (([], "last.ckpt"), ([best], "best.ckpt")):
        with pytest.raises(KeyboardInterrupt):
            run(Counting(), tmp_path, 0, callbacks)
        assert Path(written[-1]).name == name
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
