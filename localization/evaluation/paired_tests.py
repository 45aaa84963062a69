"""Test two localizers on the same boxes: is one better, disease by disease, or is it chance?

Boxes of one patient are correlated, so both tests use the patient as unit: Wilcoxon's signed-rank
test compares the IoU that a patient gains, McNemar's whether boxes are hit. Never a t-test on
bootstrap replicates: their number is our choice, so with enough of them any difference becomes
significant, also one by chance.
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
ALPHA = 0.05  # a Holm-adjusted p-value below it counts as significant
# Up to this size, all signs are enumerated. It is scipy's limit too, but with zeros or ties scipy
# switches to the normal curve at 14 patients: 5 gains among 25 zeros get .026 instead of .0625.
_EXACT_DIFFERENCES = 50
_DECIMALS = 12  # differences equal up to rounding are ties


@dataclass(frozen=True)
class PairedTest:
    """First against second localizer on one disease, or on all.

    p-values are two-sided. They and the effect are NaN if `tested` is False, with fewer than
    `MIN_PATIENTS` patients.

    Attributes:
        boxes, patients: number compared.
        ties: patients with mean difference 0, mostly missed by both localizers.
        mean_difference: IoU, first minus second; patients weigh the same, whatever their boxes.
        wilcoxon_p: signed-rank test on the patients' mean differences.
        wilcoxon_holm_p: the same, corrected for the number of diseases tested.
        rank_biserial: effect size, -1 (second better in every patient) to 1 (first).
        first_only, second_only: patients with more boxes hit by this localizer than by the other.
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
        macro: over all diseases; outside Holm's family, so its Holm p-values are unadjusted.
        threshold: a box is hit if its IoU is greater.
    """

    per_disease: tuple[PairedTest, ...]
    macro: PairedTest
    threshold: float


def paired_tests(
    truth: GroundTruth, first: FloatArray, second: FloatArray, *, threshold: float = 0.5
) -> PairTests:
    """Run Wilcoxon's and McNemar's tests of two localizers, per disease and over all of them.

    Wilcoxon's signed-rank test uses each patient's mean difference in IoU, with zeros ranked as by
    Pratt (1959); exact up to 50 nonzero differences, else scipy's normal approximation. Effect: the
    matched-pairs rank-biserial correlation (W+ - W-) / (W+ + W-) of the same ranks (Kerby 2014).
    Over all diseases, a patient's value is the mean over the patient's diseases.

    McNemar's exact test uses the patient as unit: a patient counts for the localizer that hits more
    of that patient's boxes, and for neither if both hit as many. With one box per patient this is
    the usual McNemar test. It is conservative: under the null it rejects less often than its level.

    p-values are corrected over the tested diseases, for each test separately (Holm 1979).

    Args:
        truth: the boxes.
        first, second: (N,) IoU of each localizer with each box, 0 for a miss.
        threshold: hit threshold, strict (IoU > threshold).

    Raises:
        ValueError: unless there is one IoU per box in 0..1, and the threshold is in 0..1.
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
        raise ValueError(f"{name}: expected IoU in 0..1 and 0 for a miss, got other values or NaN")
    return values


def _test(boxes: FloatArray, means: FloatArray, net_hits: FloatArray) -> PairedTest:
    """Run both tests on (P,) patients; leaves out patients without a box."""
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
    """Two-sided p and rank-biserial effect of (P,) differences; 1 and 0 if all are zero."""
    signed = np.sign(differences) * rankdata(np.abs(differences))
    signed = signed[signed != 0]  # Pratt: zeros are ranked, then their ranks dropped
    if not len(signed):
        return 1.0, 0.0
    effect = float(signed.sum() / np.abs(signed).sum())
    if len(signed) <= _EXACT_DIFFERENCES:
        return _sign_flip_p(signed), effect
    return float(wilcoxon(differences, zero_method="pratt").pvalue), effect


def _sign_flip_p(signed_ranks: FloatArray) -> float:
    """P(|sum| at least as large as this one) if each rank's sign is a fair coin; exact."""
    doubled = np.rint(2 * np.abs(signed_ranks)).astype(np.int64)  # ranks of ties end in .5
    chance = np.zeros(int(doubled.sum()) + 1)  # for each value of the doubled W+
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
