"""The operating threshold of one disease: Youden's J on validation data (Youden, Cancer 1950)."""

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


def youden(labels: npt.ArrayLike, scores: npt.ArrayLike) -> OperatingPoint:
    """The threshold that makes sensitivity + specificity - 1 largest; among equals the lowest.

    Args:
        labels: (N,) of 0, 1 and NaN (left out).
        scores: (N,) finite.
    """
    y, s = np.asarray(labels, dtype=np.float64), np.asarray(scores, dtype=np.float64)
    known = ~np.isnan(y)
    y, s = y[known], s[known]
    positives, negatives = int((y == 1).sum()), int((y == 0).sum())
    if not positives or not negatives:
        what = "positive" if not positives else "negative"
        return OperatingPoint(None, reason=f"no {what} image in the validation data")
    values, group = np.unique(s, return_inverse=True)
    # share of positives and of negatives at or above the cut below values[i + 1]
    hits = 1 - np.cumsum(np.bincount(group, weights=y))[:-1] / positives
    false_alarms = 1 - np.cumsum(np.bincount(group, weights=1 - y))[:-1] / negatives
    gain = hits - false_alarms
    if len(gain) == 0 or gain.max() <= 1e-12:
        return OperatingPoint(None, reason="no threshold is better than chance on validation data")
    best = int(np.flatnonzero(gain >= gain.max() - 1e-12)[0])
    return OperatingPoint(
        threshold=_midway(float(values[best]), float(values[best + 1])),
        sensitivity=float(hits[best]),
        specificity=float(1 - false_alarms[best]),
    )


def operating_points(
    labels: npt.NDArray[np.float64], scores: npt.NDArray[np.float64], diseases: Sequence[str]
) -> dict[str, OperatingPoint]:
    """`youden` for each column of (N, D) labels and scores."""
    return {d: youden(labels[:, i], scores[:, i]) for i, d in enumerate(diseases)}


def _midway(below: float, above: float) -> float:
    middle = below + (above - below) / 2
    # between neighbouring floats the middle is one of them: it must not admit the lower score
    return middle if middle > below else above
