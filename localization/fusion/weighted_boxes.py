"""Fuse the boxes of several models: weighted boxes fusion (Solovyev, Wang, Gabruseva 2021).

    fused = fuse_boxes([boxes_of_a, boxes_of_b], [scores_of_a, scores_of_b], iou_threshold=0.55)

The boxes of all models, the highest score first, join the cluster whose fused box they overlap best
or start one of their own. A cluster's fused box is the mean of its boxes, weighted by their scores,
and is computed anew with each box that joins. Its score falls if models have no box in the cluster.
The paper's own code has had no release since 2022.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from cxrloc.datasets.radiograph import box_iou
from cxrloc.localization.boxes import FloatArray, as_boxes

IOU_THRESHOLD = 0.55  # the paper's
_Box = tuple[float, float, float, float]


class FusedBoxes(NamedTuple):
    """M clusters, the highest score first.

    Attributes:
        boxes_xyxy: (M, 4) in the pixels of the boxes that were fused.
        scores: (M,).
    """

    boxes_xyxy: FloatArray
    scores: FloatArray


class _Member(NamedTuple):
    box: _Box
    score: float  # times the model's weight


@dataclass
class _Cluster:
    """Boxes of one fused box; its sums are kept, since each box that joins changes it."""

    members: list[_Member]
    total: float
    sums: _Box
    box: _Box

    @classmethod
    def of(cls, member: _Member) -> _Cluster:
        return cls([member], member.score, _times(member.box, member.score), member.box)

    def join(self, member: _Member) -> None:
        self.members.append(member)
        self.total += member.score
        self.sums = _plus(self.sums, _times(member.box, member.score))
        if self.total > 0:
            self.box = _times(self.sums, 1 / self.total)
        else:  # no score says which to believe
            equal = functools.reduce(_plus, (each.box for each in self.members))
            self.box = _times(equal, 1 / len(self.members))


def _times(box: _Box, factor: float) -> _Box:
    return box[0] * factor, box[1] * factor, box[2] * factor, box[3] * factor


def _plus(a: _Box, b: _Box) -> _Box:
    return a[0] + b[0], a[1] + b[1], a[2] + b[2], a[3] + b[3]


def fuse_boxes(
    boxes_xyxy: Sequence[npt.ArrayLike],
    scores: Sequence[npt.ArrayLike],
    weights: Sequence[float] | None = None,
    *,
    iou_threshold: float = IOU_THRESHOLD,
    score_rule: str = "mean",
) -> FusedBoxes:
    """Fuse the boxes of one disease on one image.

    Args:
        boxes_xyxy: each model's boxes, (N, 4); a model without any takes part by its weight.
        scores: each model's scores, (N,), 0 or more and comparable between the models.
        weights: of the models, above 0 (default: equal).
        iou_threshold: a box joins a cluster whose fused box has a greater IoU with it (strict).
        score_rule: score of a cluster, a key of `SCORE_RULES`.

    Raises:
        ValueError: for scores, weights or a threshold out of range, and an unknown rule.
    """
    w = np.ones(len(boxes_xyxy)) if weights is None else np.asarray(weights, dtype=np.float64)
    if w.shape != (len(boxes_xyxy),) or not (np.isfinite(w).all() and (w > 0).all()):
        raise ValueError(f"weights: expected {len(boxes_xyxy)} numbers above 0, got {w.tolist()}")
    if not 0 <= iou_threshold < 1:
        raise ValueError(f"iou_threshold: expected 0 or more and below 1, got {iou_threshold}")
    if score_rule not in SCORE_RULES:
        raise ValueError(f"score_rule {score_rule!r}: expected one of {', '.join(SCORE_RULES)}")
    members = _members(boxes_xyxy, scores, w.tolist())
    clusters = _clusters(members, iou_threshold)
    rate, of_models = SCORE_RULES[score_rule], w.tolist()
    rated = [rate(cluster.members, of_models) for cluster in clusters]
    order = sorted(range(len(clusters)), key=lambda i: -rated[i])
    boxes = np.array([clusters[i].box for i in order], dtype=np.float64).reshape(-1, 4)
    return FusedBoxes(boxes, np.array([rated[i] for i in order], dtype=np.float64))


def _members(
    boxes_xyxy: Sequence[npt.ArrayLike], scores: Sequence[npt.ArrayLike], weights: Sequence[float]
) -> list[_Member]:
    """All boxes, the highest weighted score first; equals by model, then in their order."""
    members: list[_Member] = []
    for model, (boxes, own) in enumerate(zip(boxes_xyxy, scores, strict=True)):
        array, rated = as_boxes(boxes), np.asarray(own, dtype=np.float64)
        if rated.shape != (len(array),) or not all(0 <= score < math.inf for score in rated):
            raise ValueError(
                f"scores of model {model}: expected {len(array)} finite numbers, 0 or more, got "
                f"{rated.tolist()}"
            )
        for (x1, y1, x2, y2), score in zip(array.tolist(), rated.tolist(), strict=True):
            box = x1, y1, x2, y2
            members.append(_Member(box, score * weights[model]))
    return sorted(members, key=lambda member: -member.score)


def _clusters(members: Sequence[_Member], iou_threshold: float) -> list[_Cluster]:
    clusters: list[_Cluster] = []
    for member in members:
        closest, best = None, iou_threshold
        for cluster in clusters:
            overlap = box_iou(member.box, cluster.box)
            if overlap > best:
                closest, best = cluster, overlap
        if closest is None:
            clusters.append(_Cluster.of(member))
        else:
            closest.join(member)
    return clusters


def _mean(members: Sequence[_Member], weights: Sequence[float]) -> float:
    """The paper's: the boxes' mean, times min(boxes, models) / models."""
    counted = min(len(members), len(weights)) / len(members)
    return sum(member.score for member in members) * counted / sum(weights)


def _highest(members: Sequence[_Member], weights: Sequence[float]) -> float:
    return max(member.score for member in members) / max(weights)


# avg and max in the paper's code
SCORE_RULES: dict[str, Callable[[Sequence[_Member], Sequence[float]], float]] = {
    "mean": _mean,
    "highest": _highest,
}
