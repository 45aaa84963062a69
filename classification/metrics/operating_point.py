"""The operating threshold of one disease, chosen on validation data, never on the scored images.

Youden's J (Youden, Cancer 1950), or a sensitivity that is asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class OperatingPoint:
    """Where a disease is called present: probability >= threshold.

    Attributes:
        threshold: midway between two adjacent validation scores, or None.
        sensitivity, specificity: on the validation data; None without a threshold.
        reason: why there is no threshold; empty when there is one.
    """

    threshold: float | None
    sensitivity: float | None = None
    specificity: float | None = None
    reason: str = ""


Points = dict[str, OperatingPoint]  # of each disease


def youden(labels: npt.ArrayLike, scores: npt.ArrayLike) -> OperatingPoint:
    """The threshold that makes sensitivity + specificity - 1 largest; among equals the lowest.

    Args:
        labels: (N,) of 0, 1 and NaN (left out).
        scores: (N,) finite.
    """
    y, s = _known(labels, scores)
    if reason := _missing_class(y):
        return OperatingPoint(None, reason=reason)
    values, hits, false_alarms = _curve(y, s)
    gain = (hits - false_alarms)[1:]  # without the cut that calls everything present
    if len(gain) == 0 or gain.max() <= 1e-12:
        return OperatingPoint(None, reason="no threshold is better than chance on validation data")
    best = int(np.flatnonzero(gain >= gain.max() - 1e-12)[0]) + 1
    threshold = _midway(float(values[best - 1]), float(values[best]))
    return OperatingPoint(threshold, float(hits[best]), float(1 - false_alarms[best]))


def at_sensitivity(
    labels: npt.ArrayLike, scores: npt.ArrayLike, sensitivity: float
) -> OperatingPoint:
    """The highest threshold whose sensitivity is at least the one asked for.

    Args:
        labels: (N,) of 0, 1 and NaN (left out).
        scores: (N,) finite.
        sensitivity: 0 < share < 1; on other images the share found will be another.

    Raises:
        ValueError: for a sensitivity outside of 0..1.
    """
    if not 0 < sensitivity < 1:
        raise ValueError(f"sensitivity: got {sensitivity}, expected a share in (0, 1), such as 0.9")
    y, s = _known(labels, scores)
    if reason := _missing_class(y):
        return OperatingPoint(None, reason=reason)
    values, hits, false_alarms = _curve(y, s)
    cut = int(np.flatnonzero(hits >= sensitivity - 1e-12)[-1])
    # below the lowest score there is none to go midway to
    threshold = _midway(float(values[max(cut - 1, 0)]), float(values[cut]))
    return OperatingPoint(threshold, float(hits[cut]), float(1 - false_alarms[cut]))


def operating_points(
    labels: npt.NDArray[np.float64], scores: npt.NDArray[np.float64], diseases: Sequence[str]
) -> Points:
    """`youden` for each column of (N, D) labels and scores."""
    return {d: youden(labels[:, i], scores[:, i]) for i, d in enumerate(diseases)}


def thresholds_of(points: Points) -> dict[str, float | None]:
    """Disease -> threshold, None where there is none."""
    return {disease: point.threshold for disease, point in points.items()}


def _known(
    labels: npt.ArrayLike, scores: npt.ArrayLike
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    y, s = np.asarray(labels, dtype=np.float64), np.asarray(scores, dtype=np.float64)
    return y[~np.isnan(y)], s[~np.isnan(y)]


def _missing_class(y: npt.NDArray[np.float64]) -> str:
    if not (y == 1).any():
        return "no positive image in the validation data"
    return "" if (y == 0).any() else "no negative image in the validation data"


def _curve(
    y: npt.NDArray[np.float64], s: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], ...]:
    """Distinct scores, and the shares of positives and of negatives at or above each of them."""
    values, group = np.unique(s, return_inverse=True)
    below = [np.cumsum(np.bincount(group, weights=w))[:-1] / w.sum() for w in (y, 1 - y)]
    hits, false_alarms = (1 - np.insert(share, 0, 0.0) for share in below)
    return values, hits, false_alarms


def _midway(below: float, above: float) -> float:
    middle = below + (above - below) / 2
    # between neighbouring floats the middle is one of them: it must not admit the lower score
    return middle if middle > below else above
