"""Figures of a comparison: IoU per disease, accuracy over the threshold, paired differences."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from cxrloc.classification.report.plots import (
    COLOURS,
    CONTROL_GREYS,
    MARKERS,
    blank_figure,
    legend_below,
    light_grid,
    panels,
)
from cxrloc.datasets.files.manifest import RESEARCH_USE
from cxrloc.localization.evaluation.comparison import (
    Comparison,
    ScoredLocalizer,
    accuracy_curve,
)
from cxrloc.localization.evaluation.detections import (
    CONTROL,
    DISEASE_GIVEN,
    GATED,
    SECOND_READER,
)
from cxrloc.localization.evaluation.ground_truth import FloatArray, GroundTruth
from cxrloc.localization.evaluation.pairwise import REFERENCE_CONTROL
from cxrloc.localization.report.sections import NamedFigure

_BOXPLOT: dict[str, Any] = {  # quartiles, 5 % to 95 %, a diamond for the mean
    "whis": (5, 95),
    "patch_artist": True,
    "showmeans": True,
    "medianprops": {"color": "black", "linewidth": 1.4},
    "meanprops": {"marker": "D", "markersize": 4, "mfc": "white", "mec": "black", "mew": 0.8},
    "flierprops": {"marker": ".", "markersize": 3, "mec": "none", "mfc": "#555555", "alpha": 0.5},
}
_WIDEST = 15.0  # inches: on a page, the letters of a wider figure are too small


def iou_boxplots(comparison: Comparison) -> Figure:
    """The IoU of every localizer, disease by disease."""
    scored = "matched" if comparison.truth.several else "top-1"
    return boxplots(comparison.truth, comparison.localizers, f"IoU of the {scored} box")


def boxplots(truth: GroundTruth, localizers: tuple[ScoredLocalizer, ...], title: str) -> Figure:
    """One panel per disease, with one box per localizer: the IoU of its ground-truth boxes.

    Box: quartiles and median; whiskers: 5 % to 95 %; diamond: mean. Misses count as 0.
    """
    names = truth.disease_names
    panel = 1.6 + 0.34 * len(localizers)
    grid = panels(
        len(names),
        (max(panel, 2.4), 3.1),
        per_row=max(1, min(4, int(_WIDEST / panel))),
        narrowest=8.0,
        around=(0.0, 1.7),
        sharey=True,
    )
    styles = _styles(localizers)
    for i, (axis, name) in enumerate(zip(grid.axes, names, strict=True)):
        data = [scored.scores.iou[truth.disease_index == i] for scored in localizers]
        _panel(axis, data, f"{name} (n = {truth.boxes_per_disease[name]})")
        _colour(axis, styles)
    for axis in grid.left:
        axis.set_ylabel("IoU")
    _captions(grid.figure, f"{title}: {_size(truth)}", localizers, styles)
    return grid.figure


def _styles(localizers: tuple[ScoredLocalizer, ...]) -> list[dict[str, Any]]:
    """Colour of each localizer's box; its gated twin has the same, hatched; readers are white."""
    own = (CONTROL, SECOND_READER)
    names = list(dict.fromkeys(scored.name for scored in localizers if scored.setting not in own))
    controls = list(dict.fromkeys(scored.name for scored in localizers if scored.is_control))
    styles = []
    for scored in localizers:
        hatch = {GATED: "////", SECOND_READER: "..."}.get(scored.setting, "")
        if scored.setting == SECOND_READER:
            colour = "#ffffff"
        elif scored.is_control:
            colour = CONTROL_GREYS[controls.index(scored.name) % len(CONTROL_GREYS)]
        else:
            colour = COLOURS[names.index(scored.name) % len(COLOURS)]
        styles.append(
            {"facecolor": colour, "edgecolor": "#222222", "hatch": hatch, "linewidth": 0.8}
        )
    return styles


def _panel(axis: Axes, data: list[FloatArray], title: str) -> None:
    axis.boxplot(data, widths=0.72, **_BOXPLOT)
    axis.set_title(title, fontsize=10.5)
    axis.set_ylim(-0.03, 1.03)
    axis.set_yticks(np.arange(0, 1.01, 0.25))
    axis.set_xticks([])
    light_grid(axis, "y")


def _colour(axis: Axes, styles: list[dict[str, Any]]) -> None:
    for patch, style in zip(axis.patches, styles, strict=True):
        patch.set(**style)


def _size(truth: GroundTruth) -> str:
    images, patients = len(set(truth.image_ids)), len(set(truth.patient_ids))
    return f"{len(truth)} boxes, {images} images, {patients} patients"


def _captions(
    figure: Figure,
    title: str,
    localizers: tuple[ScoredLocalizer, ...],
    styles: list[dict[str, Any]],
) -> None:
    figure.suptitle(title, fontsize=12)
    labels = [
        f"{scored.label} ({scored.setting})"
        if scored.setting in (CONTROL, SECOND_READER)
        else scored.label
        for scored in localizers
    ]
    handles = [Patch(label=label, **style) for label, style in zip(labels, styles, strict=True)]
    legend_below(
        figure,
        "box: quartiles, line: median, diamond: mean, whiskers: 5-95 %; misses count as 0",
        min(len(handles), int(figure.get_figwidth() // 2)),
        handles=handles,
    )


CURVE_THRESHOLDS = tuple(round(0.05 * i, 2) for i in range(20))
_LINE_GREYS = ("#4d4d4d", "#6e6e6e", "#8a8a8a")  # darker than those of areas: lines are thin
_CONTROL_LINES = ("dashed", "dotted", "dashdot", (0, (7, 2, 1, 2)))
_READ_AT = (0.1, 0.3, 0.5)  # where the alternative text reads the curves
Pair = tuple[ScoredLocalizer, ScoredLocalizer]


def accuracy_curves(comparison: Comparison) -> NamedFigure:
    """Macro mean of acc_iou@t over t in 0..0.95, with its interval as a band.

    Each localizer has a colour and a marker, dashed where gated; controls are grey, each with a
    line of its own.
    """
    figure = blank_figure(8.6, 6.2)
    axis = figure.subplots()
    said = []
    for scored, style in zip(comparison.localizers, _line_styles(comparison), strict=True):
        value, low, high = accuracy_curve(scored, comparison, CURVE_THRESHOLDS)
        label = f"{scored.label} (control)" if scored.is_control else scored.label
        axis.plot(CURVE_THRESHOLDS, value, label=label, **style)
        axis.fill_between(CURVE_THRESHOLDS, low, high, color=style["color"], alpha=0.1, linewidth=0)
        at = [f"{value[CURVE_THRESHOLDS.index(t)]:.2f} at {t:g}" for t in _READ_AT]
        said.append(f"{label} {', '.join(at)}")
    axis.set(
        xlim=(0, 0.95),
        ylim=(0, 1),
        xlabel="IoU threshold",
        ylabel="share of boxes found (mean over diseases)",
    )
    _finish(figure, axis)
    level = f"{100 * comparison.level:.0f} %"
    return NamedFigure(
        "accuracy_curves",
        f"Share of boxes with IoU over the threshold, averaged over the diseases; bands: {level} "
        "intervals over resamples of patients, at each threshold by itself",
        f"Falling curves: share of boxes found over the IoU threshold. {'; '.join(said)}",
        figure,
    )


def paired_boxplots(comparison: Comparison) -> NamedFigure | None:
    """Difference of IoU on the same box, per disease, in one panel per pair of localizers.

    The pairs are the first two localizers with the disease given, and each of them and the
    constant box. None where there is no localizer.
    """
    pairs = _pairs(comparison)
    if not pairs:
        return None
    count = len(comparison.truth.disease_names)
    size = (max(1.25 * count, 6.0) + 1, 3.3)
    grid = panels(len(pairs), size, per_row=1, around=(0.0, 0.5))
    said = [_pair_panel(a, comparison, *pair) for a, pair in zip(grid.axes, pairs, strict=True)]
    grid.figure.supxlabel(
        "box: quartiles, line: median, diamond: mean, whiskers: 5-95 %, a miss counts as 0.  "
        f"{RESEARCH_USE}.",
        fontsize=9,
    )
    return NamedFigure(
        "paired_boxplots",
        "Difference of IoU on the same box, first minus second localizer; above zero the first is "
        f"better. Over all {len(comparison.truth)} boxes: {'; '.join(text for text, _ in said)}",
        f"Boxplots of paired differences per disease. Medians: {'; '.join(t for _, t in said)}",
        grid.figure,
    )


def _line_styles(comparison: Comparison) -> list[dict[str, Any]]:
    rows = comparison.localizers
    names = list(dict.fromkeys(s.name for s in rows if not s.is_control))
    controls = [s.name for s in rows if s.is_control]
    styles: list[dict[str, Any]] = []
    for scored in rows:
        if scored.is_control:
            i = controls.index(scored.name)
            grey, line = _LINE_GREYS[i % len(_LINE_GREYS)], _CONTROL_LINES[i % 4]
            styles.append({"color": grey, "linestyle": line, "linewidth": 1.8})
            continue
        i = names.index(scored.name) % len(COLOURS)
        line = "dashed" if scored.setting == GATED else "solid"
        cue = {"marker": MARKERS[i], "markevery": 2, "markersize": 5, "linestyle": line}
        styles.append({"color": COLOURS[i], "linewidth": 2, **cue})
    return styles


def _finish(figure: Figure, axis: Axes) -> None:
    light_grid(axis)
    axis.spines[["top", "right"]].set_visible(False)
    legend_below(figure, "", 3, handlelength=3.6)


def _pairs(comparison: Comparison) -> list[Pair]:
    given = [s for s in comparison.localizers if s.setting == DISEASE_GIVEN][:2]
    constant = [s for s in comparison.localizers if s.is_control and s.name == REFERENCE_CONTROL]
    between: list[Pair] = [(given[0], given[1])] if len(given) == 2 else []
    return between + [(a, control) for a in given for control in constant]


def _pair_panel(
    axis: Axes, comparison: Comparison, first: ScoredLocalizer, second: ScoredLocalizer
) -> tuple[str, str]:
    """Draw one pair; returns its part of the caption and of the alternative text."""
    truth, minus = comparison.truth, first.scores.iou - second.scores.iou
    data = [minus[truth.disease_index == d] for d in range(len(truth.disease_names))]
    axis.axhline(0, color="#a5001c", linewidth=1.2, zorder=1)
    boxes = {"facecolor": "#cfe2f3", "edgecolor": "#222222", "linewidth": 0.8}
    axis.boxplot(data, widths=0.5, boxprops=boxes, **_BOXPLOT)
    pair = f"{first.label} minus {second.label}"
    ticks = [
        f"{name.replace('_', ' ')}\nn = {len(values)}\n{_shares(values)}"
        for name, values in zip(truth.disease_names, data, strict=True)
    ]
    axis.set_xticks(range(1, len(data) + 1), ticks, fontsize=8.5)
    axis.set(ylim=(-1.03, 1.03), ylabel="difference of IoU")
    axis.set_title(f"{pair} (better : worse on % of the boxes)", fontsize=10.5)
    light_grid(axis, "y")
    medians = zip(truth.disease_names, data, strict=True)
    read = ", ".join(f"{name} {np.median(values):+.2f}" for name, values in medians)
    caption = f"{first.label} is better on {_percent(minus > 0)} and {second.label} on "
    return f"{caption}{_percent(minus < 0)}", f"{pair}: {read}"


def _shares(values: FloatArray) -> str:
    return f"{100 * np.mean(values > 0):.0f} : {100 * np.mean(values < 0):.0f}"


def _percent(where: Any) -> str:
    return f"{100 * np.mean(where):.0f} %"
