"""Charge every ground-truth box once, to the gate or to the localizer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from cxrloc.classification.metrics.bootstrap import MACRO_MEAN, ClusterBootstrap, Estimate
from cxrloc.classification.report.tables import Cell, ResultTable, TableRow, Value
from cxrloc.localization.evaluation.box_scores import BoxScores
from cxrloc.localization.evaluation.evaluated import Evaluated
from cxrloc.localization.evaluation.ground_truth import BoolArray, GroundTruth
from cxrloc.localization.report.glossary import MISS_RULE, RULES


class Loss(StrEnum):
    """Fate of a ground-truth box: a hit, or who lost it; the values are printed."""

    HIT = "hit"
    GATE_HIT = "lost at the gate, localizer would have hit"
    GATE_MISS = "lost at the gate, localizer would have missed too"
    WRONG_PLACE = "lost by the localizer: wrong place"
    NO_BOX = "lost by the localizer: no box"


@dataclass(frozen=True)
class Ledger:
    """Where a localizer's ground-truth boxes went at a threshold.

    Attributes:
        counts: (5, D) boxes per `Loss` and disease of the ground truth.
        shares: share of each charge over all boxes; the values sum to 1.
        macro: mean of the diseases' shares for each charge.
    """

    localizer: str
    threshold: float
    counts: npt.NDArray[np.int64]
    shares: tuple[Estimate, ...]
    macro: tuple[Estimate, ...]

    def __post_init__(self) -> None:
        if self.counts.shape[0] != len(Loss):
            raise ValueError(f"counts: expected {len(Loss)} rows, got {self.counts.shape}")

    def count(self, charge: Loss) -> int:
        return int(self.counts[list(Loss).index(charge)].sum())

    def share(self, charge: Loss) -> Estimate:
        return self.shares[list(Loss).index(charge)]


def charges(scores: BoxScores, passes: BoolArray, threshold: float) -> npt.NDArray[np.intp]:
    """Index into the list of `Loss` for every ground-truth box, (N,).

    Args:
        scores: scores of the localizer with the disease given (not gated).
        passes: (N,) whether the gate calls the box's disease present.
        threshold: IoU threshold of a hit; strict.
    """
    hit = scores.iou > threshold
    conditions = [passes & hit, ~passes & hit, ~passes & ~hit, passes & ~hit & scores.predicted]
    return np.asarray(np.select(conditions, range(4), default=4), dtype=np.intp)


def gate_ledgers(evaluated: Evaluated, thresholds: Sequence[float]) -> list[Ledger]:
    """Ledgers of all localizers at all thresholds, over all ground-truth boxes; [] without gate.

    The resamples are those of the patients with boxes, as in the accuracy tables.

    Raises:
        ValueError: for a boxed image and disease without a gate decision.
    """
    truth, passes, by_disease = evaluated.truth, evaluated.passes, evaluated.bootstrap
    if passes is None:
        return []
    all_as_one = np.zeros(len(truth), dtype=np.intp)
    pooled = ClusterBootstrap(by_disease.patient_of, all_as_one, 1, by_disease.counts)
    ledgers = []
    # a control's box for a boxed disease is the same, whether or not it boxes all others too
    scores_of = {**evaluated.control_scores, **evaluated.scores}
    for name in evaluated.everywhere:
        for t in thresholds:
            charged = charges(scores_of[name], passes, t)
            values = np.equal.outer(charged, np.arange(len(Loss))).astype(np.float64)
            counts = np.zeros((len(Loss), len(truth.disease_names)), dtype=np.int64)
            np.add.at(counts, (charged, truth.disease_index), 1)
            assert counts.sum() == len(truth)
            shares = tuple(figures.per_disease[0] for figures in pooled.estimates(values))
            macro = tuple(figures.macro for figures in by_disease.estimates(values))
            ledgers.append(Ledger(name, t, counts, shares, macro))
    return ledgers


def ledger_table(
    ledgers: Sequence[Ledger], truth: GroundTruth, notes: tuple[str, ...]
) -> ResultTable:
    """Rows localizer x charge in one block per threshold; columns are counts, then shares."""
    by_threshold = sorted(ledgers, key=lambda ledger: ledger.threshold)
    rows = tuple(row for ledger in by_threshold for row in _rows(ledger, truth))
    return ResultTable(
        "gate_ledger",
        "Gate ledger: where every ground-truth box went",
        rows,
        (
            f"Every ground-truth box counts in exactly one row of a localizer: the {len(Loss)} "
            f"counts of a column sum to its boxes ({len(truth)} in total), the shares to 1",
            "A hit passes the gate and has IoU over the threshold. Boxes stopped by the gate are "
            "divided by whether the localizer would have hit them with the disease given",
            f"Rule {RULES[truth.several]}; {MISS_RULE}",
            *notes,
        ),
    )


def _rows(ledger: Ledger, truth: GroundTruth) -> list[TableRow]:
    rows = []
    for i, charge in enumerate(Loss):
        cells: dict[str, Value] = {
            disease: int(count)
            for disease, count in zip(truth.disease_names, ledger.counts[i], strict=True)
        }
        cells |= {"all diseases": ledger.count(charge), "share": Cell(ledger.shares[i])}
        lead: dict[str, str | float] = {"threshold": ledger.threshold}
        lead |= {"localizer": ledger.localizer, "charge": charge}
        block = f"hit: IoU > {ledger.threshold:g}"
        rows.append(TableRow(block, lead, cells, {MACRO_MEAN: Cell(ledger.macro[i])}))
    return rows
