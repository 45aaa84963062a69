"""Draw the shortcut check: shares of CAM mass by region and disease, over the control."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from cxrloc.classification.metrics.bootstrap import MACRO_MEAN
from cxrloc.classification.report.plots import (
    COLOURS,
    MARKERS,
    blank_figure,
    legend_below,
    named_lines,
)
from cxrloc.localization.analyses.shortcut.shortcut import (
    AREA,
    MASS,
    REGIONS,
    Figures,
    ShortcutShares,
)


def shortcut_chart(shares: Mapping[str, ShortcutShares], figures: Mapping[str, Figures]) -> Figure:
    """Draw one panel per region, with a line for each disease and for their mean."""
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
    legend_below(
        figure, "lines: 95 % interval", min(4, len(labels)), handles=handles, labels=labels
    )
    return figure


def where(region: str) -> str:
    """`on markers` or `outside the body`."""
    return "on markers" if region == REGIONS[0] else region


def _lines_of(one: ShortcutShares, lines: Sequence[str]) -> list[int]:
    """Rows of a localizer's diseases, then of the macro mean."""
    return [lines.index(name) for name in (*one.diseases, MACRO_MEAN)]


def _panel(axis: Axes, region: str, lines: Sequence[str]) -> None:
    axis.set_title(f"share {where(region)}, %", fontsize=10.5)
    axis.xaxis.set_major_locator(MaxNLocator(5))
    named_lines(axis, lines)


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
