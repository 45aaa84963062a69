"""Tests of two localizers on the same boxes: is one better, disease by disease, or is it chance?

The boxes of one patient resemble each other, so the patient is the unit of both tests: Wilcoxon's
signed-rank test looks at how much IoU a patient gains, McNemar's at whether boxes are hit.
Never a t-test on bootstrap replicates: we choose their number, so any difference, also one
by chance, becomes significant with enough of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.stats import binomtest, rankdata, wilcoxon

from cxrloc.classification.metrics.bootstrap import macro_mean
from cxrloc.classification.metrics.delong import holm
from cxrloc.localization.evaluation.ground_truth import FloatArray, GroundTruth

MIN_PATIENTS = 10
ALPHA = 0.05  # below it a p-value, adjusted by Holm, counts as sure
# Up to here all signs are counted out. That is scipy's limit too, but with zeros or ties it goes
# over to the normal curve at 14 patients, which gives 5 gains among 25 zeros .026 instead of .0625.
_EXACT_DIFFERENCES = 50
_DECIMALS = 12  # differences that are equal but for rounding are ties


@dataclass(frozen=True)
class PairedTest:
    """First against second localizer on one disease, or on all.

    p-values are two-sided; they and the effect are NaN where `tested` is False, because there were
    fewer than `MIN_PATIENTS` patients.

    Attributes:
        boxes, patients: how many were compared.
        ties: patients whose mean difference is 0, mostly those that both localizers miss.
        mean_difference: of IoU, first minus second; patients count alike, whatever their boxes.
        wilcoxon_p: signed-rank test on the patients' mean differences.
        wilcoxon_holm_p: the same, corrected for the number of diseases tested.
        rank_biserial: effect size, -1 (second better in every patient) to 1 (first).
        first_only, second_only: patients with more boxes hit by that localizer than by the other.
        mcnemar_p: exact test of `first_only` against `second_only`.
        mcnemar_holm_p: the same, corrected for the number of diseases tested.
        tested: whether there were enough patients.
    """

    boxes: int
    patients: int
    ties: int
    mean_difference: float
    wilcoxon_p: float
    wilcoxon_holm_p: float
    rank_biserial: float
    first_only: int
    second_only: int
    mcnemar_p: float
    mcnemar_holm_p: float
    tested: bool


@dataclass(frozen=True)
class PairTests:
    """All tests of one pair of localizers.

    Attributes:
        per_disease: in the order of `GroundTruth.disease_names`.
        macro: over all diseases; not in Holm's family, so its Holm p-values are the plain ones.
        threshold: a box is hit when its IoU is greater.
    """

    per_disease: tuple[PairedTest, ...]
    macro: PairedTest
    threshold: float


def paired_tests(
    truth: GroundTruth, first: FloatArray, second: FloatArray, *, threshold: float = 0.5
) -> PairTests:
    """Wilcoxon's and McNemar's tests of two localizers, per disease and over all of them.

    Wilcoxon's signed-rank test on each patient's mean difference in IoU, zeros ranked as by Pratt
    (1959); exact up to 50 differences that are not zero, else scipy's normal approximation. Effect:
    the matched-pairs rank-biserial correlation (W+ - W-) / (W+ + W-) of the same ranks (Kerby
    2014). On all diseases a patient's value is the mean over the patient's diseases.

    McNemar's exact test with the patient as unit: a patient speaks for the localizer that hits more
    of that patient's boxes, and for neither if both hit as many. With one box a patient this is
    McNemar's test itself. It is conservative: under the null it rejects less often than it says.

    p-values are corrected over the diseases that were tested, each test by itself (Holm 1979).

    Args:
        truth: the boxes.
        first, second: (N,) IoU of each localizer with each box, 0 for a miss.
        threshold: of a hit, strict (IoU > threshold).

    Raises:
        ValueError: for anything but one IoU per box in 0..1, or a threshold outside 0..1.
    """
    if not 0 <= threshold < 1:
        raise ValueError(f"threshold: expected an IoU in 0 <= t < 1, got {threshold}")
    first, second = _checked(first, "first", len(truth)), _checked(second, "second", len(truth))
    patient_of = np.unique(np.array(truth.patient_ids), return_inverse=True)[1]
    cells = np.zeros((patient_of.max(initial=-1) + 1, len(truth.disease_names), 3))
    hits = (first > threshold).astype(np.float64) - (second > threshold)
    columns = np.column_stack([np.ones(len(truth)), first - second, hits])
    np.add.at(cells, (patient_of, truth.disease_index), columns)
    boxes, sums, net_hits = np.moveaxis(cells, 2, 0)
    means = np.divide(sums, boxes, out=np.full(boxes.shape, np.nan), where=boxes > 0)
    tests = [_test(boxes[:, d], means[:, d], net_hits[:, d]) for d in range(boxes.shape[1])]
    macro = _test(boxes.sum(axis=1), macro_mean(means), net_hits.sum(axis=1))
    return PairTests(_corrected(tests), macro, threshold)


def _checked(iou: FloatArray, name: str, boxes: int) -> FloatArray:
    values = np.asarray(iou, dtype=np.float64)
    if values.shape != (boxes,):
        raise ValueError(f"{name}: expected one IoU per box, shape ({boxes},), got {values.shape}")
    if not ((values >= 0) & (values <= 1 + 1e-9)).all():  # NaN is in no range
        raise ValueError(f"{name}: expected IoU in 0..1 and 0 for a miss, got others or NaN")
    return values


def _test(boxes: FloatArray, means: FloatArray, net_hits: FloatArray) -> PairedTest:
    """Both tests on (P,) patients; those without a box are left out."""
    there = boxes > 0
    values, net_hits = np.round(means[there], _DECIMALS), net_hits[there]
    patients, tested = len(values), len(values) >= MIN_PATIENTS
    first_only, second_only = int((net_hits > 0).sum()), int((net_hits < 0).sum())
    wilcoxon_p, effect = _signed_rank(values) if tested else (math.nan, math.nan)
    mcnemar_p = _mcnemar(first_only, second_only) if tested else math.nan
    return PairedTest(
        boxes=int(boxes.sum()),
        patients=patients,
        ties=int((values == 0).sum()),
        mean_difference=float(values.mean()) if patients else math.nan,
        wilcoxon_p=wilcoxon_p,
        wilcoxon_holm_p=wilcoxon_p,
        rank_biserial=effect,
        first_only=first_only,
        second_only=second_only,
        mcnemar_p=mcnemar_p,
        mcnemar_holm_p=mcnemar_p,
        tested=tested,
    )


def _corrected(tests: Sequence[PairedTest]) -> tuple[PairedTest, ...]:
    wilcoxons = holm([t.wilcoxon_p for t in tests])
    mcnemars = holm([t.mcnemar_p for t in tests])
    return tuple(
        replace(t, wilcoxon_holm_p=w, mcnemar_holm_p=m)
        for t, w, m in zip(tests, wilcoxons, mcnemars, strict=True)
    )


def _signed_rank(differences: FloatArray) -> tuple[float, float]:
    """Two-sided p and rank-biserial effect of (P,) differences; all zero: 1 and 0."""
    signed = np.sign(differences) * rankdata(np.abs(differences))
    signed = signed[signed != 0]  # Pratt: zeros are ranked, then their ranks dropped
    if not len(signed):
        return 1.0, 0.0
    effect = float(signed.sum() / np.abs(signed).sum())
    if len(signed) <= _EXACT_DIFFERENCES:
        return _sign_flip_p(signed), effect
    return float(wilcoxon(differences, zero_method="pratt").pvalue), effect


def _sign_flip_p(signed_ranks: FloatArray) -> float:
    """P(|sum| at least as large as this one) when each rank's sign is a fair coin; exact."""
    doubled = np.rint(2 * np.abs(signed_ranks)).astype(np.int64)  # ranks of ties end in .5
    chance = np.zeros(int(doubled.sum()) + 1)  # of each value of the doubled W+
    chance[0] = 1.0
    for rank in doubled:
        with_it = np.concatenate([np.zeros(rank), chance[:-rank]])
        chance = (chance + with_it) / 2
    sums = 2 * np.arange(len(chance)) - doubled.sum()  # doubled W+ - W-
    extreme = np.abs(sums) >= abs(2 * float(signed_ranks.sum()))
    return min(1.0, float(chance[extreme].sum()))


def _mcnemar(first_only: int, second_only: int) -> float:
    discordant = first_only + second_only
    return float(binomtest(first_only, discordant).pvalue) if discordant else 1.0
