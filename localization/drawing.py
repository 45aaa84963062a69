"""The pictures of one film: boxes of the localizers beside the gate's findings, and the heat maps.

The film is drawn at the same size whatever its resolution, so that lines and text stay legible.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from cxrloc.datasets.radiograph import Film
from cxrloc.localization.diagnose import Diagnosis, Finding
from cxrloc.localization.localizer import Localization
from cxrloc.localization.words import RESEARCH_USE

DPI = 100
_FILM_PX, _PANEL_PX = 1000, 530
_HEAT_PX, _HEAT_TITLE_PX, _HEAT_MIN_PX = 520, 220, 600
# Okabe and Ito; the line is a second cue for those who see no difference between the colours
_STYLES = (("#E69F00", (0, (5, 2.5))), ("#56B4E9", "solid"), ("#009E73", "dotted"))
BOX_COLOURS = tuple(colour for colour, _ in _STYLES)  # of the first, second, third localizer
_LABEL_PT = 11.0
_NOTHING = "No disease passed the gate:\nno boxes"


@dataclass(frozen=True)
class _Label:
    """Where a label stands on the film: left, top, right, bottom in pixels of the picture."""

    left: float
    top: float
    right: float
    bottom: float

    def overlap(self, other: _Label) -> float:
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.bottom, other.bottom) - max(self.top, other.top)
        return max(width, 0.0) * max(height, 0.0)


def draw_boxes(film: Film, diagnosis: Diagnosis) -> Figure:
    """Film with each localizer's strongest box of every present disease; findings on the right."""
    width, height = fitted(film.size_hw, _FILM_PX)
    total = (width + _PANEL_PX, max(height, 760))
    figure = new_figure(total)
    axis = figure.add_axes((0, 1 - height / total[1], width / total[0], height / total[1]))
    show_film(axis, film, (width, height))
    placed: list[_Label] = []
    for (colour, line), name in zip(_STYLES, diagnosis.boxes, strict=False):
        for box in diagnosis.best(name).values():
            draw_box(axis, box, colour, line)
        for box in diagnosis.best(name).values():
            _draw_label(axis, box, colour, width / film.size_hw[1], (width, height), placed)
    if not diagnosis.present:
        _say(axis, _NOTHING)
    panel = figure.add_axes((width / total[0], 0, _PANEL_PX / total[0], 1))
    _draw_panel(panel, diagnosis, total[1])
    return figure


def draw_heat_maps(film: Film, diagnosis: Diagnosis) -> Figure:
    """One panel per present disease: its map over the film, and the strongest Grad-CAM box."""
    diseases = list(diagnosis.heat_maps)
    columns = min(4, max(1, len(diseases)))
    rows = max(1, math.ceil(len(diseases) / columns))
    width, height = fitted(film.size_hw, _HEAT_PX)
    head, foot, gap = 46, 76, 34
    cell = max(width, _HEAT_TITLE_PX) + 12  # a narrow film leaves room for its title
    size = (max(columns * cell + 12, _HEAT_MIN_PX), head + rows * (height + gap) + foot)
    figure = new_figure(size)
    cam = next(iter(diagnosis.boxes))
    for i in range(max(1, len(diseases))):
        left = 12 + (i % columns) * cell + (cell - 12 - width) // 2
        top = head + gap + (i // columns) * (height + gap)
        bounds = (left / size[0], 1 - (top + height) / size[1], width / size[0], height / size[1])
        axis = figure.add_axes(bounds)
        show_film(axis, film, (width, height))
        if diseases:
            _draw_heat(axis, diagnosis, diseases[i], cam, (width, height))
        else:
            _say(axis, "No disease passed the gate:\nno heat map")
    _draw_heat_legend(figure, diagnosis, cam, size)
    return figure


def new_figure(size_wh: tuple[int, int]) -> Figure:
    """An empty white figure of that many pixels."""
    figure = Figure(figsize=(size_wh[0] / DPI, size_wh[1] / DPI), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def fitted(size_hw: tuple[int, int], side: int) -> tuple[int, int]:
    """Width and height with the frame's aspect ratio and the longer side `side`."""
    scale = side / max(size_hw)
    return max(1, round(size_hw[1] * scale)), max(1, round(size_hw[0] * scale))


def show_film(axis: Axes, film: Film, size_wh: tuple[int, int]) -> None:
    """The film at `size_wh` pixels on an axis in the coordinates of its original frame."""
    height, width = film.size_hw
    show_pixels(axis, film.size_hw, resized(film.pixels, size_wh), cmap="gray", vmin=0, vmax=255)
    axis.set_xlim(0, width)
    axis.set_ylim(height, 0)
    axis.set_axis_off()


def show_pixels(
    axis: Axes, size_hw: tuple[int, int], pixels: npt.NDArray[Any], **style: Any
) -> None:
    """Pixels of any resolution, stretched over the original frame; `style` is `imshow`'s."""
    # in the original frame, whatever the number of pixels: that is where the boxes are
    extent = (0, size_hw[1], size_hw[0], 0)
    axis.imshow(pixels, extent=extent, aspect="auto", interpolation="nearest", **style)


def resized(pixels: npt.NDArray[Any], size_wh: tuple[int, int]) -> npt.NDArray[Any]:
    """Pixels at the size they are drawn at: smooth when enlarged, averaged when shrunk."""
    shrinks = pixels.shape[0] > size_wh[1]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(pixels, size_wh, interpolation=method))


def _say(axis: Axes, text: str) -> None:
    axis.text(
        0.5, 0.06, text, transform=axis.transAxes, ha="center", va="bottom", fontsize=15,
        color="white", bbox={"facecolor": "black", "alpha": 0.75, "edgecolor": "white", "pad": 8},
    )  # fmt: skip


def draw_box(axis: Axes, box: Localization, colour: str, line: object) -> None:
    """The box in its colour and line style, with a dark halo that shows on bright films."""
    x1, y1, x2, y2 = box.box_xyxy
    place = {"xy": (x1, y1), "width": x2 - x1, "height": y2 - y1, "fill": False}
    axis.add_patch(Rectangle(**place, edgecolor="black", linewidth=4, alpha=0.5))  # type: ignore[arg-type]
    axis.add_patch(Rectangle(**place, edgecolor=colour, linewidth=2.2, linestyle=line))  # type: ignore[arg-type]


def _draw_label(
    axis: Axes,
    box: Localization,
    colour: str,
    scale: float,
    film_wh: tuple[int, int],
    placed: list[_Label],
) -> None:
    text = f"{box.disease.replace('_', ' ')} {box.score:.2f}"
    wide, high = 0.62 * _LABEL_PT * DPI / 72 * len(text) + 8, _LABEL_PT * DPI / 72 + 8
    spots = _spots([v * scale for v in box.box_xyxy], wide, high, film_wh)
    spot = min(spots, key=lambda s: sum(s.overlap(other) for other in placed))
    placed.append(spot)
    axis.text(
        (spot.left + 4) / scale, (spot.top + spot.bottom) / 2 / scale, text, fontsize=_LABEL_PT,
        color="black", va="center", ha="left", fontweight="bold",
        bbox={"facecolor": colour, "edgecolor": "none", "pad": 2.2, "alpha": 0.9},
    )  # fmt: skip


def _spots(
    box_px: Sequence[float], wide: float, high: float, film_wh: tuple[int, int]
) -> list[_Label]:
    """Places for a label, best first: the box's corners outside, then inside, then further off."""
    x1, y1, x2, y2 = box_px
    corners = [(x1, y1 - high), (x1, y2), (x2 - wide, y1 - high), (x2 - wide, y2)]
    corners += [(x1, y1), (x1, y2 - high), (x2 - wide, y1), (x2 - wide, y2 - high)]
    corners += [(x1, y1 - 2 * high), (x1, y2 + high), (x2, y1), (x1 - wide, y1)]
    spots = []
    for x, y in corners:
        left = min(max(x, 2.0), film_wh[0] - wide - 2)
        top = min(max(y, 2.0), film_wh[1] - high - 2)
        spots.append(_Label(left, top, left + wide, top + high))
    return spots


def _draw_panel(axis: Axes, diagnosis: Diagnosis, height: int) -> None:
    axis.set_xlim(0, _PANEL_PX)
    axis.set_ylim(height, 0)
    axis.set_axis_off()
    axis.text(24, 34, _shortened(diagnosis.image_id), fontsize=13, fontweight="bold", va="center")
    count = f"{len(diagnosis.present)} of {len(diagnosis.findings)} diseases pass the gate"
    axis.text(24, 62, count, fontsize=12, va="center")
    for x, title in ((24, "disease"), (290, "probability"), (436, "threshold")):
        axis.text(x, 104, title, fontsize=10.5, color="#555555", va="center")
    step = min(34.0, (height - 330) / len(diagnosis.findings))
    for i, finding in enumerate(diagnosis.findings):
        _draw_finding(axis, finding, 134 + i * step)
    _draw_legend(axis, diagnosis, 134 + len(diagnosis.findings) * step + 14)
    axis.text(24, height - 24, RESEARCH_USE, fontsize=12.5, fontweight="bold", color="#b00020",
              va="center")  # fmt: skip


def _draw_finding(axis: Axes, finding: Finding, y: float) -> None:
    weight, colour = ("bold", "black") if finding.present else ("normal", "#666666")
    mark = "present" if finding.present else ""
    style = {"fontsize": 12, "va": "center", "color": colour, "fontweight": weight}
    threshold = "none" if finding.threshold is None else f"{finding.threshold:.2f}"
    for x, text in (
        (24, finding.disease.replace("_", " ")),
        (190, mark),
        (290, f"{finding.probability:.2f}"),
        (436, threshold),
    ):
        axis.text(x, y, text, **style)  # type: ignore[arg-type]
    axis.add_patch(Rectangle((350, y - 5), 70, 10, facecolor="#e4e4e4", edgecolor="none"))
    bar = "#222222" if finding.present else "#9a9a9a"
    axis.add_patch(Rectangle((350, y - 5), 70 * finding.probability, 10, facecolor=bar))
    if finding.threshold is not None:
        mark_x = 350 + 70 * finding.threshold
        axis.add_line(Line2D([mark_x, mark_x], [y - 9, y + 9], color="#b00020", linewidth=1.6))


def _draw_legend(axis: Axes, diagnosis: Diagnosis, y: float) -> None:
    axis.text(
        24,
        y,
        "strongest box per disease, with its score",
        fontsize=10.5,
        color="#555555",
        va="center",
    )
    for (colour, line), name in zip(_STYLES, diagnosis.boxes, strict=False):
        y += 28
        axis.add_line(Line2D([24, 84], [y, y], color=colour, linewidth=3, linestyle=line))  # type: ignore[arg-type]
        axis.text(96, y, name, fontsize=12, va="center")
        missing = [d for d in diagnosis.present if d not in diagnosis.best(name)]
        if missing:
            y += 20
            text = _shortened(f"no box: {', '.join(missing)}", 58)
            axis.text(96, y, text, fontsize=9.5, color="#555555", va="center")


def _draw_heat(
    axis: Axes, diagnosis: Diagnosis, disease: str, cam: str, size_wh: tuple[int, int]
) -> None:
    heat = resized(diagnosis.heat_maps[disease], size_wh).clip(0, 1)
    show_pixels(axis, diagnosis.size_hw, heat, cmap="inferno", vmin=0, vmax=1, alpha=0.65 * heat)
    finding = next(f for f in diagnosis.findings if f.disease == disease)
    axis.set_title(f"{disease.replace('_', ' ')}  {finding.probability:.2f}", fontsize=12, pad=6)
    if disease in diagnosis.best(cam):
        draw_box(axis, diagnosis.best(cam)[disease], *_STYLES[0])
    else:
        axis.text(0.5, 0.03, f"no box of {cam}", transform=axis.transAxes, ha="center", color="w")


def _draw_heat_legend(
    figure: Figure, diagnosis: Diagnosis, cam: str, size_wh: tuple[int, int]
) -> None:
    figure.text(12 / size_wh[0], 1 - 22 / size_wh[1], _shortened(diagnosis.image_id, 44),
                fontsize=13, fontweight="bold", va="center")  # fmt: skip
    if diagnosis.heat_maps:
        text = f"heat: class activation map, 0 to 1 of its own maximum; dashed: box of {cam}"
        figure.text(12 / size_wh[0], 52 / size_wh[1], text, fontsize=9.5, va="center")
    figure.text(12 / size_wh[0], 22 / size_wh[1], RESEARCH_USE, fontsize=12, fontweight="bold",
                color="#b00020", va="center")  # fmt: skip


def _shortened(text: str, limit: int = 46) -> str:
    """The text with its middle left out when it is too long for its place."""
    if len(text) <= limit:
        return text
    half = (limit - 3) // 2
    return f"{text[:half]}...{text[-half:]}"
