"""Compute wAFROC, the weighted alternative free-response ROC figure of merit.

Chakraborty and Zhai 2016. Each image without the disease has one rating, that of its
highest-scored box; each lesion (ground-truth box) has the score of the box that localizes it. The
figure of merit is the chance that a lesion is rated above an image without the disease: the mean
over all pairs of such an image and an image with the disease, whose lesions weigh the same and
together 1. Ties count 1/2; an image without a box and a lesion that no box localizes are rated
-inf, so the two of them tie. It is the area under the wAFROC curve, which rises in a straight line
from its last point to (1, 1). The figures equal those of the R package RJafroc, by test.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy.sparse import csr_array

from cxrloc.classification.metrics.sampled import ImageBootstrap, Sampled
from cxrloc.localization.evaluation.detections import Detections, Setting
from cxrloc.localization.evaluation.ground_truth import (
    ABSENT,
    BoolArray,
    FloatArray,
    GroundTruth,
)
from cxrloc.localization.matching import IndexArray

UNMARKED = -np.inf
_ELEMENTS = 4_000_000  # ratings x resamples held at once
_UNDEFINED = "needs images with a box of the disease and images without the disease"


@dataclass(frozen=True)
class Ratings:
    """Ratings of one localizer for one disease; patients are indices 0..P-1.

    Attributes:
        normal, normal_patient: for each image without the disease: its rating, and its patient.
        lesion, lesion_patient: the same for each lesion.
        weight: of each lesion; those of an image sum to 1.
    """

    normal: FloatArray
    normal_patient: IndexArray
    lesion: FloatArray
    lesion_patient: IndexArray
    weight: FloatArray

    @property
    def patients(self) -> int:
        """Patients behind the figure: those of the rarer kind of image, as for an AUC."""
        return min(len(np.unique(p)) for p in (self.normal_patient, self.lesion_patient))


@dataclass(frozen=True)
class Wafroc:
    """wAFROC of a localizer.

    Attributes:
        localizer, setting, threshold: parameters; a lesion is localized by a box with IoU >
            `threshold`.
        images: number of images in the setting.
        figures: one per disease of the ground truth, with resamples.
        ratings: what each of them was computed from.
    """

    localizer: str
    setting: Setting = field(repr=False)
    threshold: float
    figures: Sampled = field(repr=False)
    ratings: tuple[Ratings, ...] = field(repr=False)

    @property
    def images(self) -> int:
        return int(self.setting.images.sum())


def score_wafroc(
    name: str,
    detections: Detections,
    setting: Setting,
    threshold: float,
    bootstrap: ImageBootstrap,
) -> Wafroc:
    """wAFROC of one localizer in one setting for each disease with a ground-truth box.

    Images that are labelled with the disease but have no box of it are left out.

    Args:
        name: name of the localizer.
        threshold: IoU threshold of a hit; strict.
        bootstrap: patients of all images of the ground truth.
    """
    ratings = ratings_of(detections, setting, threshold, bootstrap.patient_of)
    once = np.ones((1, bootstrap.counts.shape[1]))
    figures = Sampled(
        np.array([merit(r, once)[0] for r in ratings]),
        np.column_stack([merit(r, bootstrap.counts) for r in ratings]),
        np.array([r.patients for r in ratings], dtype=np.intp),
        _UNDEFINED,
    )
    return Wafroc(name, setting, threshold, figures, ratings)


def ratings_of(
    detections: Detections, setting: Setting, threshold: float, patient_of: IndexArray
) -> tuple[Ratings, ...]:
    """The ratings for each of `truth.disease_names`.

    Args:
        patient_of: (N,) patient of each image.
    """
    truth, keep = detections.truth, detections.in_setting(setting)
    status = truth.images.status
    highest = np.full(status.shape, UNMARKED)
    np.maximum.at(
        highest, (detections.image[keep], detections.disease[keep]), detections.score[keep]
    )
    lesion = lesion_ratings(detections, keep, threshold)
    weight, counted = 1.0 / boxes_alike(truth), setting.images[truth.image_of_box]
    ratings = []
    for disease in truth.disease_names:
        column = truth.images.column_of[disease]
        normal = np.flatnonzero(setting.images & (status[:, column] == ABSENT))
        boxes = np.flatnonzero(counted & (truth.column_of_box == column))
        patients = patient_of[normal], patient_of[truth.image_of_box[boxes]]
        ratings.append(
            Ratings(highest[normal, column], patients[0], lesion[boxes], patients[1], weight[boxes])
        )
    return tuple(ratings)


def lesion_ratings(detections: Detections, keep: BoolArray, threshold: float) -> FloatArray:
    """(G,) score of the detection in `keep` (M,) that localizes each box; -inf without any.

    One to one: from the highest score down, each detection takes the box of its image and disease
    that it overlaps most, of those with IoU > `threshold` that none has taken; of equal scores, the
    greatest overlap comes first.
    """
    pairs, rating = detections.overlaps, detections.best_score_of_hits(keep, threshold)
    several = boxes_alike(detections.truth) > 1
    rating[several] = UNMARKED
    hits = np.flatnonzero(keep[pairs.first] & (pairs.iou > threshold) & several[pairs.second])
    detection, box, overlap = (a[hits] for a in (pairs.first, pairs.second, pairs.iou))
    left = detections.boxes_xyxy[detection, 0]  # only so that the file's order does not matter
    taken = set()
    for i in np.lexsort((left, box, -overlap, -detections.score[detection])).tolist():
        if detection[i] not in taken and rating[box[i]] == UNMARKED:
            rating[box[i]] = detections.score[detection[i]]
            taken.add(detection[i])
    return rating


def boxes_alike(truth: GroundTruth) -> IndexArray:
    """(G,) number of ground-truth boxes with each box's image and disease, itself included."""
    return np.asarray(truth.boxes_of_pair[truth.image_of_box, truth.column_of_box])


def merit(ratings: Ratings, counts: FloatArray) -> FloatArray:
    """Figure of merit for each resample (B, P): (B,), NaN without both kinds of image.

    Ratings are sorted once; a resample is then a sum over the lesions' distinct ratings of how many
    lesions have it and how many images lie below.
    """
    levels, level = np.unique(ratings.lesion, return_inverse=True)
    # bin 2i + 1 holds the images rated as level i, bin 2i those between levels i - 1 and i
    bins = sum(np.searchsorted(levels, ratings.normal, side) for side in ("left", "right"))
    ones, patients = np.ones(len(ratings.normal)), counts.shape[1]
    shape = (2 * len(levels) + 1, patients)
    images = csr_array((ones, (np.asarray(bins), ratings.normal_patient)), shape=shape)
    lesions = csr_array(
        (ratings.weight, (level, ratings.lesion_patient)), shape=(len(levels), patients)
    )
    step = max(1, _ELEMENTS // shape[0])
    parts = [
        _merit(images @ counts[i : i + step].T, lesions @ counts[i : i + step].T)
        for i in range(0, len(counts), step)
    ]
    return np.concatenate([np.empty(0), *parts])


def _merit(images: FloatArray, lesions: FloatArray) -> FloatArray:
    """Figure of merit from the images in each bin (2L + 1, B) and the lesions per level (L, B)."""
    below = images.cumsum(axis=0)[:-1:2] + images[1::2] / 2
    pairs = images.sum(axis=0) * lesions.sum(axis=0)
    undefined = np.full(pairs.shape, np.nan)
    return np.asarray(
        np.divide((lesions * below).sum(axis=0), pairs, out=undefined, where=pairs > 0)
    )


def curve(ratings: Ratings) -> tuple[FloatArray, FloatArray]:
    """The wAFROC curve from (0, 0) to (1, 1), a point for each rating, highest first.

    Returns:
        Share of the images without the disease that are rated at or above each score, and weighted
        share of the lesions; both empty without both kinds of image.
    """
    if not len(ratings.normal) or not len(ratings.lesion):
        return np.empty(0), np.empty(0)
    scores = np.unique(np.concatenate([ratings.normal, ratings.lesion]))[::-1]
    scores = scores[scores > UNMARKED]
    false = (np.sort(ratings.normal), np.ones(len(ratings.normal)))
    order = np.argsort(ratings.lesion, kind="stable")
    found = (ratings.lesion[order], ratings.weight[order])
    across, up = (np.r_[0.0, _share_above(*column, scores), 1.0] for column in (false, found))
    return across, up


def _share_above(values: FloatArray, weights: FloatArray, scores: FloatArray) -> FloatArray:
    """Weighted share of the ascending `values` at or above each score."""
    total = np.r_[0.0, weights.cumsum()]
    return np.asarray(1 - total[np.searchsorted(values, scores, side="left")] / total[-1])
