"""The chest classifier: a network whose last feature map is kept."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from cxrloc.classification.network.backbones import (
    ARCHITECTURES,
    STRIDE,
    Architecture,
    single_channel,
)
from cxrloc.classification.network.demographics import unknown, width
from cxrloc.classification.network.weights import (
    LoadReport,
    download_imagenet,
    load_partial,
    read_weights,
)

HEADS = ("linear", "two_layer")
HIDDEN = 256  # width of the two-layer head


class ClassifierOutput(NamedTuple):
    """logits (N, D), and features (N, C, h, w): the tensor that is pooled (see `backbones`)."""

    logits: torch.Tensor
    features: torch.Tensor


class ChestClassifier(nn.Module):
    """Backbone - mean over the map - head. One pass gives the logits and the map that CAMs need.

    Attributes:
        backbone: (N, 3, S, S) -> (N, C, S/32, S/32), with torchvision's tensor names; (N, 1, S, S)
            with one input channel.
        head: (N, C) -> (N, D); `nn.Linear` or `Linear - ReLU - Linear` (Deep MedIA), behind a
            LayerNorm where the architecture has one (ConvNeXt).
        demographics: which ones come with the image, see `classification.demographics`.
        demographic_head: (N, E) -> (N, D), added to the head's logits: with a linear head the same
            as one layer over the pooled map and the demographics side by side. It leaves the map
            and the head alone, so class activation maps stay exact. Starts at 0.
    """

    def __init__(
        self,
        architecture: str,
        num_diseases: int,
        head: str,
        in_channels: int = 3,
        demographics: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self.architecture = architecture
        self.head_kind = head
        self.backbone = ARCHITECTURES[architecture].family.backbone(architecture)
        if in_channels == 1:
            single_channel(self.backbone)
        self.head = _head(ARCHITECTURES[architecture], num_diseases, head)
        self.demographics = tuple(demographics)
        if self.demographics:
            self.demographic_head = nn.Linear(width(self.demographics), num_diseases, bias=False)
            nn.init.zeros_(self.demographic_head.weight)

    def forward(
        self, x: torch.Tensor, demographics: torch.Tensor | None = None
    ) -> ClassifierOutput:
        """Predict normalised images.

        Args:
            x: (N, 3, S, S), or (N, 1, S, S).
            demographics: (N, E) of `demographics.encode`; left out, nothing is known of the images.
        """
        if min(x.shape[-2:]) < STRIDE:
            raise ValueError(
                f"input of {x.shape[-2]} x {x.shape[-1]} px, expected at least {STRIDE} x {STRIDE}"
            )
        return self.classify(self.backbone(x), demographics)

    def classify(
        self, features: torch.Tensor, demographics: torch.Tensor | None = None
    ) -> ClassifierOutput:
        """Logits from features (N, C, h, w) of the backbone, or of a copy of it elsewhere."""
        # the head stays in float32 under autocast: it costs nothing, and bfloat16 logits have ties
        with torch.autocast(features.device.type, enabled=False):
            logits = self.head(features.float().mean(dim=(2, 3)))
            if self.demographics:
                logits = logits + self._of_demographics(demographics, logits)
            return ClassifierOutput(logits, features)

    def _of_demographics(self, known: torch.Tensor | None, like: torch.Tensor) -> torch.Tensor:
        if known is None:
            known = torch.from_numpy(unknown(self.demographics)).to(like.device).unsqueeze(0)
        logits: torch.Tensor = self.demographic_head(known.float())
        return logits


def build_classifier(
    architecture: str,
    num_diseases: int,
    head: str = "linear",
    weights: str | Path = "none",
    *,
    seed: int = 0,
    in_channels: int = 3,
    demographics: Sequence[str] = (),
) -> tuple[ChestClassifier, LoadReport]:
    """A classifier and the list of the start weights that it got.

    Args:
        architecture: a key of `ARCHITECTURES`.
        num_diseases: number of logits.
        head: a member of `HEADS`.
        weights: "none", "imagenet" (torchvision's, by name) or a path to a `.safetensors` or `.pth`
            file, which may hold a part of the tensors; a bundle of this project works, its head is
            taken when it fits.
        seed: random start of what is not loaded.
        in_channels: 3, or 1: the kernels of the first layer, loaded or random, are added up over
            red, green and blue, which is what a grey image thrice would meet.
        demographics: names of those that come with the image, see `classification.demographics`.

    Raises:
        ValueError, FileNotFoundError: for an unknown name, or weights that are not to be had.
    """
    _check_name("architecture", architecture, tuple(ARCHITECTURES))
    _check_name("head", head, HEADS)
    if num_diseases < 1:
        raise ValueError(f"num_diseases {num_diseases}, expected at least 1")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = ChestClassifier(architecture, num_diseases, head, in_channels, demographics)
    if str(weights) == "none":
        return model, LoadReport()
    if str(weights) == "imagenet":
        tensors, source = download_imagenet(architecture), f"imagenet ({architecture})"
    else:
        tensors, source = read_weights(Path(weights)), str(weights)
    return model, _load(model, tensors, source)


def present_against_absent(model: ChestClassifier) -> ChestClassifier:
    """The network with one output a disease that gives what one with three classes gives.

    Of the classes absent, present and uncertain (`ThreeClassLoss`) the probability of a disease
    takes the first two alone: it is the sigmoid of their logits' difference, and a difference of
    two linear outputs is one. So gate, CAM and bundle have nothing to know of classes; the CAM is
    that of present against absent, as a softmax fixes no logit but only their differences.
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
    # drawn for the two-layer head too: without it, one seed would no longer give its old start
    layers: list[nn.Module] = [nn.Linear(channels, num_diseases)]
    if kind == "two_layer":
        layers = [nn.Linear(channels, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, num_diseases)]
    if architecture.family.head_norm:
        layers = [nn.LayerNorm(channels, eps=1e-6), *layers]
    return layers[0] if len(layers) == 1 else nn.Sequential(*layers)


def _load(model: ChestClassifier, tensors: dict[str, torch.Tensor], source: str) -> LoadReport:
    norm = ARCHITECTURES[model.architecture].family.head_norm
    renamed = {_own_name(n, norm): t for n, t in tensors.items()}
    model_state = model.state_dict()
    kernels = [n for n, tensor in renamed.items() if tensor.ndim == 4 and n in model_state]
    for name in kernels:
        if model_state[name].shape[1] == 1:  # the first layer of one channel, ImageNet's of three
            renamed[name] = renamed[name].sum(dim=1, keepdim=True)
    return load_partial(model, renamed, source)


def _own_name(name: str, head_norm: str) -> str:
    """Torchvision's names have no "backbone."; a head of our own bundle keeps its "head."."""
    if head_norm and name.startswith(f"{head_norm}."):
        return f"head.0{name.removeprefix(head_norm)}"
    return name if name.startswith(("head.", "demographic_head.")) else f"backbone.{name}"


def _check_name(what: str, name: str, known: Sequence[str]) -> None:
    if name not in known:
        raise ValueError(f"unknown {what} {name!r}; known are {', '.join(known)}")


CLASSES = 3  # of ThreeClassLoss
