"""AUC and average precision per disease with patient-bootstrap intervals.

The bootstrap resamples patients, not images, and never calls a metric in a loop: scores are sorted
once, each replicate is a weight per image, and both metrics are sums over cumulative weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cxrloc.classification.metrics.replicates import (
    Array,
    Estimate,
    estimate,
    macro_estimate,
    patient_weights,
)


@dataclass(frozen=True)
class DiseaseMetrics:
    """One disease: ranking quality, and the counts that tell how much data is behind it."""

    auc: Estimate
    average_precision: Estimate
    prevalence: float | None
    positives: int
    known: int


@dataclass(frozen=True)
class ClassifierMetrics:
    """All diseases and their macro means, which state over which diseases they were taken."""

    diseases: Mapping[str, DiseaseMetrics]
    macro_auc: Estimate
    macro_average_precision: Estimate
    patients: int

    @property
    def undefined(self) -> tuple[str, ...]:
        """Diseases without an AUC, which the macro means leave out and name."""
        return tuple(d for d, m in self.diseases.items() if m.auc.value is None)

    @property
    def macro_note(self) -> str:
        """For instance `macro over 7 of 8; undefined: Hernia`."""
        total, undefined = len(self.diseases), self.undefined
        note = f"macro over {total - len(undefined)} of {total}"
        return f"{note}; undefined: {', '.join(undefined)}" if undefined else note

    def to_json(self) -> dict[str, Any]:
        """JSON-ready values; an undefined figure is null beside its reason."""
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
    if estimate.value is None:
        return {name: None, f"{name}_undefined": estimate.reason}
    interval = None if estimate.low is None else [estimate.low, estimate.high]
    return {name: estimate.value, f"{name}_interval": interval}


class _Ranking:
    """Scores of one disease sorted once; metrics for any number of weightings of the images."""

    def __init__(self, labels: Array, scores: Array) -> None:
        order = np.argsort(-scores, kind="stable")
        self.order = order
        self.positive = labels[order] == 1
        # last index of each run of equal scores: ties enter a curve together
        self.ends = np.append(np.flatnonzero(np.diff(scores[order])), len(order) - 1)

    def counts(self, weights: Array) -> tuple[Array, Array]:
        """Weighted positives and negatives at or above each distinct score, (R, G) each."""
        ordered = weights[:, self.order]
        true = np.cumsum(ordered * self.positive, axis=1)[:, self.ends]
        false = np.cumsum(ordered * ~self.positive, axis=1)[:, self.ends]
        return true, false

    def metrics(self, weights: Array) -> tuple[Array, Array]:
        """AUC and average precision, (R,) each; NaN without a positive or without a negative."""
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
    labels: Array,
    scores: Array,
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
        replicates: of the bootstrap; 0 gives no intervals.
        seed: of the bootstrap.

    Raises:
        ValueError: for matrices whose shapes do not match, or scores that are not finite.
    """
    _check(labels, scores, diseases, patients)
    points, samples = bootstrap_ranking(labels, scores, patients, replicates, seed)
    per_disease = {
        d: _disease(labels[:, i], points[:, i], samples[:, :, i]) for i, d in enumerate(diseases)
    }
    macro = [macro_estimate(points[m], samples[m]) for m in range(2)]
    return ClassifierMetrics(per_disease, macro[0], macro[1], len(set(patients)))


def bootstrap_ranking(
    labels: Array, scores: Array, patients: Sequence[str], replicates: int, seed: int
) -> tuple[Array, Array]:
    """AUC and average precision, (2, D), and their (2, R, D) replicates; NaN where undefined.

    Same patients and seed, same resamples: subtract the replicates of two networks on the same
    images for a paired interval.
    """
    rankings = [_known_ranking(y, s) for y, s in zip(labels.T, scores.T, strict=True)]
    draws = [_evaluate(rankings, np.ones((1, len(labels))))]
    for weights in patient_weights(patients, replicates, seed):
        draws.append(_evaluate(rankings, weights))
    figures = np.concatenate(draws, axis=1)
    return figures[:, 0], figures[:, 1:]


def _known_ranking(labels: Array, scores: Array) -> tuple[npt.NDArray[np.bool_], _Ranking | None]:
    known = ~np.isnan(labels)
    return known, _Ranking(labels[known], scores[known]) if known.any() else None


def _evaluate(
    rankings: Sequence[tuple[npt.NDArray[np.bool_], _Ranking | None]], weights: Array
) -> Array:
    """(2, R, D): AUC and average precision of R weightings."""
    nothing = np.full(len(weights), np.nan)
    columns = [
        (nothing, nothing) if ranking is None else ranking.metrics(weights[:, known])
        for known, ranking in rankings
    ]
    return np.array(columns, dtype=np.float64).reshape(-1, 2, len(weights)).transpose(1, 2, 0)


def _disease(labels: Array, points: Array, samples: Array) -> DiseaseMetrics:
    known, positives = int((~np.isnan(labels)).sum()), int((labels == 1).sum())
    reason = ""
    if not positives:
        reason = "no positive image"
    elif positives == known:
        reason = "no negative image"
    auc, ap = (estimate(points[m], samples[m], reason) for m in range(2))
    return DiseaseMetrics(auc, ap, positives / known if known else None, positives, known)


def _check(labels: Array, scores: Array, diseases: Sequence[str], patients: Sequence[str]) -> None:
    expected = (len(patients), len(diseases))
    if labels.shape != expected or scores.shape != expected:
        raise ValueError(
            f"labels {labels.shape} and scores {scores.shape}, expected both {expected}: "
            f"{expected[0]} patients (one an image) x {expected[1]} diseases"
        )
    if not np.isfinite(scores).all():
        raise ValueError(f"{int((~np.isfinite(scores)).sum())} scores are not finite")
