"""The error taxonomy as a section: shares, counts, and stacked bars per disease."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from cxrloc.classification.report.plots import COLOURS, legend_below, panels
from cxrloc.classification.report.tables import ResultTable, TableRow, Value
from cxrloc.localization.analyses.taxonomy.taxonomy import (
    ALL_BOXES,
    HIT_THRESHOLD,
    RIGHT_PLACE,
    BoxOutcome,
    Taxonomy,
    taxonomies,
)
from cxrloc.localization.evaluation.contest import standing
from cxrloc.localization.evaluation.detections import CONTROL, DISEASE_GIVEN, GATED
from cxrloc.localization.evaluation.evaluated import Evaluated
from cxrloc.localization.evaluation.ground_truth import GroundTruth
from cxrloc.localization.evaluation.pairwise import REFERENCE_CONTROL
from cxrloc.localization.report.glossary import RULE_NAMES
from cxrloc.localization.report.sections import NamedFigure, Section

# The hatch repeats what the colour shows
_STYLES: dict[BoxOutcome, tuple[str, str]] = {
    BoxOutcome.HIT: (COLOURS[2], ""),
    BoxOutcome.LOOSE: (COLOURS[1], "//"),
    BoxOutcome.TIGHT: (COLOURS[4], "\\\\"),
    BoxOutcome.OTHER_NAME: (COLOURS[3], "xx"),
    BoxOutcome.WRONG_PLACE: (COLOURS[0], ".."),
    BoxOutcome.GATE_MISS: ("#8a8a8a", "++"),
    BoxOutcome.NO_BOX: ("#f2f2f2", ""),
}


def taxonomy(evaluated: Evaluated) -> Section:
    """Classify every ground-truth box: shares, counts and a figure of stacked bars."""
    truth, rows, threshold = evaluated.truth, evaluated.once(taxonomies), HIT_THRESHOLD
    title = "Error taxonomy: outcome of every ground-truth box"
    question = (
        f"Each of the {len(truth)} ground-truth boxes falls in exactly one class, so a row sums to "
        "100 %. It shows whether a localizer loses its boxes to loose or tight outlines, to the "
        "wrong place, to the wrong name, to the gate or because it predicts no box."
    )
    notes = _notes(rows, threshold, truth.several)
    tables = (
        _table(truth, rows, "taxonomy", f"{title}, in % of the boxes", notes),
        _table(truth, rows, "taxonomy_counts", f"{title}, in boxes", notes),
    )
    findings = _findings(rows)
    alt = _alt(findings, threshold)
    figure = NamedFigure("taxonomy", title, alt, _figure(truth, rows, threshold))
    finding = _finding(rows, evaluated.once(standing))
    return Section("taxonomy", title, finding, (question, *findings), tables, (figure,))


def _finding(rows: Sequence[Taxonomy], shown: Collection[str]) -> str:
    """Hits and the largest loss of the localizers in `shown`, given the disease."""
    given = {row.name: row for row in rows if row.setting == DISEASE_GIVEN}
    chosen = [given[name] for name in shown]
    chosen = chosen or [row for row in rows if row.name == REFERENCE_CONTROL]
    return "; ".join(sentence.removesuffix(".") for sentence in _findings(chosen)) + "."


def _table(
    truth: GroundTruth, rows: Sequence[Taxonomy], name: str, title: str, notes: tuple[str, ...]
) -> ResultTable:
    """Build one block per disease and one over all boxes; columns are the classes."""

    def row(block: str, taxonomy: Taxonomy) -> TableRow:
        counts = taxonomy.counts[block]
        cells: dict[str, Value] = {
            error: counts[error]
            if name == "taxonomy_counts"
            else f"{taxonomy.share(block, error):.1f}"
            for error in BoxOutcome
        }
        lead: dict[str, str | float] = {"disease": block}
        lead |= {"localizer": taxonomy.name, "setting": taxonomy.setting}
        return TableRow(block, lead, cells, {"boxes": sum(counts.values())})

    blocks = (ALL_BOXES, *truth.disease_names)
    made = tuple(row(block, taxonomy) for block in blocks for taxonomy in rows)
    return ResultTable(name, title, made, notes)


def _notes(rows: Sequence[Taxonomy], t: float, several: bool) -> tuple[str, ...]:
    others = "one of the k highest-scored boxes" if several else "the top-1 box"
    notes = [
        "The first matching class counts, in this order: gate miss (gated setting only: the gate "
        f"predicts absent); hit (IoU > {t:g}); loose or tight (right place: {RIGHT_PLACE:g} < IoU "
        f"<= {t:g}, and the predicted box is larger than the ground truth, or not larger); other "
        f"disease's name (own box absent or IoU <= {RIGHT_PLACE:g}, and {others} of another "
        f"disease on that image has IoU > {t:g}); wrong place (own box, IoU <= {RIGHT_PLACE:g}); "
        "no box",
        f"Rule: {RULE_NAMES[several]}. Shares are rounded to one decimal; the counts in "
        "taxonomy_counts sum to the "
        f"boxes exactly. '{ALL_BOXES}' pools the boxes: it is not the macro mean",
        "Other disease's name can occur by chance: the more diseases a localizer boxes on every "
        "image, the likelier it is for one of the boxes to lie on the ground truth. Diseases boxed "
        "per image with a ground-truth box: "
        + "; ".join(f"{r.label} {r.diseases_per_image:.1f}" for r in rows),
    ]
    if any(r.setting == GATED for r in rows):
        notes.append(
            "Gated: a box of another disease counts only if the gate predicts that disease present"
        )
    if any(r.setting == CONTROL for r in rows):
        notes.append(
            "Controls, including random_map, box only the diseases with a ground-truth box on the "
            "image: if there is only one, they cannot get other disease's name. Their share does "
            "not estimate what a localizer that boxes every disease gets by chance"
        )
    return tuple(notes)


def _findings(rows: Sequence[Taxonomy]) -> tuple[str, ...]:
    """Write one sentence per localizer: its hits and its most frequent error."""
    sentences = []
    for row in rows:
        counts = row.counts[ALL_BOXES]
        worst = max(list(BoxOutcome)[1:], key=lambda error: counts[error])
        text = f"{row.label} hits {row.share(ALL_BOXES, BoxOutcome.HIT):.1f} % of the boxes"
        if counts[worst]:
            text += f" and loses most to '{worst}' ({row.share(ALL_BOXES, worst):.1f} %)"
        sentences.append(f"{text}.")
    return tuple(sentences)


def _alt(findings: Sequence[str], t: float) -> str:
    classes = ", ".join(BoxOutcome)
    return (
        "Stacked horizontal bars, one panel over all boxes and one per disease, one bar per "
        f"localizer: share of the ground-truth boxes in each error class ({classes}) at "
        f"IoU > {t:g}. Over all boxes: {' '.join(findings)} All shares are in the table taxonomy."
    )


def _figure(truth: GroundTruth, rows: Sequence[Taxonomy], threshold: float) -> Figure:
    blocks = (ALL_BOXES, *truth.disease_names)
    grid = panels(
        len(blocks),
        (3.6, 0.9 + 0.26 * len(rows)),
        per_row=3,
        narrowest=8.5,
        around=(1.0, 1.5),
        sharex=True,
        sharey=True,
    )
    for axis, block in zip(grid.axes, blocks, strict=True):
        _panel(axis, rows, block)
    grid.axes[0].invert_yaxis()  # the first localizer on top; shared by all panels
    grid.figure.suptitle(f"Outcome of every box (hit: IoU > {threshold:g})", fontsize=12)
    legend_below(
        grid.figure,
        "% of the ground-truth boxes",
        min(len(BoxOutcome), int(grid.figure.get_figwidth() // 2)),
        handles=[Patch(label=error, **_style(error)) for error in BoxOutcome],
    )
    return grid.figure


def _panel(axis: Axes, rows: Sequence[Taxonomy], block: str) -> None:
    left = np.zeros(len(rows))
    for error in BoxOutcome:
        shares = np.array([row.share(block, error) for row in rows])
        axis.barh(range(len(rows)), shares, left=left, height=0.78, **_style(error))
        left += shares
    axis.set_title(f"{block} (n = {sum(rows[0].counts[block].values())})", fontsize=10.5)
    names = [f"{row.name} (control)" if row.setting == CONTROL else row.label for row in rows]
    axis.set_yticks(range(len(rows)), names, fontsize=9)
    axis.set_xlim(0, 100)


def _style(error: BoxOutcome) -> dict[str, Any]:
    colour, hatch = _STYLES[error]
    return {"facecolor": colour, "hatch": hatch, "edgecolor": "#222222", "linewidth": 0.6}
