"""Choose each localizer's score threshold as the gate's is: by Youden's J, on other patients.

An image's score for a disease is that of its highest-scored box; images without the disease are the
negative ones. The images of one part of the patients get the threshold chosen on the other parts,
so no threshold has seen the patient it is used on.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field

import numpy as np

from cxrloc.classification.metrics.operating_point import youden
from cxrloc.localization.evaluation.detections import Detections
from cxrloc.localization.evaluation.ground_truth import (
    ABSENT,
    BoolArray,
    FloatArray,
    ImageTable,
    IndexArray,
)

OWN_PARTS = 5


@dataclass(frozen=True)
class Parts:
    """Parts of the patients, for thresholds that are chosen on the others.

    Attributes:
        names: of the parts, such as `fold 0`.
        of_image: (N,) index into `names`.
        source: where the parts are from.
    """

    names: tuple[str, ...]
    of_image: IndexArray = field(repr=False)
    source: str


def parts_of(images: ImageTable) -> Parts:
    """The folds of the ground truth or, without several, parts by a hash of the patient."""
    folds = images.folds
    if folds is not None and len(set(folds)) > 1 and _apart(images.patient_ids, folds):
        numbers, of_image = np.unique(folds, return_inverse=True)
        names = tuple(f"fold {number}" for number in numbers)
        return Parts(names, of_image, "the folds of the ground truth")
    parts = {patient: _part(patient) for patient in set(images.patient_ids)}
    of_image = np.array([parts[patient] for patient in images.patient_ids], dtype=np.intp)
    names = tuple(f"part {number}" for number in range(OWN_PARTS))
    source = f"{OWN_PARTS} parts by a hash of the patient, since the ground truth has no folds"
    if folds is not None and len(set(folds)) > 1:
        source += " that keep patients apart"
    return Parts(names, of_image, source)


def _apart(patients: tuple[str, ...], folds: tuple[int, ...]) -> bool:
    return len(set(zip(patients, folds, strict=True))) == len(set(patients))


def _part(patient: str) -> int:
    return int(hashlib.sha256(patient.encode()).hexdigest(), 16) % OWN_PARTS


def score_thresholds(detections: Detections, looked: BoolArray, parts: Parts) -> FloatArray:
    """Threshold of each part and disease, (parts, D); NaN where every box counts.

    That is so where the other parts have no image with the disease or none without it, or where no
    threshold tells them apart better than chance.

    Args:
        looked: (N,) images that the localizer predicted.
    """
    images = detections.truth.images
    present, best = images.status != ABSENT, _best_scores(detections)
    thresholds = np.full((len(parts.names), len(images.diseases)), math.nan)
    for part in np.unique(parts.of_image[looked]):
        others = looked & (parts.of_image != part)
        for d in range(len(images.diseases)):
            point = youden(present[others, d].astype(np.float64), best[others, d])
            if point.threshold is not None:
                thresholds[part, d] = point.threshold
    return thresholds


def _best_scores(detections: Detections) -> FloatArray:
    """(N, D) highest score of each image and disease; below all scores where there is no box."""
    lowest = float(detections.score.min(initial=0.0))
    best = np.full(detections.truth.images.status.shape, lowest - max(1.0, abs(lowest)))
    np.maximum.at(best, (detections.image, detections.disease), detections.score)
    return best


def over(detections: Detections, thresholds: FloatArray, parts: Parts) -> BoolArray:
    """(M,) detections at or over the threshold of their image's part and their disease."""
    limit = thresholds[parts.of_image[detections.image], detections.disease]
    return np.asarray(np.isnan(limit) | (detections.score >= limit))
