"""Plot wAFROC curves: one panel for the mean over the diseases and one per disease."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from cxrloc.classification.report.plots import legend_below, light_grid, panels
from cxrloc.classification.report.tables import estimate_text
from cxrloc.localization.analyses.end_to_end.froc_plot import line_styles
from cxrloc.localization.analyses.end_to_end.wafroc_merit import Wafroc, curve
from cxrloc.localization.evaluation.controls import CONTROL_NAMES
from cxrloc.localization.evaluation.ground_truth import FloatArray
from cxrloc.localization.report.sections import NamedFigure

_GRID = np.linspace(0, 1, 401)  # where the curves of the diseases are averaged
_TICKS = np.arange(0, 1.01, 0.25)

_Curve = tuple[FloatArray, FloatArray]


def wafroc_figure(scored: Sequence[Wafroc], diseases: Sequence[str]) -> NamedFigure:
    """The curves of every localizer in one setting and at one hit threshold.

    Args:
        scored: not empty.
        diseases: names of the figures of each.
    """
    styles = line_styles([w.localizer for w in scored])
    lines = {name: {k: s[k] for k in ("color", "linestyle")} for name, s in styles.items()}
    curves = {w.localizer: tuple(map(curve, w.ratings)) for w in scored}
    grid = panels(
        len(diseases) + 1,
        (3.6, 2.9),
        per_row=3,
        narrowest=6.0,
        around=(0.0, 1.3),
        sharex=True,
        sharey=True,
    )
    _panel(grid.axes[0], "mean over the diseases", {n: _mean(c) for n, c in curves.items()}, lines)
    for i, (axis, disease) in enumerate(zip(grid.axes[1:], diseases, strict=True)):
        _panel(axis, disease, {name: c[i] for name, c in curves.items()}, lines)
    for axis in grid.left:
        axis.set_ylabel("weighted share of lesions")
    for axis in grid.lowest:
        axis.set_xlabel("share of images without the disease")
        axis.tick_params(labelbottom=True)
    _legend(grid.figure, lines)
    title = f"wAFROC, {scored[0].setting.name}: hit = IoU > {scored[0].threshold:g}"
    grid.figure.suptitle(title, fontsize=12)
    name = f"wafroc_{scored[0].setting.name.replace(' ', '_')}_iou{scored[0].threshold:g}"
    return NamedFigure(name, title, _alt(scored, title), grid.figure)


def _panel(
    axis: Axes, title: str, curves: Mapping[str, _Curve], lines: Mapping[str, dict[str, Any]]
) -> None:
    for name, (across, up) in curves.items():
        axis.plot(across, up, linewidth=1.6, **lines[name])
    axis.set_title(title, fontsize=10.5)
    axis.set_xlim(-0.02, 1.02)
    axis.set_ylim(-0.02, 1.02)
    axis.set_xticks(_TICKS)
    axis.set_yticks(_TICKS)
    light_grid(axis)


def _mean(curves: Sequence[_Curve]) -> _Curve:
    """The curves averaged at each share of images; diseases without a curve are left out."""
    heights = [np.interp(_GRID, *points) for points in curves if len(points[0])]
    return (_GRID, np.mean(heights, axis=0)) if heights else (np.empty(0), np.empty(0))


def _legend(figure: Figure, lines: Mapping[str, dict[str, Any]]) -> None:
    handles = [
        Line2D([], [], label=f"{name} (control)" if name in CONTROL_NAMES else name, **line)
        for name, line in lines.items()
    ]
    text = "rated at or above each score; the area under a curve is the figure of merit"
    legend_below(figure, text, len(handles), handles=handles)


def _alt(scored: Sequence[Wafroc], title: str) -> str:
    areas = "; ".join(f"{w.localizer} {estimate_text(w.figures.macro)}" for w in scored)
    return (
        f"{title}. Panels: mean over the diseases, then each disease; across: share of the images "
        "without the disease whose highest-scored box reaches a score; up: weighted share of "
        "lesions that are localized with that score. Straight from the last point to (1, 1). Area "
        f"under the mean curve: {areas}."
    )
