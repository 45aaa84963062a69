"""Mask R-CNN by detectron2: the optional second backend of `cxrloc.detection.mask_rcnn`.

    python tools/train_maskrcnn.py --config configs/x.yaml --model.backend detectron2

The same settings as for torchvision become a detectron2 config built in code (no model zoo). The trained
model leaves detectron2's checkpoint for our bundle, from which it is built again. detectron2 is imported
inside functions only: it is optional, and takes seconds.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cxrloc.classification.precision import (
    Precision,
    autocast,
    resolve_device,
    resolve_precision,
)
from cxrloc.classification.weights import read_weights
from cxrloc.datasets.radiograph import Film
from cxrloc.datasets.transforms import fit_square, square_scale
from cxrloc.detection.config import DetectorConfig, Init, ModelConfig
from cxrloc.detection.data import DetectionSet
from cxrloc.detection.mask_rcnn import DETECTRON2_HELP, Detections

# ImageNet's mean and deviation averaged over the colours, on 0..255: a grey film has equal channels
GREY_MEAN, GREY_STD = 0.449 * 255, 0.226 * 255
_NORMS = {"batch": "BN", "frozen": "FrozenBN", "group": "GN"}
_FILMS_AT_ONCE = 8


def require_detectron2() -> None:
    """Raise ImportError, saying how to install it, where detectron2 is missing."""
    if importlib.util.find_spec("detectron2") is None:
        raise ImportError(DETECTRON2_HELP)


def detectron2_config(model: ModelConfig, num_diseases: int, size: int, device: str) -> Any:
    """The network as a detectron2 `CfgNode`; the schedule is not in it (see `detectron2_trainer`).

    Args:
        num_diseases: classes without background (detectron2 counts classes from 0).
        size: side of the input square in pixels.
    """
    require_detectron2()
    from detectron2.config import get_cfg

    cfg = get_cfg()
    # nothing is resized, flipped or dropped by detectron2: both backends see the same squares
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
    # every box is handed over: the best one of a disease is kept whatever its score (`_strongest`)
    cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST, cfg.TEST.DETECTIONS_PER_IMAGE = -1.0, -1
    return cfg


def _backbone(cfg: Any, model: ModelConfig) -> None:
    stages = [f"res{level}" for level in model.fpn_levels]
    cfg.BACKBONE.NAME = "build_resnet_fpn_backbone"
    cfg.BACKBONE.FREEZE_AT = model.frozen_stages
    cfg.RESNETS.DEPTH = int(model.architecture.removeprefix("resnet"))
    # the basic blocks of ResNet-18 do not widen by four, and torchvision strides in the 3 x 3
    cfg.RESNETS.RES2_OUT_CHANNELS = 64 if model.architecture == "resnet18" else 256
    cfg.RESNETS.STRIDE_IN_1X1 = False
    cfg.RESNETS.NORM = _NORMS[model.resolved_norm()]
    cfg.RESNETS.OUT_FEATURES = cfg.FPN.IN_FEATURES = stages
    cfg.FPN.OUT_CHANNELS = model.fpn_channels


def _proposals(cfg: Any, model: ModelConfig, size: int) -> None:
    levels = [*model.fpn_levels, model.fpn_levels[-1] + 1]
    cfg.PROPOSAL_GENERATOR.NAME = "RPN"
    cfg.ANCHOR_GENERATOR.SIZES = [[max(1, round(side * size))] for side in model.anchor_sizes]
    cfg.ANCHOR_GENERATOR.ASPECT_RATIOS = [list(model.anchor_ratios)]
    cfg.RPN.IN_FEATURES = [f"p{level}" for level in levels]
    cfg.RPN.PRE_NMS_TOPK_TRAIN, cfg.RPN.PRE_NMS_TOPK_TEST = (
        model.rpn_pre_nms,
        model.rpn_pre_nms_test,
    )
    cfg.RPN.POST_NMS_TOPK_TRAIN, cfg.RPN.POST_NMS_TOPK_TEST = (
        model.rpn_post_nms,
        model.rpn_post_nms_test,
    )
    cfg.RPN.BATCH_SIZE_PER_IMAGE = model.rpn_batch


def _heads(cfg: Any, model: ModelConfig, num_diseases: int) -> None:
    cfg.ROI_HEADS.NAME = "StandardROIHeads"
    cfg.ROI_HEADS.IN_FEATURES = [f"p{level}" for level in model.fpn_levels]
    cfg.ROI_HEADS.NUM_CLASSES = num_diseases
    cfg.ROI_HEADS.BATCH_SIZE_PER_IMAGE = model.box_batch
    cfg.ROI_HEADS.POSITIVE_FRACTION = model.box_positive
    cfg.ROI_HEADS.NMS_THRESH_TEST = model.nms_threshold
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
    # detectron2 hard-codes p5 here, which a shorter pyramid has not
    network.backbone.top_block.in_feature = f"p{model.fpn_levels[-1]}"
    # regions go to pyramid levels by their share of the film, as COCO's 224 of 800 px
    for pooler in (network.roi_heads.box_pooler, network.roi_heads.mask_pooler):
        pooler.canonical_box_size = max(1, round(size * 224 / 800))
    network.to(memory_format=torch.channels_last)
    return network.eval()  # type: ignore[no-any-return]


def load_start(network: nn.Module, init: Init) -> str:
    """Fill a network's ResNet from a file with torchvision's names; returns what was loaded, to log.

    Raises:
        ValueError: for COCO weights by name, or a file of which nothing fits.
    """
    if init.kind == "none":
        return "weights: none, the network starts from random values"
    if init.kind == "coco" or init.path is None:
        raise ValueError(
            "model.weights 'coco': the detectron2 backend has no COCO weights by name (detectron2 "
            "publishes them as pickle, which is never read here); use a .safetensors or .pth file, "
            "'gate' or 'none', or --model.backend torchvision"
        )
    tensors = resnet_names(read_weights(init.path))
    own = network.state_dict()
    fits = {k: v for k, v in tensors.items() if k in own and own[k].shape == v.shape}
    if not fits:
        raise ValueError(
            f"{init.path}: no tensor fits the detector's ResNet; expected torchvision's names "
            "(conv1.weight, layer1.0.conv1.weight, ...) and the architecture of model.architecture"
        )
    network.load_state_dict(fits, strict=False)
    body = [k for k in own if k.startswith("backbone.bottom_up.")]
    missing = [k for k in body if k not in fits]
    return (
        f"weights: {init.path.name}: loaded {len(fits)} tensors, {len(missing)} of the backbone's "
        f"{len(body)} are missing{': ' if missing else ''}{', '.join(missing)}"
    )


def resnet_names(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """torchvision's ResNet names as detectron2's; other tensors keep their name.

    `conv1` -> `backbone.bottom_up.stem.conv1`, `layer2.0.bn1` -> `backbone.bottom_up.res3.0.conv1.norm`,
    `downsample.0` -> `shortcut`, as detectron2's tools/convert-torchvision-to-d2.py has it.
    """
    renamed = {}
    for name, tensor in tensors.items():
        first, _, rest = name.partition(".")
        if first in ("conv1", "bn1"):
            name = f"backbone.bottom_up.stem.{name}"
        elif first.startswith("layer"):
            name = f"backbone.bottom_up.res{int(first.removeprefix('layer')) + 1}.{rest}"
        for number in "123":
            name = name.replace(f"bn{number}.", f"conv{number}.norm.")
        name = name.replace("downsample.0.", "shortcut.").replace("downsample.1.", "shortcut.norm.")
        renamed[name] = tensor
    return renamed


def as_input(square: np.ndarray[Any, np.dtype[np.uint8]]) -> Tensor:
    """A grey square (S, S) as the (3, S, S) float tensor on 0..255 that detectron2 normalises."""
    return torch.from_numpy(np.array(square)).float().expand(3, -1, -1)


class Detectron2Predictor:
    """A trained network that predicts films in their original frames.

    Args:
        network: as `build_network` makes it.
        diseases: names of the classes, in the network's order.
        size: side of the input square in pixels.
    """

    def __init__(
        self,
        network: nn.Module,
        model: ModelConfig,
        diseases: Sequence[str],
        size: int,
        precision: Precision,
    ) -> None:
        self.network: Any = network
        self.model = model
        self.diseases = tuple(diseases)
        self.size = size
        self.precision = precision

    def predict(self, films: Sequence[Film]) -> list[Detections]:
        """Detections of each film, in the given order, in each film's original frame."""
        found: list[Detections] = []
        for start in range(0, len(films), _FILMS_AT_ONCE):
            found += self._batch(films[start : start + _FILMS_AT_ONCE])
        return found

    @torch.no_grad()
    def _batch(self, films: Sequence[Film]) -> list[Detections]:
        inputs = [{"image": as_input(fit_square(film.pixels, self.size))} for film in films]
        network, heads = self.network.eval(), self.network.roi_heads
        with autocast(self.precision, network.device):
            images = network.preprocess_image(inputs)
            features = network.backbone(images.tensor)
        # boxes and their regression stay in fp32
        features = {name: value.float() for name, value in features.items()}
        proposals, _ = network.proposal_generator(images, features, None)
        found = heads._forward_box(features, proposals)
        kept = [self._strongest(one, film) for one, film in zip(found, films, strict=True)]
        kept = heads.forward_with_given_boxes(features, kept)
        return [self._detections(one, film) for one, film in zip(kept, films, strict=True)]

    def _strongest(self, found: Any, film: Film) -> Any:
        """Inside the film: each disease's best box, and its others over the score threshold."""
        scale = square_scale(film.size_hw, self.size)
        found.pred_boxes.clip((film.size_hw[0] * scale, film.size_hw[1] * scale))
        found = found[found.pred_boxes.nonempty(threshold=1.0)]
        found = found[found.scores.argsort(descending=True, stable=True)]
        rows = []
        for disease in range(len(self.diseases)):
            of_disease = torch.nonzero(found.pred_classes == disease)[:, 0]
            enough = found.scores[of_disease] > self.model.score_threshold
            enough[:1] = True
            rows.append(of_disease[enough][: self.model.detections_per_disease])
        return found[torch.cat(rows).sort().values]

    def _detections(self, found: Any, film: Film) -> Detections:
        height, width = film.size_hw
        boxes = found.pred_boxes.tensor.double().cpu().numpy()
        boxes = boxes / square_scale(film.size_hw, self.size)
        return Detections(
            image_id=film.image_id,
            size_hw=film.size_hw,
            boxes_xyxy=np.clip(boxes, 0, [width, height, width, height]),
            scores=found.scores.double().cpu().numpy(),
            diseases=tuple(self.diseases[int(label)] for label in found.pred_classes),
            masks=found.pred_masks[:, 0].float().cpu().numpy(),
        )


def load(
    tensors: Mapping[str, Tensor], metadata: Mapping[str, Any], device: str = "auto"
) -> Detectron2Predictor:
    """Predictor from what `read_bundle` gave.

    Raises:
        ImportError: with the way to install detectron2, where it is missing.
        ValueError: when tensors and metadata do not belong together.
    """
    require_detectron2()
    settings = {k: tuple(v) if isinstance(v, list) else v for k, v in metadata["model"].items()}
    model, where = ModelConfig(**settings), resolve_device(device)
    diseases, size = tuple(metadata["diseases"]), int(metadata["size"])
    network = build_network(model, len(diseases), size, str(where))
    try:
        network.load_state_dict(dict(tensors))
    except RuntimeError as error:
        raise ValueError(
            f"the bundle's tensors do not fit the network that its metadata describes: {error}"
        ) from error
    precision = resolve_precision(str(metadata.get("precision", "auto")), where)
    return Detectron2Predictor(network, model, diseases, size, precision)


def train_detector(
    config: DetectorConfig,
    train_set: DetectionSet,
    validation_set: DetectionSet | None,
    out_dir: Path,
    init: Init,
    extra: Mapping[str, Any],
) -> Path:
    """Train with detectron2's trainer and hooks; see `cxrloc.detection.mask_rcnn.Backend`."""
    require_detectron2()
    from cxrloc.detection.detectron2_trainer import train

    return train(config, train_set, validation_set, out_dir, init, extra)
