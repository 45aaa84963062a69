"""The tables of every localizer by itself: mean overlap and accuracy, next to published ones."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from cxrloc.classification.metrics.bootstrap import MACRO_MEAN, DiseaseEstimates, Estimate
from cxrloc.classification.report.tables import Cell, ResultTable, TableRow
from cxrloc.localization.evaluation.box_scores import ANY, TOP_1, Measure
from cxrloc.localization.evaluation.comparison import Comparison, ScoredLocalizer
from cxrloc.localization.evaluation.pairwise import REFERENCE_CONTROL, skill_over
from cxrloc.localization.report.glossary import (
    DEEP_MEDIA_NOTE,
    MISS_RULE,
    RULE_NAMES,
    RULES,
    TOP_1_RULE,
)
from cxrloc.localization.report.published import PublishedRow, comparable_rows

PUBLISHED = "published"


def accuracy_table(comparison: Comparison, overlap: str, *, published: bool = True) -> ResultTable:
    """acc_iou or acc_iobb: a row per threshold and localizer, published rows included.

    Args:
        overlap: "iou" or "iobb"; with IoBB every figure is followed by the mean IoGT of its boxes.
    """
    rows: list[TableRow] = []
    others: list[PublishedRow] = []
    for t in comparison.thresholds:
        measure = Measure(overlap, t)
        rows += [_row(comparison, scored, measure) for scored in comparison.localizers]
        if published:
            printed = comparable_rows(overlap, t, comparison.truth.disease_names)
            rows += [_published_row(comparison, measure, row) for row in printed]
            others += printed
    name = f"acc_{overlap}"
    symbol = {"iou": "IoU", "iobb": "IoBB"}[overlap]
    title = f"{name}: share of ground-truth boxes whose predicted box has {symbol} > t"
    notes = [*_mean_notes(comparison), *_IOGT_NOTES * (overlap == "iobb")]
    return ResultTable(name, title, tuple(rows), (*notes, *_published_notes(others, overlap)))


def mean_table(comparison: Comparison) -> ResultTable:
    """Mean IoU, and mean IoBB with mean IoGT, of every localizer."""
    rows = [
        _row(comparison, scored, Measure(overlap))
        for overlap in ("iou", "iobb")
        for scored in comparison.localizers
    ]
    notes = (*_mean_notes(comparison), *_IOGT_NOTES)
    return ResultTable("mean_iou", "Mean IoU and mean IoBB over all boxes", tuple(rows), notes)


def failing_table(
    comparison: Comparison,
    figures: Mapping[tuple[str, str], Sequence[DiseaseEstimates]],
    overlap: str,
    *,
    published: bool = True,
) -> ResultTable:
    """AFP of Wang et al.: boxes that fail the test, over the number of ground-truth boxes.

    Args:
        figures: localizer and setting -> its figures at each threshold.
        overlap: "iou" or "iobb".
    """
    rows, others = [], list[PublishedRow]()
    truth, measure = comparison.truth, f"afp_{overlap}"
    names = truth.disease_names
    for place, t in enumerate(comparison.thresholds):
        lead: dict[str, str | float] = {"measure": measure, "threshold": t}
        for (localizer, setting), of_thresholds in figures.items():
            cells = disease_cells(names, of_thresholds[place])
            own = lead | {"localizer": localizer, "setting": setting}
            rows.append(TableRow(f"{measure}@{t:g}", own, cells, {"boxes": len(truth)}))
        for row in comparable_rows(overlap, t, names, "afp") if published else ():
            printed = {d: _printed_cell(row.values[d]) for d in names}
            printed[MACRO_MEAN] = _printed_cell(row.macro_mean(names))
            own = lead | {"localizer": row.study, "setting": PUBLISHED}
            beside = {"boxes": row.boxes[names[0]]}
            note = f"{row.source}; scored on {row.scored_on}, not on the images of the other rows"
            rows.append(TableRow(f"{measure}@{t:g}", own, printed, beside, note=note))
            others.append(row)
    symbol = {"iou": "IoU", "iobb": "IoBB"}[overlap]
    title = (
        f"{measure}: boxes of a disease that reach {symbol} > t with no true box, over all boxes"
    )
    notes = (
        *comparison_notes(comparison),
        "Counted are all predicted boxes on the images with a ground-truth box, also those of a "
        f"disease that the image lacks, and divided by the {len(truth)} ground-truth boxes of all "
        "diseases. A box of a disease that is labelled without a box fails: Wang et al. do not "
        "say that they left any out",
        "Localizers that were told the disease have no boxes of others: their figures are too low "
        "to set beside the published ones",
    )
    return ResultTable(measure, title, tuple(rows), (*notes, *_published_notes(others, overlap)))


_COUNTED = {
    False: "one box per image and disease (top-1)",
    True: "as many boxes as the ground truth has, matched one to one (top-k)",
}
_ANY_NOTE = (
    "Column 'macro mean, any': the best box of the image and disease (Wang's rule). Published rows "
    "follow the rule named in their column 'rule'"
)
_SKILL_NOTE = (
    "skill: (m - c) / (1 - c), m the figure next to it and c that of "
    f"{REFERENCE_CONTROL} in the same column: 1 is perfect, 0 as good as the control, below 0 "
    "worse; undefined where the control is perfect. The table skill has intervals, and skill over "
    "the other controls"
)
_IOGT_NOTES = (
    "IoBB alone rewards tiny boxes, so the mean IoGT of the same boxes follows every IoBB figure "
    "in parentheses",
)


def _mean_notes(comparison: Comparison) -> tuple[str, ...]:
    counted = f"Disease columns and macro mean: {_COUNTED[comparison.truth.several]}. {_ANY_NOTE}"
    return (*comparison_notes(comparison), counted, _SKILL_NOTE)


def comparison_notes(comparison: Comparison) -> tuple[str, ...]:
    """How the boxes were scored: the sentences above every table and in the summary."""
    c = comparison
    notes = [
        f"Scored: {len(c.truth)} ground-truth boxes on {c.images} images of {c.patients} patients, "
        "the same for every localizer",
        "Boxes per disease: " + ", ".join(f"{d} {n}" for d, n in c.truth.boxes_per_disease.items()),
        *(note[:1].upper() + note[1:] for note in c.truth.notes),
        f"Rule {RULES[c.truth.several]}; {MISS_RULE}",
        f"[low, high]: {100 * c.level:.0f} % interval, {c.resamples} resamples of patients (seed "
        f"{c.seed}); a disease without a box in a resample was left out of that resample's macro "
        f"mean, which happened in {c.resamples_without_a_disease} of them",
        "Controls never look at the image (median and best constant box of other "
        "patients, centre box, random map)",
    ]
    if c.gate_passes is not None:
        notes.append(
            f"'disease given': the localizer was told the disease. 'gated': a box counts only "
            f"where the gate says present: for {c.gate_passes} of the {len(c.truth)} boxes"
        )
    return tuple(notes)


CEILING = "perfect results"


def top_1_table(comparison: Comparison) -> ResultTable:
    """What is left if only the highest-scored box of an image and disease counts, and its ceiling.

    For ground truths with several boxes of a disease on an image; without any it is `mean_table`'s.
    """
    truth = comparison.truth
    ceilings = comparison.bootstrap.estimates(truth.first_of_pair[:, None].astype(np.float64))
    rows = []
    for t in (None, *comparison.thresholds):
        measure = Measure("iou", t, TOP_1)
        lead = _lead(measure) | {"localizer": CEILING, "setting": "ceiling", "rule": TOP_1}
        cells = disease_cells(truth.disease_names, ceilings[0])
        rows.append(TableRow(measure.key, lead, cells, {"boxes": len(truth)}))
        for scored in comparison.localizers:
            lead = _lead(measure) | {"localizer": scored.name, "setting": scored.setting}
            cells = disease_cells(truth.disease_names, scored.estimates[measure.key])
            rows.append(TableRow(measure.key, lead | {"rule": TOP_1}, cells, {"boxes": len(truth)}))
    pairs = int(truth.first_of_pair.sum())
    notes = (
        f"Rule {TOP_1_RULE}. It is matched with the ground-truth box that it fits best; the other "
        "boxes of the disease on the image are missed, however good a localizer's other boxes are",
        f"'{CEILING}' shows how far results equal to the ground truth would come: {pairs} pairs of "
        f"an image and a disease have {len(truth)} boxes",
        f"[low, high]: {100 * comparison.level:.0f} % interval, {comparison.resamples} resamples "
        f"of patients (seed {comparison.seed})",
    )
    title = "top-1: if only the best-scored box of an image and disease counted"
    return ResultTable("top_1", title, tuple(rows), notes)


def _lead(measure: Measure) -> dict[str, str | float]:
    at = {} if measure.threshold is None else {"threshold": measure.threshold}
    return {"measure": measure.name, **at}


def _row(comparison: Comparison, scored: ScoredLocalizer, measure: Measure) -> TableRow:
    of_any = _mean_cells(comparison, scored, replace(measure, rule=ANY))
    return TableRow(
        block=measure.key,
        lead=_lead(measure)
        | {
            "localizer": scored.name,
            "setting": scored.setting,
            "rule": RULE_NAMES[comparison.truth.several],
        },
        cells=_mean_cells(comparison, scored, measure),
        trail={"boxes": len(comparison.truth), f"{MACRO_MEAN}, any": of_any[MACRO_MEAN]},
    )


def _mean_cells(
    comparison: Comparison, scored: ScoredLocalizer, measure: Measure
) -> dict[str, Cell]:
    """The figures of a row, with the mean IoGT (for IoBB) and the skill over the reference.

    The reference control itself has no skill printed: it would be 0 everywhere.
    """
    names, reference = comparison.truth.disease_names, comparison.reference
    cells = disease_cells(names, scored.estimates[measure.key])
    if measure.overlap == "iobb":
        iogt = scored.estimates[Measure("iogt", rule=measure.rule).key].columns
        cells = {
            name: replace(cell, beside=e.value)
            for (name, cell), e in zip(cells.items(), iogt, strict=True)
        }
    if scored is not reference:
        control = reference.estimates[measure.key].columns
        cells = {
            name: replace(cell, skill=float(skill_over(cell.estimate.value, c.value)))
            for (name, cell), c in zip(cells.items(), control, strict=True)
        }
    return cells


def disease_cells(names: Sequence[str], figures: DiseaseEstimates) -> dict[str, Cell]:
    """A column per disease and one for the macro mean."""
    return dict(zip((*names, MACRO_MEAN), map(Cell, figures.columns), strict=True))


def _published_row(comparison: Comparison, measure: Measure, row: PublishedRow) -> TableRow:
    names = comparison.truth.disease_names
    macro = _printed_cell(row.macro_mean(names))
    return TableRow(
        block=measure.key,
        lead=_lead(measure) | {"localizer": row.study, "setting": PUBLISHED, "rule": row.rule},
        cells={**{d: _printed_cell(row.values[d]) for d in names}, MACRO_MEAN: macro},
        trail={
            "boxes": sum(row.boxes[d] for d in names),
            f"{MACRO_MEAN}, any": macro if row.rule == "any" else "",
        },
        note=f"{row.source}; scored on {row.scored_on}, not on the images of the other rows",
    )


def _printed_cell(value: float) -> Cell:
    text = f"{value:.4f}"
    text = text[:-1] if text.endswith("0") else text
    return Cell(Estimate(value, math.nan, math.nan), printed=text)


def _published_notes(rows: Sequence[PublishedRow], overlap: str) -> tuple[str, ...]:
    studies = dict.fromkeys(f"{r.study} ({r.source}): {r.scored_on}" for r in rows)
    if not studies:
        return ()
    notes = [
        "Rows marked 'published' are figures of others, without intervals, scored on THEIR images "
        f"and not on this ground truth: {'; '.join(studies)}",
        "Wang et al. count a ground-truth box as found when any box of that disease passes; "
        "Deep MedIA does not state its rule",
    ]
    if overlap == "iou":
        notes.append(DEEP_MEDIA_NOTE)
    else:
        notes.append("IoGT was not published")
    return tuple(notes)
