"""Draw images, boxes and maps on matplotlib axes, for the figures of the report."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from cxrloc.datasets.images.transforms import resized
from cxrloc.datasets.radiograph import LoadedImage
from cxrloc.localization.localizer import Localization

DPI = 100


def new_figure(size_wh: tuple[int, int]) -> Figure:
    """An empty white figure of this size in pixels."""
    figure = Figure(figsize=(size_wh[0] / DPI, size_wh[1] / DPI), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def show_image(axis: Axes, image: LoadedImage, size_wh: tuple[int, int]) -> None:
    """Show the image at `size_wh` pixels, with axes in coordinates of its original frame."""
    height, width = image.size_hw
    show_pixels(axis, image.size_hw, resized(image.pixels, size_wh), cmap="gray", vmin=0, vmax=255)
    axis.set_xlim(0, width)
    axis.set_ylim(height, 0)
    axis.set_axis_off()


def show_pixels(
    axis: Axes, size_hw: tuple[int, int], pixels: npt.NDArray[Any], **style: Any
) -> None:
    """Show pixels of any resolution stretched over the original frame; `style` is `imshow`'s."""
    # always in the original frame, where the boxes are, whatever the number of pixels
    extent = (0, size_hw[1], size_hw[0], 0)
    axis.imshow(pixels, extent=extent, aspect="auto", interpolation="nearest", **style)


def draw_box(axis: Axes, box: Localization, colour: str, line: object) -> None:
    """Draw the box in its colour and line style, with a dark halo that shows on bright images."""
    x1, y1, x2, y2 = box.box_xyxy
    place = {"xy": (x1, y1), "width": x2 - x1, "height": y2 - y1, "fill": False}
    axis.add_patch(Rectangle(**place, edgecolor="black", linewidth=4, alpha=0.5))  # type: ignore[arg-type]
    axis.add_patch(Rectangle(**place, edgecolor=colour, linewidth=2.2, linestyle=line))  # type: ignore[arg-type]
