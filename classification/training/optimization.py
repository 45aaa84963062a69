"""Build optimizers and learning-rate schedules by name; resuming after a kill changes nothing."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import (
    CyclicLR,
    ExponentialLR,
    LambdaLR,
    LRScheduler,
    ReduceLROnPlateau,
    StepLR,
)
from torch.optim.swa_utils import AveragedModel

from cxrloc.classification.train_config import TrainConfig

Parameters = Iterable[nn.Parameter]
_STEP_EPOCHS = 7  # period of the schedule `step`
_DROP = 0.1  # factor of `step` and `reduce_on_plateau` on the learning rate
# fused: one kernel for all tensors, on a CPU too
OPTIMIZERS: dict[str, Callable[[Parameters, TrainConfig], Optimizer]] = {
    "adamw": lambda p, c: AdamW(p, lr=c.lr, weight_decay=c.weight_decay, fused=True),
    "adam": lambda p, c: Adam(p, lr=c.lr, weight_decay=c.weight_decay, fused=True),
    "sgd": lambda p, c: SGD(
        p, lr=c.lr, momentum=c.momentum, weight_decay=c.weight_decay, fused=True
    ),
}


def make_optimizer(module: nn.Module, config: TrainConfig) -> Optimizer:
    """Build the optimizer of the settings for the parameters that are not frozen.

    AdamW (Loshchilov and Hutter 2019) subtracts the weight decay from the weights; Adam (Kingma and
    Ba 2015) and SGD add it to the gradient as an L2 penalty. SGD uses classical momentum.
    """
    return OPTIMIZERS[config.optimizer]([p for p in module.parameters() if p.requires_grad], config)


def make_schedule(
    optimizer: Optimizer, config: TrainConfig, steps_per_epoch: int
) -> dict[str, Any]:
    """Build the schedule of the settings, and set how often Lightning steps it.

    Args:
        optimizer: optimizer to control.
        config: the schedule and its settings.
        steps_per_epoch: batches per epoch.
    """
    if config.schedule == "reduce_on_plateau":
        plateau = ReduceLROnPlateau(optimizer, factor=_DROP, patience=config.plateau_epochs)
        # Per epoch, Lightning would step it after writing the checkpoint, and a resumed run would
        # miss an epoch. Per step, the last step comes after the validation.
        return {
            "scheduler": plateau,
            "monitor": "val_loss",
            "interval": "step",
            "frequency": steps_per_epoch,
        }
    by_epoch = config.schedule in ("step", "exponential")
    schedule = _schedule(optimizer, config, steps_per_epoch)
    return {"scheduler": schedule, "interval": "epoch" if by_epoch else "step"}


def _schedule(optimizer: Optimizer, config: TrainConfig, steps_per_epoch: int) -> LRScheduler:
    if config.schedule == "step":
        return StepLR(optimizer, _STEP_EPOCHS, _DROP)
    if config.schedule == "exponential":
        return ExponentialLR(optimizer, config.exponential_factor)
    if config.schedule in ("triangular", "triangular2"):
        return _triangular(optimizer, config, steps_per_epoch)
    total = config.epochs * steps_per_epoch
    return LambdaLR(optimizer, lambda step: learning_rate_factor(step, total, config))


def _triangular(optimizer: Optimizer, config: TrainConfig, steps_per_epoch: int) -> CyclicLR:
    """Smith 2017, "Cyclical learning rates": a triangle, the same or half as high in each cycle.

    The rate rises from `cycle_low` lr to lr in half a cycle, the "stepsize", for which Smith takes
    2 to 10 epochs, and falls back in the other half; his low end is lr / 4 or lr / 3. `triangular`
    repeats the triangle, `triangular2` halves its height with each cycle.
    """
    half = config.cycle_epochs * steps_per_epoch / 2
    return CyclicLR(
        optimizer,
        base_lr=config.cycle_low * config.lr,
        max_lr=config.lr,
        step_size_up=half,  # type: ignore[arg-type]  # torch accepts any positive number
        mode=config.schedule,  # type: ignore[arg-type]  # one of torch's names, see the caller
        cycle_momentum=False,
    )


def learning_rate_factor(step: int, total: int, config: TrainConfig) -> float:
    """The gate's fraction of the peak learning rate at a step; only one_cycle warms up."""
    if config.schedule == "constant":
        return 1.0
    warmup = int(config.warmup_share * total) if config.schedule == "one_cycle" else 0
    return warmed_up_cosine(step, total, warmup, least=1e-3)


def warmed_up_cosine(step: int, total: int, warmup: int, least: float = 0.0) -> float:
    """Fraction of the peak learning rate: linear warm-up, then half a cosine to `least`."""
    if step < warmup:
        return (step + 1) / (warmup + 1)
    progress = min(1.0, (step - warmup) / max(1, total - warmup))
    return max(0.5 * (1 + math.cos(math.pi * progress)), least)


def averaged_copy(model: nn.Module, decay: float) -> AveragedModel:
    """Copy a network; each `update_parameters(model)` moves the copy towards the network.

    An exponential moving average of weights and BatchNorm statistics. After n updates it keeps at
    most (1 + n) / (10 + n) of itself, so that a short run soon forgets the initial weights.

    Args:
        decay: largest share kept at an update, in (0, 1).
    """

    def average(averages: list[Tensor], currents: list[Tensor], updates: Tensor | int) -> None:
        kept = min(decay, (1 + int(updates)) / (10 + int(updates)))
        if averages[0].is_floating_point():
            torch._foreach_lerp_(averages, currents, 1 - kept)
            return
        for whole, current in zip(averages, currents, strict=True):  # counters
            whole.copy_(current)

    return AveragedModel(model, multi_avg_fn=average, use_buffers=True)  # type: ignore[arg-type]
