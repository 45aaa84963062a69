"""Build detectron2's Mask R-CNN in code, from the same settings as torchvision's.

No model zoo, no pickle: weights start at random or come from a ResNet with torchvision's names.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from cxrloc.classification.network.precision import (
    Precision,
    as_float,
    autocast,
    resolve_device,
    resolve_precision,
)
from cxrloc.classification.network.weights import (
    LoadReport,
    imagenet_weights,
    load_partial,
    read_weights,
)
from cxrloc.classification.training.optimization import averaged_copy
from cxrloc.detection.config import (
    ANCHOR_RATIOS,
    BOX_POSITIVES,
    BOX_SAMPLES,
    NMS_THRESHOLD,
    RPN_NEGATIVE_IOU,
    RPN_POSITIVE_IOU,
    RPN_POST_NMS,
    RPN_PRE_NMS,
    RPN_SAMPLES,
    DetectorConfig,
    Init,
    ModelConfig,
)
from cxrloc.detection.mask_rcnn import DETECTRON2_HELP
from cxrloc.detection.training import check_architecture

# ImageNet's mean and deviation averaged over the colours, on 0..255: a grey image has equal
# channels
GREY_MEAN, GREY_STD = 0.449 * 255, 0.226 * 255
_NORMS = {"batch": "BN", "frozen": "FrozenBN", "group": "GN"}


def require_detectron2() -> None:
    """Raise ImportError with the install command if detectron2 is missing."""
    if importlib.util.find_spec("detectron2") is None:
        raise ImportError(DETECTRON2_HELP)


def detectron2_config(model: ModelConfig, num_diseases: int, size: int, device: str) -> Any:
    """Configure the network as a detectron2 `CfgNode`, without the schedule (see `trainer`).

    Args:
        num_diseases: number of classes without background (detectron2 counts classes from 0).
        size: side of the input square in pixels.
    """
    require_detectron2()
    from detectron2.config import get_cfg

    cfg = get_cfg()
    # detectron2 must not resize, flip or drop anything: both backends see the same squares
    cfg.INPUT.FORMAT, cfg.INPUT.RANDOM_FLIP = "RGB", "none"
    cfg.INPUT.MIN_SIZE_TRAIN = (size,)
    cfg.INPUT.MAX_SIZE_TRAIN = cfg.INPUT.MIN_SIZE_TEST = cfg.INPUT.MAX_SIZE_TEST = size
    cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS = False
    cfg.MODEL.DEVICE, cfg.MODEL.WEIGHTS, cfg.MODEL.MASK_ON = device, "", True
    cfg.MODEL.META_ARCHITECTURE = "GeneralizedRCNN"
    cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD = [GREY_MEAN] * 3, [GREY_STD] * 3
    _backbone(cfg.MODEL, model)
    _proposals(cfg.MODEL, model, size)
    _heads(cfg.MODEL, model, num_diseases)
    # return every box: each disease's best one is kept whatever its score (see `_strongest`)
    cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST, cfg.TEST.DETECTIONS_PER_IMAGE = -1.0, -1
    return cfg


def _backbone(cfg: Any, model: ModelConfig) -> None:
    stages = [f"res{level}" for level in model.fpn_levels]
    cfg.BACKBONE.NAME = "build_resnet_fpn_backbone"
    cfg.BACKBONE.FREEZE_AT = model.frozen_stages
    cfg.RESNETS.DEPTH = int(model.architecture.removeprefix("resnet"))
    # ResNet-18's basic blocks do not widen by four, and torchvision puts the stride in the 3 x 3
    cfg.RESNETS.RES2_OUT_CHANNELS = 64 if model.architecture == "resnet18" else 256
    cfg.RESNETS.STRIDE_IN_1X1 = False
    cfg.RESNETS.NORM = _NORMS[model.resolved_norm()]
    cfg.RESNETS.OUT_FEATURES = cfg.FPN.IN_FEATURES = stages
    cfg.FPN.OUT_CHANNELS = model.fpn_channels


def _proposals(cfg: Any, model: ModelConfig, size: int) -> None:
    levels = [*model.fpn_levels, model.fpn_levels[-1] + 1]
    cfg.PROPOSAL_GENERATOR.NAME = "RPN"
    cfg.ANCHOR_GENERATOR.SIZES = [list(sides) for sides in model.anchor_sides(size)]
    cfg.ANCHOR_GENERATOR.ASPECT_RATIOS = [list(ANCHOR_RATIOS)]
    cfg.RPN.IN_FEATURES = [f"p{level}" for level in levels]
    cfg.RPN.PRE_NMS_TOPK_TRAIN = RPN_PRE_NMS["training"]
    cfg.RPN.PRE_NMS_TOPK_TEST = RPN_PRE_NMS["testing"]
    cfg.RPN.POST_NMS_TOPK_TRAIN = RPN_POST_NMS["training"]
    cfg.RPN.POST_NMS_TOPK_TEST = RPN_POST_NMS["testing"]
    cfg.RPN.BATCH_SIZE_PER_IMAGE = RPN_SAMPLES
    cfg.RPN.IOU_THRESHOLDS = [RPN_NEGATIVE_IOU, RPN_POSITIVE_IOU]
    cfg.RPN.SMOOTH_L1_BETA = cfg.ROI_BOX_HEAD.SMOOTH_L1_BETA = 1 / 9  # torchvision's; here it is 0


def _heads(cfg: Any, model: ModelConfig, num_diseases: int) -> None:
    cfg.ROI_HEADS.NAME = "StandardROIHeads"
    cfg.ROI_HEADS.IN_FEATURES = [f"p{level}" for level in model.fpn_levels]
    cfg.ROI_HEADS.NUM_CLASSES = num_diseases
    cfg.ROI_HEADS.BATCH_SIZE_PER_IMAGE = BOX_SAMPLES
    cfg.ROI_HEADS.POSITIVE_FRACTION = BOX_POSITIVES
    cfg.ROI_HEADS.NMS_THRESH_TEST = NMS_THRESHOLD
    cfg.ROI_BOX_HEAD.NAME, cfg.ROI_BOX_HEAD.NUM_FC = "FastRCNNConvFCHead", 2
    cfg.ROI_BOX_HEAD.FC_DIM, cfg.ROI_BOX_HEAD.POOLER_RESOLUTION = model.box_hidden, 7
    cfg.ROI_MASK_HEAD.NAME = "MaskRCNNConvUpsampleHead"
    cfg.ROI_MASK_HEAD.NUM_CONV = model.mask_layers
    cfg.ROI_MASK_HEAD.CONV_DIM, cfg.ROI_MASK_HEAD.POOLER_RESOLUTION = model.mask_channels, 14
    cfg.ROI_BOX_HEAD.POOLER_SAMPLING_RATIO = cfg.ROI_MASK_HEAD.POOLER_SAMPLING_RATIO = 2


def build_network(model: ModelConfig, num_diseases: int, size: int, device: str) -> nn.Module:
    """detectron2's Mask R-CNN with random weights, in evaluation mode."""
    cfg = detectron2_config(model, num_diseases, size, device)
    from detectron2.modeling import build_model

    network: Any = build_model(cfg)
    # detectron2 hard-codes p5 here, which a shorter pyramid lacks
    network.backbone.top_block.in_feature = f"p{model.fpn_levels[-1]}"
    # regions go to pyramid levels by their share of the image, like COCO's 224 of 800 px
    for pooler in (network.roi_heads.box_pooler, network.roi_heads.mask_pooler):
        pooler.canonical_box_size = max(1, round(size * 224 / 800))
    network.to(memory_format=torch.channels_last)
    return network.eval()  # type: ignore[no-any-return]


def set_precision(network: nn.Module, precision: Precision) -> None:
    """Run convolutions and wide linear layers in `precision`; boxes and losses stay in fp32.

    Call once per network: detectron2's modules are wrapped in place.
    """
    parts: Any = network
    for module in (parts.backbone, parts.proposal_generator.rpn_head, parts.roi_heads.box_head):
        module.forward = _in_precision(module.forward, precision, parts.device)
    # the mask head's forward also computes its loss; `layers` is only the network
    mask_head = parts.roi_heads.mask_head
    mask_head.layers = _in_precision(mask_head.layers, precision, parts.device)


def _in_precision(
    function: Callable[..., Any], precision: Precision, device: torch.device
) -> Callable[..., Any]:
    def run(*inputs: Any) -> Any:
        with autocast(precision, device):
            return as_float(function(*inputs))

    return run


def load_start(network: nn.Module, init: Init, architecture: str) -> LoadReport:
    """Load a network's ResNet (or all of it, from a detectron2 checkpoint) from a file.

    Raises:
        FileNotFoundError, ValueError: for a missing, unreadable or unsuitable file, a gate of
            another architecture, or COCO weights by name.
    """
    if init.kind == "none":
        return LoadReport()
    if init.kind == "coco":
        raise ValueError(
            "model.weights 'coco': the detectron2 backend has no COCO weights by name (detectron2 "
            "publishes them as pickle, which we never read); use gate, none or the path of a "
            ".safetensors or .pth file, or --backend torchvision"
        )
    check_architecture(init, architecture)
    names = {name.removeprefix("backbone."): name for name in network.state_dict()}
    by_name = init.kind == "imagenet"
    source = imagenet_weights(architecture) if by_name else read_weights(Path(str(init.path)))
    tensors = {names.get(name, name): tensor for name, tensor in resnet_names(source).items()}
    return load_partial(network, tensors, str(init.path or f"ImageNet {architecture}"))


@dataclass(frozen=True)
class Networks:
    """The network in training and the moving average of its weights, if there is one."""

    trained: Any
    average: AveragedModel | None = None

    @property
    def kept(self) -> Any:
        """The network to validate and keep."""
        return self.trained if self.average is None else self.average.module

    @property
    def state(self) -> dict[str, Any]:
        """What a checkpoint holds beside the network."""
        return {} if self.average is None else {"average": self.average}

    def update(self) -> None:
        """Take a step of the training into the average."""
        if self.average is not None:
            self.average.update_parameters(self.trained)


def start_network(config: DetectorConfig, init: Init) -> tuple[Networks, Any]:
    """Networks with initial weights and their precision, and the report of the loaded tensors."""
    device = resolve_device(config.train.device)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        network = build_network(config.model, len(config.diseases), config.size, str(device))
    report = load_start(network, init, config.model.architecture)
    decay, number = config.train.weights_average, resolve_precision(config.train.precision, device)
    # copied first: `set_precision` puts functions into a network that a copy would share
    networks = Networks(network, averaged_copy(network, decay) if decay else None)
    for part in {id(one): one for one in (network, networks.kept)}.values():
        set_precision(part, number)
    return networks, report


def resnet_names(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename torchvision's ResNet tensors to detectron2's names; other tensors keep their name.

    `conv1` -> `bottom_up.stem.conv1`, `layer2.0.bn1` -> `bottom_up.res3.0.conv1.norm`,
    `downsample.0` -> `shortcut`, as in detectron2's tools/convert-torchvision-to-d2.py.
    """
    renamed = {}
    for name, tensor in tensors.items():
        first, _, rest = name.partition(".")
        new = name
        if first in ("conv1", "bn1"):
            new = f"bottom_up.stem.{name}"
        elif first in ("layer1", "layer2", "layer3", "layer4"):
            new = f"bottom_up.res{int(first[-1]) + 1}.{rest}"
        if new != name:
            for number in "123":
                new = new.replace(f"bn{number}.", f"conv{number}.norm.")
            new = new.replace("downsample.0.", "shortcut.")
            new = new.replace("downsample.1.", "shortcut.norm.")
        renamed[new] = tensor
    return renamed


def as_input(square: npt.NDArray[np.uint8]) -> Tensor:
    """Convert a grey square (S, S) to the (3, S, S) float tensor in 0..255 for detectron2."""
    return torch.from_numpy(np.array(square)).float().expand(3, -1, -1)
