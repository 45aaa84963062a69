"""AUC and average precision per disease with patient-bootstrap intervals.

The bootstrap resamples patients, not images, and never calls a metric in a loop: scores are sorted
once, each replicate is a weight per image, and both metrics are sums over cumulative weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
_CHUNK_ELEMENTS = 4_000_000  # weights held at once: replicates x images


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95 % interval.

    Attributes:
        value: None means undefined; `reason` says why.
        low, high: percentiles 2.5 and 97.5 of the bootstrap; None without one.
        reason: of being undefined, else empty.
        replicates: how many bootstrap replicates were defined and used.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    reason: str = ""
    replicates: int = 0

    def __str__(self) -> str:
        if self.value is None:
            return "undefined"
        if self.low is None or self.high is None:
            return f"{self.value:.3f}"
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"


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
    names, of_patient = np.unique(np.asarray(patients, dtype=str), return_inverse=True)
    rankings = [_known_ranking(labels[:, i], scores[:, i]) for i in range(len(diseases))]
    points = _evaluate(rankings, np.ones((1, len(labels))))
    draws = [np.zeros((2, 0, len(diseases)))]
    for weights in _patient_weights(len(names), of_patient, replicates, seed):
        draws.append(_evaluate(rankings, weights))
    samples = np.concatenate(draws, axis=1)
    per_disease = {
        d: _disease(labels[:, i], points[:, 0, i], samples[:, :, i]) for i, d in enumerate(diseases)
    }
    defined = ~np.isnan(points[0, 0])
    macro = [_macro(points[m, 0, defined], samples[m][:, defined]) for m in range(2)]
    return ClassifierMetrics(per_disease, macro[0], macro[1], len(names))


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


def _patient_weights(
    patients: int, of_patient: npt.NDArray[np.intp], replicates: int, seed: int
) -> Iterator[Array]:
    """How often each image is drawn when patients are drawn with replacement, in chunks (R, N)."""
    rng = np.random.default_rng(seed)
    step = max(1, _CHUNK_ELEMENTS // max(len(of_patient), 1))
    for start in range(0, replicates if patients else 0, step):
        rows = min(step, replicates - start)
        drawn = rng.integers(0, patients, size=(rows, patients))
        flat = (drawn + patients * np.arange(rows)[:, None]).ravel()
        counts = np.bincount(flat, minlength=rows * patients).reshape(rows, patients)
        yield counts[:, of_patient].astype(np.float64)


def _disease(labels: Array, points: Array, samples: Array) -> DiseaseMetrics:
    known, positives = int((~np.isnan(labels)).sum()), int((labels == 1).sum())
    reason = ""
    if not positives:
        reason = "no positive image"
    elif positives == known:
        reason = "no negative image"
    auc, ap = (_estimate(points[m], samples[m], reason) for m in range(2))
    return DiseaseMetrics(auc, ap, positives / known if known else None, positives, known)


def _macro(points: Array, samples: Array) -> Estimate:
    if not len(points):
        return Estimate(None, reason="undefined for every disease")
    # a replicate that lacks one disease would average over other diseases than the point does
    return _estimate(float(points.mean()), samples.mean(axis=1), "")


def _estimate(point: float, samples: Array, reason: str) -> Estimate:
    if np.isnan(point):
        return Estimate(None, reason=reason)
    used = samples[~np.isnan(samples)]
    if not len(used):
        return Estimate(float(point))
    low, high = np.percentile(used, [2.5, 97.5])
    return Estimate(float(point), float(low), float(high), replicates=len(used))


def _check(labels: Array, scores: Array, diseases: Sequence[str], patients: Sequence[str]) -> None:
    expected = (len(patients), len(diseases))
    if labels.shape != expected or scores.shape != expected:
        raise ValueError(
            f"labels {labels.shape} and scores {scores.shape}, expected both {expected}: "
            f"{expected[0]} patients (one an image) x {expected[1]} diseases"
        )
    if not np.isfinite(scores).all():
        raise ValueError(f"{int((~np.isfinite(scores)).sum())} scores are not finite")
