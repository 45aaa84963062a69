"""Optimizers by name: torch's own, with the settings that a run may choose."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from cxrloc.classification.config import TrainConfig

Parameters = Iterable[nn.Parameter]

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
