"""Measure calibration: is a probability of .3 right three times in ten?

Brier score and reliability diagram (Brier, "Verification of forecasts expressed in terms of
probability", Monthly Weather Review 1950). All bins have the same number of images: bins of equal
width would be nearly empty for rare diseases.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cxrloc.classification.metrics.bootstrap import Estimate, FloatArray
from cxrloc.classification.metrics.sampled import bootstrap_ratios

BINS = 10


@dataclass(frozen=True)
class Bin:
    """Images with similar probabilities.

    Attributes:
        images: number of images; empty bins are left out.
        mean_probability: mean of the network's probabilities.
        observed: share of images with the disease, with its patient-bootstrap interval.
    """

    images: int
    mean_probability: float
    observed: Estimate


def reliability(
    labels: FloatArray, scores: FloatArray, patients: Sequence[str], *, replicates: int, seed: int
) -> tuple[Bin, ...]:
    """At most `BINS` bins with equally many images, lowest probabilities first.

    Args:
        labels, scores: (N,) for one disease; NaN labels are left out.
        patients: (N,) the unit of resampling.
        replicates, seed: parameters of the bootstrap; 0 replicates give no intervals.
    """
    has_label = ~np.isnan(labels)
    y, s = labels[has_label], scores[has_label]
    member = np.eye(BINS)[_equal_mass(s)]
    of_images = [p for p, k in zip(patients, has_label, strict=True) if k]
    shares = bootstrap_ratios(member * y[:, None], member, of_images, replicates, seed)
    sizes = member.sum(axis=0)
    return tuple(
        Bin(int(sizes[b]), float(s @ member[:, b] / sizes[b]), shares.estimate(b))
        for b in np.flatnonzero(sizes).tolist()
    )


def calibration_error(bins: Sequence[Bin]) -> float | None:
    """Mean over images of |observed share - probability| (expected calibration error)."""
    images = sum(b.images for b in bins)
    if not images:
        return None
    return sum(b.images * abs(b.observed.value - b.mean_probability) for b in bins) / images


def _equal_mass(scores: FloatArray) -> npt.NDArray[np.intp]:
    """Bin of each score by rank; equal scores share the bin of the first of them."""
    rank = np.searchsorted(np.sort(scores), scores)
    return rank * BINS // max(len(scores), 1)
