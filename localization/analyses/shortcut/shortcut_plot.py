"""The figure of the shortcut check: shares of CAM mass by region and disease, over the control."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from cxrloc.classification.metrics.bootstrap import MACRO_MEAN
from cxrloc.classification.report.plots import COLOURS, MARKERS, blank_figure, light_grid
from cxrloc.datasets.files.manifest import RESEARCH_USE
from cxrloc.localization.analyses.shortcut.shortcut import (
    AREA,
    MASS,
    REGIONS,
    Figures,
    ShortcutShares,
)


def shortcut_chart(shares: Mapping[str, ShortcutShares], figures: Mapping[str, Figures]) -> Figure:
    """A panel for each region, a line for each disease and their mean."""
    names = sorted({disease for measured in shares.values() for disease in measured.diseases})
    lines = [*names, MACRO_MEAN]
    height = (0.16 * len(shares) + 0.2) * len(lines) + 1.8
    figure = blank_figure(9.5, height)
    panels = figure.subplots(1, len(REGIONS), sharey=True, squeeze=False)[0].tolist()
    for axis, region in zip(panels, REGIONS, strict=True):
        _panel(axis, region, lines)
        for i, name in enumerate(shares):
            rows = _lines_of(shares[name], lines)
            at = (i + 0.5) / len(shares)
            _series(axis, rows, at, figures[name], region, name, i, len(shares))
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(
        handles,
        labels,
        loc="outside lower center",
        ncols=min(4, len(labels)),
        frameon=False,
        fontsize=9,
        title_fontsize=9,
        title=f"lines: 95 % interval.  {RESEARCH_USE}.",
    )
    return figure


def where(region: str) -> str:
    """`on markers` or `outside the body`."""
    return "on markers" if region == REGIONS[0] else region


def _lines_of(one: ShortcutShares, lines: Sequence[str]) -> list[int]:
    """Line of each of a localizer's diseases, then that of the macro mean."""
    return [lines.index(name) for name in (*one.diseases, MACRO_MEAN)]


def _panel(axis: Axes, region: str, lines: Sequence[str]) -> None:
    axis.set_title(f"share {where(region)}, %", fontsize=10.5)
    axis.set_yticks([i + 0.5 for i in range(len(lines))], lines, fontsize=9)
    axis.set_ylim(len(lines), 0)
    axis.tick_params(axis="y", length=0)
    axis.xaxis.set_major_locator(MaxNLocator(5))
    light_grid(axis, "x")
    for i in range(1, len(lines)):
        axis.axhline(i, color="#bbbbbb", linewidth=0.5)


def _series(
    axis: Axes,
    own: Sequence[int],
    at: float,
    figures: Figures,
    region: str,
    name: str,
    i: int,
    count: int,
) -> None:
    heights = [line + at for line in own]
    areas = [estimate.value for estimate in figures[region, AREA].columns]
    label = "area (control)" if i == 0 else None
    axis.barh(heights, areas, height=0.8 / count, color="#dcdcdc", zorder=1, label=label)
    colour, shape = COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)]
    estimates = figures[region, MASS].columns
    for height, estimate in zip(heights, estimates, strict=True):
        axis.plot([estimate.low, estimate.high], [height, height], color=colour, linewidth=1.4)
    values = [estimate.value for estimate in estimates]
    axis.plot(values, heights, shape, color=colour, markersize=5, label=name)
    axis.set_xlim(left=0)
