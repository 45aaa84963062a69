"""Build the chest classifier, a network that also returns its last feature map."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from cxrloc.classification.network.backbones import (
    ARCHITECTURES,
    STAGES,
    STRIDE,
    Architecture,
    single_channel,
)
from cxrloc.classification.network.demographics import unknown, width
from cxrloc.classification.network.map_stride import refine_map
from cxrloc.classification.network.weights import (
    LoadReport,
    imagenet_weights,
    load_partial,
    read_weights,
)

HEADS = ("linear", "two_layer")
MAP_STRIDES = (32, 16, 8)
HIDDEN = 256  # width of the two-layer head


class ClassifierOutput(NamedTuple):
    """Logits (N, D) and features (N, C, h, w), the tensor that is pooled (see `backbones`)."""

    logits: torch.Tensor
    features: torch.Tensor


class ChestClassifier(nn.Module):
    """Backbone - pooling of the map - head. One pass gives the logits and the map for CAMs.

    Attributes:
        backbone: (N, 3, S, S) -> (N, C, S/32, S/32), with torchvision's tensor names; (N, 1, S, S)
            with one input channel; a finer map with a smaller `map_stride`.
        head: (N, C) -> (N, D); `nn.Linear` or `Linear - ReLU - Linear` (Deep MedIA), after a
            LayerNorm if the architecture has one (ConvNeXt).
        demographics: inputs in addition to the image, see
            `cxrloc.classification.network.demographics`.
        demographic_head: (N, E) -> (N, D), added to the head's logits. With a linear head this
            equals one layer over the pooled map and the demographics together. It does not touch
            the map or the head, so class activation maps stay exact. Starts at 0.
        lse_r: 0 pools by the mean over the cells; otherwise by log-sum-exp with this r (Wang et al.
            2017), near the mean for a small r and near the maximum for a large one.
        cell_prior: (D, h, w) log odds of where boxes of each disease lie, added to the logits of
            cells alone; only in a network that learns from boxes, see `guide`.
    """

    cell_prior: torch.Tensor

    def __init__(
        self,
        architecture: str,
        num_diseases: int,
        head: str,
        in_channels: int = 3,
        demographics: Sequence[str] = (),
        map_stride: int = STRIDE,
        lse_r: float = 0.0,
    ) -> None:
        super().__init__()
        self.architecture = architecture
        self.head_kind = head
        self.map_stride, self.lse_r = map_stride, lse_r
        self.backbone = ARCHITECTURES[architecture].family.backbone(architecture)
        refine_map(self.backbone, halving_stages(architecture, map_stride))
        if in_channels == 1:
            single_channel(self.backbone)
        self.head = _head(ARCHITECTURES[architecture], num_diseases, head)
        self.demographics = tuple(demographics)
        if self.demographics:
            self.demographic_head = nn.Linear(width(self.demographics), num_diseases, bias=False)
            nn.init.zeros_(self.demographic_head.weight)

    @property
    def even(self) -> bool:
        """Whether cell i of the map sees the area around pixel `map_stride` i (see `Family`)."""
        return ARCHITECTURES[self.architecture].family.even

    def forward(
        self, x: torch.Tensor, demographics: torch.Tensor | None = None
    ) -> ClassifierOutput:
        """Predict normalised images.

        Args:
            x: (N, 3, S, S), or (N, 1, S, S).
            demographics: (N, E) of `demographics.encode`; without it they count as unknown.
        """
        if min(x.shape[-2:]) < STRIDE:
            raise ValueError(
                f"input of {x.shape[-2]} x {x.shape[-1]} px, expected at least {STRIDE} x {STRIDE}"
            )
        return self.classify(self.backbone(x), demographics)

    def classify(
        self, features: torch.Tensor, demographics: torch.Tensor | None = None
    ) -> ClassifierOutput:
        """Logits from features (N, C, h, w) of the backbone or of an export of it."""
        # the head stays in float32 under autocast: it costs nothing, and bfloat16 logits have ties
        with torch.autocast(features.device.type, enabled=False):
            logits = self.head(self.pool(features.float()))
            if self.demographics:
                logits = logits + self._of_demographics(demographics, logits)
            return ClassifierOutput(logits, features)

    def pool(self, features: torch.Tensor) -> torch.Tensor:
        """(N, C) from features (N, C, h, w), float32.

        Either way the gradients of a channel's cells add up to 1, so that Grad-CAM's weights, their
        means over the cells, are the same: 1 / (h w) times the gradient of the head.
        """
        if not self.lse_r:
            return features.mean(dim=(2, 3))
        cells = self.lse_r * features.flatten(2)
        return (cells.logsumexp(dim=2) - math.log(cells.shape[2])) / self.lse_r

    def guide(self, prior: torch.Tensor) -> None:
        """Add log odds (D, h, w) of where boxes of each disease lie to the cells from now on."""
        self.register_buffer("cell_prior", prior)

    @property
    def guided(self) -> bool:
        """Whether the logits of cells know where boxes lie."""
        return hasattr(self, "cell_prior")

    def cell_logits(self, features: torch.Tensor) -> torch.Tensor:
        """(N, D, h, w) logits of the cells of features (N, C, h, w): their mean are the image's.

        In a guided network that holds before its `cell_prior` is added.

        Raises:
            ValueError: for a head that is not linear, or another pooling than the mean: the logits
                are no mean over the cells.
        """
        if self.lse_r:
            raise ValueError(
                f"logits of a map pooled by log-sum-exp (r {self.lse_r:g}) are no mean over cells; "
                "expected model.lse_r 0"
            )
        if not isinstance(self.head, nn.Linear):
            raise ValueError(
                f"the head of {self.architecture} is not one linear layer, so its logits are no "
                "mean over cells; expected model.head linear, and no convnext_tiny"
            )
        with torch.autocast(features.device.type, enabled=False):
            kernels = self.head.weight[:, :, None, None]
            cells = nn.functional.conv2d(features.float(), kernels, self.head.bias)
            return cells + fitted(self.cell_prior, cells) if self.guided else cells

    def _of_demographics(self, known: torch.Tensor | None, like: torch.Tensor) -> torch.Tensor:
        if known is None:
            known = torch.from_numpy(unknown(self.demographics)).to(like.device).unsqueeze(0)
        logits: torch.Tensor = self.demographic_head(known.float())
        return logits


def fitted(maps: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Scale maps (D, h, w) to the height and width of others (N, D, ...)."""
    if maps.shape[1:] == like.shape[2:]:
        return maps
    shape = (like.shape[2], like.shape[3])
    return nn.functional.interpolate(maps[None], shape, mode="bilinear", align_corners=False)[0]


def build_classifier(
    architecture: str,
    num_diseases: int,
    head: str = "linear",
    weights: str | Path = "none",
    *,
    seed: int = 0,
    in_channels: int = 3,
    demographics: Sequence[str] = (),
    map_stride: int = STRIDE,
    lse_r: float = 0.0,
) -> tuple[ChestClassifier, LoadReport]:
    """Build a classifier, and report which initial weights it received.

    Args:
        architecture: a key of `ARCHITECTURES`.
        num_diseases: number of logits.
        head: a member of `HEADS`.
        weights: "none", "imagenet" (see `imagenet_weights`) or a path to a `.safetensors` or `.pth`
            file, which may contain only some of the tensors; a bundle of this project works too,
            and its head is used if it fits.
        seed: seed of the random values for tensors that are not loaded.
        in_channels: 3 or 1; for 1, the kernels of the first layer, loaded or random, are summed
            over red, green and blue, which is equivalent to repeating a grey image three times.
        demographics: inputs in addition to the image, see
            `cxrloc.classification.network.demographics`.
        map_stride: pixels to a cell of the map, 32, 16 or 8 (see `halving_stages`).
        lse_r: 0, or r of a log-sum-exp pooling (see `ChestClassifier`).

    Raises:
        ValueError, FileNotFoundError: for an unknown name, a map that the network cannot have, or
            unavailable weights.
    """
    check_name("architecture", architecture, tuple(ARCHITECTURES))
    check_name("head", head, HEADS)
    if num_diseases < 1:
        raise ValueError(f"num_diseases {num_diseases}, expected at least 1")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = ChestClassifier(
            architecture, num_diseases, head, in_channels, demographics, map_stride, lse_r
        )
    if str(weights) == "none":
        return model, LoadReport()
    if str(weights) == "imagenet":
        tensors, source = imagenet_weights(architecture), f"imagenet ({architecture})"
    else:
        tensors, source = read_weights(Path(weights)), str(weights)
    return model, _load(model, tensors, source)


def halving_stages(architecture: str, map_stride: int) -> tuple[tuple[str, ...], ...]:
    """The last stages that must not halve the map for it to have this stride; none at 32.

    Raises:
        ValueError: if the network's map cannot have it.
    """
    if map_stride not in MAP_STRIDES:
        expected = ", ".join(map(str, MAP_STRIDES))
        raise ValueError(f"map_stride {map_stride}, expected one of {expected}")
    family = ARCHITECTURES[architecture].family
    stages = family.stages[STAGES - MAP_STRIDES.index(map_stride) :]
    if stages and not family.refinable:
        raise ValueError(f"map_stride {map_stride}, expected {STRIDE} with {architecture}")
    return stages


def present_against_absent(model: ChestClassifier) -> ChestClassifier:
    """Convert a network with three classes into an equivalent one with one output per disease.

    Of the classes absent, present and uncertain (`ThreeClassLoss`), the probability of a disease
    uses only the first two: it is the sigmoid of the difference of their logits, and the difference
    of two linear outputs is linear. So gate, CAM and bundle need not know about classes. The CAM is
    that of present minus absent, since a softmax determines only differences of logits.
    """
    folded = copy.deepcopy(model)
    last = folded.head[-1] if isinstance(folded.head, nn.Sequential) else folded.head
    assert isinstance(last, nn.Linear)
    absent, present, _ = last.weight.detach().view(-1, CLASSES, last.in_features).unbind(dim=1)
    absent_bias, present_bias, _ = last.bias.detach().view(-1, CLASSES).unbind(dim=1)
    last.weight = nn.Parameter((present - absent).clone())
    last.bias = nn.Parameter((present_bias - absent_bias).clone())
    last.out_features = len(last.weight)
    return folded


def _head(architecture: Architecture, num_diseases: int, kind: str) -> nn.Module:
    channels = architecture.channels
    # drawn for the two-layer head too, so that a seed keeps giving the same initial weights
    layers: list[nn.Module] = [nn.Linear(channels, num_diseases)]
    if kind == "two_layer":
        layers = [nn.Linear(channels, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, num_diseases)]
    if architecture.family.head_norm:
        layers = [nn.LayerNorm(channels, eps=1e-6), *layers]
    return layers[0] if len(layers) == 1 else nn.Sequential(*layers)


def _load(model: ChestClassifier, tensors: dict[str, torch.Tensor], source: str) -> LoadReport:
    family = ARCHITECTURES[model.architecture].family
    renamed = {_own_name(family.own_name(n), family.head_norm): t for n, t in tensors.items()}
    model_state = model.state_dict()
    kernels = [n for n, tensor in renamed.items() if tensor.ndim == 4 and n in model_state]
    for name in kernels:
        if model_state[name].shape[1] == 1:  # our first layer has one channel, ImageNet's has three
            renamed[name] = renamed[name].sum(dim=1, keepdim=True)
    return load_partial(model, renamed, source)


def _own_name(name: str, head_norm: str) -> str:
    """Add the prefix "backbone." to names of a backbone; heads of our own bundles keep "head."."""
    if head_norm and name.startswith(f"{head_norm}."):
        return f"head.0{name.removeprefix(head_norm)}"
    return name if name.startswith(("head.", "demographic_head.")) else f"backbone.{name}"


def check_name(what: str, name: str, known: Sequence[str]) -> None:
    if name not in known:
        raise ValueError(f"unknown {what} {name!r}; expected one of {', '.join(known)}")


CLASSES = 3  # classes of ThreeClassLoss
