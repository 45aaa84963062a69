"""The patient bootstrap of classification: estimates with intervals, never image by image.

The images of one patient resemble each other, so patients are drawn with replacement and bring all
their images. A replicate is a weight per image; the same seed and patients give the same weights,
so that the figures of two networks can be subtracted replicate by replicate (a paired bootstrap).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

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


def estimate(point: float, samples: Array, reason: str = "") -> Estimate:
    """A figure and the percentiles of its (R,) replicates; NaN ones are left out and counted."""
    if np.isnan(point):
        return Estimate(None, reason=reason)
    used = samples[~np.isnan(samples)]
    if not len(used):
        return Estimate(float(point))
    low, high = np.percentile(used, [2.5, 97.5])
    return Estimate(float(point), float(low), float(high), replicates=len(used))


def macro_estimate(points: Array, samples: Array) -> Estimate:
    """Mean over the (D,) diseases with a figure, with the interval of (R, D) replicates.

    A replicate that lacks one of these diseases is left out: it would average over others than the
    figure does.
    """
    defined = ~np.isnan(points)
    if not defined.any():
        return Estimate(None, reason="undefined for every disease")
    return estimate(float(points[defined].mean()), samples[:, defined].mean(axis=1))


def patient_weights(patients: Sequence[str], replicates: int, seed: int) -> Iterator[Array]:
    """How often each image is drawn when patients are drawn with replacement, in chunks (R, N)."""
    names, of_patient = np.unique(np.asarray(patients, dtype=str), return_inverse=True)
    count = len(names)
    rng = np.random.default_rng(seed)
    step = max(1, _CHUNK_ELEMENTS // max(len(of_patient), 1))
    for start in range(0, replicates if count else 0, step):
        rows = min(step, replicates - start)
        drawn = rng.integers(0, count, size=(rows, count))
        flat = (drawn + count * np.arange(rows)[:, None]).ravel()
        counts = np.bincount(flat, minlength=rows * count).reshape(rows, count)
        yield counts[:, of_patient].astype(np.float64)


def bootstrap_ratios(
    numerators: Array, denominators: Array, patients: Sequence[str], replicates: int, seed: int
) -> tuple[Array, Array]:
    """Sum over images of each numerator column over that of its denominator, and its replicates.

    Sensitivity, for instance, is the count of images found over the count of images with the
    disease.

    Args:
        numerators, denominators: (N, D), finite, at least 0.
        patients: (N,) the unit of resampling.

    Returns:
        (D,) figures and (R, D) replicates; NaN where the denominator is 0.
    """
    draws = [_ratio(np.ones((1, len(patients))), numerators, denominators)]
    for weights in patient_weights(patients, replicates, seed):
        draws.append(_ratio(weights, numerators, denominators))
    figures = np.concatenate(draws)
    return figures[0], figures[1:]


def _ratio(weights: Array, numerators: Array, denominators: Array) -> Array:
    above, below = weights @ numerators, weights @ denominators
    return np.divide(above, below, out=np.full_like(above, np.nan), where=below > 0)
