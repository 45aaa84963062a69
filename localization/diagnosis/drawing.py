"""Draw the pictures of one image: the localizers' boxes, the gate's findings and the heat maps.

The image has the same drawn size at any resolution, so lines and text stay legible.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache

import cv2
import numpy as np
import numpy.typing as npt

from cxrloc.datasets.files.manifest import RESEARCH_USE
from cxrloc.datasets.images.transforms import fitted, resized
from cxrloc.datasets.radiograph import LoadedImage
from cxrloc.localization.cam.heat_maps import FrameMaps
from cxrloc.localization.diagnosis.canvas import (
    BLACK,
    WHITE,
    Canvas,
    Line,
    Pixels,
    Place,
    grey_picture,
    rgb,
    shortened,
    text_width,
)
from cxrloc.localization.diagnosis.diagnoser import Diagnosis, Finding
from cxrloc.localization.localizer import Localization

_IMAGE_PX, _PANEL_PX = 1024, 530  # NIH's images are not scaled
# half of NIH's 1,024 px: averages four pixels to one, 50 times faster than a side of 520
_HEAT_PX, _HEAT_TITLE_PX, _HEAT_MIN_PX = 512, 220, 600
_HEAT_ALPHA = 0.65  # of the hottest cell
# Okabe and Ito; the line style is a second cue for readers who cannot tell the colours apart
_STYLES: tuple[tuple[str, Line], ...] = (
    ("#E69F00", "dashed"),
    ("#56B4E9", "solid"),
    ("#009E73", "dotted"),
)
BOX_COLOURS = tuple(colour for colour, _ in _STYLES)  # for the first, second, third localizer
_LABEL_SIZE = 15
_GREY, _RED = rgb("#555555"), rgb("#b00020")
_NOTHING = "No disease passed the gate: no boxes"
_NO_MAP = "No disease passed the gate: no heat map"


def draw_boxes(image: LoadedImage, diagnosis: Diagnosis) -> Canvas:
    """Draw the image with each localizer's strongest box of each present disease, and findings."""
    width, height = fitted(image.size_hw, _IMAGE_PX)
    canvas = Canvas(width + _PANEL_PX, max(height, 760))
    canvas.paste(grey_picture(image.pixels, (width, height)), 0, 0)
    styles = list(zip(_STYLES, diagnosis.boxes, strict=False))
    for (colour, line), name in styles:
        for box in diagnosis.best(name).values():
            canvas.box(_placed(box, image, width), rgb(colour), line)
    labels: list[Place] = []
    for (colour, _), name in styles:
        for box in diagnosis.best(name).values():
            labels.append(_draw_label(canvas, box, colour, image, (width, height), labels))
    if not diagnosis.present:
        _say(canvas, _NOTHING, Place(0, 0, width, height))
    _draw_panel(canvas, diagnosis, width)
    return canvas


def draw_heat_maps(image: LoadedImage, diagnosis: Diagnosis) -> Canvas:
    """Draw one panel per present disease: its map over the image, and the best Grad-CAM box."""
    diseases = list(diagnosis.heat_maps)
    columns = min(4, max(1, len(diseases)))
    rows = max(1, math.ceil(len(diseases) / columns))
    width, height = fitted(image.size_hw, _HEAT_PX)
    head, foot, gap = 46, 76, 34
    cell = max(width, _HEAT_TITLE_PX) + 12  # a narrow image needs room for its title
    size = (max(columns * cell + 12, _HEAT_MIN_PX), head + rows * (height + gap) + foot)
    canvas = Canvas(*size)
    small = grey_picture(image.pixels, (width, height))
    for i in range(max(1, len(diseases))):
        left = 12 + (i % columns) * cell + (cell - 12 - width) // 2
        top = head + gap + (i // columns) * (height + gap)
        panel = Place(left, top, left + width, top + height)
        if diseases:
            _draw_heat(canvas, small, diagnosis, diseases[i], panel)
        else:
            canvas.paste(small, left, top)
            _say(canvas, _NO_MAP, panel)
    _draw_heat_legend(canvas, diagnosis, size)
    return canvas


def _placed(
    box: Localization, image: LoadedImage, width: int, left: int = 0, top: int = 0
) -> Place:
    """Place of the box on an image drawn `width` pixels wide at (left, top)."""
    x1, y1, x2, y2 = (v * width / image.size_hw[1] for v in box.box_xyxy)
    return Place(left + x1, top + y1, left + x2, top + y2)


def _say(canvas: Canvas, text: str, panel: Place) -> None:
    middle, y = (panel.left + panel.right) / 2, panel.bottom - 34
    size = 20
    while size > 8 and text_width(text, size) > panel.right - panel.left - 20:
        size -= 1
    half = text_width(text, size) / 2 + 8
    canvas.fill(Place(middle - half, y - 20, middle + half, y + 20), BLACK, 0.75)
    canvas.text(middle, y, text, size, WHITE, anchor="middle")


def _draw_label(
    canvas: Canvas,
    box: Localization,
    colour: str,
    image: LoadedImage,
    image_wh: tuple[int, int],
    taken: Sequence[Place],
) -> Place:
    name, score = box.disease.replace("_", " "), f" {box.score:.2f}"
    room = image_wh[0] - 14 - text_width(score, _LABEL_SIZE, bold=True)
    text = shortened(name, _LABEL_SIZE, room, bold=True) + score
    wide, high = text_width(text, _LABEL_SIZE, bold=True) + 10, _LABEL_SIZE + 9
    spots = _spots(_placed(box, image, image_wh[0]), wide, high, image_wh)
    spot = min(spots, key=lambda s: sum(s.overlap(other) for other in taken))
    canvas.fill(spot, rgb(colour), 0.9)
    middle = (spot.top + spot.bottom) / 2
    canvas.text(spot.left + 5, middle, text, _LABEL_SIZE, bold=True)
    return spot


def _spots(box: Place, wide: float, high: float, image_wh: tuple[int, int]) -> list[Place]:
    """Places for a label, best first: outside the box's corners, then inside, then further off."""
    x1, y1, x2, y2 = box.left, box.top, box.right, box.bottom
    corners = [(x1, y1 - high), (x1, y2), (x2 - wide, y1 - high), (x2 - wide, y2)]
    corners += [(x1, y1), (x1, y2 - high), (x2 - wide, y1), (x2 - wide, y2 - high)]
    corners += [(x1, y1 - 2 * high), (x1, y2 + high), (x2, y1), (x1 - wide, y1)]
    spots = []
    for x, y in corners:
        left = max(min(x, image_wh[0] - wide - 2), 2.0)
        top = max(min(y, image_wh[1] - high - 2), 2.0)
        spots.append(Place(left, top, left + wide, top + high))
    return spots


def _draw_panel(canvas: Canvas, diagnosis: Diagnosis, left: int) -> None:
    height = len(canvas.pixels)
    name = shortened(diagnosis.image_id, 18, _PANEL_PX - 36, bold=True)
    canvas.text(left + 24, 34, name, 18, bold=True)
    count = f"{len(diagnosis.present)} of {len(diagnosis.findings)} diseases pass the gate"
    canvas.text(left + 24, 62, count, 17)
    for x, title in ((24, "disease"), (290, "probability"), (436, "threshold")):
        canvas.text(left + x, 104, title, 15, _GREY)
    step = min(34.0, (height - 330) / len(diagnosis.findings))
    for i, finding in enumerate(diagnosis.findings):
        _draw_finding(canvas, finding, left, 134 + i * step)
    _draw_legend(canvas, diagnosis, left, 134 + len(diagnosis.findings) * step + 14)
    canvas.text(left + 24, height - 24, RESEARCH_USE, 17, _RED, bold=True)


def _draw_finding(canvas: Canvas, finding: Finding, left: int, y: float) -> None:
    colour = BLACK if finding.present else rgb("#666666")
    mark = "present" if finding.present else ""
    threshold = "none" if finding.threshold is None else f"{finding.threshold:.2f}"
    name = finding.disease.replace("_", " ")
    name = shortened(name, 16, 176 if mark else 258, bold=finding.present)
    cells = (24, name), (204, mark), (436, threshold)
    for x, text in (*cells, (290, f"{finding.probability:.2f}")):
        if text:
            canvas.text(left + x, y, text, 16, colour, bold=finding.present)
    x = left + 350
    canvas.fill(Place(x, y - 5, x + 70, y + 5), rgb("#e4e4e4"))
    bar = rgb("#222222") if finding.present else rgb("#9a9a9a")
    canvas.fill(Place(x, y - 5, x + 70 * finding.probability, y + 5), bar)
    if finding.threshold is not None:
        at = x + 70 * finding.threshold
        canvas.fill(Place(at - 1, y - 9, at + 1, y + 9), _RED)


def _draw_legend(canvas: Canvas, diagnosis: Diagnosis, left: int, y: float) -> None:
    canvas.text(left + 24, y, "strongest box per disease, with its score", 15, _GREY)
    for (colour, line), name in zip(_STYLES, diagnosis.boxes, strict=False):
        y += 28
        canvas.line((left + 24, y), (left + 84, y), rgb(colour), line)
        canvas.text(left + 96, y, shortened(name, 16, _PANEL_PX - 108), 16)
        missing = [d for d in diagnosis.present if d not in diagnosis.best(name)]
        if missing:
            y += 20
            absent = shortened(f"no box: {', '.join(missing)}", 13, _PANEL_PX - 108)
            canvas.text(left + 96, y, absent, 13, _GREY)


def _draw_heat(
    canvas: Canvas, small: Pixels, diagnosis: Diagnosis, disease: str, panel: Place
) -> None:
    size_wh = small.shape[1], small.shape[0]
    heat = fitted_heat(diagnosis, disease, size_wh)
    canvas.paste(_warmed(small, heat), int(panel.left), int(panel.top))
    finding = next(f for f in diagnosis.findings if f.disease == disease)
    middle = (panel.left + panel.right) / 2
    probability = f"  {finding.probability:.2f}"
    room = max(size_wh[0], _HEAT_TITLE_PX) - text_width(probability, 17)
    title = shortened(disease.replace("_", " "), 17, room) + probability
    canvas.text(middle, panel.top - 13, title, 17, anchor="middle")
    cam = next(iter(diagnosis.boxes))
    if disease in diagnosis.best(cam):
        image = LoadedImage(diagnosis.image_id, small[:, :, 0], diagnosis.size_hw)
        box = diagnosis.best(cam)[disease]
        colour, line = _STYLES[0]
        place = _placed(box, image, size_wh[0], int(panel.left), int(panel.top))
        canvas.box(place, rgb(colour), line)
    else:
        none = shortened(f"no box of {cam}", 14, size_wh[0] - 12)
        canvas.text(middle, panel.bottom - 20, none, 14, WHITE, anchor="middle")


def fitted_heat(
    diagnosis: Diagnosis, disease: str, size_wh: tuple[int, int]
) -> npt.NDArray[np.float32]:
    """Fit a present disease's map in 0..1 to a picture of `size_wh` and the image's shape."""
    maps = diagnosis.heat_maps
    if isinstance(maps, FrameMaps):  # directly from the cells, not through the image's full size
        return maps.fitted(disease, size_wh)
    return np.asarray(resized(maps[disease], size_wh).clip(0, 1), dtype=np.float32)


def _warmed(image_rgb: Pixels, heat: npt.NDArray[np.float32]) -> Pixels:
    """Blend the heat's colours over the image, stronger if hotter."""
    colours, share = _heat_colours()
    levels = cv2.convertScaleAbs(heat, alpha=255)
    image_share = cv2.cvtColor(cv2.LUT(levels, share), cv2.COLOR_GRAY2RGB)
    mixed = cv2.multiply(image_rgb, image_share, scale=1 / 255)
    return np.asarray(cv2.add(cv2.applyColorMap(levels, colours), mixed), dtype=np.uint8)


@cache
def _heat_colours() -> tuple[Pixels, Pixels]:
    """Colours to add at each of 256 levels, (256, 1, 3), and the remaining share of the image."""
    levels = np.arange(256, dtype=np.uint8)[:, None]
    colours = cv2.applyColorMap(levels, cv2.COLORMAP_INFERNO)[:, :, ::-1]
    alpha = _HEAT_ALPHA * levels / 255
    over, under = np.rint(colours * alpha[:, :, None]), np.rint(255 * (1 - alpha))
    return over.astype(np.uint8), under.astype(np.uint8)


def _draw_heat_legend(canvas: Canvas, diagnosis: Diagnosis, size_wh: tuple[int, int]) -> None:
    name = shortened(diagnosis.image_id, 18, size_wh[0] - 24, bold=True)
    canvas.text(12, 22, name, 18, bold=True)
    if diagnosis.heat_maps:
        cam = next(iter(diagnosis.boxes))
        text = f"heat: map of {cam}, 0 to 1 of its own maximum; dashed: its box"
        canvas.text(12, size_wh[1] - 52, shortened(text, 13, size_wh[0] - 24), 13)
    canvas.text(12, size_wh[1] - 22, RESEARCH_USE, 17, _RED, bold=True)
