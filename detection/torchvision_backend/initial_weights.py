"""Initialise a network: from a gate's backbone, published weights, or a file."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cxrloc.classification.network.backbones import ARCHITECTURES
from cxrloc.classification.network.precision import resolve_device, resolve_precision
from cxrloc.classification.network.weights import (
    LoadReport,
    imagenet_weights,
    load_partial,
    read_weights,
)
from cxrloc.detection.config import DetectorConfig, Init, ModelConfig
from cxrloc.detection.torchvision_backend.network import MaskRCNN, freeze_stages
from cxrloc.detection.training import check_architecture

_BODY = "backbone.body."


def build_detector(config: DetectorConfig, init: Init) -> tuple[MaskRCNN, LoadReport]:
    """Build a network with initial weights, ready to train; also list the loaded tensors."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        model = MaskRCNN(config.model, len(config.diseases), config.size)
    report = load_initial(model, init, config.model)
    if config.model.resolved_norm() == "frozen":
        model.fold_norms()
    freeze_stages(model, config.model.frozen_stages)
    device = resolve_device(config.train.device)
    model.set_precision(resolve_precision(config.train.precision, device))
    return model, report


def load_initial(model: nn.Module, init: Init, config: ModelConfig) -> LoadReport:
    """Load a network whose BatchNorm is not yet folded; the report lists what did not load.

    Raises:
        FileNotFoundError, ValueError: for a missing, unreadable or unsuitable file, a gate of
            another architecture, or published weights without network access.
    """
    if init.kind == "none":
        return LoadReport()
    if init.kind == "coco":
        return load_partial(model, _coco(), "torchvision's Mask R-CNN trained on COCO")
    if init.kind == "imagenet":
        tensors = _named(model, imagenet_weights(config.architecture), config.architecture)
        return load_partial(model, tensors, f"ImageNet weights of {config.architecture}")
    assert init.path is not None
    check_architecture(init, config.architecture)
    tensors = _named(model, read_weights(init.path), config.architecture)
    return load_partial(model, tensors, str(init.path))


def _named(model: nn.Module, tensors: dict[str, Tensor], architecture: str) -> dict[str, Tensor]:
    # read_weights strips prefixes; a classifier's plain names belong to the body, and a detector's
    # pyramid is called fpn there
    state = model.state_dict()
    full = {name.removeprefix(_BODY).removeprefix("backbone."): name for name in state}
    own_name = ARCHITECTURES[architecture].family.own_name
    own = {own_name(name): tensor for name, tensor in tensors.items()}
    return {full.get(name, name): tensor for name, tensor in own.items()}


def _coco() -> dict[str, Tensor]:
    from torchvision.models.detection import MaskRCNN_ResNet50_FPN_Weights

    weights = MaskRCNN_ResNet50_FPN_Weights.COCO_V1
    try:
        state: dict[str, Tensor] = weights.get_state_dict(
            progress=True, check_hash=True, weights_only=True
        )
    except (OSError, RuntimeError) as error:  # URLError is an OSError; RuntimeError: wrong hash
        raise ValueError(
            f"could not download torchvision's COCO weights from {weights.url} ({error}); without "
            "a network connection set model.weights to the path of a .safetensors or .pth file, to "
            "gate, or to none"
        ) from error
    return state
