"""Score examinations: average the probabilities of their images, and compare with the labels.

A reader reports on an examination: all its images together. Its probability is the mean over its
images, and it is positive if any of its images is. Accuracy, AUC, Cohen's kappa (Cohen 1960:
agreement beyond the chance agreement of the two margins) and the confusion matrix are computed for
each body part and for all together, with intervals that resample patients.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from cxrloc.classification.metrics.bootstrap import Estimate, FloatArray
from cxrloc.classification.metrics.operating_point import Points, operating_points
from cxrloc.classification.metrics.ranking import bootstrap_ranking
from cxrloc.classification.metrics.sampled import Sampled, image_weights
from cxrloc.classification.metrics.scored_images import YOUDEN, ScoredImages

ALL_PARTS = "all"
_ALL_ALIKE = "labels and predictions are all the same: chance agrees always"
HALF, VALIDATION = "0.5", "validation"  # rules: threshold of a positive prediction


@dataclass(frozen=True)
class PredictedUnits:
    """N images, or N examinations, with D probabilities each.

    Attributes:
        patients: (N,) the unit of resampling.
        body_parts: (N,) empty if unknown.
        labels: (N, D) of 0, 1 and NaN (unknown).
        scores: (N, D) in 0..1.
        thresholds: (N, D) operating points from validation, NaN for none.
    """

    patients: tuple[str, ...]
    body_parts: tuple[str, ...]
    labels: FloatArray = field(repr=False)
    scores: FloatArray = field(repr=False)
    thresholds: FloatArray = field(repr=False)

    def __post_init__(self) -> None:
        shape = (len(self.patients), self.labels.shape[1])
        if not (self.labels.shape == self.scores.shape == self.thresholds.shape == shape):
            raise ValueError(
                f"labels {self.labels.shape}, scores {self.scores.shape}, thresholds "
                f"{self.thresholds.shape}, expected all {shape}"
            )

    def select(self, rows: npt.NDArray[np.bool_]) -> PredictedUnits:
        """The units of a boolean mask."""
        chosen = np.flatnonzero(rows)
        return PredictedUnits(
            tuple(self.patients[i] for i in chosen),
            tuple(self.body_parts[i] for i in chosen),
            self.labels[chosen],
            self.scores[chosen],
            self.thresholds[chosen],
        )


@dataclass(frozen=True)
class ReaderAgreement:
    """Agreement of the predictions with the labels for one disease and body part.

    Attributes:
        disease: column number.
        body_part: a part, or `ALL_PARTS`.
        rule: `HALF`, or `VALIDATION`: the operating point from validation data.
        units, patients: number with a known label.
        without_point: units without a threshold under this rule. They get no prediction and do not
            enter the matrix, accuracy and kappa.
        true_positive, false_negative, false_positive, true_negative: the confusion matrix.
        accuracy, kappa, auc: with intervals over patients.
    """

    disease: int
    body_part: str
    rule: str
    units: int
    patients: int
    without_point: int
    true_positive: int
    false_negative: int
    false_positive: int
    true_negative: int
    accuracy: Estimate
    kappa: Estimate
    auc: Estimate

    @property
    def called(self) -> int:
        """Number of units in the confusion matrix."""
        return self.units - self.without_point


def images_of(images: ScoredImages) -> PredictedUnits:
    """Each image as a unit, with Youden's thresholds if it has any."""
    nothing = np.full(images.scores.shape, np.nan)
    return PredictedUnits(
        images.patient_ids,
        images.body_parts or ("",) * len(images),
        images.labels,
        images.scores,
        images.thresholds.get(YOUDEN, nothing),
    )


def examinations_of(
    images: PredictedUnits, study_ids: Sequence[str], thresholds: FloatArray
) -> PredictedUnits:
    """Group images into examinations, in order of first appearance.

    Args:
        study_ids: (N,) examination of each image; an image without one is its own examination.
        thresholds: (N, D) operating points of examinations, one row per image.
    """
    names = [study_id or f"\0{n}" for n, study_id in enumerate(study_ids)]
    first_row: dict[str, int] = {}
    for n, name in enumerate(names):
        first_row.setdefault(name, n)
    number = {name: n for n, name in enumerate(first_row)}
    of_image, rows = np.array([number[name] for name in names], np.intp), list(first_row.values())

    def total(values: npt.NDArray[Any]) -> FloatArray:
        sums = np.zeros((len(rows), values.shape[1]))
        np.add.at(sums, of_image, values.astype(np.float64))
        return sums

    labels = np.where(total(images.labels == 1) > 0, 1.0, 0.0)
    labels[total(~np.isnan(images.labels)) == 0] = np.nan
    return PredictedUnits(
        tuple(images.patients[i] for i in rows),
        tuple(images.body_parts[i] for i in rows),
        labels,
        total(images.scores) / total(np.ones((len(names), 1))),
        thresholds[rows],
    )


def agreements(units: PredictedUnits, replicates: int, seed: int) -> list[ReaderAgreement]:
    """Per disease: each part in alphabetical order, then all together, each under both rules.

    If no part is known, or only one, there is a single group.
    """
    parts = sorted(set(units.body_parts) - {""})
    everything = np.ones(len(units.patients), dtype=bool)
    groups = [(part, np.array([p == part for p in units.body_parts])) for part in parts]
    if len(parts) != 1 or "" in units.body_parts:
        groups.append((ALL_PARTS, everything))
    rows: list[ReaderAgreement] = []
    for disease in range(units.labels.shape[1]):
        has_label = ~np.isnan(units.labels[:, disease])
        for name, mask in groups:
            rows += _of_group(units.select(mask & has_label), disease, name, replicates, seed)
    return rows


def kappa(counts: FloatArray) -> FloatArray:
    """Cohen's kappa of (..., 4) counts TP, FN, FP, TN; NaN if chance always agrees."""
    tp, fn, fp, tn = np.moveaxis(np.asarray(counts, dtype=np.float64), -1, 0)
    total = tp + fn + fp + tn
    with np.errstate(invalid="ignore", divide="ignore"):
        chance = ((tp + fn) * (tp + fp) + (fp + tn) * (fn + tn)) / total**2
        coefficients = ((tp + tn) / total - chance) / (1 - chance)
    return np.where(1 - chance > 1e-12, coefficients, np.nan)


def _of_group(
    group: PredictedUnits, disease: int, name: str, replicates: int, seed: int
) -> Iterator[ReaderAgreement]:
    labels, scores = group.labels[:, [disease]], group.scores[:, [disease]]
    patients = group.patients
    ranking, _ = bootstrap_ranking(labels, scores, patients, replicates, seed)
    auc = ranking.estimate(0, "no image" if not len(labels) else "all labels in one class")
    cuts = {HALF: np.full(len(patients), 0.5), VALIDATION: group.thresholds[:, disease]}
    for rule, cut in cuts.items():
        has_point = ~np.isnan(cut)
        called = scores[has_point, 0] >= cut[has_point]
        who = [patient for patient, has in zip(patients, has_point, strict=True) if has]
        positive = labels[has_point, 0] == 1
        counts, accuracy, agreed = _counted(positive, called, who, replicates, seed)
        if len(patients) and not who:
            accuracy = agreed = Estimate(math.nan, reason="validation data gave no operating point")
        sizes = (len(patients), len(set(patients)), len(patients) - len(who))
        yield ReaderAgreement(disease, name, rule, *sizes, *counts, accuracy, agreed, auc)


def _counted(
    positive: npt.NDArray[np.bool_],
    called: npt.NDArray[np.bool_],
    patients: Sequence[str],
    replicates: int,
    seed: int,
) -> tuple[tuple[int, int, int, int], Estimate, Estimate]:
    """The confusion matrix as TP, FN, FP, TN; accuracy and kappa with intervals."""
    cells = [positive & called, positive & ~called, ~positive & called, ~positive & ~called]
    table = np.stack(cells, axis=1).astype(np.float64)
    total = table.sum(axis=0)
    tp, fn, fp, tn = (int(n) for n in total)
    if not len(positive):
        nothing = Estimate(math.nan, reason="no image")
        return (0, 0, 0, 0), nothing, nothing
    draws = [total[None], *(w @ table for w in image_weights(patients, replicates, seed))]
    counts = np.concatenate(draws)
    figures = np.stack([_accuracy(counts), kappa(counts)], axis=1)
    sampled = Sampled(figures[0], figures[1:], np.repeat(len(set(patients)), 2), _ALL_ALIKE)
    return (tp, fn, fp, tn), sampled.estimate(0), sampled.estimate(1)


def _accuracy(counts: FloatArray) -> FloatArray:
    return np.asarray((counts[:, 0] + counts[:, 3]) / counts.sum(axis=1), dtype=np.float64)


EXAMINATION, IMAGE = "study", "image"  # levels
Levels = Mapping[str, Sequence[ReaderAgreement]]


def has_multi_image_examinations(study_ids: Sequence[str]) -> bool:
    """Whether any examination has several of these images; an empty name does not count."""
    not_empty = [study_id for study_id in study_ids if study_id]
    return len(set(not_empty)) < len(not_empty)


def choose_points(validation: ScoredImages) -> tuple[Points, Points]:
    """Operating points of images and of examinations."""
    points = operating_points(validation.labels, validation.scores, validation.diseases)
    return points, examination_points(validation)


def examination_points(validation: ScoredImages) -> Points:
    """Examinations' operating point per disease, on validation images; empty without any."""
    if not has_multi_image_examinations(validation.study_ids):
        return {}
    nothing = np.full(validation.scores.shape, np.nan)
    examinations = examinations_of(images_of(validation), validation.study_ids, nothing)
    return operating_points(examinations.labels, examinations.scores, validation.diseases)


def by_level(
    images: ScoredImages, examination_thresholds: FloatArray | None, replicates: int, seed: int
) -> dict[str, list[ReaderAgreement]]:
    """Return level -> figures by part, for images and, if there are any, for examinations.

    Empty for images without examinations and body parts: the overall figures already cover them.

    Args:
        images: with or without Youden's thresholds for images.
        examination_thresholds: (N, D) operating points of examinations, or one row for all, or
            None.
        replicates, seed: parameters of the patient bootstrap.
    """
    per_image = images_of(images)
    units = {IMAGE: per_image} if images.body_parts else {}
    if has_multi_image_examinations(images.study_ids):
        nothing = np.full(len(images.diseases), np.nan)
        cuts = nothing if examination_thresholds is None else examination_thresholds
        points = np.broadcast_to(cuts, images.scores.shape)
        units = {
            EXAMINATION: examinations_of(per_image, images.study_ids, points),
            IMAGE: per_image,
        }
    return {level: agreements(of_level, replicates, seed) for level, of_level in units.items()}
