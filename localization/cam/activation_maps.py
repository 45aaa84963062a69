"""Grad-CAM maps of all asked diseases without a backward pass through the network.

Grad-CAM (Selvaraju et al. 2017): map_c = relu(sum_k alpha_ck A_k), alpha_ck = mean over the map of
d logit_c / d A_k, where A is the tensor that the network pools, whatever its sign (in most networks
it comes out of a ReLU; `cxrloc.classification.network.backbones` lists them). Behind mean pooling
over h x w
cells alpha is known in closed form: W[c, k] / hw for a linear head, and for Linear - ReLU -
Linear, with z the hidden pre-activations of the image, J = W2 diag(z > 0) W1 in the place of W.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

_IGNORED = (nn.Dropout, nn.Identity, nn.Flatten)  # nothing to differentiate in evaluation mode


def class_activation_maps(
    model: nn.Module, features: torch.Tensor, disease_indices: Sequence[int]
) -> torch.Tensor:
    """Grad-CAM maps from the feature map that a forward pass has left behind.

    Args:
        model: mean-pools `features` and applies `model.head` to the (N, C) vector. Linear and
            Linear - ReLU - Linear heads are solved in closed form, another head by autograd over
            it.
        features: (N, C, h, w) that is pooled, of either sign, any float type; computed in float32.
        disease_indices: K rows of the head's output.

    Returns:
        (N, K, h, w) float32, >= 0, on the features' device.

    Raises:
        ValueError: for features that are not four-dimensional, an index that the head lacks, or a
            model without a head.
    """
    head = getattr(model, "head", None)
    if not isinstance(head, nn.Module):
        raise ValueError(f"{type(model).__name__} has no .head; expected a ChestClassifier")
    if features.ndim != 4:
        raise ValueError(f"features: expected shape (N, C, h, w), got {tuple(features.shape)}")
    with torch.autocast(features.device.type, enabled=False):
        jacobian = head_jacobian(head, features.detach().float().mean(dim=(2, 3)), disease_indices)
        cells = features.shape[2] * features.shape[3]
        maps = torch.einsum("nkc,nchw->nkhw", jacobian / cells, features.detach().float())
        return maps.relu()


def head_jacobian(head: nn.Module, pooled: torch.Tensor, indices: Sequence[int]) -> torch.Tensor:
    """d logits[indices] / d pooled of each image, shape (N, K, C), from pooled (N, C) float32."""
    layers = list(head) if isinstance(head, nn.Sequential) else [head]
    kinds = [type(layer) for layer in layers if not isinstance(layer, _IGNORED)]
    layers = [layer for layer in layers if not isinstance(layer, _IGNORED)]
    if kinds == [nn.Linear]:
        weight = _float(layers[0].weight)
        _check_indices(indices, len(weight))
        return weight[list(indices)].expand(len(pooled), -1, -1)
    if kinds == [nn.Linear, nn.ReLU, nn.Linear]:
        first, last = _float(layers[0].weight), _float(layers[2].weight)
        _check_indices(indices, len(last))
        bias = None if layers[0].bias is None else _float(layers[0].bias)
        active = (nn.functional.linear(pooled, first, bias) > 0).float()
        return torch.einsum("kh,nh,hc->nkc", last[list(indices)], active, first)
    return _autograd_jacobian(head, pooled, indices)


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


def _float(parameter: Any) -> torch.Tensor:
    tensor: torch.Tensor = parameter.detach().float()
    return tensor


def _check_indices(indices: Sequence[int], classes: int) -> None:
    for index in indices:
        if not 0 <= index < classes:
            raise ValueError(f"class index {index}, expected 0 to {classes - 1}")
