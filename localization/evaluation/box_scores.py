"""Scores of predicted boxes: one row per ground-truth box, a miss is 0 (see `words.py`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from cxrloc.localization.boxes import iobb, iogt, iou
from cxrloc.localization.evaluation.ground_truth import (
    BoolArray,
    FloatArray,
    GroundTruth,
)
from cxrloc.localization.localizer import Localization


@dataclass(frozen=True)
class BoxScores:
    """One localizer's scores on every ground-truth box, all (N,) in the order of the ground truth.

    Attributes:
        iou, iobb, iogt, score: of the top-1 box; 0 where there is none.
        any_iou, any_iobb: best over all boxes of that image and disease (Wang's rule).
        any_iogt: IoGT of the box with the best IoBB (of equal ones the best IoGT).
        predicted: whether there was a box at all.
    """

    iou: FloatArray
    iobb: FloatArray
    iogt: FloatArray
    score: FloatArray
    any_iou: FloatArray
    any_iobb: FloatArray
    any_iogt: FloatArray
    predicted: BoolArray

    def only_where(self, keep: BoolArray) -> BoxScores:
        """The same scores with a miss wherever `keep` (N,) is False."""
        masked = {name: np.where(keep, values, 0) for name, values in vars(self).items()}
        return replace(self, **masked | {"predicted": self.predicted & keep})


def score_boxes(truth: GroundTruth, localizations: Sequence[Localization]) -> BoxScores:
    """Score one localizer's boxes against every ground-truth box.

    Predictions for images or diseases without a ground-truth box are ignored: many positive labels
    of NIH have no box, so they are not false positives.
    """
    candidates: dict[tuple[str, str], list[int]] = {}
    for j, found in enumerate(localizations):
        candidates.setdefault((found.image_id, found.disease), []).append(j)
    keys = list(zip(truth.image_ids, truth.diseases, strict=True))
    pairs = [(i, j) for i, key in enumerate(keys) for j in candidates.get(key, ())]
    box_of, prediction_of = np.array(pairs, dtype=np.intp).reshape(-1, 2).T
    boxes = np.array([p.box_xyxy for p in localizations], dtype=np.float64).reshape(-1, 4)
    scores = np.array([p.score for p in localizations], dtype=np.float64)[prediction_of]
    overlaps = [f(boxes[prediction_of], truth.boxes_xyxy[box_of]) for f in (iou, iobb, iogt)]
    return _reduce(len(truth), box_of, scores, *overlaps)


def _reduce(
    n: int,
    box_of: npt.NDArray[np.intp],
    score: FloatArray,
    pair_iou: FloatArray,
    pair_iobb: FloatArray,
    pair_iogt: FloatArray,
) -> BoxScores:
    in_order = np.zeros(len(score))
    top, best_iou = _best_pair(box_of, score, in_order), _best_pair(box_of, pair_iou, in_order)
    best_iobb = _best_pair(box_of, pair_iobb, pair_iogt)

    def pick(values: FloatArray, chosen: npt.NDArray[np.intp]) -> FloatArray:
        picked = np.zeros(n)
        picked[box_of[chosen]] = values[chosen]
        return picked

    predicted = np.zeros(n, dtype=np.bool_)
    predicted[box_of] = True
    return BoxScores(
        iou=pick(pair_iou, top),
        iobb=pick(pair_iobb, top),
        iogt=pick(pair_iogt, top),
        score=pick(score, top),
        any_iou=pick(pair_iou, best_iou),
        any_iobb=pick(pair_iobb, best_iobb),
        any_iogt=pick(pair_iogt, best_iobb),
        predicted=predicted,
    )


def _best_pair(
    box_of: npt.NDArray[np.intp], key: FloatArray, tie: FloatArray
) -> npt.NDArray[np.intp]:
    """Index of each box's pair with the highest key, then tie; of equal ones the first."""
    order = np.lexsort((np.arange(len(key)), -tie, -key, box_of))
    first = np.ones(len(order), dtype=np.bool_)
    first[1:] = np.diff(box_of[order]) != 0
    return np.asarray(order[first], dtype=np.intp)
