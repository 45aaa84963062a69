"""Score strict and merged names: how much of the error comes from overlapping names.

Strict: a box counts only under its own disease. Merged: the diseases of a group of `MERGED` count
as one name, so the top-1 box of all the group's predictions on the image is scored (the k best of
them where the ground truth has k boxes of the disease).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from cxrloc.classification.metrics.bootstrap import MACRO_MEAN, ClusterBootstrap, DiseaseEstimates
from cxrloc.classification.report.tables import Cell, ResultTable, TableRow, value_text
from cxrloc.localization.evaluation.box_scores import Measure, score_boxes
from cxrloc.localization.evaluation.contest import standing
from cxrloc.localization.evaluation.detections import DISEASE_GIVEN, GATED, Detections
from cxrloc.localization.evaluation.evaluated import Evaluated
from cxrloc.localization.evaluation.ground_truth import FloatArray, GroundTruth
from cxrloc.localization.report.comparison_tables import disease_cells
from cxrloc.localization.report.sections import Section

MERGED = (("Infiltration", "Pneumonia", "Consolidation"), ("Nodule", "Mass"))
WHY = (
    "Radiologists use these names for overlapping appearances (an opacity may be called "
    "infiltration, consolidation or pneumonia; a mass is a nodule over 3 cm), and NIH's labels "
    "were text-mined from reports: a right box under the other name need not be a visual error"
)
STRICT, TOGETHER, DIFFERENCE = "strict", "merged", "merged - strict"
THRESHOLDS = (0.1, 0.3, 0.5)
_TITLE = "Synonyms: names strict and merged"


def groups_of(diseases: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Disease -> members of its group of `MERGED` present in `diseases`, at least two."""
    names = set(diseases)
    groups = (tuple(name for name in group if name in names) for group in MERGED)
    return {name: group for group in groups if len(group) > 1 for name in group}


def merge_names(detections: Detections, groups: Mapping[str, tuple[str, ...]]) -> Detections:
    """Repeat every box under each name of its group, in the same order; top-1 spans the group.

    Args:
        groups: from `groups_of`; a box of another disease keeps only its name.
    """
    images = detections.truth.images
    names = [
        [images.column_of[name] for name in groups.get(disease, (disease,))]
        for disease in images.diseases
    ]
    counts = np.array([len(columns) for columns in names])[detections.disease]
    every = detections.where(np.repeat(np.arange(len(detections)), counts))
    columns = [column for disease in detections.disease.tolist() for column in names[disease]]
    return replace(every, disease=np.array(columns, dtype=np.intp))


def strict_and_merged_iou(
    evaluated: Evaluated, name: str, setting: str, groups: Mapping[str, tuple[str, ...]]
) -> tuple[FloatArray, FloatArray]:
    """IoU of the box matched with every ground-truth box, for strict and merged names: two (N,).

    If gated, only the boxes that pass are merged. So in merged mode a pair passes if the gate
    passes any disease of the group that it covers.
    """
    scores, boxes = evaluated.scores[name], evaluated.inputs.predictions[name]
    if setting == GATED and evaluated.passes is not None:
        scores, boxes = scores.only_where(evaluated.passes), evaluated.passing[name]
    return scores.iou, score_boxes(merge_names(boxes, groups)).iou


def synonyms(evaluated: Evaluated) -> Section:
    """Report accuracy with strict and merged names, and the difference with its interval.

    Leaves out controls: they are given the disease, so merging does not apply.

    Raises:
        ValueError: for a gate without a decision for a ground-truth box.
    """
    gated = evaluated.passes is not None  # raises for a gate without a decision for a boxed pair
    truth, predictions = evaluated.truth, evaluated.inputs.predictions
    predicted = {column for boxes in predictions.values() for column in np.unique(boxes.disease)}
    predicted_names = {truth.images.diseases[column] for column in predicted}
    groups = groups_of(predicted_names.union(truth.disease_names)) if predictions else {}
    affected = [name for name in truth.disease_names if name in groups]
    listed = "; ".join("/".join(group) for group in MERGED)
    question = f"Would a localizer score better if overlapping names were one ({listed})? {WHY}."
    if not affected:
        return Section("synonyms", _TITLE, _NOTHING_TO_MERGE, (question,))
    table, sentences = _table(evaluated, groups, affected, gated=gated)
    finding = _finding_of(table, evaluated.once(standing))
    return Section("synonyms", _TITLE, finding, (question, *sentences), (table,))


_NOTHING_TO_MERGE = (
    "Nothing to merge: no group has two of its diseases among the ground truth and the "
    "predictions, one of them in the ground truth."
)


def _table(
    evaluated: Evaluated,
    groups: Mapping[str, tuple[str, ...]],
    affected: Sequence[str],
    *,
    gated: bool,
) -> tuple[ResultTable, tuple[str, ...]]:
    """The table, and one sentence per localizer and setting."""
    truth = evaluated.truth
    settings = [(name, DISEASE_GIVEN) for name in evaluated.inputs.predictions]
    settings += [(name, GATED) for name in evaluated.passing]
    rows, sentences = [], []
    for name, setting in settings:
        ious = strict_and_merged_iou(evaluated, name, setting, groups)
        figures = _estimates(*ious, evaluated.bootstrap)
        for (measure, names), figure in figures.items():
            lead: dict[str, str | float] = {"measure": measure, "localizer": name}
            lead |= {"setting": setting, "names": names}
            cells = _cells(truth, affected, figure)
            rows.append(TableRow(measure, lead, cells, {"boxes": len(truth)}))
        sentences.append(_finding(f"{name} ({setting})", figures))
    order = [measure for measure, names in figures if names == STRICT]
    rows.sort(key=lambda row: order.index(row.block))  # stable: localizers keep their order
    notes = _notes(groups, gated=gated)
    return ResultTable("synonyms", _TITLE, tuple(rows), notes), tuple(sentences)


def _finding_of(table: ResultTable, shown: Collection[str]) -> str:
    """What merging adds to the mean IoU of the localizers in `shown`, given the disease."""
    gains = {
        str(row.lead["localizer"]): row.cells[MACRO_MEAN]
        for row in table.rows
        if (row.block, row.lead["names"]) == ("mean_iou", DIFFERENCE)
        and row.lead["setting"] == DISEASE_GIVEN
    }
    changes = [f"{name} {value_text(gains[name])}" for name in shown]
    return f"Change of mean IoU when names that overlap are merged: {', '.join(changes)}."


_Figures = dict[tuple[str, str], DiseaseEstimates]


def _estimates(strict: FloatArray, merged: FloatArray, bootstrap: ClusterBootstrap) -> _Figures:
    """(measure, names) -> figures; all on the same resamples, so the differences are paired."""
    columns: dict[tuple[str, str], FloatArray] = {}
    for t in (None, *THRESHOLDS):
        measure = Measure("iou", t)
        a, b = measure.of_overlaps(strict), measure.of_overlaps(merged)
        for names, values in ((STRICT, a), (TOGETHER, b), (DIFFERENCE, b - a)):
            columns[measure.key, names] = values
    figures = bootstrap.estimates(np.column_stack(list(columns.values())))
    return dict(zip(columns, figures, strict=True))


def _cells(
    truth: GroundTruth, affected: Sequence[str], figure: DiseaseEstimates
) -> dict[str, Cell]:
    cells = disease_cells(truth.disease_names, figure)
    return {name: cells[name] for name in (*affected, MACRO_MEAN)}


def _finding(label: str, figures: _Figures) -> str:
    gain = figures["mean_iou", DIFFERENCE].macro
    verdict = "excludes zero" if gain.excludes_zero else "does not exclude zero"
    strict, merged = (figures["mean_iou", n].macro.value for n in (STRICT, TOGETHER))
    return (
        f"{label}: macro mean IoU {strict:.3f} with strict names, {merged:.3f} with merged ones; "
        f"the interval of the difference, [{gain.low:.3f}, {gain.high:.3f}], {verdict}."
    )


def _notes(groups: Mapping[str, tuple[str, ...]], *, gated: bool) -> tuple[str, ...]:
    merged = "; ".join("/".join(group) for group in dict.fromkeys(groups.values()))
    notes = [
        f"Merged here: {merged}. {WHY}",
        f"'{STRICT}': own name only. '{TOGETHER}': of all boxes of the group on the image, the one "
        "with the highest score. This compares one localizer's scores of different diseases, which "
        "they are not made for: if they are not comparable, merging can lose boxes",
        f"'{DIFFERENCE}': paired, on the same resamples of patients",
        "The macro mean is over ALL diseases of the ground truth: those not shown are the same in "
        "both modes, with difference 0",
        "Controls are given the disease, so merging does not apply: they are left out",
    ]
    if gated:
        notes.append(
            "Gated: a box counts only if the gate predicts its disease present on that image. With "
            "merged names, a pair passes if the gate passes any disease of the group that it "
            "covers"
        )
    return tuple(notes)
