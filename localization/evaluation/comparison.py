"""Score localizers on the same ground-truth boxes, with intervals, beside controls that never look.

    comparison = compare(coco, {"mask_rcnn": read_predictions(path, coco)}, gate=None)

Every localizer is scored as its file stands (the disease is given) and, with a gate, a second time
with a miss wherever the gate does not say that the disease is present.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cxrloc.classification.metrics.bootstrap import (
    RESAMPLES,
    ClusterBootstrap,
    DiseaseEstimates,
    Draws,
)
from cxrloc.localization.evaluation.box_scores import BoxScores, score_boxes
from cxrloc.localization.evaluation.controls import control_localizations
from cxrloc.localization.evaluation.ground_truth import (
    BoolArray,
    FloatArray,
    GroundTruth,
    ground_truth_from_coco,
    scorable,
)
from cxrloc.localization.evaluation.paired_tests import paired_tests
from cxrloc.localization.evaluation.pairwise import (
    REFERENCE_CONTROL,
    Difference,
    Skill,
    TestedPair,
    check_margin,
    differences,
    skills,
)
from cxrloc.localization.localizer import Localization

# Those of Wang's Table 4 and of Deep MedIA (.1 .25 .5 .75 .9), and of Wang's Table 7 (.1 to .7).
THRESHOLDS = (0.1, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.7, 0.75, 0.9)
OVERLAPS = ("iou", "iobb", "iogt")
DISEASE_GIVEN, GATED, CONTROL = "disease given", "gated", "control"

Gate = Mapping[tuple[str, str], bool]


@dataclass(frozen=True)
class ScoredLocalizer:
    """One row of every table.

    Attributes:
        name: as given on the command line, or the control's.
        setting: `DISEASE_GIVEN`, `GATED` or `CONTROL`.
        scores: per ground-truth box.
        estimates: measure -> figures. Measures are `mean_iou`, `acc_iou@0.5` and so on for each of
            `OVERLAPS`; with ` any` behind it, best over all boxes of an image and disease (Wang's
            rule).
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
    """All that the tables, the figures and the summary are made from.

    `differences` and `tests` hold every localizer against every control, and against those that
    follow it in the same setting; `skills` every row against every control (controls against
    `REFERENCE_CONTROL` alone). `controls` are the boxes that were scored as controls.
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
    controls: Mapping[str, Sequence[Localization]] = field(repr=False)
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
        return self.bootstrap.level

    @property
    def resamples_without_a_disease(self) -> int:
        return self.bootstrap.resamples_without_a_disease

    @property
    def reference(self) -> ScoredLocalizer:
        """The row of `REFERENCE_CONTROL`."""
        return next(r for r in self.localizers if r.is_control and r.name == REFERENCE_CONTROL)


def compare(
    coco: Mapping[str, Any],
    predictions: Mapping[str, Sequence[Localization]],
    gate: Gate | None = None,
    *,
    thresholds: Sequence[float] = THRESHOLDS,
    resamples: int = RESAMPLES,
    seed: int = 0,
    noninferiority_margin: float | None = None,
) -> Comparison:
    """Score every localizer and the controls on the boxes of a COCO ground truth.

    Args:
        coco: ground truth, see `datasets.coco`.
        predictions: localizer name -> its boxes, in the file's order.
        gate: (image_id, disease) -> present, for every pair that has a box; None: no gated rows.
        thresholds: of acc_iou, acc_iobb and acc_iogt; the test is strict (>).
        resamples: of the patients.
        seed: of the resamples and of the random control.
        noninferiority_margin: in (0, 1); a localizer is not inferior to another in a measure when
            the whole interval of their difference lies above minus this (one-sided level 2.5 %).

    Raises:
        ValueError: for a name that a control has, for a gate that does not know a boxed pair and
            for a margin out of range.
    """
    check_margin(noninferiority_margin)
    thresholds = tuple(dict.fromkeys(thresholds))
    truth = ground_truth_from_coco(coco)
    controls = control_localizations(scorable(coco), seed)
    for name in predictions:
        _check_name(name, tuple(controls))
    bootstrap = truth.bootstrap(resamples=resamples, seed=seed)
    passes = None if gate is None else gate_mask(truth, gate)
    rows, draws = [], []
    for name, setting, scores in _settings(truth, predictions, controls, passes):
        figures, kept = _estimates(scores, thresholds, bootstrap)
        rows.append(ScoredLocalizer(name, setting, scores, figures))
        draws.append(kept)
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
        controls=controls,
        gate_passes=None if passes is None else int(passes.sum()),
        noninferiority_margin=noninferiority_margin,
    )


def accuracy_curve(
    scored: ScoredLocalizer, comparison: Comparison, thresholds: Sequence[float]
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Macro mean of acc_iou at T thresholds and its interval at each: value, low, high, (T,) each.

    The band holds at each threshold by itself, not for the whole curve at once.
    """
    hits = scored.scores.iou[:, None] > np.asarray(thresholds)
    figures = comparison.bootstrap.estimates(hits.astype(np.float64))
    value, low, high = np.array([[e.macro.value, e.macro.low, e.macro.high] for e in figures]).T
    return value, low, high


def gate_mask(truth: GroundTruth, gate: Gate) -> BoolArray:
    """Whether the gate says present, (N,) in the order of the ground truth's boxes.

    Raises:
        ValueError: naming the first image and disease that the gate has no decision for.
    """
    pairs = list(zip(truth.image_ids, truth.diseases, strict=True))
    unknown = [pair for pair in pairs if pair not in gate]
    if unknown:
        image_id, disease = unknown[0]
        raise ValueError(
            f"the gate has no decision for {disease} on {image_id} (and {len(unknown) - 1} more of "
            f"{len(pairs)} ground-truth boxes); expected one for every boxed image and disease: "
            "use the gate.csv of a run over all folds, or score without --gate"
        )
    return np.array([bool(gate[pair]) for pair in pairs], dtype=np.bool_)


def _check_name(name: str, controls: tuple[str, ...]) -> None:
    if not name.strip():
        raise ValueError("a localizer's name must not be empty; expected NAME=FILE")
    if name in controls:
        raise ValueError(
            f"the name {name!r} is taken by a control; {', '.join(controls)} are computed from the "
            "ground truth and always added, so leave the file out or give it another name"
        )


def _settings(
    truth: GroundTruth,
    predictions: Mapping[str, Sequence[Localization]],
    controls: Mapping[str, Sequence[Localization]],
    passes: BoolArray | None,
) -> list[tuple[str, str, BoxScores]]:
    given = [(n, DISEASE_GIVEN, score_boxes(truth, boxes)) for n, boxes in predictions.items()]
    gated = [(n, GATED, s.only_where(passes)) for n, _, s in given if passes is not None]
    blind = [(n, CONTROL, score_boxes(truth, boxes)) for n, boxes in controls.items()]
    return given + gated + blind


def paired_measures(thresholds: Sequence[float]) -> list[str]:
    """The measures in which localizers are compared two by two."""
    return ["mean_iou", *(f"acc_iou@{t:g}" for t in thresholds)]


def _estimates(
    scores: BoxScores, thresholds: Sequence[float], bootstrap: ClusterBootstrap
) -> tuple[dict[str, DiseaseEstimates], Draws]:
    """All figures of a row, and the draws of `paired_measures` (of all, they would fill GBs)."""
    columns: dict[str, FloatArray] = {}
    for suffix, prefix in (("", ""), (" any", "any_")):
        for overlap in OVERLAPS:
            values = getattr(scores, f"{prefix}{overlap}")
            columns[f"mean_{overlap}{suffix}"] = values
            for t in thresholds:
                columns[f"acc_{overlap}@{t:g}{suffix}"] = (values > t).astype(np.float64)
    draws = bootstrap.draws(np.column_stack(list(columns.values())))
    figures = dict(zip(columns, bootstrap.intervals(draws), strict=True))
    return figures, draws.select(range(len(paired_measures(thresholds))))


def _pairs(rows: Sequence[ScoredLocalizer]) -> list[tuple[int, int]]:
    """Each localizer and every control, and each and those that follow it in the same setting."""
    return [
        (i, j)
        for i, a in enumerate(rows)
        for j, b in enumerate(rows)
        if not a.is_control and (b.is_control or (j > i and a.setting == b.setting))
    ]


def _skill_pairs(rows: Sequence[ScoredLocalizer]) -> list[tuple[int, int]]:
    """Each localizer and every control, each control and the reference control."""
    return [
        (i, j)
        for i, a in enumerate(rows)
        for j, c in enumerate(rows)
        if c.is_control and i != j and (not a.is_control or c.name == REFERENCE_CONTROL)
    ]


def _tested(truth: GroundTruth, a: ScoredLocalizer, b: ScoredLocalizer) -> TestedPair:
    return TestedPair(a.label, b.label, paired_tests(truth, a.scores.iou, b.scores.iou))
