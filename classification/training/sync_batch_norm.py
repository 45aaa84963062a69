"""Share BatchNorm statistics over the images of all processes, as if one process had them all.

torch's SyncBatchNorm does so on GPUs but refuses CPUs; there `SharedBatchNorm2d` does, in plain
tensor operations: correct, but slower than the BatchNorm of a single process.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import nn


class SharedBatchNorm2d(nn.BatchNorm2d):
    """BatchNorm over (N, C, H, W) of every rank; all ranks must have the same number of images.

    In evaluation mode it is the ordinary BatchNorm.
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
        """Update the running statistics, with the unbiased variance."""
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance, self.momentum)
        self.num_batches_tracked.add_(1)


def share_batch_statistics(model: nn.Module, device: str) -> None:
    """Replace every BatchNorm in `model` by a shared one; tensors and names stay.

    Args:
        device: type of the training device: cuda or cpu.
    """
    if device == "cuda":
        nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]
    else:
        _replace(model, (nn.BatchNorm2d,), SharedBatchNorm2d)


def own_batch_statistics(model: nn.Module) -> None:
    """Undo `share_batch_statistics`: code that folds BatchNorms only supports plain ones."""
    _replace(model, (SharedBatchNorm2d, nn.SyncBatchNorm), nn.BatchNorm2d)


class _SumOverRanks(torch.autograd.Function):
    """Every rank's result depends on every rank's input, so gradients are summed the same way."""

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
