"""Score predicted boxes: one row per ground-truth box, a miss is 0 (see `glossary.py`)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from cxrloc.localization.evaluation.detections import Detections
from cxrloc.localization.evaluation.ground_truth import BoolArray, FloatArray


@dataclass(frozen=True)
class BoxScores:
    """One localizer's scores for every ground-truth box, all (N,) in the ground truth's order.

    Attributes:
        iou, iobb, iogt, score: for the top-1 box; 0 if there is none.
        any_iou, any_iobb: best over all boxes of the image and disease (Wang's rule).
        any_iogt: IoGT of the box with the best IoBB (among equals, the best IoGT).
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
        """Copy with a miss wherever `keep` (N,) is False."""
        masked = {name: np.where(keep, values, 0) for name, values in vars(self).items()}
        return replace(self, **masked | {"predicted": self.predicted & keep})


@dataclass(frozen=True)
class Measure:
    """A quantity to average over the boxes: an overlap, or whether it exceeds a threshold.

    Attributes:
        overlap: `iou`, `iobb` or `iogt`.
        threshold: None for the overlap itself; a hit is strictly over it.
        any_box: best over all boxes of an image and disease (Wang's rule), not the top-1 box.
    """

    overlap: str
    threshold: float | None = None
    any_box: bool = False

    @property
    def name(self) -> str:
        """`mean_iou` or `acc_iou`."""
        return f"{'mean' if self.threshold is None else 'acc'}_{self.overlap}"

    @property
    def key(self) -> str:
        """`mean_iou`, `acc_iou@0.5`, `acc_iou@0.5 any`: as in the tables and in summary.json."""
        at = "" if self.threshold is None else f"@{self.threshold:g}"
        return f"{self.name}{at}{' any' if self.any_box else ''}"

    def of_overlaps(self, overlaps: FloatArray) -> FloatArray:
        """Values to average, from overlaps of any shape."""
        return overlaps if self.threshold is None else (overlaps > self.threshold).astype(float)

    def of_scores(self, scores: BoxScores) -> FloatArray:
        """Values to average, for every ground-truth box, (N,)."""
        prefix = "any_" if self.any_box else ""
        return self.of_overlaps(getattr(scores, f"{prefix}{self.overlap}"))


def score_boxes(detections: Detections) -> BoxScores:
    """Score one localizer's boxes against every ground-truth box.

    Ignores predictions for images or diseases without a ground-truth box: many positive labels of
    NIH have no box, so these are not false positives.
    """
    matches = detections.matches
    return _reduce(
        len(detections.truth),
        matches.box,
        detections.score[matches.detection],
        matches.iou,
        matches.iobb,
        matches.iogt,
    )


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
    """Index of each box's pair with the highest key, then tie; the first among equals."""
    order = np.lexsort((np.arange(len(key)), -tie, -key, box_of))
    first = np.ones(len(order), dtype=np.bool_)
    first[1:] = np.diff(box_of[order]) != 0
    return np.asarray(order[first], dtype=np.intp)
