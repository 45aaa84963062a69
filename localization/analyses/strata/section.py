"""Strata as a section: a table with one block per kind of stratum, and dots with intervals."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from cxrloc.classification.metrics.bootstrap import Estimate
from cxrloc.classification.report.plots import (
    COLOURS,
    MARKERS,
    blank_figure,
    legend_below,
    named_lines,
)
from cxrloc.classification.report.tables import Cell, ResultTable, TableRow, Value, value_text
from cxrloc.datasets.files.manifest import RESEARCH_USE
from cxrloc.localization.analyses.strata.strata import (
    FEWEST_PATIENTS,
    Stratum,
    StratumScore,
    reference_of,
    score_strata,
    strata_of,
)
from cxrloc.localization.evaluation.comparison import Comparison, ScoredLocalizer
from cxrloc.localization.evaluation.contest import standing
from cxrloc.localization.evaluation.detections import CONTROL, GATED
from cxrloc.localization.evaluation.evaluated import Evaluated
from cxrloc.localization.report.glossary import RULE_NAMES
from cxrloc.localization.report.sections import NamedFigure, Section

MINUS_REFERENCE = "minus reference"
HIT_THRESHOLD = 0.5  # of acc_iou
_TITLE = "Strata: view, sex, age, box area, diseases on the image"
_REFERENCE_STYLE = {"color": "#6e6e6e", "marker": "|", "markersize": 9.0}


def strata(evaluated: Evaluated) -> Section:
    """Macro mean IoU and acc_iou of every localizer in every stratum of the boxed images.

    Uses the comparison's resamples and seed within each stratum.
    """
    comparison = evaluated.comparison
    parts = strata_of(comparison.truth)
    scores = score_strata(comparison, parts, HIT_THRESHOLD)
    reference = reference_of(comparison)
    rows = tuple(_row(comparison, score, reference) for score in scores)
    table = ResultTable("strata", _TITLE, rows, _notes(comparison, parts, reference))
    shown = [s for s in scores if s.localizer is reference or not s.localizer.is_control]
    findings = _findings(scores)
    alt = _alt(reference, findings)
    figure = NamedFigure("strata", _TITLE, alt, _figure(shown, reference))
    finding = _finding(scores, evaluated.once(standing))
    return Section("strata", _TITLE, finding, (_QUESTION, *findings), (table,), (figure,))


_QUESTION = (
    "Does a localizer work equally well on all kinds of images and boxes? This is descriptive: "
    "there is no test, the strata overlap (a bedside image is AP, and its patient may be older), "
    "and among so many intervals some differ by chance alone."
)


def _row(
    comparison: Comparison, score: StratumScore, reference: ScoredLocalizer | None
) -> TableRow:
    stratum, scored = score.stratum, score.localizer
    members = np.flatnonzero(stratum.members)
    lead: dict[str, str | float] = {"stratum": stratum.name}
    lead |= {"localizer": scored.name, "setting": scored.setting}
    cells: dict[str, Value] = {name: Cell(figure) for name, figure in score.figures.items()}
    for name in score.figures if reference is not None else ():
        difference = score.over_reference
        cells[f"{name} {MINUS_REFERENCE}"] = Cell(difference[name]) if difference else ""
    counts = {
        "diseases": len({comparison.truth.diseases[i] for i in members}),
        "boxes": len(members),
        "patients": _patients(comparison, stratum),
    }
    few = counts["patients"] < FEWEST_PATIENTS
    note = f"{RESEARCH_USE}; under {FEWEST_PATIENTS} patients: no interval" if few else RESEARCH_USE
    return TableRow(stratum.kind, lead, cells, counts, note)


def _patients(comparison: Comparison, stratum: Stratum) -> int:
    return len({comparison.truth.patient_ids[i] for i in np.flatnonzero(stratum.members)})


def _notes(
    comparison: Comparison, parts: Sequence[Stratum], reference: ScoredLocalizer | None
) -> tuple[str, ...]:
    few = [s.name for s in parts if _patients(comparison, s) < FEWEST_PATIENTS]
    kinds = dict.fromkeys(stratum.kind for stratum in parts)
    unknown = [kind for kind in ("view", "sex", "age") if kind not in kinds]
    notes = [
        "Figures are macro means over the diseases with a box in the stratum (counted in column "
        "'diseases'): strata with other diseases are a different task. Rule: "
        f"{RULE_NAMES[comparison.truth.several]}",
        "Quarters of box area (share of the image) are within the disease, Q1 the smallest of EACH "
        "disease: area and disease are confounded, nodules are small and hearts are large",
        "One or several diseases: all labelled on the image, boxed or not; without full labels in "
        "the ground truth, only its own diseases",
        f"[low, high]: {100 * comparison.level:.0f} % interval, {comparison.resamples} resamples "
        f"of the patients of the stratum (seed {comparison.seed})",
        "Strata are descriptive: there is no test and no adjustment for the many intervals. "
        "Strata without a box are left out",
    ]
    if reference is None:
        notes.append("There is no control to subtract")
    else:
        notes.append(
            f"'{MINUS_REFERENCE}': paired difference from the control {reference.name} in the same "
            "stratum; the control never sees the image. Strata differ in difficulty, so compare "
            "these differences between strata, not the figures themselves"
        )
    if few:
        notes.append(f"Fewer than {FEWEST_PATIENTS} patients, so no interval: {', '.join(few)}")
    if unknown:
        notes.append(f"Unknown for all boxed images, so left out: {', '.join(unknown)}")
    return tuple(notes)


def _finding(scores: Sequence[StratumScore], shown: Collection[str]) -> str:
    """The range over the strata of each localizer in `shown`, given the disease."""
    parts = []
    differences = _differences(scores)
    for label in (name for name in shown if name in differences):
        (low, name), (high, other) = _extremes(differences[label])
        figures = value_text(low.value), value_text(high.value)
        parts.append(f"{label} from {figures[0]} ({name}) to {figures[1]} ({other})")
    if not parts:
        return f"No stratum has {FEWEST_PATIENTS} patients, so none has an interval."
    return f"Mean IoU minus that of the blind control: {'; '.join(parts)}."


def _findings(scores: Sequence[StratumScore]) -> tuple[str, ...]:
    """For each localizer the strata in which it is furthest below and above the reference."""
    differences = _differences(scores)
    return tuple(_range(label, of_label) for label, of_label in differences.items())


def _differences(scores: Sequence[StratumScore]) -> dict[str, list[tuple[Estimate, str]]]:
    differences_of: dict[str, list[tuple[Estimate, str]]] = {}
    for score in scores:
        if score.over_reference is not None and not score.localizer.is_control:
            difference = score.over_reference["mean_iou"]
            if not math.isnan(difference.low):  # extremes of few patients would be noise
                differences = differences_of.setdefault(score.localizer.label, [])
                differences.append((difference, score.stratum.name))
    return differences_of


def _extremes(differences: Sequence[tuple[Estimate, str]]) -> list[tuple[Estimate, str]]:
    ordered = sorted(differences, key=lambda item: (item[0].value, item[1]))
    return [ordered[0], ordered[-1]]


def _range(label: str, differences: Sequence[tuple[Estimate, str]]) -> str:
    low, high = (
        f"{e.value:+.3f} [{e.low:+.3f}, {e.high:+.3f}] ({name})"
        for e, name in _extremes(differences)
    )
    return (
        f"{label}: mean IoU minus the reference control's ranges from {low} to {high} over "
        f"the strata of {FEWEST_PATIENTS} patients or more."
    )


def _alt(reference: ScoredLocalizer | None, findings: Sequence[str]) -> str:
    compared = "" if reference is None else f"; right: the same minus {reference.name}"
    return (
        "Dots with intervals, one line per stratum, one colour and marker per localizer, hollow "
        f"if gated. Left: macro mean IoU{compared}. {' '.join(findings)} All figures are in "
        "the table strata."
    )


def _figure(shown: Sequence[StratumScore], reference: ScoredLocalizer | None) -> Figure:
    names = list(dict.fromkeys(s.stratum.name for s in shown))
    labels = list(dict.fromkeys(s.localizer.label for s in shown))
    height = (0.16 * len(labels) + 0.14) * len(names) + 1.9
    figure = blank_figure(10.5, height)
    panels = figure.subplots(1, 1 if reference is None else 2, sharey=True, squeeze=False)[0]
    styles = _styles([s.localizer for s in shown])
    for s in shown:
        y = names.index(s.stratum.name) + (labels.index(s.localizer.label) + 0.5) / len(labels)
        style, over = styles[s.localizer.label], s.over_reference
        _dot(panels[0], y, s.figures["mean_iou"], style)
        if over is not None:
            _dot(panels[1], y, over["mean_iou"], style)
    for axis in panels:
        named_lines(axis, names)
    panels[0].set_xlabel("mean IoU (macro)")
    if reference is not None:
        panels[1].set_xlabel(f"mean IoU minus {reference.name} (macro)")
        panels[1].axvline(0, color="#222222", linewidth=0.9)
    _legend(figure, reference, styles)
    return figure


def _styles(localizers: Sequence[ScoredLocalizer]) -> dict[str, dict[str, Any]]:
    """Label -> style: a colour and marker per name, hollow if gated, grey for a control."""
    names = list(dict.fromkeys(row.name for row in localizers if not row.is_control))
    styles: dict[str, dict[str, Any]] = {}
    for row in localizers:
        style: dict[str, Any] = dict(_REFERENCE_STYLE)
        if row.setting != CONTROL:
            i = names.index(row.name)
            colour = COLOURS[i % len(COLOURS)]
            style = {"color": colour, "marker": MARKERS[i % len(MARKERS)], "markersize": 5.0}
            style["markerfacecolor"] = "white" if row.setting == GATED else colour
        styles[row.label] = style
    return styles


def _dot(axis: Axes, y: float, estimate: Estimate, style: dict[str, Any]) -> None:
    if not math.isnan(estimate.low):
        axis.plot([estimate.low, estimate.high], [y, y], color=style["color"], linewidth=1.2)
    axis.plot([estimate.value], [y], linestyle="none", **style)


def _legend(
    figure: Figure, reference: ScoredLocalizer | None, styles: dict[str, dict[str, Any]]
) -> None:
    control = None if reference is None else reference.label
    handles = [
        Line2D([], [], linestyle="none", label=f"{n} (control)" if n == control else n, **style)
        for n, style in styles.items()
    ]
    figure.suptitle("Mean IoU by stratum", fontsize=12)
    title = f"line: 95 % interval; no line: fewer than {FEWEST_PATIENTS} patients"
    legend_below(figure, title, min(len(handles), 5), handles=handles)
