"""Compute Grad-CAM maps of all requested diseases without a backward pass through the network.

Grad-CAM (Selvaraju et al. 2017): map_c = relu(sum_k alpha_ck A_k), alpha_ck = mean over the map of
d logit_c / d A_k, where A is the tensor that the network pools, of either sign (most networks apply
a ReLU before pooling; `cxrloc.classification.network.backbones` lists them). With mean pooling over
h x w cells, alpha has a closed form: W[c, k] / hw for a linear head, and for Linear - ReLU -
Linear, with z the hidden pre-activations of the image, J = W2 diag(z > 0) W1 instead of W. It is
the same with log-sum-exp pooling, since its gradients over the cells add up to 1 too. ConvNeXt's
LayerNorm before the head has one as well.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

_IGNORED = (nn.Dropout, nn.Identity, nn.Flatten)  # nothing to differentiate in evaluation mode


def class_activation_maps(
    model: nn.Module, features: torch.Tensor, disease_indices: Sequence[int]
) -> torch.Tensor:
    """Compute Grad-CAM maps from the feature map of a finished forward pass.

    Args:
        model: pools `features`, by the mean or as its `pool` does, and applies `model.head` to the
            (N, C) vector. Heads of linear layers, ReLUs and LayerNorms that end in a linear layer
            have a closed form; other heads use autograd through the head.
        features: pooled tensor (N, C, h, w) of either sign, any float type; computed in float32.
        disease_indices: K outputs of the head.

    Returns:
        (N, K, h, w) float32, >= 0, on the features' device.

    Raises:
        ValueError: if the features are not four-dimensional, the head lacks an index, or the
            model has no head (use `network_maps`, which runs the network).
    """
    head = getattr(model, "head", None)
    if not isinstance(head, nn.Module):
        raise ValueError(f"{type(model).__name__} has no .head; use network_maps(network, images)")
    if features.ndim != 4:
        raise ValueError(f"features: expected shape (N, C, h, w), got {tuple(features.shape)}")
    with torch.autocast(features.device.type, enabled=False):
        pool = getattr(model, "pool", _mean)  # others' networks pool by the mean
        jacobian = head_jacobian(head, pool(features.detach().float()), disease_indices)
        cells = features.shape[2] * features.shape[3]
        maps = torch.einsum("nkc,nchw->nkhw", jacobian / cells, features.detach().float())
        return maps.relu()


def _mean(features: torch.Tensor) -> torch.Tensor:
    return features.mean(dim=(2, 3))


def network_maps(
    network: nn.Module, images: torch.Tensor, class_indices: Sequence[int]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute logits (N, D) and Grad-CAM maps (N, K, h, w) of any network, as cheaply as possible.

    Uses `class_activation_maps` if the network has a `head` and its forward pass returns `logits`
    and `features`, and `autograd_maps` for others, for example torchvision's.
    """
    if isinstance(getattr(network, "head", None), nn.Module):
        with torch.no_grad():
            output: Any = network(images)
        if hasattr(output, "features"):
            maps = class_activation_maps(network, output.features, class_indices)
            return output.logits.float(), maps
    return autograd_maps(network, images, class_indices)


def autograd_maps(
    network: nn.Module, images: torch.Tensor, class_indices: Sequence[int]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute logits (N, D) and Grad-CAM maps (N, K, h, w) of a network that pools, by autograd.

    Finds the tensor pooled last (`adaptive_avg_pool2d`, or a mean over height and width) by
    intercepting the forward pass, and takes gradients from the logits back to it, no further. This
    is the tensor after a ReLU even if the ReLU is not a module (DenseNet).

    Raises:
        ValueError: if the network pools no (N, C, h, w) map, or lacks a class of this index.
    """
    with torch.inference_mode(False), torch.no_grad(), _LastPooled() as seen:
        output: Any = network(images)
    logits = getattr(output, "logits", output)
    if seen.pooled is None:
        raise ValueError(
            f"{type(network).__name__} pools no (N, C, h, w) feature map, so it has no Grad-CAM; "
            "expected a convolutional network with average pooling before its head"
        )
    _check_indices(class_indices, logits.shape[1])
    maps = [_gradient_map(logits[:, index].sum(), seen.pooled) for index in class_indices]
    empty = seen.pooled.new_zeros((len(images), 0, *seen.pooled.shape[2:]))
    stacked = torch.stack(maps, dim=1) if maps else empty
    return logits.detach().float(), stacked.detach().float()


def head_jacobian(head: nn.Module, pooled: torch.Tensor, indices: Sequence[int]) -> torch.Tensor:
    """d logits[indices] / d pooled for each image, shape (N, K, C), from pooled (N, C) float32."""
    layers = list(head) if isinstance(head, nn.Sequential) else [head]
    layers = [layer for layer in layers if not isinstance(layer, _IGNORED)]
    if not (layers and isinstance(layers[-1], nn.Linear) and all(map(_has_closed_form, layers))):
        return _autograd_jacobian(head, pooled, indices)
    _check_indices(indices, layers[-1].out_features)
    given = [pooled]  # what each layer is given
    for layer in layers[:-1]:
        given.append(layer(given[-1]))
    rows = _float(layers[-1].weight)[list(indices)].expand(pooled.shape[0], -1, -1)
    for layer, x in zip(reversed(layers[:-1]), reversed(given[:-1]), strict=True):
        rows = _times_jacobian(rows, layer, x)
    return rows


def _has_closed_form(layer: nn.Module) -> bool:
    over_one_axis = isinstance(layer, nn.LayerNorm) and len(layer.normalized_shape) == 1
    return isinstance(layer, nn.Linear | nn.ReLU) or over_one_axis


def _times_jacobian(rows: torch.Tensor, layer: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """(N, K, C) rows of a jacobian, times that of the layer before it, which was given x (N, C)."""
    if isinstance(layer, nn.Linear):
        return rows @ _float(layer.weight)
    if isinstance(layer, nn.ReLU):
        return rows * (x > 0).float().unsqueeze(1)
    assert isinstance(layer, nn.LayerNorm)
    if layer.weight is not None:
        rows = rows * _float(layer.weight)
    scale = torch.rsqrt(x.var(-1, correction=0, keepdim=True) + layer.eps).unsqueeze(1)
    unit = (x - x.mean(-1, keepdim=True)).unsqueeze(1) * scale
    rows = rows - unit * (rows * unit).mean(-1, keepdim=True)
    return (rows - rows.mean(-1, keepdim=True)) * scale


def _autograd_jacobian(
    head: Callable[[torch.Tensor], torch.Tensor], pooled: torch.Tensor, indices: Sequence[int]
) -> torch.Tensor:
    with torch.inference_mode(False), torch.enable_grad():
        vector = pooled.clone().requires_grad_()
        logits = head(vector)
        _check_indices(indices, logits.shape[1])
        rows = [
            torch.autograd.grad(logits[:, index].sum(), vector, retain_graph=True)[0]
            for index in indices
        ]
    return torch.stack(rows, dim=1) if rows else pooled.new_zeros((len(pooled), 0, pooled.shape[1]))


class _LastPooled(TorchFunctionMode):
    """While active, make the last pooled (N, C, h, w) tensor a leaf of the graph.

    Leaves nothing on the network: it intercepts torch's functions, not modules, and so also sees
    `F.adaptive_avg_pool2d` and `x.mean((2, 3))`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.pooled: torch.Tensor | None = None

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if _pools_a_map(func, args, kwargs):
            self.pooled = args[0].detach().clone().requires_grad_()
            # From here on only; the surrounding no_grad() restores it. A network with
            # squeeze-and-excitation pools early and so keeps more of its graph than needed.
            torch.set_grad_enabled(True)
            args = (self.pooled, *args[1:])
        return func(*args, **kwargs)


def _pools_a_map(func: Any, args: Any, kwargs: Any) -> bool:
    if not args or not isinstance(args[0], torch.Tensor) or args[0].ndim != 4:
        return False
    if func in (torch.Tensor.mean, torch.mean):
        dims = kwargs.get("dim", args[1] if len(args) > 1 else None)
        return isinstance(dims, list | tuple) and {d % 4 for d in dims} == {2, 3}
    return func is nn.functional.adaptive_avg_pool2d


def _gradient_map(logit: torch.Tensor, activations: torch.Tensor) -> torch.Tensor:
    gradient = torch.autograd.grad(logit, activations, retain_graph=True)[0].float()
    alpha = gradient.mean(dim=(2, 3), keepdim=True)
    return (alpha * activations.float()).sum(dim=1).relu()


def _float(parameter: Any) -> torch.Tensor:
    tensor: torch.Tensor = parameter.detach().float()
    return tensor


def _check_indices(indices: Sequence[int], classes: int) -> None:
    for index in indices:
        if not 0 <= index < classes:
            raise ValueError(f"class index {index}, expected 0 to {classes - 1}")
