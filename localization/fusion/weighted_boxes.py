"""Fuse the boxes of several models: weighted boxes fusion (Solovyev, Wang, Gabruseva 2021).

    fused = fuse_boxes([boxes_of_a, boxes_of_b], [scores_of_a, scores_of_b], iou_threshold=0.55)

The boxes of all models, the highest score first, join the cluster whose fused box they overlap best
or start one of their own. A cluster's fused box is the mean of its boxes, weighted by their scores,
and is computed anew with each box that joins. Its score falls if models have no box in the cluster.
The paper's own code has had no release since 2022.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from cxrloc.localization.boxes import FloatArray, as_boxes

IOU_THRESHOLD = 0.55  # the paper's
_Box = tuple[float, float, float, float]


class FusedBoxes(NamedTuple):
    """M clusters, the highest score first.

    Attributes:
        boxes_xyxy: (M, 4) in the pixels of the boxes that were fused.
        scores: (M,).
        cluster: (K,) cluster of each box that went in, model after model.
    """

    boxes_xyxy: FloatArray
    scores: FloatArray
    cluster: npt.NDArray[np.intp]


class _Member(NamedTuple):
    place: int
    model: int
    box: _Box
    score: float  # times the model's weight


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
    members = _members(boxes_xyxy, scores, w)
    clusters = _clusters(members, iou_threshold)
    rated = [SCORE_RULES[score_rule](cluster, w) for cluster in clusters]
    order = sorted(range(len(clusters)), key=lambda i: -rated[i])
    cluster_of = np.zeros(len(members), dtype=np.intp)
    for number, i in enumerate(order):
        cluster_of[[member.place for member in clusters[i]]] = number
    boxes = as_boxes([_mean_box(clusters[i]) for i in order])
    return FusedBoxes(boxes, np.array([rated[i] for i in order], dtype=np.float64), cluster_of)


def _members(
    boxes_xyxy: Sequence[npt.ArrayLike], scores: Sequence[npt.ArrayLike], weights: FloatArray
) -> list[_Member]:
    """All boxes, the highest weighted score first; equals by model, then in their order."""
    members: list[_Member] = []
    for model, (boxes, own) in enumerate(zip(boxes_xyxy, scores, strict=True)):
        array, rated = as_boxes(boxes), np.asarray(own, dtype=np.float64)
        if rated.shape != (len(array),) or not (np.isfinite(rated).all() and (rated >= 0).all()):
            raise ValueError(
                f"scores of model {model}: expected {len(array)} finite numbers, 0 or more, got "
                f"{rated.tolist()}"
            )
        for (x1, y1, x2, y2), score in zip(array.tolist(), rated.tolist(), strict=True):
            member = _Member(len(members), model, (x1, y1, x2, y2), score * float(weights[model]))
            members.append(member)
    return sorted(members, key=lambda member: -member.score)


def _clusters(members: Sequence[_Member], iou_threshold: float) -> list[list[_Member]]:
    clusters: list[list[_Member]] = []
    fused: list[_Box] = []
    for member in members:
        overlaps = [_iou(member.box, box) for box in fused]
        best = max(range(len(fused)), key=overlaps.__getitem__, default=-1)
        if best < 0 or overlaps[best] <= iou_threshold:
            clusters.append([member])
            fused.append(member.box)
        else:
            clusters[best].append(member)
            fused[best] = _mean_box(clusters[best])
    return clusters


def _mean_box(cluster: Sequence[_Member]) -> _Box:
    total = sum(member.score for member in cluster)
    shares = [member.score / total if total > 0 else 1 / len(cluster) for member in cluster]
    x1, y1, x2, y2 = (
        sum(share * member.box[side] for share, member in zip(shares, cluster, strict=True))
        for side in range(4)
    )
    return x1, y1, x2, y2


def _iou(a: _Box, b: _Box) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


def _mean(cluster: Sequence[_Member], weights: FloatArray) -> float:
    """The paper's: the boxes' mean, times min(boxes, models) / models."""
    counted = min(len(cluster), len(weights)) / len(cluster)
    return sum(member.score for member in cluster) * counted / float(weights.sum())


def _mean_of_models(cluster: Sequence[_Member], weights: FloatArray) -> float:
    """The boxes' mean, times the weight of the models that have one of them."""
    there = float(weights[sorted({member.model for member in cluster})].sum())
    return _box_mean(cluster, weights, 0.0) * there / float(weights.sum())


def _mean_with_absent(cluster: Sequence[_Member], weights: FloatArray) -> float:
    """The boxes' mean, with a box of score 0 for each model that has none."""
    there = float(weights[sorted({member.model for member in cluster})].sum())
    return _box_mean(cluster, weights, float(weights.sum()) - there)


def _box_mean(cluster: Sequence[_Member], weights: FloatArray, absent: float) -> float:
    of_boxes = sum(float(weights[member.model]) for member in cluster)
    return sum(member.score for member in cluster) / (of_boxes + absent)


def _highest(cluster: Sequence[_Member], weights: FloatArray) -> float:
    return max(member.score for member in cluster) / float(weights.max())


# the names of the paper's code: avg, max, box_and_model_avg, absent_model_aware_avg
SCORE_RULES: dict[str, Callable[[Sequence[_Member], FloatArray], float]] = {
    "mean": _mean,
    "highest": _highest,
    "mean_of_models": _mean_of_models,
    "mean_with_absent": _mean_with_absent,
}
