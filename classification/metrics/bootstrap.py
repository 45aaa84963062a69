"""Resample patients for every interval of the classifier and of the localizers.

The images and boxes of one patient resemble each other, so whole patients are resampled. A resample
is a row of counts (how often each patient was drawn). Every mean is then a ratio of two matrix
products, and all models use the same rows, which makes their differences paired. Intervals are
expanded percentiles (see `tail_of`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IndexArray = npt.NDArray[np.intp]
RESAMPLES = 10_000
LEVEL = 0.95
MACRO_MEAN = "macro mean"
_ROWS = 256  # resamples drawn at once


@dataclass(frozen=True)
class Estimate:
    """A figure with its interval; NaN if undefined (no box, or an interval of one patient).

    Attributes:
        reason: why `value` is undefined, if known; otherwise empty.
        replicates: number of resamples in which the figure is defined, if counted. For a macro
            mean: those in which it is defined for all its diseases.
    """

    value: float
    low: float = math.nan
    high: float = math.nan
    reason: str = ""
    replicates: int = 0

    @property
    def defined(self) -> bool:
        return not math.isnan(self.value)

    @property
    def excludes_zero(self) -> bool:
        return self.low > 0 or self.high < 0


@dataclass(frozen=True)
class DiseaseEstimates:
    """One measure: an estimate per disease, in the bootstrap's order, and the macro mean."""

    per_disease: tuple[Estimate, ...]
    macro: Estimate

    @property
    def columns(self) -> tuple[Estimate, ...]:
        """The diseases' estimates, then the macro mean."""
        return (*self.per_disease, self.macro)


@dataclass(frozen=True)
class Draws:
    """Means of M measures over the D diseases and, as the last column, their macro mean.

    Arithmetic on two of them, element by element, is paired: they share the resamples.

    Attributes:
        values: (M, D + 1) for the original boxes.
        samples: (M, D + 1, B) for each resample; NaN if it drew no box of a disease.
    """

    values: FloatArray
    samples: FloatArray = field(repr=False)

    def __sub__(self, other: Draws) -> Draws:
        return Draws(self.values - other.values, self.samples - other.samples)

    def select(self, measures: Sequence[int] | IndexArray) -> Draws:
        """Copy some of the measures, so that the rest can be freed."""
        return Draws(self.values[list(measures)], self.samples[list(measures)])


def resample_counts(patients: int, resamples: int, seed: int) -> FloatArray:
    """How often each patient is drawn: (resamples, patients), each row sums to `patients`."""
    if patients < 1 or resamples < 1:
        raise ValueError(f"expected >= 1 patients and resamples, got {patients} and {resamples}")
    counts = np.empty((patients, resamples)).T  # products with them go patient by patient
    chunks = draw_chunks(patients, resamples, seed, _ROWS)  # whole, they would fill memory twice
    for start, chunk in zip(range(0, resamples, _ROWS), chunks, strict=True):
        counts[start : start + _ROWS] = chunk
    return counts


def draw_chunks(patients: int, resamples: int, seed: int, rows: int) -> Iterator[FloatArray]:
    """The draws of `resample_counts`, at most `rows` resamples at a time."""
    rng, shares = np.random.default_rng(seed), np.full(patients, 1 / patients)
    for start in range(0, resamples, rows):
        drawn = rng.multinomial(patients, shares, size=min(rows, resamples - start))
        yield drawn.astype(np.float64)


@dataclass(frozen=True)
class ClusterBootstrap:
    """Resamples of patients, drawn once for every measure of every localizer.

    Attributes:
        patient_of: (N,) patient index of each box.
        disease_of: (N,) disease index of each box, 0..diseases-1.
        diseases: number of diseases D.
        counts: (B, P) from `resample_counts`.
    """

    patient_of: IndexArray
    disease_of: IndexArray
    diseases: int
    counts: FloatArray = field(repr=False)

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
        return cls(patient_of, disease_of, diseases, resample_counts(len(names), resamples, seed))

    @classmethod
    def macros_once(
        cls,
        patient_ids: Sequence[str],
        disease_of: IndexArray,
        diseases: int,
        values: FloatArray,
        *,
        resamples: int,
        seed: int,
    ) -> list[Estimate]:
        """`of(...).macros(values)` without ever holding all resamples: for a single use."""
        names, patient_of = np.unique(np.array(patient_ids), return_inverse=True)
        whole = cls(patient_of, disease_of, diseases, np.empty((0, len(names))))
        sums, means = whole._sums(values)
        chunks = draw_chunks(len(names), resamples, seed, _ROWS)
        samples = [whole._samples(sums, whole._slices(counts))[:, -1] for counts in chunks]
        return whole._macros(means[:, -1], np.concatenate(samples, axis=-1))

    def estimates(self, values: FloatArray) -> list[DiseaseEstimates]:
        """Means of M measures (N, M), one row a box: per disease and macro, with intervals."""
        return self.intervals(self.draws(values))

    def intervals(self, draws: Draws) -> list[DiseaseEstimates]:
        """The figures of each measure; resamples in which a figure is undefined are left out."""
        low, high = np.empty((2, *draws.values.shape))
        for d, tail in enumerate(self._tails):
            low[:, d], high[:, d] = percentiles(draws.samples[:, d], tail)
        figures = np.stack([draws.values, low, high], axis=-1).tolist()
        return [
            DiseaseEstimates(tuple(Estimate(*f) for f in per_disease), Estimate(*macro))
            for *per_disease, macro in figures
        ]

    def macros(self, values: FloatArray) -> list[Estimate]:
        """The macro means of `estimates` alone: the diseases' intervals cost most of the time."""
        draws = self.draws(values)
        return self._macros(draws.values[:, -1], draws.samples[:, -1])

    def _macros(self, values: FloatArray, samples: FloatArray) -> list[Estimate]:
        columns = (values, *percentiles(samples, self._tails[-1]))
        return [Estimate(*figure) for figure in np.stack(columns, axis=-1).tolist()]

    def draws(self, values: FloatArray) -> Draws:
        """Means of M measures (N, M) for the boxes and for every resample; equal columns once."""
        distinct, column = np.unique(values, axis=1, return_inverse=True)
        sums, means = self._sums(distinct)
        return Draws(means, self._samples(sums, self._drawn)).select(column.ravel())

    def _sums(self, values: FloatArray) -> tuple[list[FloatArray], FloatArray]:
        """Sums over the boxes of each patient, (P of that disease, M) each; means (M, D + 1)."""
        values = np.asarray(values, dtype=np.float64)
        sums, means = [], np.empty((values.shape[1], self.diseases + 1))
        for d, patients in enumerate(self._patients):
            boxes = self.disease_of == d
            sums.append(np.zeros((len(patients), values.shape[1])))
            np.add.at(sums[d], np.searchsorted(patients, self.patient_of[boxes]), values[boxes])
            means[:, d] = _divide(sums[d].sum(axis=0), np.float64(np.count_nonzero(boxes)))
        means[:, -1] = macro_mean(means[:, :-1])
        return sums, means

    def _samples(self, sums: list[FloatArray], drawn: list[FloatArray]) -> FloatArray:
        """(M, D + 1, B) means in the resamples of `drawn` (see `_slices`)."""
        samples = np.empty((sums[0].shape[1], self.diseases + 1, drawn[0].shape[1]))
        for d, times in enumerate(drawn):
            samples[:, d] = _divide(sums[d].T @ times, self._boxes[d] @ times)
        samples[:, -1] = macro_mean(np.moveaxis(samples[:, :-1], 1, -1))
        return samples

    @property
    def resamples_without_a_disease(self) -> int:
        """Resamples that drew no box of some disease and left it out of the macro mean."""
        drawn = [boxes @ times for boxes, times in zip(self._boxes, self._drawn, strict=True)]
        return int(np.any(np.array(drawn) == 0, axis=0).sum())

    @cached_property
    def _tails(self) -> list[float]:
        """Share cut off at each end, for each disease and the macro mean (see `tail_of`)."""
        patients = [len(p) for p in self._patients]
        alone = self.counts.shape[1] < 2
        macro = math.nan if alone else tail_of(typical_patients(patients), LEVEL)
        return [*(tail_of(n, LEVEL) for n in patients), macro]

    @cached_property
    def _patients(self) -> list[IndexArray]:
        """Patients with a box of each disease, ascending."""
        return [np.unique(self.patient_of[self.disease_of == d]) for d in range(self.diseases)]

    @cached_property
    def _boxes(self) -> list[FloatArray]:
        """How many boxes of each disease those patients have."""
        return [
            np.bincount(self.patient_of[self.disease_of == d])[patients].astype(np.float64)
            for d, patients in enumerate(self._patients)
        ]

    @cached_property
    def _drawn(self) -> list[FloatArray]:
        return self._slices(self.counts)

    def _slices(self, counts: FloatArray) -> list[FloatArray]:
        """How often those few patients were drawn: a (P of that disease, B) array each."""
        by_patient = np.ascontiguousarray(counts.T)
        everybody = len(by_patient)
        return [by_patient if len(p) == everybody else by_patient[p] for p in self._patients]


def tail_of(patients: float, level: float = LEVEL) -> float:
    """Share of the resamples to cut off at each end, for honest intervals with few patients.

    Resampling n patients understates the variance of their mean by the factor (n - 1) / n and uses
    the normal curve instead of Student's, so plain percentiles are too narrow (50 patients: 6 to
    8 % of true nulls excluded, not 5). The expanded percentile interval (Hesterberg, What teachers
    should know about the bootstrap, The American Statistician 69, 2015) uses the percentile
    Phi(-sqrt(n / (n - 1)) t), t with n - 1 degrees of freedom. NaN for fewer than 2 patients: one
    cannot vary, and its percentiles would be a point that looks like certainty.
    """
    if patients < 2:
        return math.nan
    from scipy import stats  # half a second that `--help` does not need

    quantile = stats.t.ppf((1 + level) / 2, patients - 1)
    return float(stats.norm.cdf(-math.sqrt(patients / (patients - 1)) * quantile))


def typical_patients(patients: Sequence[int] | IndexArray) -> float:
    """Harmonic mean of the patients per disease: a macro mean varies like one with this many."""
    counts = np.array(patients, dtype=np.float64)
    return max(2.0, 1 / float(np.mean(1 / counts[counts > 0])))


def percentiles(samples: FloatArray, tail: float) -> tuple[FloatArray, FloatArray]:
    """The `tail` and 1 - `tail` percentiles of (..., B) over the defined resamples.

    NaN without a tail, or without a defined resample.
    """
    ends = np.full((2, *samples.shape[:-1]), np.nan)
    if math.isnan(tail) or not samples.shape[-1]:
        return ends[0], ends[1]
    columns, flat = samples.reshape(-1, samples.shape[-1]), ends.reshape(2, -1)
    shares = [tail, 1 - tail]
    whole = ~np.isnan(columns).any(axis=1)
    flat[:, whole] = np.quantile(columns[whole], shares, axis=1, overwrite_input=True)
    for i in np.flatnonzero(~whole):  # few: np.nanquantile would loop over all
        defined = columns[i][~np.isnan(columns[i])]
        if len(defined):
            flat[:, i] = np.quantile(defined, shares)
    return ends[0], ends[1]


def macro_mean(per_disease: FloatArray) -> FloatArray:
    """Mean of the defined values over the last axis (diseases); NaN if none is defined.

    A resample without images of a rare disease averages over the others: dropping it would keep
    only the resamples that drew many of the rare diseases.
    """
    defined = ~np.isnan(per_disease)
    total = np.where(defined, per_disease, 0).sum(axis=-1)
    return _divide(total, defined.sum(axis=-1).astype(np.float64))


def _divide(numerator: FloatArray, denominator: FloatArray | np.float64) -> FloatArray:
    result = np.full(numerator.shape, np.nan)
    np.divide(numerator, denominator, out=result, where=denominator > 0)
    return result
