"""Plot FROC curves: one panel for all diseases together and one per disease, with bands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from cxrloc.classification.report.plots import (
    COLOURS,
    CONTROL_GREYS,
    MARKERS,
    legend_below,
    light_grid,
    panels,
)
from cxrloc.classification.report.tables import estimate_text
from cxrloc.localization.analyses.end_to_end.false_boxes import OperatingPoint
from cxrloc.localization.analyses.end_to_end.froc import GRID, POINTS, Froc
from cxrloc.localization.evaluation.controls import CONTROL_NAMES
from cxrloc.localization.report.sections import NamedFigure

_DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))
_TICKS = (0.01, 0.1, 1.0, 8.0)
_ONE = POINTS.index(1.0)

_Look = dict[str, Any]  # colour, line style and marker of a localizer


def froc_figure(
    curves: Sequence[Froc], points: Sequence[OperatingPoint], diseases: Sequence[str]
) -> NamedFigure:
    """Curves for one setting, hit threshold and bound: every localizer, pooled and per disease.

    Args:
        curves: not empty.
        points: the gate's operating points at the same threshold, to mark; may be empty.
        diseases: diseases of the image table, in the order of `OperatingPoint.per_disease`.
    """
    first = curves[0]
    shown = list(dict.fromkeys(curve.disease for curve in curves))
    looks = line_styles(list(dict.fromkeys(curve.localizer for curve in curves)))
    grid = panels(
        len(shown),
        (3.6, 2.9),
        per_row=3,
        narrowest=6.0,
        around=(0.0, 1.3),
        sharex=True,
        sharey=True,
    )
    for axis, disease in zip(grid.axes, shown, strict=True):
        _panel(axis, [curve for curve in curves if curve.disease == disease], looks)
        for point in points:
            _mark(axis, point, None if disease is None else diseases.index(disease), looks)
    grid.figure.suptitle(_title(first), fontsize=12)
    for axis in grid.left:
        axis.set_ylabel("localized sensitivity")
    for axis in grid.lowest:
        axis.set_xlabel("false boxes per image")
        axis.tick_params(labelbottom=True)
    _legend(grid.figure, looks, bool(points))
    name = f"froc_{first.setting.replace(' ', '_')}_iou{first.threshold:g}"
    return NamedFigure(name, _title(first), _alt(curves, points), grid.figure)


def line_styles(names: Sequence[str]) -> dict[str, _Look]:
    """Colour, dashes and marker per localizer, distinct even without colour; controls are grey."""
    looks = {}
    for palette, family in (
        (COLOURS, [name for name in names if name not in CONTROL_NAMES]),
        (CONTROL_GREYS, [name for name in names if name in CONTROL_NAMES]),
    ):
        for i, name in enumerate(family):
            looks[name] = {
                "color": palette[i % len(palette)],
                "linestyle": _DASHES[i % len(_DASHES)],
                "marker": MARKERS[i % len(MARKERS)],
            }
    return looks


def _panel(axis: Axes, curves: Sequence[Froc], looks: Mapping[str, _Look]) -> None:
    for curve in curves:
        look = looks[curve.localizer]
        value, low, high = curve.curve
        line = {key: look[key] for key in ("color", "linestyle")}
        axis.plot(GRID, value, drawstyle="steps-post", linewidth=1.6, **line)
        axis.fill_between(GRID, low, high, step="post", color=line["color"], alpha=0.15, lw=0)
    axis.set_title(f"{curves[0].disease or 'all diseases'} (n = {curves[0].boxes})", fontsize=10.5)
    axis.set_xscale("log")
    axis.set_xlim(GRID[0], GRID[-1])
    axis.set_xticks(_TICKS, [f"{tick:g}" for tick in _TICKS])
    axis.set_ylim(-0.02, 1.02)
    axis.set_yticks(np.arange(0, 1.01, 0.25))
    light_grid(axis)


def _mark(
    axis: Axes, point: OperatingPoint, disease: int | None, looks: Mapping[str, _Look]
) -> None:
    false = point.false_boxes()
    x, y = false.per_image.value, point.sensitivity.value
    if disease is not None:
        x, y = false.per_disease[disease].value, point.per_disease[disease]
    look = looks[point.localizer]
    x = min(max(x, GRID[0]), GRID[-1])  # clip to the edge of the scale
    axis.plot(
        [x],
        [y],
        marker=look["marker"],
        markersize=7,
        color=look["color"],
        markeredgecolor="black",
        linestyle="none",
        clip_on=False,
        zorder=5,
    )


def _title(curve: Froc) -> str:
    return (
        f"FROC, {curve.setting}: hit = IoU > {curve.threshold:g}, {curve.images:,} images, "
        f"unboxed positives {curve.bound}"
    )


def _legend(figure: Figure, looks: Mapping[str, _Look], marked: bool) -> None:
    handles = [
        Line2D(
            [],
            [],
            label=f"{name} (control)" if name in CONTROL_NAMES else name,
            markeredgecolor="black",
            **(look if marked else _line(look)),
        )
        for name, look in looks.items()
    ]
    title = "hits and false boxes: for the panel's diseases, band: 95 % interval over patients"
    if marked:
        title += ", marker: the gate's operating point"
    legend_below(figure, title, len(handles), handles=handles)


def _line(look: _Look) -> _Look:
    return {key: value for key, value in look.items() if key != "marker"}


def _alt(curves: Sequence[Froc], points: Sequence[OperatingPoint]) -> str:
    pooled = [curve for curve in curves if curve.disease is None]
    reached = "; ".join(f"{c.localizer} {estimate_text(c.at_points[_ONE])}" for c in pooled)
    text = (
        f"{_title(curves[0])}. Panels: all diseases together, then each disease; across: false "
        f"boxes per image from {GRID[0]:g} to {GRID[-1]:g}, logarithmic; up: localized sensitivity "
        f"from 0 to 1. All diseases together, at 1 false box per image: {reached}."
    )
    if points:
        marked = "; ".join(
            f"{p.localizer} {p.sensitivity.value:.3f} at {p.false_boxes().per_image.value:.3f}"
            for p in points
        )
        text += f" Operating points of the gate, sensitivity at false boxes per image: {marked}."
    return text
