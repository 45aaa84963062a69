"""Put the scores of different localizers on one scale: the IoU expected of a box with this score.

A detector's score of .4 and a heat map's of .4 mean different things, and a fusion weights boxes by
their scores. So each score is replaced by the mean IoU that boxes with such a score had on other
patients, by isotonic regression for each localizer and disease. That keeps the order of the boxes
of a localizer and disease, and does not depend on the scale of its scores.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy.optimize import isotonic_regression

from cxrloc.localization.evaluation.detections import Detections
from cxrloc.localization.evaluation.ground_truth import (
    UNBOXED,
    BoolArray,
    FloatArray,
    IndexArray,
)

_ORDER = 1e-6  # share of the score that keeps boxes of equal expectation in their order


def expected_iou(detections: Detections, part_of_image: IndexArray, apart: int) -> FloatArray:
    """The IoU expected of each detection, (M,), from 0 to 1.

    Detections of a part of the patients are judged by those of the other parts. `apart` is left out
    for all: what is chosen on the others by these scores has then seen nothing of `apart`.
    Detections of a disease that is labelled but not boxed teach nothing; on images without the
    disease the IoU is 0.

    Args:
        part_of_image: (N,) part of the patients of each image.
        apart: number of a part.
    """
    part, known = part_of_image[detections.image], detections.status != UNBOXED
    expected = np.zeros(len(detections))
    for number in np.unique(part).tolist():
        mine, others = part == number, known & (part != number) & (part != apart)
        for rows, seen in _by_disease(detections, mine, others):
            expected[rows] = _fitted(detections, seen, detections.score[rows])
    return (1 - _ORDER) * expected + _ORDER * _places(detections)


def _by_disease(
    detections: Detections, mine: BoolArray, others: BoolArray
) -> Iterator[tuple[IndexArray, IndexArray]]:
    """Detections of each disease, and those that they are judged by: of all, if of it is none."""
    for disease in np.unique(detections.disease[mine]).tolist():
        same = detections.disease == disease
        seen = np.flatnonzero(others & same)
        yield np.flatnonzero(mine & same), seen if len(seen) else np.flatnonzero(others)


def _fitted(detections: Detections, seen: IndexArray, scores: FloatArray) -> FloatArray:
    """Mean IoU, rising with the score, at the next lower score that was seen; 0 if none was."""
    if not len(seen):
        return np.zeros(len(scores))
    known, place, count = np.unique(detections.score[seen], return_inverse=True, return_counts=True)
    means = np.bincount(place, weights=detections.best_iou[seen]) / count
    rising = isotonic_regression(means, weights=count).x
    below = np.searchsorted(known, scores, side="right") - 1
    return np.asarray(rising[np.maximum(below, 0)], dtype=np.float64)


def _places(detections: Detections) -> FloatArray:
    """(M,) place of each score among those of its disease, above 0 and below 1."""
    places = np.zeros(len(detections))
    for disease in np.unique(detections.disease).tolist():
        rows = np.flatnonzero(detections.disease == disease)
        known, place = np.unique(detections.score[rows], return_inverse=True)
        places[rows] = (place + 1) / (len(known) + 1)
    return places
