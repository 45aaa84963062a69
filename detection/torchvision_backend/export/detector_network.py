"""Mask R-CNN with all that follows it as one network of fixed shapes, to be exported.

`MaskRCNN` in evaluation mode drops boxes as it goes; an exported network cannot, since all its
shapes are fixed. Here boxes stay in place and flags say which count, up to the last step. The
results are those of `MaskRCNN` (`export_detector` compares them).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.rpn import concat_box_prediction_layers
from torchvision.ops import boxes as box_ops
from torchvision.ops import roi_align

from cxrloc.classification.bundle.preprocessing import Preprocessing
from cxrloc.detection.config import (
    AGREEMENT_IOU,
    DETECTIONS_PER_DISEASE,
    RPN_POST_NMS,
    RPN_PRE_NMS,
)
from cxrloc.detection.torchvision_backend.network import MaskRCNN
from cxrloc.detection.torchvision_backend.roi_align import SAMPLES, FastRoIAlign

_ABSENT = -1.0  # score of a box that does not count; those of others are above 0


class Outputs(NamedTuple):
    """The detections of one image, by descending score: the first `number` rows, no others.

    Boxes (M, 4) are in pixels of the square, scores (M,), labels (M,) from 1, masks (M, 28, 28).
    """

    number: Tensor
    boxes: Tensor
    scores: Tensor
    labels: Tensor
    masks: Tensor


class DetectorNetwork(nn.Module):
    """One square of grey levels to detections.

    Args:
        model: in evaluation mode, with its norms folded, in fp32.
        size: side of the square.
    """

    def __init__(self, model: MaskRCNN, size: int) -> None:
        super().__init__()
        self.model = model
        square = torch.zeros(1, 3, size, size)
        self.scale: Tensor
        self.shift: Tensor
        self.anchors: Tensor
        for name, values in zip(
            ("scale", "shift"), Preprocessing(size).affine(square), strict=True
        ):
            self.register_buffer(name, values[:, None, None].contiguous())
        with torch.no_grad():
            maps = list(model.backbone(square).values())
            images = ImageList(square, [(size, size)])
            self.register_buffer("anchors", model.rpn.anchor_generator(images, maps)[0])
            each = model.rpn.anchor_generator.num_anchors_per_location()
        cells = [level.shape[2] * level.shape[3] for level in maps]
        self.counts = [a * b for a, b in zip(each, cells, strict=True)]

    def forward(self, square: Tensor, inner_hw: Tensor) -> Outputs:
        """Detections in a (1, S, S) uint8 square, whose image has this height and width (2,)."""
        x = torch.addcmul(self.shift, square.float().unsqueeze(1), self.scale)
        maps = self.model.backbone(x)
        height, width = inner_hw.float().unbind()
        limit = torch.stack([width, height, width, height])
        proposals, counts = self._proposals(list(maps.values()), limit)
        heads = self.model.roi_heads
        regions = heads.box_head(_pooled(heads.box_roi_pool, maps, proposals))
        logits, shifts = heads.box_predictor(regions)
        boxes = _clipped(heads.box_coder.decode(shifts, [proposals]), limit)
        chosen = self._chosen(boxes, logits.softmax(-1), counts, limit)
        masks = heads.mask_predictor(
            heads.mask_head(_pooled(heads.mask_roi_pool, maps, chosen.boxes))
        ).sigmoid()
        rows = torch.arange(len(chosen.labels))
        return chosen._replace(masks=masks[rows, chosen.labels])

    def _proposals(self, maps: list[Tensor], limit: Tensor) -> tuple[Tensor, Tensor]:
        """Regions (P, 4) and which of them count, as `RegionProposalNetwork` chooses them."""
        rpn = self.model.rpn
        logits, shifts = concat_box_prediction_layers(*rpn.head(maps))
        logits = logits.flatten()
        boxes = rpn.box_coder.decode(shifts, [self.anchors])[:, 0]
        strongest, levels, start = [], [], 0
        for level, count in enumerate(self.counts):
            most = min(count, RPN_PRE_NMS["testing"])
            strongest.append(logits[start : start + count].topk(most).indices + start)
            levels.append(torch.full((most,), float(level)))
            start += count
        rows, level_of = torch.cat(strongest), torch.cat(levels)
        boxes = _clipped(boxes[rows], limit)
        valid = _at_least(boxes, rpn.min_size)
        scores = torch.where(valid, logits[rows].sigmoid(), _ABSENT)
        # boxes of different levels are moved apart, as torchvision does, so that they do not meet
        apart = torch.where(valid[:, None], boxes, 0.0).max() + 1
        moved = boxes + (level_of * apart)[:, None]
        kept, counts = padded_nms(moved, scores, rpn.nms_thresh, RPN_POST_NMS["testing"])
        return boxes[kept], counts & valid[kept]

    def _chosen(self, boxes: Tensor, scores: Tensor, counts: Tensor, limit: Tensor) -> Outputs:
        """The boxes to keep of each disease, as `BestOfEachDisease` chooses them."""
        kept, strengths, labels = [], [], []
        for label in range(1, scores.shape[1]):
            some, strength = self._of_one_disease(boxes[:, label], scores[:, label], counts)
            kept.append(_clipped(some, limit))
            strengths.append(strength)
            labels.append(torch.full((DETECTIONS_PER_DISEASE,), label))
        every = torch.cat(strengths)
        ordered, order = every.topk(len(every))
        number = (ordered > 0).sum()
        return Outputs(number, torch.cat(kept)[order], ordered, torch.cat(labels)[order], every)

    def _of_one_disease(
        self, boxes: Tensor, scores: Tensor, counts: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Its best boxes (4, 4), moved by their voters, and their scores; `_ABSENT` for none."""
        heads, numbers = self.model.roi_heads, torch.arange(len(scores))
        valid = counts & _at_least(boxes, 1.0)
        likely = torch.where(valid, scores, 0.0)
        overlap = box_ops.box_iou(boxes, boxes)
        ranks = (overlap * (overlap > AGREEMENT_IOU)) @ likely
        ranks = torch.where(valid, ranks, _ABSENT)
        rows, apart = padded_nms(boxes, ranks, heads.nms_thresh, len(scores))
        enough = apart & valid[rows] & ((scores[rows] > heads.score_thresh) | (numbers == 0))
        first = torch.where(enough, numbers, numbers + len(scores))
        places = first.topk(DETECTIONS_PER_DISEASE, largest=False).indices
        chosen, counted = rows[places], enough[places]
        strength = torch.where(numbers[: len(places)] == 0, likely.max(), scores[chosen])
        voted = _voted(boxes, torch.where(counts, scores, 0.0), chosen, heads.vote_threshold)
        return voted, torch.where(counted, strength, _ABSENT)


def _voted(boxes: Tensor, scores: Tensor, chosen: Tensor, threshold: float) -> Tensor:
    """As `best_boxes.voted_boxes`; a box that does not count has a score of 0."""
    if threshold >= 1:
        return boxes[chosen]
    votes = scores * (box_ops.box_iou(boxes[chosen], boxes) > threshold)
    itself = torch.arange(len(scores)) == chosen[:, None]
    votes = torch.where(itself, scores[chosen].clamp(min=1e-6)[:, None], votes)
    return votes @ boxes / votes.sum(1, keepdim=True)


def _pooled(align: FastRoIAlign, maps: dict[str, Tensor], boxes: Tensor) -> Tensor:
    """Regions (R, C, bins, bins) of one image, each from its level: pooled from all, then chosen.

    ONNX has an operator for it, which is fast enough for that.
    """
    level_of = align.map_levels([boxes])[:, None, None, None]
    regions = torch.cat([torch.zeros(len(boxes), 1), boxes], dim=1)
    pooled = torch.zeros(())
    for level, (name, scale) in enumerate(zip(align.featmap_names, align.scales, strict=True)):
        here = roi_align(maps[name], regions, align.output_size, scale, SAMPLES)
        pooled = torch.where(level_of == level, here, pooled)
    return pooled


def _clipped(boxes: Tensor, limit: Tensor) -> Tensor:
    return torch.minimum(boxes.clamp(min=0), limit)


def _at_least(boxes: Tensor, side: float) -> Tensor:
    return ((boxes[:, 2:] - boxes[:, :2]) >= side).all(dim=1)


@torch.library.custom_op("cxrloc::padded_nms", mutates_args=())
def padded_nms(boxes: Tensor, scores: Tensor, threshold: float, most: int) -> tuple[Tensor, Tensor]:
    """Non-maximum suppression with a fixed number of results.

    Returns:
        Rows (most,) of the boxes that stay, by descending score, then zeros; and which of them
        are rows (most,) bool.
    """
    kept = box_ops.nms(boxes, scores, threshold)[:most]
    rows = kept.new_zeros(most)
    rows[: len(kept)] = kept
    return rows, torch.arange(most) < len(kept)


@padded_nms.register_fake
def _(boxes: Tensor, scores: Tensor, threshold: float, most: int) -> tuple[Tensor, Tensor]:
    return boxes.new_empty(most, dtype=torch.int64), boxes.new_empty(most, dtype=torch.bool)


def _nms_in_onnx(boxes: Any, scores: Any, threshold: float, most: int) -> tuple[Any, Any]:
    """`padded_nms` in ONNX, as its exporter wants it."""
    from onnxscript import opset18

    op: Any = opset18  # its types are those of the exported values, not of these
    found = op.NonMaxSuppression(
        op.Unsqueeze(boxes, [0]), op.Unsqueeze(scores, [0, 1]), most, threshold
    )
    rows = op.Reshape(op.Slice(found, axes=[1], starts=[2], ends=[3]), [-1])
    count = op.Shape(rows)
    missing = op.Sub(op.Constant(value_ints=[most]), count)
    padded = op.Pad(rows, op.Concat(op.Constant(value_ints=[0]), missing, axis=0))
    return padded, op.Less(op.Constant(value_ints=list(range(most))), count)


OPERATORS = {torch.ops.cxrloc.padded_nms.default: _nms_in_onnx}
