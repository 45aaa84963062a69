"""Patient-cluster bootstrap of per-disease means and their macro mean.

The boxes of one patient resemble each other, so whole patients are resampled. A resample is a row
of counts (how often each patient was drawn); every mean is then a ratio of two matrix products, and
the same rows serve all localizers, which makes their differences paired.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IndexArray = npt.NDArray[np.intp]


@dataclass(frozen=True)
class Estimate:
    """A mean with its interval; NaN where undefined (no box; an interval of one patient)."""

    value: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        return self.low > 0 or self.high < 0


@dataclass(frozen=True)
class DiseaseEstimates:
    """One measure: an estimate per disease, in the bootstrap's order, and the macro mean."""

    per_disease: tuple[Estimate, ...]
    macro: Estimate


def resample_counts(patients: int, resamples: int, seed: int) -> FloatArray:
    """How often each patient is drawn: (resamples, patients), each row sums to `patients`."""
    if patients < 1 or resamples < 1:
        raise ValueError(f"expected >= 1 patients and resamples, got {patients} and {resamples}")
    rng = np.random.default_rng(seed)
    counts = rng.multinomial(patients, np.full(patients, 1 / patients), size=resamples)
    return counts.astype(np.float64)


@dataclass(frozen=True)
class ClusterBootstrap:
    """Resamples of patients, drawn once and used for every measure of every localizer.

    Attributes:
        patient_of: (N,) patient index of each box.
        disease_of: (N,) disease index of each box, 0..diseases-1.
        diseases: number of diseases D.
        counts: (B, P) from `resample_counts`.
        level: of the percentile intervals.
    """

    patient_of: IndexArray
    disease_of: IndexArray
    diseases: int
    counts: FloatArray = field(repr=False)
    level: float = 0.95

    @classmethod
    def of(
        cls,
        patient_ids: Sequence[str],
        disease_of: IndexArray,
        diseases: int,
        *,
        resamples: int,
        seed: int,
    ) -> ClusterBootstrap:
        """Bootstrap over the distinct `patient_ids` (one entry per box), in sorted order."""
        names, patient_of = np.unique(np.array(patient_ids), return_inverse=True)
        counts = resample_counts(len(names), resamples, seed)
        return cls(patient_of, disease_of, diseases, counts)

    def estimates(self, values: FloatArray) -> list[DiseaseEstimates]:
        """Per-disease means and macro means of M measures at once, with intervals.

        Args:
            values: (N, M), one row per box.
        """
        means = self._means(values, np.ones((1, self.counts.shape[1])))[0]
        samples = self.samples(values)
        lows, highs = self._interval(samples)
        macro_lows, macro_highs = self._interval(macro_mean(samples))
        # one patient alone cannot vary: the percentiles would be a point that looks like certainty
        few = np.count_nonzero(self._boxes, axis=0) < 2
        lows[:, few], highs[:, few] = np.nan, np.nan
        if len(self._boxes) < 2:
            macro_lows[:], macro_highs[:] = np.nan, np.nan
        macros = macro_mean(means)
        return [
            DiseaseEstimates(
                tuple(map(Estimate, means[m].tolist(), lows[m].tolist(), highs[m].tolist())),
                Estimate(float(macros[m]), float(macro_lows[m]), float(macro_highs[m])),
            )
            for m in range(values.shape[1])
        ]

    def samples(self, values: FloatArray) -> FloatArray:
        """Means of M measures (N, M) in every resample: (B, M, D), NaN where D has no box."""
        return self._means(values, self.counts)

    @property
    def resamples_without_a_disease(self) -> int:
        """Resamples in which a disease drew no box and was left out of the macro mean."""
        return int(np.any(self.counts @ self._boxes == 0, axis=1).sum())

    @property
    def _boxes(self) -> FloatArray:
        """Boxes of each patient and disease, (P, D)."""
        return self._sums(np.ones((len(self.patient_of), 1)))[:, 0]

    def _sums(self, values: FloatArray) -> FloatArray:
        """Per-patient sums of (N, M) values: (P, M, D)."""
        sums = np.zeros((self.counts.shape[1], self.diseases, values.shape[1]))
        np.add.at(sums, (self.patient_of, self.disease_of), values)
        return np.moveaxis(sums, 2, 1)

    def _means(self, values: FloatArray, counts: FloatArray) -> FloatArray:
        sums = self._sums(values)
        drawn = (counts @ sums.reshape(len(sums), -1)).reshape(-1, *sums.shape[1:])
        boxes = counts @ self._boxes
        return _divide(drawn, np.broadcast_to(boxes[:, None, :], drawn.shape))

    def _interval(self, samples: FloatArray) -> tuple[FloatArray, FloatArray]:
        tail = (1 - self.level) / 2
        low, high = np.nanquantile(samples, [tail, 1 - tail], axis=0)
        return low, high


def macro_mean(per_disease: FloatArray) -> FloatArray:
    """Mean over the last axis (diseases) of those that are defined; NaN if none is."""
    defined = ~np.isnan(per_disease)
    total = np.where(defined, per_disease, 0).sum(axis=-1)
    return _divide(total, defined.sum(axis=-1).astype(np.float64))


def _divide(numerator: FloatArray, denominator: FloatArray) -> FloatArray:
    result = np.full(numerator.shape, np.nan)
    np.divide(numerator, denominator, out=result, where=denominator > 0)
    return result
