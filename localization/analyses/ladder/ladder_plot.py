"""Plot the oracle ladder: mean IoU on each rung, one panel per disease."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cxrloc.classification.metrics.bootstrap import MACRO_MEAN, DiseaseEstimates, Estimate
from cxrloc.classification.report.plots import COLOURS, MARKERS, legend_below, light_grid, panels

_LINES = ("-", "--", ":", "-.")
_ORACLES_FROM = 1.5  # between the rungs of results and those of oracles


def ladder_figure(
    localizers: Sequence[str],
    rungs: Sequence[str],
    diseases: Sequence[str],
    figures: Sequence[Sequence[DiseaseEstimates]],
) -> Figure:
    """Lines of mean IoU over the rungs with intervals; oracle rungs have a grey background.

    Args:
        localizers: L names.
        rungs: R names.
        diseases: D names.
        figures: [localizer][rung].
    """
    titles = (*diseases, MACRO_MEAN)
    grid = panels(
        len(titles),
        (3.4, 2.7),
        per_row=3,
        narrowest=7.0,
        around=(0.0, 1.9),
        sharex=True,
        sharey=True,
    )
    for d, (axis, title) in enumerate(zip(grid.axes, titles, strict=True)):
        _panel(axis, title, rungs)
        for i, name in enumerate(localizers):
            estimates = [figure.columns[d] for figure in figures[i]]
            _line(axis, estimates, i, len(localizers), name)
    for axis in grid.lowest:
        axis.tick_params(axis="x", labelbottom=True)
    for axis in grid.left:
        axis.set_ylabel("mean IoU")
    handles, labels = grid.axes[0].get_legend_handles_labels()
    title = "grey: oracles, which look at the scored box; bars: 95 % interval"
    legend_below(grid.figure, title, min(len(labels), 4), handles=handles, labels=labels)
    return grid.figure


def _panel(axis: Axes, title: str, rungs: Sequence[str]) -> None:
    axis.set_title(title, fontsize=10.5)
    axis.axvspan(_ORACLES_FROM, len(rungs) - 0.5, color="#eeeeee", zorder=0)
    axis.set_xlim(-0.5, len(rungs) - 0.5)
    axis.set_ylim(0, 1)
    axis.set_xticks(range(len(rungs)), rungs, rotation=40, ha="right", fontsize=8)
    light_grid(axis, "y")


def _line(axis: Axes, found: Sequence[Estimate], i: int, count: int, name: str) -> None:
    values, lows, highs = (
        np.array([getattr(e, part) for e in found]) for part in ("value", "low", "high")
    )
    at = np.arange(len(found)) + 0.12 * (i - (count - 1) / 2)
    style: dict[str, Any] = {
        "color": COLOURS[i % len(COLOURS)],
        "marker": MARKERS[i % len(MARKERS)],
        "linestyle": _LINES[i % len(_LINES)],
    }
    # an interval of one patient is undefined: omit the bar but keep the mean
    bars = np.nan_to_num(np.maximum(np.stack([values - lows, highs - values]), 0))
    axis.errorbar(at, values, bars, label=name, markersize=5, linewidth=1.4, capsize=2, **style)
