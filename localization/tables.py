"""The tables of a comparison: what stands in which row and column (`table_files` writes them)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from cxrloc.localization.comparison import Comparison, ScoredLocalizer
from cxrloc.localization.published import PublishedRow, comparable_rows
from cxrloc.localization.skill import REFERENCE_CONTROL, skill_over
from cxrloc.localization.statistics import DiseaseEstimates, Estimate
from cxrloc.localization.words import DEEP_MEDIA_NOTE, MISS_RULE, RESEARCH_USE, TOP_1_RULE

MACRO = "macro mean"
IN_HEADING = ("measure", "threshold")  # these stand in the heading of a block, not in its rows
PUBLISHED = "published"


@dataclass(frozen=True)
class Cell:
    """One figure.

    `beside` is the mean IoGT of the same boxes; `printed` how others printed it; `skill` that over
    the reference control, NaN where the control leaves nothing to gain.
    """

    estimate: Estimate
    beside: float | None = None
    printed: str | None = None
    skill: float | None = None


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


def column_names(rows: Sequence[TableRow]) -> list[str]:
    """The columns of all rows: what a row is, its figures with the macro mean last, the rest.

    Rows may have figures of other diseases than the first has. What stands in a block's heading is
    no column.
    """
    lead = dict.fromkeys(name for row in rows for name in row.lead if name not in IN_HEADING)
    cells = dict.fromkeys(name for row in rows for name in row.cells)
    trail = dict.fromkeys(name for row in rows for name in row.trail)
    return [*lead, *sorted(cells, key=lambda name: name == MACRO), *trail]


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
    notes = [*_mean_notes(comparison), *_IOGT_NOTES * (overlap == "iobb")]
    return ResultTable(name, title, tuple(rows), (*notes, *_published_notes(others, overlap)))


def mean_table(comparison: Comparison) -> ResultTable:
    """Mean IoU, and mean IoBB with mean IoGT beside it, of every localizer."""
    rows = [
        _row(comparison, scored, measure, measure, {"measure": measure})
        for measure in ("mean_iou", "mean_iobb")
        for scored in comparison.localizers
    ]
    notes = (*_mean_notes(comparison), *_IOGT_NOTES)
    return ResultTable("mean_iou", "Mean IoU and mean IoBB over all boxes", tuple(rows), notes)


_ANY_NOTE = (
    "Disease columns and macro mean: one box per image and disease (top-1). Column 'macro mean, "
    "any': best over all boxes of the image and disease (Wang's rule). Published rows stand by the "
    "rule that their column 'rule' names"
)
_SKILL_NOTE = (
    "skill: (m - c) / (1 - c), m the figure that it stands beside and c that of "
    f"{REFERENCE_CONTROL} in the same column: 1 is perfect, 0 as good as the control, below 0 "
    "worse; undefined where the control is perfect. Intervals, and skill over the other controls, "
    "are in the table skill"
)
_IOGT_NOTES = (
    "IoBB alone rewards tiny boxes, so every IoBB figure has the mean IoGT of the same boxes in "
    "parentheses behind it",
)


def _mean_notes(comparison: Comparison) -> tuple[str, ...]:
    return (*comparison_notes(comparison), _ANY_NOTE, _SKILL_NOTE)


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
        "Controls never look at the image (median and best constant box of other "
        "patients, centre box, random map)",
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
    return TableRow(
        block=block,
        lead={**lead, "localizer": scored.name, "setting": scored.setting, "rule": "top-1"},
        cells=_mean_cells(comparison, scored, measure),
        trail={
            "boxes": len(comparison.truth),
            f"{MACRO}, any": _mean_cells(comparison, scored, measure, " any")[MACRO],
        },
    )


def _mean_cells(
    comparison: Comparison, scored: ScoredLocalizer, measure: str, rule: str = ""
) -> dict[str, Cell]:
    """The figures of a row, beside them the mean IoGT (of IoBB) and the skill over the reference.

    The reference control itself has no skill printed: it would be 0 everywhere.
    """
    names, reference = comparison.truth.disease_names, comparison.reference
    cells = disease_cells(names, scored.estimates[f"{measure}{rule}"])
    if "iobb" in measure:
        iogt = scored.estimates[f"mean_iogt{rule}"].columns
        cells = {
            name: replace(cell, beside=e.value)
            for (name, cell), e in zip(cells.items(), iogt, strict=True)
        }
    if scored is not reference:
        control = reference.estimates[f"{measure}{rule}"].columns
        cells = {
            name: replace(cell, skill=float(skill_over(cell.estimate.value, c.value)))
            for (name, cell), c in zip(cells.items(), control, strict=True)
        }
    return cells


def disease_cells(names: Sequence[str], figures: DiseaseEstimates) -> dict[str, Cell]:
    """A column per disease and one for the macro mean."""
    return dict(zip((*names, MACRO), map(Cell, figures.columns), strict=True))


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
