"""Draw the gallery's pictures: an image with the boxes of all localizers, and its heat maps."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from cxrloc.classification.report.plots import COLOURS
from cxrloc.classification.report.tables import value_text
from cxrloc.datasets.images.read import UnreadableImageError, read_grey
from cxrloc.datasets.images.transforms import fitted, resized
from cxrloc.datasets.radiograph import LoadedImage
from cxrloc.localization.analyses.gallery.axes import draw_box, new_figure, show_image, show_pixels
from cxrloc.localization.analyses.gallery.choose import Choice, choose
from cxrloc.localization.cam.heat_maps import HeatMaps
from cxrloc.localization.evaluation.contest import twins
from cxrloc.localization.evaluation.detections import Detections
from cxrloc.localization.evaluation.evaluated import Evaluated
from cxrloc.localization.localizer import Localization
from cxrloc.localization.report.sections import Picture

Boxes = list[Localization]
_LINES: tuple[Any, ...] = ((0, (5, 2.5)), "solid", "dotted", "dashdot")
_PANEL_PX, _FOOT_PX, _LINE_PX, _HEAT_PANELS = 460, 14, 27, 2
_JPEG_QUALITY = 84


def gallery(evaluated: Evaluated) -> tuple[Picture, ...]:
    """Pictures of chosen images: each with all boxes, next to its heat maps.

    A missing or unreadable image is drawn blank, with a note. At most two heat maps of the image
    are shown.
    """
    images, inputs = evaluated.images, evaluated.inputs
    choices = choose(evaluated.comparison)
    answers = _answers(choices, inputs.predictions)
    return tuple(
        _picture(
            choice,
            inputs.image_paths.get(choice.image_id),
            images.sizes_hw[images.row_of[choice.image_id]],
            answers[i],
            inputs.maps,
            evaluated.once(twins),
        )
        for i, choice in enumerate(choices)
    )


def _answers(
    choices: Sequence[Choice], predictions: Mapping[str, Detections]
) -> list[dict[str, Boxes]]:
    """For each choice: localizer -> the boxes that answer for it, the highest score first."""
    answers: list[dict[str, Boxes]] = [{} for _ in choices]
    for i, choice in enumerate(choices):
        for name in choice.ious:
            boxes = _boxes(choice, predictions[name])
            if boxes:
                answers[i][name] = boxes
    return answers


def _boxes(choice: Choice, detections: Detections) -> Boxes:
    images = detections.truth.images
    row, column = images.row_of[choice.image_id], images.column_of[choice.disease]
    mine = (detections.image == row) & (detections.disease == column)
    at = np.flatnonzero(detections.answers & mine)
    boxes = []
    for k in at[np.argsort(detections.rank[at])].tolist():
        x1, y1, x2, y2 = detections.boxes_xyxy[k].tolist()
        score = float(detections.score[k])
        boxes.append(Localization(choice.image_id, choice.disease, (x1, y1, x2, y2), score))
    return boxes


def _picture(
    choice: Choice,
    path: Path | None,
    size_hw: tuple[int, int],
    answers: Mapping[str, Boxes],
    heat_maps: Mapping[str, HeatMaps],
    distinct: Collection[str],
) -> Picture:
    """The picture; its simple form has the boxes of `distinct` alone: twins hide one another."""
    image, missing = _image(choice.image_id, path, size_hw)
    maps = {name: heat_maps[name] for name in choice.ious if name in heat_maps}
    in_frame = {n: m.in_frame(choice.image_id, choice.disease, size_hw) for n, m in maps.items()}
    heats = {n: heat for n, heat in in_frame.items() if heat is not None}
    heats = dict(list(heats.items())[:_HEAT_PANELS])
    figure = _draw(choice, image, missing, answers, heats)
    caption, alt = _words(choice, answers, missing, list(heats))
    shown = {name: box for name, box in answers.items() if name in distinct}
    results = {name: _result(choice, answers, name) for name in choice.ious if name in distinct}
    disease = choice.disease.replace("_", " ")
    said = ", ".join(f"{name} {result}" for name, result in results.items())
    blank = f"; the frame is blank: {missing}" if missing else ""
    return Picture(
        group=choice.group,
        title=disease,
        results=results,
        simple=_jpeg(_draw_simple(choice, image, missing, shown)),
        alt=f"{disease} on {choice.image_id}: {said}{blank}.",
        full=_jpeg(figure),
        caption=caption,
        full_alt=alt,
    )


def _image(image_id: str, path: Path | None, size_hw: tuple[int, int]) -> tuple[LoadedImage, str]:
    """The image, and why it is blank (empty if it is not)."""
    blank = np.full((1, 1), 110, np.uint8)
    if path is None or not path.is_file():
        return LoadedImage(image_id, blank, size_hw), "image not on disk"
    try:
        return LoadedImage(image_id, read_grey(path), size_hw), ""
    except UnreadableImageError:
        return LoadedImage(image_id, blank, size_hw), "image not readable"


def _draw_simple(
    choice: Choice, image: LoadedImage, missing: str, answers: Mapping[str, Boxes]
) -> Figure:
    """The image and the boxes, nothing else."""
    size_wh = fitted(image.size_hw, _PANEL_PX)
    figure = new_figure(size_wh)
    axis = figure.add_axes((0, 0, 1, 1))
    show_image(axis, image, size_wh)
    _draw_boxes(axis, choice, answers)
    if missing:
        _title(axis, "", missing)
    return figure


def _draw(
    choice: Choice,
    image: LoadedImage,
    missing: str,
    answers: Mapping[str, Boxes],
    heats: Mapping[str, npt.NDArray[np.float32]],
) -> Figure:
    width, height = fitted(image.size_hw, _PANEL_PX)
    legend = (1 + len(choice.ious)) * _LINE_PX + _FOOT_PX
    size = ((1 + len(heats)) * (width + 6) - 6, height + legend)
    figure = new_figure((max(size[0], _PANEL_PX), size[1]))
    for i, (name, heat) in enumerate([("", None), *heats.items()]):
        left, wide = i * (width + 6), figure.get_figwidth() * figure.dpi
        axis = figure.add_axes((left / wide, legend / size[1], width / wide, height / size[1]))
        show_image(axis, image, (width, height))
        if heat is not None:
            shown = resized(heat, (width, height)).clip(0, 1)
            show_pixels(
                axis, image.size_hw, shown, cmap="inferno", vmin=0, vmax=1, alpha=0.6 * shown
            )
        _draw_boxes(axis, choice, {n: box for n, box in answers.items() if name in ("", n)})
        _title(axis, f"heat map of {name}" if name else choice.disease.replace("_", " "), missing)
    _draw_legend(figure, choice, answers, legend)
    return figure


def _draw_boxes(axis: Axes, choice: Choice, answers: Mapping[str, Boxes]) -> None:
    for corners in choice.boxes_xyxy:
        truth = Localization(choice.image_id, choice.disease, corners, 1.0)
        draw_box(axis, truth, "white", "solid")
    for name, boxes in answers.items():
        for box in boxes:
            draw_box(axis, box, *_style(choice, name))


def _style(choice: Choice, name: str) -> tuple[str, Any]:
    i = list(choice.ious).index(name)
    return COLOURS[i % len(COLOURS)], _LINES[i % len(_LINES)]


def _title(axis: Axes, title: str, missing: str) -> None:
    style = {"color": "white", "transform": axis.transAxes, "ha": "left", "va": "top"}
    box = {"facecolor": "black", "alpha": 0.7, "edgecolor": "none", "pad": 3}
    if title:
        axis.text(0.02, 0.985, title, fontsize=13, bbox=box, **style)  # type: ignore[arg-type]
    if missing:
        axis.text(0.02, 0.08, missing, fontsize=13, bbox=box, **style)  # type: ignore[arg-type]


def _draw_legend(
    figure: Figure, choice: Choice, answers: Mapping[str, Boxes], height_px: int
) -> None:
    wide, high = figure.get_size_inches() * figure.dpi
    lines: list[tuple[str, str, Any]] = [("ground truth (white)", "white", "solid")]
    lines += [(_said(choice, answers, name), *_style(choice, name)) for name in choice.ious]
    for i, (text, colour, line) in enumerate(lines):
        y = (height_px - _FOOT_PX / 2 - (i + 0.5) * _LINE_PX) / high
        figure.add_artist(Line2D([8 / wide, 58 / wide], [y, y], color="#333333", linewidth=6))
        figure.add_artist(
            Line2D([8 / wide, 58 / wide], [y, y], color=colour, linewidth=3, linestyle=line)
        )
        figure.text(70 / wide, y, text, fontsize=13.5, va="center")


def _said(choice: Choice, answers: Mapping[str, Boxes], name: str) -> str:
    if name not in answers:
        return f"{name}: no box, IoU 0"
    score, several = value_text(answers[name][0].score), len(choice.boxes_xyxy) > 1
    return f"{name}: {_result(choice, answers, name)}, {'highest ' * several}score {score}"


def _result(choice: Choice, answers: Mapping[str, Boxes], name: str) -> str:
    if name not in answers:
        return "no box"
    text, boxes = f"IoU {value_text(choice.ious[name])}", len(choice.boxes_xyxy)
    return text if boxes == 1 else f"mean {text} of {boxes} boxes"


def _words(
    choice: Choice, answers: Mapping[str, Boxes], missing: str, heats: Sequence[str]
) -> tuple[str, str]:
    """Caption and alternative text."""
    results = "; ".join(_said(choice, answers, name) for name in choice.ious)
    disease = choice.disease.replace("_", " ")
    caption = f"{disease} on {choice.image_id}. {results}"
    heat_text = f" Next to it the heat map of {' and of '.join(heats)}." if heats else ""
    blank = f" The frame is blank: {missing}." if missing else ""
    boxes = [("ground truth", corners) for corners in choice.boxes_xyxy]
    boxes += [(name, box.box_xyxy) for name, of_name in answers.items() for box in of_name]
    places = "; ".join(f"{n} {', '.join(f'{v:.0f}' for v in box)}" for n, box in boxes)
    alt = (
        f"Chest image {choice.image_id} with boxes of {disease} (left, top, right, bottom in "
        f"pixels): {places}. {results}.{heat_text}{blank}"
    )
    return caption + (f". {missing[:1].upper()}{missing[1:]}" if missing else ""), alt


def _jpeg(figure: Figure) -> bytes:
    figure.canvas.draw()
    rgba = np.asarray(figure.canvas.buffer_rgba())  # type: ignore[attr-defined]
    bgr = cv2.cvtColor(rgba, cv2.COLOR_RGBA2BGR)
    done, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    assert done, "OpenCV writes JPEG"
    return bytes(data.tobytes())
