"""Optimizers and learning-rate schedules by name, exact after a kill and a resume too."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import (
    CyclicLR,
    ExponentialLR,
    LambdaLR,
    LRScheduler,
    ReduceLROnPlateau,
    StepLR,
)

from cxrloc.classification.config import TrainConfig

Parameters = Iterable[nn.Parameter]
_STEP_EPOCHS = 7  # of the schedule `step`
_DROP = 0.1  # what `step` and `reduce_on_plateau` multiply the learning rate by
# fused: one kernel for all tensors, on a CPU too
OPTIMIZERS: dict[str, Callable[[Parameters, TrainConfig], Optimizer]] = {
    "adamw": lambda p, c: AdamW(p, lr=c.lr, weight_decay=c.weight_decay, fused=True),
    "adam": lambda p, c: Adam(p, lr=c.lr, weight_decay=c.weight_decay, fused=True),
    "sgd": lambda p, c: SGD(
        p, lr=c.lr, momentum=c.momentum, weight_decay=c.weight_decay, fused=True
    ),
}


def make_optimizer(module: nn.Module, config: TrainConfig) -> Optimizer:
    """The optimizer that the settings name, of the parameters that are not frozen.

    AdamW (Loshchilov and Hutter 2019) takes the weight decay off the weights; Adam (Kingma and Ba
    2015) and SGD add it to the gradient, as an L2 penalty. SGD's momentum is the classical one.
    """
    return OPTIMIZERS[config.optimizer]([p for p in module.parameters() if p.requires_grad], config)


def make_schedule(
    optimizer: Optimizer, config: TrainConfig, steps_per_epoch: int
) -> dict[str, Any]:
    """The schedule that the settings name, and how often Lightning steps it.

    Args:
        optimizer: whose learning rate is changed.
        config: names the schedule and its settings.
        steps_per_epoch: batches of an epoch.
    """
    if config.schedule == "reduce_on_plateau":
        plateau = ReduceLROnPlateau(optimizer, factor=_DROP, patience=config.plateau_epochs)
        # By epoch, Lightning would step it after writing the checkpoint, and a run that goes on
        # from there would miss an epoch. By step, the last batch's comes after the validation.
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
    """Smith 2017, "Cyclical learning rates": a triangle, in each cycle alike or half as high.

    The rate climbs from `cycle_low` lr to lr in half a cycle, the "stepsize", which Smith puts at
    2 to 10 epochs, and falls back in the other half; for the low end he takes lr / 4 or lr / 3.
    His `triangular` repeats that triangle, his `triangular2` halves its height with each cycle.
    """
    half = config.cycle_epochs * steps_per_epoch / 2
    return CyclicLR(
        optimizer,
        base_lr=config.cycle_low * config.lr,
        max_lr=config.lr,
        step_size_up=half,  # type: ignore[arg-type]  # torch takes any positive number
        mode=config.schedule,  # type: ignore[arg-type]  # one of torch's names, see the caller
        cycle_momentum=False,
    )


def learning_rate_factor(step: int, total: int, config: TrainConfig) -> float:
    """The gate's share of the peak learning rate at a step: only one_cycle warms up."""
    if config.schedule == "constant":
        return 1.0
    warmup = int(config.warmup_share * total) if config.schedule == "one_cycle" else 0
    return warmed_up_cosine(step, total, warmup, least=1e-3)


def warmed_up_cosine(step: int, total: int, warmup: int, least: float = 0.0) -> float:
    """Share of the peak learning rate at a step: linear warm-up, then half a cosine to `least`."""
    if step < warmup:
        return (step + 1) / (warmup + 1)
    progress = min(1.0, (step - warmup) / max(1, total - warmup))
    return max(0.5 * (1 + math.cos(math.pi * progress)), least)
