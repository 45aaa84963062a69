"""Strict and merged names: how much of the error is a name that the labels do not tell apart.

Strict: a box counts under its own disease alone. Merged: the diseases of a group of `MERGED` count
as one name, so the top-1 box over all predictions of the group on the image is scored.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from cxrloc.classification.metrics.bootstrap import MACRO_MEAN, ClusterBootstrap, DiseaseEstimates
from cxrloc.classification.report.tables import Cell, ResultTable, TableRow
from cxrloc.localization.evaluation.box_scores import score_boxes
from cxrloc.localization.evaluation.comparison import DISEASE_GIVEN, GATED, Gate, gate_mask
from cxrloc.localization.evaluation.ground_truth import FloatArray, GroundTruth
from cxrloc.localization.localizer import Localization
from cxrloc.localization.report.sections import Section

MERGED = (("Infiltration", "Pneumonia", "Consolidation"), ("Nodule", "Mass"))
WHY = (
    "Radiologists use these names for appearances that overlap (an opacity may be called "
    "infiltration, consolidation or pneumonia; a mass is a nodule over 3 cm), and NIH's labels "
    "were text-mined from reports: a right box under the other name may be no error of the eye"
)
STRICT, TOGETHER, DIFFERENCE = "strict", "merged", "merged - strict"
THRESHOLDS = (0.1, 0.3, 0.5)
_TITLE = "Synonyms: names strict and merged"

Predictions = Mapping[str, Sequence[Localization]]


def groups_of(diseases: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Disease -> the members of its group of `MERGED` that are among `diseases`, at least two."""
    known = set(diseases)
    groups = (tuple(name for name in group if name in known) for group in MERGED)
    return {name: group for group in groups if len(group) > 1 for name in group}


def merge_names(
    localizations: Sequence[Localization], groups: Mapping[str, tuple[str, ...]]
) -> list[Localization]:
    """Every box under each name of its group, in the same order: top-1 is then over the group.

    Args:
        groups: from `groups_of`; a box of another disease keeps its name alone.
    """
    return [
        replace(found, disease=name)
        for found in localizations
        for name in groups.get(found.disease, (found.disease,))
    ]


def strict_and_merged_iou(
    truth: GroundTruth,
    localizations: Sequence[Localization],
    groups: Mapping[str, tuple[str, ...]],
    gate: Gate | None = None,
) -> tuple[FloatArray, FloatArray]:
    """IoU of the top-1 box with every ground-truth box, names strict and merged: two of (N,).

    With a gate only boxes count whose image and disease it says present. So in merged mode a pair
    passes when the gate passes any disease of the group that it knows.
    """
    if gate is not None:
        gate_mask(truth, gate)  # refuses a gate that does not know a ground-truth box
        localizations = [p for p in localizations if gate.get((p.image_id, p.disease), False)]
    merged = merge_names(localizations, groups)
    return score_boxes(truth, localizations).iou, score_boxes(truth, merged).iou


def synonyms_section(
    truth: GroundTruth,
    predictions: Predictions,
    gate: Gate | None = None,
    *,
    resamples: int,
    seed: int,
) -> Section:
    """Accuracy with strict and with merged names, and the difference with its interval.

    Args:
        predictions: localizer name -> its boxes, also those for diseases that are not boxed.
            Controls are told the disease: merging means nothing for them, leave them out.
        gate: (image_id, disease) -> present, for every pair that has a box; None: no gated rows.
        resamples, seed: of the patients.
    """
    named = {found.disease for boxes in predictions.values() for found in boxes}
    groups = groups_of(named.union(truth.disease_names)) if predictions else {}
    affected = [name for name in truth.disease_names if name in groups]
    listed = "; ".join("/".join(group) for group in MERGED)
    question = f"Would a localizer fare better if names that overlap were one ({listed})? {WHY}."
    if not affected:
        return Section("synonyms", _TITLE, (question, _NOTHING_TO_MERGE))
    table, findings = _table(truth, predictions, gate, groups, affected, resamples, seed)
    return Section("synonyms", _TITLE, (question, *findings), (table,))


_NOTHING_TO_MERGE = (
    "Nothing to merge: no group has two of its diseases among the ground truth and the "
    "predictions, one of them in the ground truth."
)


def _table(
    truth: GroundTruth,
    predictions: Predictions,
    gate: Gate | None,
    groups: Mapping[str, tuple[str, ...]],
    affected: Sequence[str],
    resamples: int,
    seed: int,
) -> tuple[ResultTable, tuple[str, ...]]:
    """The table, and one sentence per localizer and setting."""
    settings: list[tuple[str, str, Gate | None]]
    settings = [(name, DISEASE_GIVEN, None) for name in predictions]
    settings += [(name, GATED, gate) for name in predictions if gate is not None]
    bootstrap = truth.bootstrap(resamples=resamples, seed=seed)
    rows, findings = [], []
    for name, setting, mask in settings:
        strict, merged = strict_and_merged_iou(truth, predictions[name], groups, mask)
        figures = _estimates(strict, merged, bootstrap)
        for (measure, names), figure in figures.items():
            lead: dict[str, str | float] = {"measure": measure, "localizer": name}
            lead |= {"setting": setting, "names": names}
            cells = _cells(truth, affected, figure)
            rows.append(TableRow(measure, lead, cells, {"boxes": len(truth)}))
        findings.append(_finding(f"{name} ({setting})", figures))
    order = [measure for measure, names in figures if names == STRICT]
    rows.sort(key=lambda row: order.index(row.block))  # stable: localizers keep their order
    return ResultTable("synonyms", _TITLE, tuple(rows), _notes(groups, gate)), tuple(findings)


_Figures = dict[tuple[str, str], DiseaseEstimates]


def _estimates(strict: FloatArray, merged: FloatArray, bootstrap: ClusterBootstrap) -> _Figures:
    """(measure, names) -> figures; all on the same resamples, so the differences are paired."""
    columns: dict[tuple[str, str], FloatArray] = {}
    for t in (None, *THRESHOLDS):
        measure = "mean_iou" if t is None else f"acc_iou@{t:g}"
        a, b = (v if t is None else (v > t).astype(np.float64) for v in (strict, merged))
        columns |= {(measure, STRICT): a, (measure, TOGETHER): b, (measure, DIFFERENCE): b - a}
    figures = bootstrap.estimates(np.column_stack(list(columns.values())))
    return dict(zip(columns, figures, strict=True))


def _cells(
    truth: GroundTruth, affected: Sequence[str], figure: DiseaseEstimates
) -> dict[str, Cell]:
    named = dict(zip(truth.disease_names, figure.per_disease, strict=True))
    return {name: Cell(named[name]) for name in affected} | {MACRO_MEAN: Cell(figure.macro)}


def _finding(label: str, figures: _Figures) -> str:
    gain = figures["mean_iou", DIFFERENCE].macro
    verdict = "excludes zero" if gain.excludes_zero else "does not exclude zero"
    strict, merged = (figures["mean_iou", n].macro.value for n in (STRICT, TOGETHER))
    return (
        f"{label}: macro mean IoU {strict:.3f} with strict names, {merged:.3f} with merged ones; "
        f"the interval of the difference, [{gain.low:.3f}, {gain.high:.3f}], {verdict}."
    )


def _notes(groups: Mapping[str, tuple[str, ...]], gate: Gate | None) -> tuple[str, ...]:
    merged = "; ".join("/".join(group) for group in dict.fromkeys(groups.values()))
    notes = [
        f"Merged here: {merged}. {WHY}",
        f"'{STRICT}': own name only. '{TOGETHER}': of all boxes of the group on the image the one "
        "with the highest score. That compares scores of different diseases of one localizer, for "
        "which they were not made: where they are not comparable, merging can lose boxes",
        f"'{DIFFERENCE}': paired, on the same resamples of patients",
        "The macro mean is over ALL diseases of the ground truth: those that are not shown are the "
        "same in both modes, their difference is 0",
        "Controls are told the disease, so merging means nothing for them: they are left out",
    ]
    if gate is not None:
        notes.append(
            "Gated: only boxes count whose disease the gate says present on that image. With "
            "merged names a pair so passes when the gate passes any disease of the group that it "
            "knows"
        )
    return tuple(notes)
