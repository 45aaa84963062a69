"""The figure of a comparison: IoU per disease, localizers side by side, controls grey."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from cxrloc.datasets.files import whole_file
from cxrloc.localization.comparison import GATED, Comparison, ScoredLocalizer
from cxrloc.localization.words import RESEARCH_USE

# Okabe and Ito: told apart with every kind of colour vision; grey is kept for the controls
COLOURS = ("#E69F00", "#56B4E9", "#009E73", "#CC79A7", "#0072B2", "#D55E00", "#F0E442")
CONTROL_GREYS = ("#4d4d4d", "#7a7a7a", "#a3a3a3", "#c9c9c9")
_PANELS_PER_ROW = 4
_WIDEST = 15.0  # inches: letters of a wider figure are too small on a page


def iou_boxplots(comparison: Comparison) -> Figure:
    """One panel per disease; in it one box per localizer over the IoU of its ground-truth boxes.

    Box: quartiles and median; whiskers: 5 % to 95 %; diamond: mean. Misses are in it, as 0.
    """
    names = comparison.truth.disease_names
    panel = 1.6 + 0.34 * len(comparison.localizers)
    columns = max(1, min(_PANELS_PER_ROW, len(names), int(_WIDEST / panel)))
    rows = math.ceil(len(names) / columns)
    width = max(panel, 2.4) * columns
    figure = Figure(figsize=(max(width, 8.0), 3.1 * rows + 1.7), layout="constrained", dpi=110)
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, sharey=True, squeeze=False).ravel().tolist()
    styles = _styles(comparison.localizers)
    for i, name in enumerate(names):
        _panel(axes[i], comparison, i, f"{name} (n = {comparison.truth.boxes_per_disease[name]})")
        _colour(axes[i], styles)
    for axis in axes[len(names) :]:
        axis.set_visible(False)
    for axis in axes[::columns]:
        axis.set_ylabel("IoU")
    _captions(figure, comparison, styles)
    return figure


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure (.png or .svg) atomically; the same figure gives the same bytes."""
    metadata: dict[str, Any] = {"Date": None} if path.suffix == ".svg" else {"Software": None}
    settings = mpl.rc_context({"svg.hashsalt": "cxrloc", "svg.fonttype": "none"})
    with settings, whole_file(path) as temporary:
        figure.savefig(temporary, dpi="figure", metadata=metadata)


def _styles(localizers: tuple[ScoredLocalizer, ...]) -> list[dict[str, Any]]:
    """Colour of each localizer's box; its gated twin has the same colour, hatched."""
    names = list(dict.fromkeys(scored.name for scored in localizers if not scored.is_control))
    controls = list(dict.fromkeys(scored.name for scored in localizers if scored.is_control))
    styles = []
    for scored in localizers:
        family, palette = (controls, CONTROL_GREYS) if scored.is_control else (names, COLOURS)
        colour = palette[family.index(scored.name) % len(palette)]
        hatch = "////" if scored.setting == GATED else ""
        styles.append(
            {"facecolor": colour, "edgecolor": "#222222", "hatch": hatch, "linewidth": 0.8}
        )
    return styles


def _panel(axis: Axes, comparison: Comparison, disease: int, title: str) -> None:
    mine = comparison.truth.disease_index == disease
    data = [scored.scores.iou[mine] for scored in comparison.localizers]
    axis.boxplot(
        data,
        widths=0.72,
        whis=(5, 95),
        patch_artist=True,
        showmeans=True,
        medianprops={"color": "black", "linewidth": 1.4},
        meanprops={"marker": "D", "markersize": 4, "mfc": "white", "mec": "black", "mew": 0.8},
        flierprops={"marker": ".", "markersize": 3, "mec": "none", "mfc": "#555555", "alpha": 0.5},
    )
    axis.set_title(title, fontsize=10.5)
    axis.set_ylim(-0.03, 1.03)
    axis.set_yticks(np.arange(0, 1.01, 0.25))
    axis.set_xticks([])
    axis.grid(axis="y", color="#dddddd", linewidth=0.6)
    axis.set_axisbelow(True)


def _colour(axis: Axes, styles: list[dict[str, Any]]) -> None:
    for patch, style in zip(axis.patches, styles, strict=True):
        patch.set(**style)


def _captions(figure: Figure, comparison: Comparison, styles: list[dict[str, Any]]) -> None:
    truth = comparison.truth
    figure.suptitle(
        f"IoU of the top-1 box: {len(truth)} boxes, {comparison.images} images, "
        f"{comparison.patients} patients",
        fontsize=12,
    )
    labels = [
        f"{scored.label} (control)" if scored.is_control else scored.label
        for scored in comparison.localizers
    ]
    handles = [Patch(label=label, **style) for label, style in zip(labels, styles, strict=True)]
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=min(len(handles), int(figure.get_figwidth() // 2)),
        fontsize=9,
        title="box: quartiles, line: median, diamond: mean, whiskers: 5-95 %; misses count as 0.  "
        f"{RESEARCH_USE}.",
        title_fontsize=9,
        frameon=False,
    )
