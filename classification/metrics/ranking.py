"""Compute AUC and average precision per disease with patient-bootstrap intervals.

The bootstrap resamples patients, not images, and never calls a metric in a loop. Scores are sorted
once, each resample is a weight per image, and both metrics are sums over cumulative weights.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cxrloc.classification.metrics.bootstrap import Estimate, FloatArray
from cxrloc.classification.metrics.sampled import Sampled, carriers, image_weights

NEEDS_BOTH = "needs images with and without the disease"


@dataclass(frozen=True)
class DiseaseMetrics:
    """One disease: ranking quality, and the amount of data behind it."""

    auc: Estimate
    average_precision: Estimate
    prevalence: float | None
    positives: int
    known: int


@dataclass(frozen=True)
class ClassifierMetrics:
    """All diseases and their macro means, with the diseases that these cover."""

    diseases: Mapping[str, DiseaseMetrics]
    macro_auc: Estimate
    macro_average_precision: Estimate
    patients: int

    @property
    def undefined(self) -> tuple[str, ...]:
        """Diseases without an AUC, excluded from the macro means and named."""
        return tuple(d for d, m in self.diseases.items() if not m.auc.defined)

    @property
    def macro_note(self) -> str:
        """For example `macro over 7 of 8; undefined: Hernia`."""
        total, undefined = len(self.diseases), self.undefined
        note = f"macro over {total - len(undefined)} of {total}"
        return f"{note}; undefined: {', '.join(undefined)}" if undefined else note

    def to_json(self) -> dict[str, Any]:
        """JSON-ready values; an undefined figure is null, with its reason."""
        return {
            **_figure("macro_auc", self.macro_auc),
            **_figure("macro_average_precision", self.macro_average_precision),
            "macro_note": self.macro_note,
            "patients": self.patients,
            "diseases": {
                disease: {
                    **_figure("auc", m.auc),
                    **_figure("average_precision", m.average_precision),
                    "prevalence": m.prevalence,
                    "positives": m.positives,
                    "known": m.known,
                }
                for disease, m in self.diseases.items()
            },
        }


def _figure(name: str, estimate: Estimate) -> dict[str, Any]:
    if not estimate.defined:
        return {name: None, f"{name}_undefined": estimate.reason}
    interval = None if math.isnan(estimate.low) else [estimate.low, estimate.high]
    return {name: estimate.value, f"{name}_interval": interval}


class _Ranking:
    """Scores of one disease, sorted once; computes metrics for any weighting of the images."""

    def __init__(self, labels: FloatArray, scores: FloatArray) -> None:
        order = np.argsort(-scores, kind="stable")
        self.order = order
        self.positive = labels[order] == 1
        # last index of each run of equal scores: ties enter the curve together
        self.ends = np.append(np.flatnonzero(np.diff(scores[order])), len(order) - 1)

    def counts(self, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Weighted positives and negatives at or above each distinct score, (R, G) each."""
        ordered = weights[:, self.order]
        true = np.cumsum(ordered * self.positive, axis=1)[:, self.ends]
        false = np.cumsum(ordered * ~self.positive, axis=1)[:, self.ends]
        return true, false

    def metrics(self, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
        """AUC and average precision, (R,) each; NaN without a positive or a negative."""
        true, false = self.counts(weights)
        positives, negatives = true[:, -1], false[:, -1]
        with np.errstate(invalid="ignore", divide="ignore"):
            true_before = np.pad(true, ((0, 0), (1, 0)))[:, :-1]
            new_false = np.diff(false, axis=1, prepend=0.0)
            area = (new_false * (true + true_before) / 2).sum(axis=1) / (positives * negatives)
            precision = np.nan_to_num(true / (true + false))
            ap = (precision * (true - true_before)).sum(axis=1) / positives
        ap[negatives == 0] = np.nan
        return area, ap


def classifier_metrics(
    labels: FloatArray,
    scores: FloatArray,
    diseases: Sequence[str],
    patients: Sequence[str],
    *,
    replicates: int = 1000,
    seed: int = 0,
) -> ClassifierMetrics:
    """AUC and average precision per disease and their macro means.

    Args:
        labels: (N, D) of 0, 1 and NaN (left out, disease by disease).
        scores: (N, D) finite; larger means more likely.
        diseases: names of the columns.
        patients: (N,) the unit of resampling.
        replicates: number of bootstrap replicates; 0 gives no intervals.
        seed: seed of the bootstrap.

    Raises:
        ValueError: for mismatched shapes, or scores that are not finite.
    """
    _check(labels, scores, diseases, patients)
    auc, precision = bootstrap_ranking(labels, scores, patients, replicates, seed)
    per_disease = {d: _disease(labels[:, i], auc, precision, i) for i, d in enumerate(diseases)}
    return ClassifierMetrics(per_disease, auc.macro, precision.macro, len(set(patients)))


def bootstrap_ranking(
    labels: FloatArray, scores: FloatArray, patients: Sequence[str], replicates: int, seed: int
) -> tuple[Sampled, Sampled]:
    """AUC and average precision for each column of (N, D) labels and scores.

    Both figures, and the width of their intervals, depend on the patients of the rarer class, with
    or without the disease.
    """
    rankings = [_known_ranking(y, s) for y, s in zip(labels.T, scores.T, strict=True)]
    draws = [_evaluate(rankings, np.ones((1, len(labels))))]
    for weights in image_weights(patients, replicates, seed):
        draws.append(_evaluate(rankings, weights))
    auc, precision = np.concatenate(draws, axis=1)
    rarer = np.minimum(carriers(patients, labels == 1), carriers(patients, labels == 0))
    return (
        Sampled(auc[0], auc[1:], rarer, NEEDS_BOTH),
        Sampled(precision[0], precision[1:], rarer, NEEDS_BOTH),
    )


def _known_ranking(
    labels: FloatArray, scores: FloatArray
) -> tuple[npt.NDArray[np.bool_], _Ranking | None]:
    has_label = ~np.isnan(labels)
    return has_label, _Ranking(labels[has_label], scores[has_label]) if has_label.any() else None


def _evaluate(
    rankings: Sequence[tuple[npt.NDArray[np.bool_], _Ranking | None]], weights: FloatArray
) -> FloatArray:
    """(2, R, D): AUC and average precision for R weightings."""
    nothing = np.full(len(weights), np.nan)
    columns = [
        (nothing, nothing) if ranking is None else ranking.metrics(weights[:, has_label])
        for has_label, ranking in rankings
    ]
    return np.array(columns, dtype=np.float64).reshape(-1, 2, len(weights)).transpose(1, 2, 0)


def _disease(labels: FloatArray, auc: Sampled, precision: Sampled, column: int) -> DiseaseMetrics:
    labelled, positives = int((~np.isnan(labels)).sum()), int((labels == 1).sum())
    reason = ""
    if not positives:
        reason = "no positive image"
    elif positives == labelled:
        reason = "no negative image"
    prevalence = positives / labelled if labelled else None
    figures = auc.estimate(column, reason), precision.estimate(column, reason)
    return DiseaseMetrics(*figures, prevalence, positives, labelled)


def _check(
    labels: FloatArray, scores: FloatArray, diseases: Sequence[str], patients: Sequence[str]
) -> None:
    expected = (len(patients), len(diseases))
    if labels.shape != expected or scores.shape != expected:
        raise ValueError(
            f"labels {labels.shape} and scores {scores.shape}, expected both {expected}: "
            f"{expected[0]} patients (one per image) x {expected[1]} diseases"
        )
    if not np.isfinite(scores).all():
        raise ValueError(f"{int((~np.isfinite(scores)).sum())} scores are not finite")
