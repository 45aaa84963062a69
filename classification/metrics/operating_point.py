"""Choose the operating threshold of one disease on validation data, never on the scored images.

Uses Youden's J (Youden, Cancer 1950) or a target sensitivity.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class OperatingPoint:
    """Threshold of a positive prediction: probability >= threshold.

    Attributes:
        threshold: midway between two adjacent validation scores, or None.
        sensitivity, specificity: on the validation data; None without a threshold.
        reason: why there is no threshold; otherwise empty.
    """

    threshold: float | None
    sensitivity: float | None = None
    specificity: float | None = None
    reason: str = ""


Points = dict[str, OperatingPoint]  # disease -> point


def youden(labels: npt.ArrayLike, scores: npt.ArrayLike) -> OperatingPoint:
    """The threshold that maximises sensitivity + specificity - 1; the lowest among equals.

    Args:
        labels: (N,) of 0, 1 and NaN (left out).
        scores: (N,) finite.
    """
    y, s = _known(labels, scores)
    if reason := _missing_class(y):
        return OperatingPoint(None, reason=reason)
    values, hits, false_alarms = _curve(y, s)
    gain = (hits - false_alarms)[1:]  # without the cut that predicts everything present
    if len(gain) == 0 or gain.max() <= 1e-12:
        return OperatingPoint(None, reason="no threshold is better than chance on validation data")
    best = int(np.flatnonzero(gain >= gain.max() - 1e-12)[0]) + 1
    threshold = _midway(float(values[best - 1]), float(values[best]))
    return OperatingPoint(threshold, float(hits[best]), float(1 - false_alarms[best]))


def at_sensitivity(
    labels: npt.ArrayLike, scores: npt.ArrayLike, sensitivity: float
) -> OperatingPoint:
    """The highest threshold that reaches the target sensitivity.

    Args:
        labels: (N,) of 0, 1 and NaN (left out).
        scores: (N,) finite.
        sensitivity: 0 < share < 1; on other images the actual share differs.

    Raises:
        ValueError: for a sensitivity outside 0..1.
    """
    if not 0 < sensitivity < 1:
        raise ValueError(f"sensitivity: got {sensitivity}, expected between 0 and 1, such as 0.9")
    y, s = _known(labels, scores)
    if reason := _missing_class(y):
        return OperatingPoint(None, reason=reason)
    values, hits, false_alarms = _curve(y, s)
    cut = int(np.flatnonzero(hits >= sensitivity - 1e-12)[-1])
    # there is no score below the lowest one
    threshold = _midway(float(values[max(cut - 1, 0)]), float(values[cut]))
    return OperatingPoint(threshold, float(hits[cut]), float(1 - false_alarms[cut]))


def operating_points(
    labels: npt.NDArray[np.float64], scores: npt.NDArray[np.float64], diseases: Sequence[str]
) -> Points:
    """Apply `youden` to each column of (N, D) labels and scores."""
    return {d: youden(labels[:, i], scores[:, i]) for i, d in enumerate(diseases)}


def thresholds_of(points: Points) -> dict[str, float | None]:
    """Disease -> threshold, or None."""
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
    """Distinct scores, and the shares of positives and negatives at or above each of them."""
    values, group = np.unique(s, return_inverse=True)
    below = [np.cumsum(np.bincount(group, weights=w))[:-1] / w.sum() for w in (y, 1 - y)]
    hits, false_alarms = (1 - np.insert(share, 0, 0.0) for share in below)
    return values, hits, false_alarms


def _midway(below: float, above: float) -> float:
    middle = below + (above - below) / 2
    # between neighbouring floats the middle equals one of them: it must not admit the lower score
    return middle if middle > below else above
