"""A gate with its heat maps as one network, to be exported: grey levels in, probabilities out."""

from __future__ import annotations

import torch
from torch import nn

from cxrloc.classification.bundle.classifier import ClassifierBundle
from cxrloc.classification.inference.onnx_export import folded
from cxrloc.classification.network.demographics import width
from cxrloc.localization.cam.activation_maps import class_activation_maps
from cxrloc.localization.cam.guided import guided_maps


class GateNetwork(nn.Module):
    """Squares of a `Preprocessing` to probabilities and the heat map of every disease.

    It standardises the squares itself, also by a mean image, which no metadata could hold.
    """

    def __init__(self, bundle: ClassifierBundle) -> None:
        super().__init__()
        self.model, self.backbone = bundle.model, folded(bundle.model.backbone)
        self.guided = bundle.trained_with_boxes
        preprocessing = bundle.preprocessing
        scale, shift = preprocessing.affine(torch.empty(1, preprocessing.size, preprocessing.size))
        self.scale: torch.Tensor
        self.shift: torch.Tensor
        for name, values in (("scale", scale), ("shift", shift)):
            per_pixel = values.permute(2, 0, 1) if values.ndim == 3 else values[:, None, None]
            self.register_buffer(name, per_pixel.contiguous())

    def forward(
        self, squares: torch.Tensor, demographics: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Probabilities (N, D) and heat maps (N, D, h, w) from (N, S, S) or (N, 3, S, S) uint8."""
        planes = squares.float() if squares.ndim == 4 else squares.float().unsqueeze(1)
        features = self.backbone(torch.addcmul(self.shift, planes, self.scale))
        output = self.model.classify(features, demographics)
        every = range(output.logits.shape[1])
        if self.guided:
            maps = guided_maps(self.model, features, every)
        else:
            maps = class_activation_maps(self.model, features, every)
        return torch.sigmoid(output.logits), maps


def example_inputs(bundle: ClassifierBundle) -> tuple[torch.Tensor, ...]:
    """Inputs of `GateNetwork` for two images: with one, the exporter would fix the batch."""
    side = bundle.preprocessing.size
    planes = (3,) if bundle.preprocessing.input == "enhanced" else ()
    squares = torch.zeros(2, *planes, side, side, dtype=torch.uint8)
    if not bundle.model.demographics:
        return (squares,)
    return squares, torch.zeros(2, width(bundle.model.demographics))
