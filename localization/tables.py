"""The tables of a comparison: what stands in which row and column (`table_files` writes them)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from cxrloc.localization.comparison import Comparison, Difference, ScoredLocalizer
from cxrloc.localization.published import PublishedRow, comparable_rows
from cxrloc.localization.statistics import DiseaseEstimates, Estimate
from cxrloc.localization.words import DEEP_MEDIA_NOTE, MISS_RULE, RESEARCH_USE, TOP_1_RULE

MACRO = "macro mean"
PUBLISHED = "published"


@dataclass(frozen=True)
class Cell:
    """One figure. `beside` is the mean IoGT of the same boxes; `printed` how others printed it."""

    estimate: Estimate
    beside: float | None = None
    printed: str | None = None


Value = Cell | str | int | float


@dataclass(frozen=True)
class TableRow:
    """One row: `block` is its heading, `lead` says what it is, `cells` are the figures.

    A cell is a figure with its interval (`Cell`), a count (int), a plain figure (float: printed
    with three decimals, NaN as `undefined`) or a word.
    """

    block: str
    lead: dict[str, str | float]
    cells: Mapping[str, Value]
    trail: Mapping[str, Value] = field(default_factory=dict)
    note: str = RESEARCH_USE


@dataclass(frozen=True)
class ResultTable:
    """A table; `name` is its file's stem, `notes` what stands above it."""

    name: str
    title: str
    rows: tuple[TableRow, ...]
    notes: tuple[str, ...]


def comparison_tables(comparison: Comparison, *, published: bool = True) -> tuple[ResultTable, ...]:
    """All tables of a comparison; `published=False` leaves the figures of others out."""
    return (
        accuracy_table(comparison, "iou", published=published),
        accuracy_table(comparison, "iobb", published=published),
        mean_table(comparison),
        difference_table(comparison),
    )


def accuracy_table(comparison: Comparison, overlap: str, *, published: bool = True) -> ResultTable:
    """acc_iou or acc_iobb: rows threshold x localizer, published ones under their true criterion.

    Args:
        overlap: "iou" or "iobb"; with IoBB every figure has the mean IoGT of its boxes beside it.
    """
    name = f"acc_{overlap}"
    rows: list[TableRow] = []
    others: list[PublishedRow] = []
    for t in comparison.thresholds:
        rows += [_accuracy_row(comparison, scored, name, t) for scored in comparison.localizers]
        found = comparable_rows(overlap, t, comparison.truth.disease_names) if published else ()
        rows += [_published_row(comparison, name, row) for row in found]
        others += found
    printed = {"iou": "IoU", "iobb": "IoBB"}[overlap]
    title = f"{name}: share of ground-truth boxes whose predicted box has {printed} > t"
    notes = [*comparison_notes(comparison), _ANY_NOTE, *_IOGT_NOTES * (overlap == "iobb")]
    return ResultTable(name, title, tuple(rows), (*notes, *_published_notes(others, overlap)))


def mean_table(comparison: Comparison) -> ResultTable:
    """Mean IoU, and mean IoBB with mean IoGT beside it, of every localizer."""
    rows = [
        _row(comparison, scored, measure, measure, {"measure": measure})
        for measure in ("mean_iou", "mean_iobb")
        for scored in comparison.localizers
    ]
    notes = (*comparison_notes(comparison), _ANY_NOTE, *_IOGT_NOTES)
    return ResultTable("mean_iou", "Mean IoU and mean IoBB over all boxes", tuple(rows), notes)


def difference_table(comparison: Comparison) -> ResultTable:
    """Paired differences of mean IoU, with whether the macro mean's interval excludes zero."""
    names = comparison.truth.disease_names
    rows = tuple(_difference_row(d, names, len(comparison.truth)) for d in comparison.differences)
    notes = (
        *comparison_notes(comparison),
        "Differences are paired: both localizers on the same resamples. An interval above zero: "
        "the first is better than the second by more than the draw of patients explains. A control "
        "is told the disease: a gated localizer has to beat it in spite of what the gate misses",
    )
    return ResultTable("differences", "Differences of mean IoU between localizers", rows, notes)


_ANY_NOTE = (
    "Disease columns and macro mean: one box per image and disease (top-1). Column 'macro mean, "
    "any': best over all boxes of the image and disease (Wang's rule). Published rows stand by the "
    "rule that their column 'rule' names"
)
_IOGT_NOTES = (
    "IoBB alone rewards tiny boxes, so every IoBB figure has the mean IoGT of the same boxes in "
    "parentheses behind it",
)


def comparison_notes(comparison: Comparison) -> tuple[str, ...]:
    """What was scored and how: the sentences that stand above every table and in the summary."""
    c = comparison
    notes = [
        f"Scored: {len(c.truth)} ground-truth boxes on {c.images} images of {c.patients} patients, "
        "the same for every localizer",
        "Boxes per disease: " + ", ".join(f"{d} {n}" for d, n in c.truth.boxes_per_disease.items()),
        *(note[:1].upper() + note[1:] for note in c.truth.notes),
        f"Rule {TOP_1_RULE}; {MISS_RULE}",
        f"[low, high]: {100 * c.level:.0f} % interval, {c.resamples} resamples of patients (seed "
        f"{c.seed}); a disease without a box in a resample was left out of that resample's macro "
        f"mean, which happened in {c.resamples_without_a_disease} of them",
        "Controls never look at the image (median box of other patients, centre box, random map)",
    ]
    if c.gate_passes is not None:
        notes.append(
            f"'disease given': the localizer was told the disease. 'gated': a box counts only "
            f"where the gate says present: for {c.gate_passes} of the {len(c.truth)} boxes"
        )
    return tuple(notes)


def _accuracy_row(
    comparison: Comparison, scored: ScoredLocalizer, name: str, threshold: float
) -> TableRow:
    measure = f"{name}@{threshold:g}"
    return _row(comparison, scored, measure, measure, {"measure": name, "threshold": threshold})


def _row(
    comparison: Comparison,
    scored: ScoredLocalizer,
    measure: str,
    block: str,
    lead: dict[str, str | float],
) -> TableRow:
    beside = scored.estimates["mean_iogt"] if "iobb" in measure else None
    beside_any = scored.estimates["mean_iogt any"] if "iobb" in measure else None
    over_all = scored.estimates[f"{measure} any"].macro
    return TableRow(
        block=block,
        lead={**lead, "localizer": scored.name, "setting": scored.setting, "rule": "top-1"},
        cells=_cells(comparison.truth.disease_names, scored.estimates[measure], beside),
        trail={
            "boxes": len(comparison.truth),
            f"{MACRO}, any": Cell(over_all, beside_any.macro.value if beside_any else None),
        },
    )


def _cells(
    names: Sequence[str], figures: DiseaseEstimates, beside: DiseaseEstimates | None = None
) -> dict[str, Cell]:
    estimates = (*figures.per_disease, figures.macro)
    other = (*beside.per_disease, beside.macro) if beside else [None] * len(estimates)
    return {
        name: Cell(estimate, b.value if b else None)
        for name, estimate, b in zip((*names, MACRO), estimates, other, strict=True)
    }


def _published_row(comparison: Comparison, name: str, row: PublishedRow) -> TableRow:
    names = comparison.truth.disease_names
    macro = _printed_cell(row.macro_mean(names))
    lead: dict[str, str | float] = {"measure": name, "threshold": row.threshold}
    lead |= {"localizer": row.study, "setting": PUBLISHED, "rule": row.rule}
    return TableRow(
        block=f"{name}@{row.threshold:g}",
        lead=lead,
        cells={**{d: _printed_cell(row.values[d]) for d in names}, MACRO: macro},
        trail={
            "boxes": sum(row.boxes[d] for d in names),
            f"{MACRO}, any": macro if row.rule == "any" else "",
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
        f"and not on those of this ground truth: {'; '.join(studies)}",
        "Wang et al. count a ground-truth box as found when any box of that disease passes; "
        "Deep MedIA does not state its rule",
    ]
    if overlap == "iou":
        notes.append(DEEP_MEDIA_NOTE)
    else:
        notes.append("IoGT was not published")
    return tuple(notes)


def _difference_row(difference: Difference, names: Sequence[str], boxes: int) -> TableRow:
    return TableRow(
        block="mean_iou, difference",
        lead={
            "measure": "mean_iou difference",
            "localizer": difference.localizer,
            "minus": difference.minus,
        },
        cells=_cells(names, difference.estimates),
        trail={
            "boxes": boxes,
            f"{MACRO} excludes zero": "yes" if difference.estimates.macro.excludes_zero else "no",
        },
    )
