"""The figure of the oracle ladder: mean IoU on each rung, one panel for each disease."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from cxrloc.classification.metrics.bootstrap import MACRO, DiseaseEstimates, Estimate
from cxrloc.datasets.files.manifest import RESEARCH_USE
from cxrloc.localization.report.plots import COLOURS

_MARKERS, _LINES = "osD^vP*", ("-", "--", ":", "-.")
_PANELS_PER_ROW = 3
_ORACLES_FROM = 1.5  # between the rungs that are results and those that are oracles


def ladder_figure(
    localizers: Sequence[str],
    rungs: Sequence[str],
    diseases: Sequence[str],
    figures: Sequence[Sequence[DiseaseEstimates]],
) -> Figure:
    """Lines of mean IoU over the rungs with intervals; oracle rungs stand on grey.

    Args:
        localizers: L names.
        rungs: R names.
        diseases: D names.
        figures: [localizer][rung].
    """
    columns = min(_PANELS_PER_ROW, len(diseases) + 1)
    rows = math.ceil((len(diseases) + 1) / columns)
    size = (max(3.4 * columns, 7.0), 2.7 * rows + 1.9)
    figure = Figure(figsize=size, layout="constrained", dpi=110)
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel().tolist()
    for d, title in enumerate((*diseases, MACRO)):
        _panel(axes[d], title, rungs)
        for i, name in enumerate(localizers):
            found = [(*f.per_disease, f.macro)[d] for f in figures[i]]
            _line(axes[d], found, i, len(localizers), name)
    for axis in axes[len(diseases) + 1 :]:
        axis.set_visible(False)
    for d in range(len(diseases) + 1 - columns, len(diseases) + 1):  # last of its column
        axes[d].tick_params(axis="x", labelbottom=True)
    for axis in axes[::columns]:
        axis.set_ylabel("mean IoU")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside lower center", ncols=min(len(labels), 4), frameon=False,
        fontsize=9, title_fontsize=9,
        title=f"grey: oracles, which look at the scored box; bars: 95 % interval.  {RESEARCH_USE}.",
    )  # fmt: skip
    return figure


def _panel(axis: Axes, title: str, rungs: Sequence[str]) -> None:
    axis.set_title(title, fontsize=10.5)
    axis.axvspan(_ORACLES_FROM, len(rungs) - 0.5, color="#eeeeee", zorder=0)
    axis.set_xlim(-0.5, len(rungs) - 0.5)
    axis.set_ylim(0, 1)
    axis.set_xticks(range(len(rungs)), rungs, rotation=40, ha="right", fontsize=8)
    axis.grid(axis="y", color="#dddddd", linewidth=0.6)
    axis.set_axisbelow(True)


def _line(axis: Axes, found: Sequence[Estimate], i: int, count: int, name: str) -> None:
    values, lows, highs = (
        np.array([getattr(e, part) for e in found]) for part in ("value", "low", "high")
    )
    at = np.arange(len(found)) + 0.12 * (i - (count - 1) / 2)
    style: dict[str, Any] = {
        "color": COLOURS[i % len(COLOURS)],
        "marker": _MARKERS[i % len(_MARKERS)],
        "linestyle": _LINES[i % len(_LINES)],
    }
    # an interval of one patient is undefined: the bar is left out, the mean is not
    bars = np.nan_to_num(np.maximum(np.stack([values - lows, highs - values]), 0))
    axis.errorbar(at, values, bars, label=name, markersize=5, linewidth=1.4, capsize=2, **style)
