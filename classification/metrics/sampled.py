"""Hold one figure for several diseases with bootstrap resamples: estimates, means, differences.

The same patients and seed give the same resamples. So figures of two networks on the same images
can be subtracted resample by resample (a paired bootstrap).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from cxrloc.classification.metrics.bootstrap import (
    ClusterBootstrap,
    Estimate,
    FloatArray,
    IndexArray,
    draw_chunks,
    macro_mean,
    percentiles,
    resample_counts,
    tail_of,
    typical_patients,
)

_CHUNK_ELEMENTS = 4_000_000  # weights held at once: resamples x images


def image_weights(patient_ids: Sequence[str], resamples: int, seed: int) -> Iterator[FloatArray]:
    """How often each image is drawn when patients are, in chunks (R, N) that fit into memory.

    The draws equal those of `resample_counts`. With fewer than two patients nothing is drawn: one
    patient cannot vary.
    """
    names, patient_of = np.unique(np.asarray(patient_ids, dtype=str), return_inverse=True)
    if len(names) < 2:
        return
    step = max(1, _CHUNK_ELEMENTS // len(patient_of))
    for counts in draw_chunks(len(names), resamples, seed, step):
        yield counts[:, patient_of]


@dataclass(frozen=True)
class Sampled:
    """One figure for D diseases.

    Attributes:
        points: (D,) NaN if undefined.
        samples: (R, D) for each resample, NaN if undefined.
        patients: (D,) number of patients behind the figure (see `carriers`).
        reason: why a point is undefined.
    """

    points: FloatArray
    samples: FloatArray = field(repr=False)
    patients: IndexArray
    reason: str = ""

    def estimate(self, column: int, reason: str = "") -> Estimate:
        """The figure of one disease; `reason` overrides the common one."""
        if np.isnan(self.points[column]):
            return Estimate(math.nan, reason=reason or self.reason)
        tail = tail_of(float(self.patients[column]))
        return _estimate(self.points[column], self.samples[:, column], tail)

    @property
    def estimates(self) -> tuple[Estimate, ...]:
        """One per disease."""
        return tuple(self.estimate(column) for column in range(len(self.points)))

    @property
    def macro(self) -> Estimate:
        """Mean over the diseases with a defined figure."""
        defined = ~np.isnan(self.points)
        if not defined.any():
            return Estimate(math.nan, reason="undefined for every disease")
        samples = self.samples[:, defined]
        complete = samples[~np.isnan(samples).any(axis=1)]
        tail = tail_of(typical_patients(self.patients[defined]))
        return _estimate(macro_mean(self.points), macro_mean(samples), tail, len(complete))

    @property
    def columns(self) -> tuple[Estimate, ...]:
        """The diseases' estimates, then the macro mean."""
        return (*self.estimates, self.macro)

    def __sub__(self, other: Sampled) -> Sampled:
        """The paired difference, if both have the same images and seed."""
        return Sampled(
            self.points - other.points,
            self.samples - other.samples,
            np.minimum(self.patients, other.patients),
            self.reason,
        )


def _estimate(
    point: FloatArray, samples: FloatArray, tail: float, replicates: int | None = None
) -> Estimate:
    low, high = percentiles(samples, tail)
    if replicates is None:
        replicates = int(np.count_nonzero(~np.isnan(samples)))
    return Estimate(float(point), float(low), float(high), replicates=replicates)


def carriers(patient_ids: Sequence[str], carry: npt.NDArray[np.bool_]) -> IndexArray:
    """Number of patients with an image marked in each column of (N, D) `carry`: (D,).

    A share varies with the images in its denominator, for the sensitivity those with the disease.
    Patients without such an image contribute nothing.
    """
    _, patient_of = np.unique(np.asarray(patient_ids, dtype=str), return_inverse=True)
    return np.array([len(np.unique(patient_of[column])) for column in carry.T], dtype=np.intp)


def bootstrap_ratios(
    numerators: FloatArray,
    denominators: FloatArray,
    patients: Sequence[str],
    replicates: int,
    seed: int,
) -> Sampled:
    """Sum of each numerator column over images divided by its denominator's, with resamples.

    Sensitivity, for example, is the number of images found divided by the number of images with the
    disease. A figure is NaN if the denominator is 0.

    Args:
        numerators, denominators: (N, D), finite, at least 0.
        patients: (N,) the unit of resampling.
    """
    ratios = {"": (numerators, denominators)}
    return bootstrap_all(ratios, patients, replicates, seed)[""]


def bootstrap_all(
    ratios: Mapping[str, tuple[FloatArray, FloatArray]],
    patients: Sequence[str],
    replicates: int,
    seed: int,
) -> dict[str, Sampled]:
    """Apply `bootstrap_ratios` to several figures that share their resamples.

    Args:
        ratios: figure -> its numerators and denominators.
        patients: (N,) the unit of resampling.
    """
    as_they_are = np.ones((1, len(patients)))
    draws = {name: [_ratio(as_they_are, *columns)] for name, columns in ratios.items()}
    for weights in image_weights(patients, replicates, seed):
        for name, columns in ratios.items():  # one product per figure: wider ones round differently
            draws[name].append(_ratio(weights, *columns))
    figures = {name: np.concatenate(rows) for name, rows in draws.items()}
    return {
        name: Sampled(rows[0], rows[1:], carriers(patients, ratios[name][1] > 0))
        for name, rows in figures.items()
    }


def _ratio(weights: FloatArray, numerators: FloatArray, denominators: FloatArray) -> FloatArray:
    above, below = weights @ numerators, weights @ denominators
    return np.divide(above, below, out=np.full_like(above, np.nan), where=below > 0)


@dataclass(frozen=True)
class ImageBootstrap:
    """Resamples of ALL patients of some images, drawn once for all figures of those images.

    Attributes:
        patient_of: (N,) index of each image's patient.
        counts: (B, P) how often each patient is drawn.
    """

    patient_of: IndexArray = field(repr=False)
    counts: FloatArray = field(repr=False)

    @classmethod
    def of(cls, patient_ids: Sequence[str], *, resamples: int, seed: int) -> ImageBootstrap:
        """Bootstrap over the distinct `patient_ids` (one entry per image), in sorted order."""
        names, patient_of = np.unique(np.array(patient_ids, str), return_inverse=True)
        return cls(patient_of, resample_counts(len(names), resamples, seed))

    def means(self, image_of: IndexArray, values: FloatArray) -> list[Estimate]:
        """Means of M values (K, M) over K items on images `image_of` (K,)."""
        if not len(image_of):
            return [Estimate(math.nan)] * values.shape[1]
        single_disease = np.zeros(len(image_of), dtype=np.intp)
        bootstrap = ClusterBootstrap(self.patient_of[image_of], single_disease, 1, self.counts)
        return [figures.per_disease[0] for figures in bootstrap.estimates(values)]
