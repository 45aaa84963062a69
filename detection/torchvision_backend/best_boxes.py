"""Choose the boxes that are kept of each disease, and where exactly they are."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.ops import boxes as box_ops

from cxrloc.detection.config import AGREEMENT_IOU, DETECTIONS_PER_DISEASE


class BestOfEachDisease(RoIHeads):  # type: ignore[misc]
    """RoI heads that never leave a disease without a candidate box.

    torchvision keeps the strongest N boxes of an image, which may all belong to one disease; a
    disease without a box is a miss. Here every disease keeps its best box, whatever its score, and
    up to `DETECTIONS_PER_DISEASE` boxes above the score threshold. The best is the one that all
    its candidates agree on (`agreement`), and it has the highest score among them.
    """

    vote_threshold: float = 0.5

    def postprocess_detections(
        self,
        class_logits: Tensor,
        box_regression: Tensor,
        proposals: list[Tensor],
        image_shapes: list[tuple[int, int]],
    ) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        check_finite([class_logits, box_regression])
        counts = [len(p) for p in proposals]
        decoded: Tensor = self.box_coder.decode(box_regression, proposals)
        boxes, scores = torch.split(decoded, counts), torch.split(class_logits.softmax(-1), counts)
        strongest = [
            self._best(b, s, shape) for b, s, shape in zip(boxes, scores, image_shapes, strict=True)
        ]
        return [k[0] for k in strongest], [k[1] for k in strongest], [k[2] for k in strongest]

    def _best(
        self, boxes: Tensor, scores: Tensor, shape: tuple[int, int]
    ) -> tuple[Tensor, Tensor, Tensor]:
        boxes = box_ops.clip_boxes_to_image(boxes, shape)
        strongest, strengths, labels = [], [], []
        for label in range(1, scores.shape[1]):
            keep, strength = self._of_one_disease(boxes[:, label], scores[:, label])
            voted = voted_boxes(boxes[:, label], scores[:, label], keep, self.vote_threshold)
            strongest.append(box_ops.clip_boxes_to_image(voted, shape))  # a mean may round outwards
            strengths.append(strength)
            labels.append(torch.full_like(keep, label))
        order = torch.cat(strengths).argsort(descending=True, stable=True)
        return torch.cat(strongest)[order], torch.cat(strengths)[order], torch.cat(labels)[order]

    def _of_one_disease(self, boxes: Tensor, scores: Tensor) -> tuple[Tensor, Tensor]:
        """The rows to keep, the best first, and their scores."""
        valid: Tensor = box_ops.remove_small_boxes(boxes, min_size=1.0)
        if not len(valid):
            return valid, scores[valid]
        ranks = agreement(boxes[valid], scores[valid])
        apart = valid[box_ops.nms(boxes[valid], ranks, self.nms_thresh)]
        enough = scores[apart] > self.score_thresh
        enough[0] = True
        keep = apart[enough][:DETECTIONS_PER_DISEASE]
        return keep, torch.cat([scores[valid].max().reshape(1), scores[keep[1:]]])


def check_finite(parts: Iterable[Tensor]) -> None:
    """Raise ValueError for NaN: boxes that are NaN would be dropped without a word."""
    if not torch.stack([part.sum(dtype=torch.float32) for part in parts]).isfinite().all():
        raise ValueError(
            "the Mask R-CNN computes NaN: its weights are finite, but no network's. Train it "
            "again, or copy it again from where it was made"
        )


def agreement(boxes: Tensor, scores: Tensor) -> Tensor:
    """(N,) overlap of each of a disease's boxes with all of them, weighted by their scores.

    If the finding is at box j with a probability proportional to its score, this is proportional to
    the IoU to expect of box i: a box between several likely places is a safer guess than the one
    with the highest score. Overlaps up to `AGREEMENT_IOU` count nothing.
    """
    overlap: Tensor = box_ops.box_iou(boxes, boxes)
    return (overlap * (overlap > AGREEMENT_IOU)) @ scores


def voted_boxes(boxes: Tensor, scores: Tensor, keep: Tensor, threshold: float) -> Tensor:
    """Replace each kept box by the mean of all boxes that overlap it, weighted by their scores.

    Box voting, Gidaris and Komodakis 2015, section 3.3: neighbours dropped by non-maximum
    suppression still tell where the box is, which matters most with little data.

    Args:
        boxes: (N, 4) of one disease, before suppression.
        scores: (N,).
        keep: (K,) rows to return.
        threshold: least IoU of a voter; 1 switches voting off.
    """
    if threshold >= 1 or not len(keep):
        return boxes[keep]
    overlap: Tensor = box_ops.box_iou(boxes[keep], boxes)
    votes = scores * (overlap > threshold)
    votes[torch.arange(len(keep)), keep] = scores[keep].clamp(
        min=1e-6
    )  # it always votes for itself
    return votes @ boxes / votes.sum(1, keepdim=True)
