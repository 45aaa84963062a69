"""Score predicted boxes: one row per ground-truth box, a miss is 0 (see `glossary.py`)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from cxrloc.localization.evaluation.detections import Detections
from cxrloc.localization.evaluation.ground_truth import BoolArray, FloatArray, IndexArray

TOP_K, TOP_1, ANY = "top-k", "top-1", "any"
_PREFIXES = {TOP_K: "", TOP_1: "top_", ANY: "any_"}
_SUFFIXES = {TOP_K: "", TOP_1: f" {TOP_1}", ANY: f" {ANY}"}


@dataclass(frozen=True)
class BoxScores:
    """One localizer's scores for every ground-truth box, all (N,) in the ground truth's order.

    Attributes:
        iou, iobb, iogt, score: of the box matched with it (top-k); 0 if there is none.
        top_iou: if only the highest-scored box of an image and disease counted (top-1); it is
            matched with the ground-truth box that it fits best, the others have 0.
        any_iou, any_iobb: best over all boxes of the image and disease (Wang's rule).
        any_iogt: IoGT of the box with the best IoBB (among equals, the best IoGT).
        predicted: whether a box was left for it, overlapping or not.
    """

    iou: FloatArray
    iobb: FloatArray
    iogt: FloatArray
    score: FloatArray
    top_iou: FloatArray
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
        rule: `TOP_K`; `ANY`, best over all boxes of an image and disease (Wang's rule); or `TOP_1`,
            only the highest-scored box of an image and disease (of IoU alone).
    """

    overlap: str
    threshold: float | None = None
    rule: str = TOP_K

    @property
    def name(self) -> str:
        """`mean_iou` or `acc_iou`."""
        return f"{'mean' if self.threshold is None else 'acc'}_{self.overlap}"

    @property
    def key(self) -> str:
        """`mean_iou`, `acc_iou@0.5`, `mean_iou any`: as in the tables and in summary.json."""
        at = "" if self.threshold is None else f"@{self.threshold:g}"
        return f"{self.name}{at}{_SUFFIXES[self.rule]}"

    def of_overlaps(self, overlaps: FloatArray) -> FloatArray:
        """Values to average, from overlaps of any shape."""
        return overlaps if self.threshold is None else (overlaps > self.threshold).astype(float)

    def of_scores(self, scores: BoxScores) -> FloatArray:
        """Values to average, for every ground-truth box, (N,)."""
        values: FloatArray = getattr(scores, f"{_PREFIXES[self.rule]}{self.overlap}")
        return self.of_overlaps(values)


def score_boxes(detections: Detections) -> BoxScores:
    """Score one localizer's boxes against every ground-truth box.

    An image with k boxes of a disease is answered by the localizer's k highest-scored boxes of it,
    matched one to one for the greatest total IoU. Answers that overlap no box left to them are
    partners too, with IoU 0: they go to the boxes that have none, the highest score first.

    Ignores predictions for images or diseases without a ground-truth box: many positive labels of
    NIH have no box, so these are not false positives.
    """
    truth, pairs = detections.truth, detections.overlaps
    matched = detections.matched(detections.answers)
    partner = _partners(detections, matched)
    best_iou = _best_pairs(pairs.second, pairs.iou, np.zeros(len(pairs.iou)))
    best_iobb = _best_pairs(pairs.second, pairs.iobb, pairs.iogt)

    def pick(values: FloatArray, chosen: IndexArray) -> FloatArray:
        picked = np.zeros(len(truth))
        picked[pairs.second[chosen]] = values[chosen]
        return picked

    return BoxScores(
        iou=pick(pairs.iou, matched),
        iobb=pick(pairs.iobb, matched),
        iogt=pick(pairs.iogt, matched),
        score=np.append(detections.score, 0.0)[partner],
        top_iou=pick(pairs.iou, detections.matched(detections.top) if truth.several else matched),
        any_iou=pick(pairs.iou, best_iou),
        any_iobb=pick(pairs.iobb, best_iobb),
        any_iogt=pick(pairs.iogt, best_iobb),
        predicted=partner >= 0,
    )


def _partners(detections: Detections, matched: IndexArray) -> IndexArray:
    """(N,) the answer that belongs to each ground-truth box, -1 where there are too few."""
    truth, pairs = detections.truth, detections.overlaps
    partner = np.full(len(truth), -1, dtype=np.intp)
    partner[pairs.second[matched]] = pairs.first[matched]
    free = detections.answers.copy()
    free[pairs.first[matched]] = False
    answers, boxes = np.flatnonzero(free), np.flatnonzero(partner < 0)
    answers = answers[np.lexsort((detections.rank[answers], detections.key[answers]))]
    boxes = boxes[np.argsort(truth.key_of_box[boxes], kind="stable")]
    wide = len(answers) + len(boxes) + 1
    left, right = (
        key * wide + _places(key) for key in (detections.key[answers], truth.key_of_box[boxes])
    )
    _, i, j = np.intersect1d(left, right, assume_unique=True, return_indices=True)
    partner[boxes[j]] = answers[i]
    return partner


def _places(sorted_key: IndexArray) -> IndexArray:
    """Place of each among those of its key, 0 first."""
    starts = np.flatnonzero(np.diff(sorted_key, prepend=-1))
    sizes = np.diff(starts, append=len(sorted_key))
    return np.asarray(np.arange(len(sorted_key)) - np.repeat(starts, sizes), dtype=np.intp)


def _best_pairs(box_of: IndexArray, key: FloatArray, tie: FloatArray) -> IndexArray:
    """Index of each box's pair with the highest key, then tie; the first among equals."""
    order = np.lexsort((np.arange(len(key)), -tie, -key, box_of))
    first = np.ones(len(order), dtype=np.bool_)
    first[1:] = np.diff(box_of[order]) != 0
    return np.asarray(order[first], dtype=np.intp)
