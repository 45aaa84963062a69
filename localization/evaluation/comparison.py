"""Score localizers on the same ground-truth boxes, with intervals, and with blind controls.

Every localizer is scored as in its file (disease given) and, with a gate, a second time with a
miss wherever the gate does not predict the disease present.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from cxrloc.classification.metrics.bootstrap import LEVEL, ClusterBootstrap, DiseaseEstimates, Draws
from cxrloc.localization.evaluation.box_scores import ANY, TOP_1, TOP_K, BoxScores, Measure
from cxrloc.localization.evaluation.detections import CONTROL, DISEASE_GIVEN, GATED
from cxrloc.localization.evaluation.ground_truth import BoolArray, FloatArray, GroundTruth
from cxrloc.localization.evaluation.paired_tests import paired_tests
from cxrloc.localization.evaluation.pairwise import (
    REFERENCE_CONTROL,
    Difference,
    Skill,
    TestedPair,
    differences,
    skills,
)

# From Wang's Table 4, Deep MedIA (.1 .25 .5 .75 .9) and Wang's Table 7 (.1 to .7).
THRESHOLDS = (0.1, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.7, 0.75, 0.9)
OVERLAPS = ("iou", "iobb", "iogt")


@dataclass(frozen=True)
class ScoredLocalizer:
    """One row of every table.

    Attributes:
        name: name from the command line, or the control's.
        setting: `DISEASE_GIVEN`, `GATED` or `CONTROL`.
        scores: scores per ground-truth box.
        estimates: key of a `Measure` -> figures, for each of `OVERLAPS`; by rule `TOP_1` only where
            an image has several boxes of a disease, since it is the same elsewhere.
    """

    name: str
    setting: str
    scores: BoxScores = field(repr=False)
    estimates: Mapping[str, DiseaseEstimates] = field(repr=False)

    @property
    def label(self) -> str:
        return f"{self.name}, gated" if self.setting == GATED else self.name

    @property
    def is_control(self) -> bool:
        return self.setting == CONTROL


@dataclass(frozen=True)
class Comparison:
    """All data for the tables, figures and summary.

    `differences` and `tests` hold every localizer against every control, and against the later
    ones in the same setting; `skills` every row against every control (controls only against
    `REFERENCE_CONTROL`).
    """

    truth: GroundTruth
    localizers: tuple[ScoredLocalizer, ...]
    differences: tuple[Difference, ...]
    tests: tuple[TestedPair, ...]
    skills: tuple[Skill, ...]
    thresholds: tuple[float, ...]
    seed: int
    patients: int
    bootstrap: ClusterBootstrap = field(repr=False)
    gate_passes: int | None = None
    noninferiority_margin: float | None = None

    @property
    def images(self) -> int:
        return len(set(self.truth.image_ids))

    @property
    def resamples(self) -> int:
        return len(self.bootstrap.counts)

    @property
    def level(self) -> float:
        return LEVEL

    @property
    def resamples_without_a_disease(self) -> int:
        return self.bootstrap.resamples_without_a_disease

    @property
    def reference(self) -> ScoredLocalizer:
        """Row of `REFERENCE_CONTROL`."""
        return next(r for r in self.localizers if r.is_control and r.name == REFERENCE_CONTROL)


def compare(
    truth: GroundTruth,
    scores: Mapping[str, BoxScores],
    controls: Mapping[str, BoxScores],
    passes: BoolArray | None = None,
    *,
    bootstrap: ClusterBootstrap,
    seed: int = 0,
    thresholds: Sequence[float] = THRESHOLDS,
    noninferiority_margin: float | None = None,
) -> Comparison:
    """Compare every localizer with the others and the controls, on the boxes of a ground truth.

    Args:
        scores: localizer -> its scores for every ground-truth box.
        controls: control -> its scores.
        passes: (N,) boxes whose disease the gate predicts present; None: no gated rows.
        bootstrap: resamples of the patients of these boxes.
        seed: seed of the resamples.
        thresholds: thresholds of acc_iou, acc_iobb and acc_iogt; the test is strict (>).
        noninferiority_margin: in (0, 1); a localizer is not inferior to another in a measure if
            the whole interval of their difference is above minus this (one-sided level 2.5 %).
    """
    thresholds = tuple(dict.fromkeys(thresholds))
    rows, draws = [], []
    for name, setting, box_scores in _settings(scores, controls, passes):
        figures, paired_draws = _estimates(box_scores, thresholds, bootstrap, truth.several)
        rows.append(ScoredLocalizer(name, setting, box_scores, figures))
        draws.append(paired_draws)
    labels, pairs, measures = [r.label for r in rows], _pairs(rows), paired_measures(thresholds)
    return Comparison(
        truth=truth,
        localizers=tuple(rows),
        differences=differences(labels, pairs, draws, measures, bootstrap, noninferiority_margin),
        tests=tuple(_tested(truth, rows[a], rows[b]) for a, b in pairs),
        skills=skills(labels, _skill_pairs(rows), draws, measures, bootstrap),
        thresholds=thresholds,
        seed=seed,
        patients=len(set(truth.patient_ids)),
        bootstrap=bootstrap,
        gate_passes=None if passes is None else int(passes.sum()),
        noninferiority_margin=noninferiority_margin,
    )


def accuracy_curve(
    scored: ScoredLocalizer, comparison: Comparison, thresholds: Sequence[float]
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Macro mean of acc_iou at T thresholds with intervals: value, low, high, (T,) each.

    The band is valid at each threshold separately, not for the whole curve at once.
    """
    hits = scored.scores.iou[:, None] > np.asarray(thresholds)
    macros = comparison.bootstrap.macros(hits.astype(np.float64))
    value, low, high = np.array([[macro.value, macro.low, macro.high] for macro in macros]).T
    return value, low, high


def _settings(
    scores: Mapping[str, BoxScores], controls: Mapping[str, BoxScores], passes: BoolArray | None
) -> list[tuple[str, str, BoxScores]]:
    given = [(name, DISEASE_GIVEN, box_scores) for name, box_scores in scores.items()]
    gated = [
        (n, GATED, box_scores.only_where(passes))
        for n, _, box_scores in given
        if passes is not None
    ]
    blind = [(name, CONTROL, box_scores) for name, box_scores in controls.items()]
    return given + gated + blind


def paired_measures(thresholds: Sequence[float]) -> list[Measure]:
    """Measures in which localizers are compared pairwise."""
    return [Measure("iou", t) for t in (None, *thresholds)]


def _estimates(
    scores: BoxScores, thresholds: Sequence[float], bootstrap: ClusterBootstrap, several: bool
) -> tuple[dict[str, DiseaseEstimates], Draws]:
    """All figures of a row, and the draws of `paired_measures` (drawing all would take GBs)."""
    measures = [
        Measure(overlap, t, rule)
        for rule in (TOP_K, ANY)
        for overlap in OVERLAPS
        for t in (None, *thresholds)
    ]
    if several:
        measures += [Measure("iou", t, TOP_1) for t in (None, *thresholds)]
    draws = bootstrap.draws(np.column_stack([m.of_scores(scores) for m in measures]))
    figures = dict(zip((m.key for m in measures), bootstrap.intervals(draws), strict=True))
    return figures, draws.select(range(len(paired_measures(thresholds))))


def _pairs(rows: Sequence[ScoredLocalizer]) -> list[tuple[int, int]]:
    """Pair each localizer with every control, and with the later ones in the same setting."""
    return [
        (i, j)
        for i, a in enumerate(rows)
        for j, b in enumerate(rows)
        if not a.is_control and (b.is_control or (j > i and a.setting == b.setting))
    ]


def _skill_pairs(rows: Sequence[ScoredLocalizer]) -> list[tuple[int, int]]:
    """Pair each localizer with every control, and each control with the reference control."""
    return [
        (i, j)
        for i, a in enumerate(rows)
        for j, c in enumerate(rows)
        if c.is_control and i != j and (not a.is_control or c.name == REFERENCE_CONTROL)
    ]


def _tested(truth: GroundTruth, a: ScoredLocalizer, b: ScoredLocalizer) -> TestedPair:
    return TestedPair(a.label, b.label, paired_tests(truth, a.scores.iou, b.scores.iou))
