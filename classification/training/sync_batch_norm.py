"""BatchNorm whose statistics are those of the images of all processes, as if one process had them.

torch's SyncBatchNorm does it on GPUs and refuses to on CPUs; there, `SharedBatchNorm2d` does it, in
plain tensor operations: right, and slower than the BatchNorm of one process.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import nn


class SharedBatchNorm2d(nn.BatchNorm2d):
    """BatchNorm over (N, C, H, W) of every rank; each rank must hold equally many images.

    Out of training it is the BatchNorm that it was made from.
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return super().forward(input)
        x = input.float()
        count = x.numel() // x.shape[1] * dist.get_world_size()
        mean = _sum_over_ranks(x.sum((0, 2, 3))) / count
        centred = x - mean[:, None, None]
        variance = _sum_over_ranks(centred.square().sum((0, 2, 3))) / count
        self._note(mean.detach(), variance.detach() * count / max(count - 1, 1))
        factor = self.weight * (variance + self.eps).rsqrt()
        scaled: torch.Tensor = centred * factor[:, None, None] + self.bias[:, None, None]
        return scaled.to(input.dtype)

    def _note(self, mean: torch.Tensor, variance: torch.Tensor) -> None:
        """Move the running statistics, of which the variance is the unbiased one."""
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance, self.momentum)
        self.num_batches_tracked.add_(1)


def share_batch_statistics(model: nn.Module, device: str) -> None:
    """Replace every BatchNorm in `model` by one that all processes share; tensors and names stay.

    Args:
        device: type of the device that it will be trained on: cuda or cpu.
    """
    if device == "cuda":
        nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]
    else:
        _replace(model, (nn.BatchNorm2d,), SharedBatchNorm2d)


def own_batch_statistics(model: nn.Module) -> None:
    """Undo `share_batch_statistics`: code that folds BatchNorms away knows the plain ones alone."""
    _replace(model, (SharedBatchNorm2d, nn.SyncBatchNorm), nn.BatchNorm2d)


class _SumOverRanks(torch.autograd.Function):
    """Every rank's result depends on every rank's input, so gradients are summed alike."""

    @staticmethod
    def forward(ctx: Any, part: torch.Tensor) -> torch.Tensor:
        total = part.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> torch.Tensor:
        total = gradients[0].clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total


def _sum_over_ranks(part: torch.Tensor) -> torch.Tensor:
    total: torch.Tensor = _SumOverRanks.apply(part)
    return total


def _replace(model: nn.Module, old: tuple[type[nn.Module], ...], new: type[nn.BatchNorm2d]) -> None:
    for parent in list(model.modules()):
        for name, layer in parent.named_children():
            if isinstance(layer, old):
                setattr(parent, name, _as(new, layer))


def _as(kind: type[nn.BatchNorm2d], layer: Any) -> nn.BatchNorm2d:
    assert layer.affine
    device = layer.weight.device
    changed = kind(layer.num_features, layer.eps, layer.momentum, device=device)
    changed.load_state_dict(layer.state_dict())
    return changed.train(layer.training)
