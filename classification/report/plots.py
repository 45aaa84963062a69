"""Share the basics of all figures: panels, colours, markers, and reproducible files."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import IO, Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from cxrloc.datasets.files.atomic import whole_file
from cxrloc.datasets.files.manifest import RESEARCH_USE

# Okabe and Ito: distinguishable with every kind of colour vision; grey is reserved for controls
COLOURS = ("#E69F00", "#56B4E9", "#009E73", "#CC79A7", "#0072B2", "#D55E00", "#F0E442")
CONTROL_GREYS = ("#4d4d4d", "#7a7a7a", "#a3a3a3", "#c9c9c9")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DPI = 110


@dataclass(frozen=True)
class Panels:
    """A figure of several panels, row by row.

    Attributes:
        axes: the panels in use.
        columns: panels next to each other.
    """

    figure: Figure
    axes: tuple[Axes, ...]
    columns: int

    @property
    def left(self) -> tuple[Axes, ...]:
        """The first panel of each row."""
        return self.axes[:: self.columns]

    @property
    def lowest(self) -> tuple[Axes, ...]:
        """The last panel of each column."""
        return self.axes[-self.columns :]


def panels(
    count: int,
    size: tuple[float, float],
    *,
    per_row: int = 4,
    narrowest: float = 0.0,
    around: tuple[float, float] = (0.0, 0.6),
    sharex: bool = False,
    sharey: bool = False,
) -> Panels:
    """Create a figure with `count` panels; unused places in the last row stay empty.

    Args:
        size: width and height of a panel in inches.
        narrowest: minimum width of the figure.
        around: inches next to, and above or below, the panels for titles and legends.
    """
    columns = min(per_row, count)
    rows = math.ceil(count / columns)
    width = max(size[0] * columns + around[0], narrowest)
    figure = blank_figure(width, size[1] * rows + around[1])
    axes = figure.subplots(rows, columns, sharex=sharex, sharey=sharey, squeeze=False)
    flat = axes.ravel().tolist()
    for unused in flat[count:]:
        unused.set_visible(False)
    return Panels(figure, tuple(flat[:count]), columns)


def blank_figure(width: float, height: float) -> Figure:
    """Create a figure of this size in inches, without pyplot's global state."""
    figure = Figure(figsize=(width, height), layout="constrained", dpi=DPI)
    FigureCanvasAgg(figure)
    return figure


def light_grid(axis: Axes, along: str = "both") -> None:
    """Draw thin grey lines behind the data; `along` is x, y or both."""
    axis.grid(axis=along, color="#dddddd", linewidth=0.6)  # type: ignore[arg-type]
    axis.set_axisbelow(True)


def named_lines(axis: Axes, names: Sequence[str]) -> None:
    """Rows from the top down, each with its name on the left and a thin line between rows."""
    axis.set_yticks([i + 0.5 for i in range(len(names))], names, fontsize=9)
    axis.set_ylim(len(names), 0)  # the first on top
    axis.tick_params(axis="y", length=0)
    light_grid(axis, "x")
    for i in range(1, len(names)):
        axis.axhline(i, color="#bbbbbb", linewidth=0.5)


def legend_below(figure: Figure, title: str, ncols: int, **which: Any) -> None:
    """Draw the legend of all panels below them; its title ends with the research-use notice.

    Args:
        title: explanation of the symbols; may be empty.
        ncols: columns at most; fewer where long names would pass the edges of the figure.
        which: handles, labels and their style; by default those of all panels.
    """
    for columns in range(ncols, 0, -1):
        legend = figure.legend(
            loc="outside lower center",
            ncols=columns,
            fontsize=9,
            title=f"{title}.  {RESEARCH_USE}." if title else f"{RESEARCH_USE}.",
            title_fontsize=9,
            frameon=False,
            **which,
        )
        if columns == 1 or legend.get_window_extent().width <= figure.bbox.width:
            return
        legend.remove()


def titled(title: str, note: str) -> str:
    """The title of a picture, below a note on the whole picture if there is one."""
    return f"{note}\n{title}" if note else title


def save_figure(figure: Figure, path: Path, *, notice: bool = False) -> None:
    """Write a .png or .svg atomically; the same figure gives the same bytes.

    Args:
        notice: print the research-use notice below the figure.
    """
    if notice:
        figure.supxlabel(f"{RESEARCH_USE}.", fontsize=7, color="0.4")
    with whole_file(path) as temporary:
        _render(figure, temporary, path.suffix.removeprefix("."))


def drawn(figure: Figure) -> dict[str, bytes]:
    """Render the figure as `png` and `svg`, laid out once; the same figure gives the same bytes.

    The SVG stores letters as shapes, for readers without the fonts.
    """
    files = {}
    for form in ("png", "svg"):
        handle = BytesIO()
        _render(figure, handle, form, dpi=150)
        figure.set_layout_engine("none")  # halves the time: the layout is final
        files[form] = handle.getvalue()
    return files


def _render(
    figure: Figure, target: Path | IO[bytes], form: str, *, dpi: float | str = "figure"
) -> None:
    metadata: dict[str, Any] = {"Date": None} if form == "svg" else {"Software": None}
    settings = {"svg.hashsalt": "cxrloc", "svg.fonttype": "path"}
    with mpl.rc_context(settings):  # type: ignore[arg-type]
        figure.savefig(target, format=form, dpi=dpi, metadata=metadata)
