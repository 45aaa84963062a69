"""Test the difference of two AUCs on the same images with DeLong's method.

DeLong, DeLong and Clarke-Pearson, "Comparing the areas under two or more correlated ROC curves",
Biometrics 1988; by midranks in O(N log N): Sun and Xu, IEEE Signal Processing Letters 2014.
The test treats images as independent. Those of one patient are not, so its p-values can be too
small if patients have many images: read it together with the patient bootstrap.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import norm, rankdata

from cxrloc.classification.metrics.bootstrap import FloatArray


@dataclass(frozen=True)
class DeLong:
    """The first network's AUC minus the second's; NaN means undefined.

    Attributes:
        difference: undefined without an image of each class.
        standard_error: undefined with fewer than two images of a class.
        z, p: two-sided test of "no difference"; undefined if the test is not possible.
        reason: why it is not possible; otherwise empty.
    """

    difference: float
    standard_error: float = math.nan
    z: float = math.nan
    p: float = math.nan
    reason: str = ""


def delong_test(labels: npt.ArrayLike, first: npt.ArrayLike, second: npt.ArrayLike) -> DeLong:
    """Compare two sets of scores on the same images.

    Args:
        labels: (N,) of 0, 1 and NaN (left out).
        first, second: (N,) finite scores.
    """
    y = np.asarray(labels, dtype=np.float64)
    scores = np.stack([np.asarray(s, dtype=np.float64)[~np.isnan(y)] for s in (first, second)])
    positive = y[~np.isnan(y)] == 1
    positives, negatives = int(positive.sum()), int((~positive).sum())
    if not positives or not negatives:
        return DeLong(math.nan, reason="needs images with and without the disease")
    positive_placements, negative_placements = _placements(scores, positive)
    areas = positive_placements.mean(axis=1)
    difference = float(areas[0] - areas[1])
    if min(positives, negatives) < 2:
        return DeLong(difference, reason="needs two images with and two without the disease")
    gains = [
        positive_placements[0] - positive_placements[1],
        negative_placements[0] - negative_placements[1],
    ]
    error = math.sqrt(sum(gain.var(ddof=1) / len(gain) for gain in gains))
    return _tested(difference, error)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction (1979): keep the chance of any false rejection below alpha.

    NaN stands for a test that was not made: it stays NaN and does not count.
    """
    tests = sorted((p, i) for i, p in enumerate(p_values) if not math.isnan(p))
    adjusted = [math.nan] * len(p_values)
    highest = 0.0
    for rank, (p, i) in enumerate(tests):
        highest = max(highest, min(1.0, p * (len(tests) - rank)))
        adjusted[i] = highest
    return adjusted


def _placements(
    scores: FloatArray, positive: npt.NDArray[np.bool_]
) -> tuple[FloatArray, FloatArray]:
    """DeLong's V10 (2, positives), V01 (2, negatives): correctly ranked share."""
    positives, negatives = int(positive.sum()), int((~positive).sum())
    among_all = rankdata(scores, axis=1)
    among_positives = rankdata(scores[:, positive], axis=1)
    among_negatives = rankdata(scores[:, ~positive], axis=1)
    positive_placements = (among_all[:, positive] - among_positives) / negatives
    negative_placements = 1 - (among_all[:, ~positive] - among_negatives) / positives
    return positive_placements, negative_placements


def _tested(difference: float, error: float) -> DeLong:
    if error > 1e-12:
        z = difference / error
        return DeLong(difference, error, z, float(2 * norm.sf(abs(z))))
    if abs(difference) < 1e-12:  # the same ranking
        return DeLong(0.0, 0.0, 0.0, 1.0)
    return DeLong(difference, 0.0, reason="the difference is the same for all images")
