"""Fuse localizers into one, by rules chosen on other patients' boxes.

    fusion = fuse(truth, {"mask_rcnn": place(truth, a), "guided_cam": place(truth, b)})
    fusion.detections

For the images of each fold, the scores of the localizers are calibrated, and their weights and the
rest of the rule chosen, on the boxes of the OTHER folds: no box of a fold influences how its images
are fused.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from cxrloc.datasets.progress import progress
from cxrloc.localization.analyses.end_to_end.score_thresholds import Parts, parts_of
from cxrloc.localization.evaluation.box_scores import score_boxes
from cxrloc.localization.evaluation.detections import Detections
from cxrloc.localization.evaluation.ground_truth import BoolArray, FloatArray, GroundTruth
from cxrloc.localization.fusion.calibration import expected_iou
from cxrloc.localization.fusion.weighted_boxes import SCORE_RULES, fuse_boxes

WEIGHTS = (1, 3, 0)  # of each localizer; 0 leaves it out
IOU_THRESHOLDS = (0.5, 0.3, 0.7)


@dataclass(frozen=True)
class FusionRule:
    """How boxes are fused.

    Attributes:
        weights: of the localizers, in their order.
        iou_threshold, score_rule: of `weighted_boxes.fuse_boxes`.
    """

    weights: tuple[int, ...]
    iou_threshold: float
    score_rule: str


@dataclass(frozen=True)
class Fusion:
    """Fused boxes, and the rules that made them.

    Attributes:
        names: the localizers.
        detections: the fused boxes.
        parts: parts of the patients; each has a rule chosen on the others.
        rules: in the order of `parts.names`.
        mean_iou: macro mean IoU of each rule on the boxes that chose it; NaN without any.
    """

    names: tuple[str, ...]
    detections: Detections = field(repr=False)
    parts: Parts
    rules: tuple[FusionRule, ...]
    mean_iou: tuple[float, ...]


def grid(localizers: int) -> list[FusionRule]:
    """Every rule to choose from, the plainest first: of equally good ones the first wins."""
    weights: dict[tuple[float, ...], tuple[int, ...]] = {}
    for each in itertools.product(WEIGHTS, repeat=localizers):
        if any(each):
            weights.setdefault(tuple(w / max(each) for w in each), each)
    return [
        FusionRule(each, threshold, rule)
        for each, rule, threshold in itertools.product(
            weights.values(), SCORE_RULES, IOU_THRESHOLDS
        )
    ]


def fuse(truth: GroundTruth, localizers: Mapping[str, Detections]) -> Fusion:
    """Fuse the boxes of every image and disease, each fold by a rule chosen on the others.

    A rule is chosen for the best macro mean IoU of the fused boxes that answer (top-k).

    Raises:
        ValueError: for fewer than two localizers.
    """
    if len(localizers) < 2:
        raise ValueError(f"a fusion needs two localizers or more, got {len(localizers)}")
    parts, found = parts_of(truth.images), tuple(localizers.values())
    everything = np.ones(truth.images.status.shape, dtype=np.bool_)
    fused, rules, reached = [], [], []
    for part in progress(range(len(parts.names)), "fusion", unit="fold"):
        scores = [expected_iou(each, parts.of_image, part) for each in found]
        mine = parts.of_image == part
        others = ~mine[truth.image_of_box]
        rule, mean_iou = _best_rule(truth, found, scores, others)
        fused.append(fused_by(rule, truth, grouped(found, scores, everything & mine[:, None])))
        rules.append(rule)
        reached.append(mean_iou)
    return Fusion(tuple(localizers), _joined(fused), parts, tuple(rules), tuple(reached))


def _best_rule(
    truth: GroundTruth,
    found: Sequence[Detections],
    scores: Sequence[FloatArray],
    boxes: BoolArray,
) -> tuple[FusionRule, float]:
    """The best rule on some of the ground-truth boxes (G,), and its macro mean IoU there."""
    asked = np.zeros(truth.images.status.shape, dtype=np.bool_)
    asked[truth.image_of_box[boxes], truth.column_of_box[boxes]] = True
    rules = grid(len(found))
    if not boxes.any():
        return rules[0], float("nan")
    groups = grouped(found, scores, asked)
    reached = [macro_iou(truth, fused_by(rule, truth, groups), boxes) for rule in rules]
    best = int(np.argmax(reached))
    return rules[best], reached[best]


def macro_iou(truth: GroundTruth, found: Detections, boxes: BoolArray | None = None) -> float:
    """Macro mean IoU (top-k) on some of the ground-truth boxes (G,), or all."""
    boxes = np.ones(len(truth), dtype=np.bool_) if boxes is None else boxes
    iou, disease = score_boxes(found).iou[boxes], truth.disease_index[boxes]
    return float(np.mean([iou[disease == d].mean() for d in np.unique(disease)]))


def fused_by(rule: FusionRule, truth: GroundTruth, localizers: Sequence[Groups]) -> Detections:
    """Fuse the boxes of each image and disease by one rule, given those of each localizer."""
    used = [i for i, weight in enumerate(rule.weights) if weight]
    weights = [rule.weights[i] for i in used]
    groups = [localizers[i] for i in used]
    keys = np.unique(np.concatenate([group.keys for group in groups]))
    images, diseases, boxes, rated = [], [], [], []
    for key in keys.tolist():
        slices = [group.at(key) for group in groups]
        fused = fuse_boxes(
            [group.boxes_xyxy[rows] for group, rows in zip(groups, slices, strict=True)],
            [group.scores[rows] for group, rows in zip(groups, slices, strict=True)],
            weights,
            iou_threshold=rule.iou_threshold,
            score_rule=rule.score_rule,
        )
        image, disease = divmod(key, truth.images.status.shape[1])
        images += [image] * len(fused.scores)
        diseases += [disease] * len(fused.scores)
        boxes.append(fused.boxes_xyxy)
        rated.append(fused.scores)
    return Detections(
        truth,
        np.array(images, dtype=np.intp),
        np.array(diseases, dtype=np.intp),
        np.concatenate([*boxes, np.zeros((0, 4))]),
        np.concatenate([*rated, np.zeros(0)]),
    )


@dataclass(frozen=True)
class Groups:
    """Boxes of one localizer sorted by image and disease, to take those of a pair at once."""

    keys: npt.NDArray[np.int64]
    boxes_xyxy: FloatArray
    scores: FloatArray

    @classmethod
    def of(cls, found: Detections, scores: FloatArray, asked: BoolArray) -> Groups:
        rows = np.flatnonzero(asked[found.image, found.disease])
        rows = rows[np.argsort(found.key[rows], kind="stable")]
        return cls(found.key[rows].astype(np.int64), found.boxes_xyxy[rows], scores[rows])

    def at(self, key: int) -> slice:
        return slice(*np.searchsorted(self.keys, [key, key + 1]).tolist())


def grouped(
    found: Sequence[Detections], scores: Sequence[FloatArray], asked: BoolArray
) -> list[Groups]:
    """The boxes of each localizer on the images and diseases in `asked` (N, D).

    Args:
        scores: (M,) of each localizer, on a common scale.
    """
    return [Groups.of(*pair, asked) for pair in zip(found, scores, strict=True)]


def _joined(fused: Sequence[Detections]) -> Detections:
    return Detections(
        fused[0].truth,
        np.concatenate([each.image for each in fused]),
        np.concatenate([each.disease for each in fused]),
        np.concatenate([each.boxes_xyxy for each in fused]),
        np.concatenate([each.score for each in fused]),
    )
