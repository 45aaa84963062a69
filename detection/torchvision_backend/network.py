"""Build Mask R-CNN from torchvision's parts, designed for speed on a CPU and for little data.

Differences from `torchvision.models.detection.maskrcnn_resnet50_fpn`: images arrive as squares of
one size (nothing is resized inside); convolutions run in bfloat16 while boxes, RoIAlign and losses
stay in fp32; frozen BatchNorm is folded into the convolutions; and the best box of every disease is
always returned.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torchvision.models import resnet18, resnet50
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.detection.rpn import RegionProposalNetwork, RPNHead
from torchvision.ops import boxes as box_ops
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

from cxrloc.classification.network import efficientnet_lite
from cxrloc.classification.network.backbones import ARCHITECTURES
from cxrloc.classification.network.precision import Precision, as_float, autocast
from cxrloc.detection.config import (
    ANCHOR_RATIOS,
    BOX_POSITIVES,
    BOX_SAMPLES,
    DETECTIONS_PER_DISEASE,
    LITE0,
    NMS_THRESHOLD,
    RPN_NEGATIVE_IOU,
    RPN_POSITIVE_IOU,
    RPN_POST_NMS,
    RPN_PRE_NMS,
    RPN_SAMPLES,
    SCORE_THRESHOLD,
    ModelConfig,
)
from cxrloc.detection.torchvision_backend.best_boxes import BestOfEachDisease, check_finite
from cxrloc.detection.torchvision_backend.roi_align import FastRoIAlign

Targets = list[dict[str, Tensor]]


class _InPrecision(nn.Module):
    """Mixin: run the module under autocast and return fp32, so that boxes and losses stay in it."""

    precision: Precision = "fp32"

    def forward(self, *inputs: Any) -> Any:
        with autocast(self.precision, next(self.parameters()).device):
            return as_float(super().forward(*inputs))


class _Backbone(_InPrecision, BackboneWithFPN): ...  # type: ignore[misc]


class _RPNHead(_InPrecision, RPNHead): ...  # type: ignore[misc]


class _BoxHead(_InPrecision, TwoMLPHead): ...  # type: ignore[misc]


class _MaskHead(_InPrecision, MaskRCNNHeads): ...  # type: ignore[misc]


class _MaskPredictor(_InPrecision, MaskRCNNPredictor): ...  # type: ignore[misc]


class MaskRCNN(nn.Module):
    """Mask R-CNN on squares of one size; state-dict keys are torchvision's.

    `forward(images, targets)` on normalised (N, 3, S, S) returns the losses by name in training
    mode; `forward(images, None, image_sizes)` in eval mode one dict per image with `boxes` (M, 4)
    xyxy in the square's pixels, `scores` (M,), `labels` (M,) from 1 and `masks` (M, 1, 28, 28).
    """

    def __init__(self, model: ModelConfig, num_diseases: int, size: int) -> None:
        super().__init__()
        self.backbone = _pyramid(model)
        self.rpn = _proposals(model, size)
        self.roi_heads = _roi_heads(model, num_diseases + 1, size)
        self.to(memory_format=torch.channels_last)

    def fold_norms(self) -> None:
        """Fold BatchNorm into the convolutions: same function in eval mode, faster, and frozen."""
        fold_batch_norm(self.backbone.body)
        self.to(memory_format=torch.channels_last)

    def set_precision(self, precision: Precision) -> None:
        """`fp32` or `bf16` for the convolutions and fully connected layers."""
        for module in self.modules():
            if isinstance(module, _InPrecision):
                module.precision = precision

    def forward(
        self,
        images: Tensor,
        targets: Targets | None = None,
        image_sizes: Sequence[tuple[int, int]] | None = None,
    ) -> Any:
        sizes = list(image_sizes or [(images.shape[2], images.shape[3])] * len(images))
        features = self.backbone(images.contiguous(memory_format=torch.channels_last))
        if not self.training:
            check_finite(features.values())
        proposals, rpn_losses = self.rpn(ImageList(images, sizes), features, targets)
        detections, roi_losses = self.roi_heads(features, proposals, sizes, targets)
        return {**rpn_losses, **roi_losses} if self.training else detections

    def candidates(
        self, image: Tensor, sizes: list[tuple[int, int]]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """All that eval mode considers on one image (1, 3, S, S), of (height, width) inside it.

        Returns:
            Proposals (P, 4), in each the box of every class (P, C, 4), and its score (P, C); the
            background is left out.
        """
        features = self.backbone(image.contiguous(memory_format=torch.channels_last))
        proposals, _ = self.rpn(ImageList(image, sizes), features, None)
        heads = self.roi_heads
        regions = heads.box_head(heads.box_roi_pool(features, proposals, sizes))
        logits, shifts = heads.box_predictor(regions)
        boxes = box_ops.clip_boxes_to_image(heads.box_coder.decode(shifts, proposals), sizes[0])
        return proposals[0], boxes[:, 1:], logits.softmax(-1)[:, 1:]


def _norm_layer(norm: str) -> Callable[[int], nn.Module]:
    if norm == "group":
        return lambda channels: nn.GroupNorm(32, channels)
    return nn.BatchNorm2d


def _body(model: ModelConfig) -> tuple[nn.Module, tuple[int, ...]]:
    """The backbone, whose layer1 to layer4 are levels 2 to 5, and their channels."""
    if model.architecture == LITE0:
        return ARCHITECTURES[LITE0].family.backbone(LITE0), efficientnet_lite.WIDTHS
    make = {"resnet18": resnet18, "resnet50": resnet50}[model.architecture]
    body = make(weights=None, norm_layer=_norm_layer(model.resolved_norm()))
    return body, tuple(body.inplanes // 2 ** (5 - level) for level in range(2, 6))


def _pyramid(model: ModelConfig) -> BackboneWithFPN:
    body, channels = _body(model)
    levels = model.fpn_levels
    widths = [channels[level - 2] for level in levels]
    names = {f"layer{level - 1}": str(index) for index, level in enumerate(levels)}
    return _Backbone(body, names, widths, model.fpn_channels, LastLevelMaxPool())


def freeze_stages(model: MaskRCNN, stages: int) -> None:
    """Freeze the first `stages` of stem, layer1, ..., layer4 of the backbone."""
    frozen = [("conv1", "bn1"), ("layer1",), ("layer2",), ("layer3",), ("layer4",)][:stages]
    names = [name for stage in frozen for name in stage]
    for name, parameter in model.backbone.body.named_parameters():
        parameter.requires_grad_(name.split(".")[0] not in names)


def fold_batch_norm(body: nn.Module) -> None:
    """Replace every convolution + BatchNorm pair by one convolution with a bias, in place.

    Frozen statistics are an affine map, so the function stays the same and two passes over every
    feature map are saved. Backbones name the pairs conv1/bn1, conv2/bn2, conv3/bn3 and
    downsample.0/downsample.1.
    """
    for module in body.modules():
        for index in (1, 2, 3):
            conv, norm = getattr(module, f"conv{index}", None), getattr(module, f"bn{index}", None)
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(module, f"conv{index}", fuse_conv_bn_eval(conv.eval(), norm.eval()))
                setattr(module, f"bn{index}", nn.Identity())
        down = getattr(module, "downsample", None)
        if isinstance(down, nn.Sequential) and isinstance(down[1], nn.BatchNorm2d):
            conv, norm = down[0], down[1]
            assert isinstance(conv, nn.Conv2d)
            fused = fuse_conv_bn_eval(conv.eval(), norm.eval())
            module.downsample = nn.Sequential(fused, nn.Identity())


def _proposals(model: ModelConfig, size: int) -> RegionProposalNetwork:
    sides = tuple(model.anchor_sides(size))
    anchors = AnchorGenerator(sides, (ANCHOR_RATIOS,) * len(sides))
    return RegionProposalNetwork(
        anchors,
        _RPNHead(model.fpn_channels, anchors.num_anchors_per_location()[0]),
        fg_iou_thresh=RPN_POSITIVE_IOU,
        bg_iou_thresh=RPN_NEGATIVE_IOU,
        batch_size_per_image=RPN_SAMPLES,
        positive_fraction=0.5,
        pre_nms_top_n=RPN_PRE_NMS,
        post_nms_top_n=RPN_POST_NMS,
        nms_thresh=0.7,
    )


def _roi_heads(model: ModelConfig, num_classes: int, size: int) -> BestOfEachDisease:
    levels = model.fpn_levels
    width = model.fpn_channels
    # regions go to pyramid levels by their share of the image, as COCO's weights learned at 800 px
    scale = round(size * 224 / 800)
    heads = BestOfEachDisease(
        FastRoIAlign(levels, 7, scale),
        _BoxHead(width * 49, model.box_hidden),
        FastRCNNPredictor(model.box_hidden, num_classes),
        fg_iou_thresh=0.5,
        bg_iou_thresh=0.5,
        batch_size_per_image=BOX_SAMPLES,
        positive_fraction=BOX_POSITIVES,
        bbox_reg_weights=None,
        score_thresh=SCORE_THRESHOLD,
        nms_thresh=NMS_THRESHOLD,
        detections_per_img=DETECTIONS_PER_DISEASE * (num_classes - 1),
        mask_roi_pool=FastRoIAlign(levels, 14, scale),
        mask_head=_MaskHead(width, (model.mask_channels,) * model.mask_layers, 1),
        mask_predictor=_MaskPredictor(model.mask_channels, model.mask_channels, num_classes),
    )
    heads.vote_threshold = model.vote_threshold
    return heads
