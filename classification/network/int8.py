"""Run the gate's backbone in INT8: convolutions of 8-bit integers, made by `int8_calibration`.

A convolution's input x is round(x / step) + zero, clipped to 0 and 255. Its weights are -127 to
127, with one scale per output channel. Sums are exact; biases and everything between convolutions
stay in float. This module computes the same in float32 (torch's fake quantisation), which exports
to ONNX as QuantizeLinear and DequantizeLinear; runtimes that support these compute in integers.

The first convolution is special if the network gets one grey image in every channel. Grey levels
are 8-bit integers already, so the input loses nothing if the channels, each an affine function of
the grey level, are summed into one (`GreyInput`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

LEVELS = 255
LARGEST = 127  # largest weight, and the last channel of `GreyInput.fold`


@dataclass(frozen=True)
class Int8Layer:
    """One convolution.

    Attributes:
        weight: (O, I, h, w) int8, from -127 to 127.
        scale: (O,) float32: the weights are `weight * scale`.
        step, zero: quantisation of the input, which stands for (0 to 255 - zero) * step.
    """

    weight: torch.Tensor
    scale: torch.Tensor
    step: float
    zero: int


@dataclass(frozen=True)
class GreyInput:
    """How each input channel of a network follows from the grey level g in 0..255.

    Attributes:
        layer: name of the network's first convolution.
        scale, shift: per channel c: x_c = scale_c * g + shift_c.
    """

    layer: str
    scale: tuple[float, ...]
    shift: tuple[float, ...]

    @property
    def zero(self) -> int:
        """The grey level that counts as 0, near the mean: 0 to 128, so that 127 more fit in 255."""
        means = [-shift / scale for scale, shift in zip(self.scale, self.shift, strict=True)]
        return min(max(round(sum(means) / len(means)), 0), 128)

    def levels(self, x: torch.Tensor) -> torch.Tensor:
        """Convert network input (N, C, H, W) to g - zero (N, 1, H, W), integers in bfloat16 too."""
        return torch.round((x[:, :1] - self.shift[0]) / self.scale[0] - self.zero)

    def fold(self, layer: nn.Conv2d) -> nn.Conv2d:
        """Rewrite the layer for g - zero, g - zero and 127; its output is the same everywhere.

        The last channel carries the value of the normalised channels where g is `zero`. The bias
        cannot carry it: it does not apply beyond the border, where all channels are 0. The grey
        level appears twice, with half the weight each, because two integers add up to a finer one
        (an error of -40 dB of a ResNet-18's features, -30 dB with one), and because CPUs process
        8-bit channels in fours.
        """
        weight = layer.weight.detach().double()
        scale = weight.new_tensor(self.scale).view(1, -1, 1, 1)
        shift = weight.new_tensor(self.shift).view(1, -1, 1, 1)
        grey = (weight * scale).sum(1, keepdim=True)
        constant = (weight * (shift + self.zero * scale)).sum(1, keepdim=True) / LARGEST
        folded = nn.Conv2d(
            3,
            layer.out_channels,
            layer.kernel_size,  # type: ignore[arg-type]
            layer.stride,  # type: ignore[arg-type]
            layer.padding,  # type: ignore[arg-type]
            layer.dilation,  # type: ignore[arg-type]
            bias=layer.bias is not None,
            device=layer.weight.device,
        )
        folded.weight = nn.Parameter(torch.cat([grey / 2, grey / 2, constant], 1).float())
        folded.bias = None if layer.bias is None else nn.Parameter(layer.bias.detach().clone())
        return folded


class GreyConv2d(nn.Module):
    """A network's first convolution, folded by `GreyInput`, on its `levels` (N, 1, H, W)."""

    def __init__(self, conv: nn.Module) -> None:
        super().__init__()
        self.conv = conv

    def forward(self, levels: torch.Tensor) -> torch.Tensor:
        constant = torch.full_like(levels, LARGEST)
        output: torch.Tensor = self.conv(torch.cat([levels, levels, constant], 1))
        return output


class Int8Conv2d(nn.Module):
    """An INT8 convolution computed in float32, with float input and output."""

    def __init__(self, layer: nn.Conv2d, int8: Int8Layer) -> None:
        super().__init__()
        if int8.weight.shape != layer.weight.shape:
            actual, expected = tuple(int8.weight.shape), tuple(layer.weight.shape)
            raise ValueError(f"INT8 weights of shape {actual}, expected {expected}")
        weight = int8.weight.float() * int8.scale.view(-1, 1, 1, 1)
        self.weight = nn.Parameter(weight, requires_grad=False)
        self.bias = layer.bias
        self.scale: torch.Tensor
        self.origin: torch.Tensor
        self.register_buffer("scale", int8.scale)
        self.register_buffer("origin", torch.zeros(len(int8.scale), dtype=torch.int32))
        self.step, self.zero = int8.step, int8.zero
        self.stride, self.padding, self.dilation = layer.stride, layer.padding, layer.dilation

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.fake_quantize_per_tensor_affine(x, self.step, self.zero, 0, LEVELS)
        # -128 never occurs; the range includes it because ONNX has no narrower type
        weight = torch.fake_quantize_per_channel_affine(
            self.weight, self.scale, self.origin, 0, -LARGEST - 1, LARGEST
        )
        return F.conv2d(x, weight, self.bias, self.stride, self.padding, self.dilation)


@dataclass(frozen=True)
class Int8Backbone:
    """INT8 weights of one classifier's backbone.

    Attributes:
        layers: names of convolutions in the folded backbone (NAME.conv for a first convolution on
            grey levels) -> their numbers.
        grey: how the network's input follows from grey levels; None if channels differ otherwise.
        left: names of the convolutions that stay in float.
        fingerprint: fingerprint of the source, see `bundle_fingerprint`.
        metadata: everything else in the file.
    """

    layers: Mapping[str, Int8Layer]
    grey: GreyInput | None
    left: tuple[str, ...]
    fingerprint: str
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def inputs(self, x: torch.Tensor) -> torch.Tensor:
        """Convert the backbone's input (N, C, S, S) for `network`: grey levels if it uses them."""
        return x if self.grey is None else self.grey.levels(x)

    def network(self, backbone: nn.Module) -> nn.Module:
        """Replace the convolutions of a folded, unshared backbone by INT8 ones.

        The result takes `inputs(x)`.
        """
        on_grey_levels(backbone, self.grey)
        for name, layer in self.layers.items():
            convolution = backbone.get_submodule(name)
            assert isinstance(convolution, nn.Conv2d)
            backbone.set_submodule(name, Int8Conv2d(convolution, layer))
        return backbone


def on_grey_levels(backbone: nn.Module, grey: GreyInput | None) -> None:
    """Replace the first convolution by one on grey levels, if `grey` is given."""
    if grey is not None:
        convolution = backbone.get_submodule(grey.layer)
        assert isinstance(convolution, nn.Conv2d)
        backbone.set_submodule(grey.layer, GreyConv2d(grey.fold(convolution)))
