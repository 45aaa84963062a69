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
from cxrloc.localization.evaluation.ground_truth import FloatArray, GroundTruth

BEST = "Best: highest mean IoU of the localizers"
WRONG = "Confidently wrong: almost no overlap at a high score"
DISAGREE = "Most disagreeing: largest difference of IoU between localizers"
PER_GROUP = 4
_NO_OVERLAP = 0.1  # mean IoU up to which all images count as equally wrong


@dataclass(frozen=True)
class Choice:
    """A ground-truth box to show.

    Attributes:
        group: `BEST`, `WRONG` or `DISAGREE`.
        image_id, disease, box_xyxy: of the ground-truth box.
        ious: localizer -> IoU of its top-1 box, 0 without one.
    """

    group: str
    image_id: str
    disease: str
    box_xyxy: tuple[float, float, float, float]
    ious: Mapping[str, float]


def choose(comparison: Comparison, per_group: int = PER_GROUP) -> tuple[Choice, ...]:
    """Choose `per_group` boxes of each kind, over many diseases, with no image twice.

    Uses the localizers with the disease given. Without any, or (for `DISAGREE`) with only one,
    there is nothing to show. Best: highest mean IoU. Wrong: the highest scores among mean IoU up to
    .1; scores are compared by rank within a localizer and disease, since they are not comparable
    otherwise.
    """
    rows = [s for s in comparison.localizers if s.setting == DISEASE_GIVEN]
    if not rows:
        return ()
    truth = comparison.truth
    ious = np.stack([scored.scores.iou for scored in rows])
    confidence = np.stack([_rank(truth, scored.scores.score) for scored in rows]).mean(axis=0)
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
        for i in _spread_out(truth, order.tolist(), used, per_group):
            choices.append(
                _choice(group, truth, i, dict(zip(names, ious[:, i].tolist(), strict=True)))
            )
    return tuple(choices)


def _rank(truth: GroundTruth, scores: FloatArray) -> FloatArray:
    """Rank of each score within its disease, 0 to 1."""
    ranks = np.zeros(len(truth))
    for d in range(len(truth.disease_names)):
        of_disease = truth.disease_index == d
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


def _choice(group: str, truth: GroundTruth, i: int, ious: dict[str, float]) -> Choice:
    x1, y1, x2, y2 = truth.boxes_xyxy[i].tolist()
    return Choice(group, truth.image_ids[i], truth.diseases[i], (x1, y1, x2, y2), ious)
