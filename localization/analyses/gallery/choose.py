"""Choose the gallery: images where localizers did best, were confidently wrong, or disagreed most.

A mean hides its parts; a dozen images, chosen by rule and not by hand, show them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

from cxrloc.localization.evaluation.comparison import Comparison
from cxrloc.localization.evaluation.detections import DISEASE_GIVEN
from cxrloc.localization.evaluation.ground_truth import FloatArray, GroundTruth, IndexArray

BEST = "Best: highest mean IoU of the localizers"
WRONG = "Confidently wrong: almost no overlap at a high score"
DISAGREE = "Most disagreeing: largest difference of IoU between localizers"
PER_GROUP = 4
_NO_OVERLAP = 0.1  # mean IoU up to which all images count as equally wrong


@dataclass(frozen=True)
class Choice:
    """An image to show, with the boxes of one disease.

    Attributes:
        group: `BEST`, `WRONG` or `DISAGREE`.
        image_id, disease, boxes_xyxy: of the ground-truth boxes.
        ious: localizer -> mean IoU of the boxes matched with them, 0 without one.
    """

    group: str
    image_id: str
    disease: str
    boxes_xyxy: tuple[tuple[float, float, float, float], ...]
    ious: Mapping[str, float]


def choose(comparison: Comparison, per_group: int = PER_GROUP) -> tuple[Choice, ...]:
    """Choose `per_group` images of each kind, over many diseases, with no image twice.

    Several boxes of a disease on an image count together, with their mean IoU and highest score.
    Uses the localizers with the disease given. Without any, or (for `DISAGREE`) with only one,
    there is nothing to show. Best: highest mean IoU. Wrong: the highest scores among mean IoU up to
    .1; scores are compared by rank within a localizer and disease, since they are not comparable
    otherwise.
    """
    rows = [s for s in comparison.localizers if s.setting == DISEASE_GIVEN]
    if not rows:
        return ()
    truth = comparison.truth
    first, pair_of = np.unique(truth.key_of_box, return_index=True, return_inverse=True)[1:]
    pairs = _Pairs(first, pair_of)
    ious = np.stack([pairs.means(scored.scores.iou) for scored in rows])
    ranks = [_rank(truth, first, pairs.highest(scored.scores.score)) for scored in rows]
    confidence = np.stack(ranks).mean(axis=0)
    mean, spread = ious.mean(axis=0), np.ptp(ious, axis=0)
    orders = {
        BEST: np.argsort(-mean, kind="stable"),
        WRONG: np.lexsort((-confidence, np.maximum(mean, _NO_OVERLAP))),
    }
    if len(rows) > 1:
        orders[DISAGREE] = np.argsort(-spread, kind="stable")
    names, used = [scored.name for scored in rows], set[str]()
    choices = []
    for group, order in orders.items():
        for box in _spread_out(truth, first[order].tolist(), used, per_group):
            pair = int(pair_of[box])
            of_pair = dict(zip(names, ious[:, pair].tolist(), strict=True))
            choices.append(_choice(group, truth, np.flatnonzero(pair_of == pair), of_pair))
    return tuple(choices)


@dataclass(frozen=True)
class _Pairs:
    """The pairs of an image and a disease: the first box of each, and the pair of each box."""

    first: IndexArray
    of_box: IndexArray

    def means(self, values: FloatArray) -> FloatArray:
        return np.asarray(np.bincount(self.of_box, values) / np.bincount(self.of_box))

    def highest(self, values: FloatArray) -> FloatArray:
        highest = np.full(len(self.first), -np.inf)
        np.maximum.at(highest, self.of_box, values)
        return highest


def _rank(truth: GroundTruth, first: IndexArray, scores: FloatArray) -> FloatArray:
    """Rank of each pair's score within its disease, 0 to 1."""
    ranks = np.zeros(len(first))
    for d in range(len(truth.disease_names)):
        of_disease = truth.disease_index[first] == d
        ranks[of_disease] = rankdata(scores[of_disease]) / of_disease.sum()
    return ranks


def _spread_out(
    truth: GroundTruth, order: Sequence[int], used: set[str], count: int
) -> Iterator[int]:
    """The first `count` of `order` with no image twice, and every disease once before any twice."""
    rest = list(order)
    seen: set[str] = set()
    for _ in range(count):
        rest = [i for i in rest if truth.image_ids[i] not in used]
        if not rest:
            return
        if {truth.diseases[i] for i in rest} <= seen:
            seen.clear()
        chosen = next(i for i in rest if truth.diseases[i] not in seen)
        seen.add(truth.diseases[chosen])
        used.add(truth.image_ids[chosen])
        yield chosen


def _choice(group: str, truth: GroundTruth, boxes: IndexArray, ious: dict[str, float]) -> Choice:
    i = boxes[0]
    corners = tuple((x1, y1, x2, y2) for x1, y1, x2, y2 in truth.boxes_xyxy[boxes].tolist())
    return Choice(group, truth.image_ids[i], truth.diseases[i], corners, ious)
