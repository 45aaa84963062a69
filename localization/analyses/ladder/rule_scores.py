"""Score every rule of a grid on one heat map: the boxes that it draws, matched with the truth."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from cxrloc.localization.boxes import FloatArray, box_iou_matrix
from cxrloc.localization.cam.boxes import (
    CamBoxRule,
    Corners,
    SizeRule,
    absolute_map,
    choose,
    level_boxes,
    mean_heat,
    normalise_map,
    probability_level,
)

SIZE_RULES: tuple[SizeRule, ...] = ("closest", "hottest", "largest")
THRESHOLDS = tuple(float(level) for level in range(10, 250, 10))
PROBABILITIES = (0.02, *(round(0.05 * step, 2) for step in range(1, 20)))  # of guided_cam's maps
CHOICES = tuple(CamBoxRule(size_rule=rule) for rule in SIZE_RULES)

IndexArray = npt.NDArray[np.intp]
MeanSize = tuple[float, float] | None


def level_scores(
    heat: npt.NDArray[np.float32],
    boxes_xyxy: FloatArray,
    mean_sizes_wh: Sequence[MeanSize],
    probabilities: bool = False,
) -> tuple[FloatArray, FloatArray]:
    """IoU of G boxes with each rule's choices (G, V, R, T) and with the best region (G,).

    The rule chooses as many regions as there are boxes, and they are matched one to one. The T
    levels are `THRESHOLDS` and, for a map of probabilities, `PROBABILITIES`.
    """
    levels = len(THRESHOLDS) + len(PROBABILITIES) * probabilities
    shape = (len(boxes_xyxy), len(mean_sizes_wh), len(SIZE_RULES), levels)
    iou, best = np.zeros(shape), np.zeros(len(boxes_xyxy))
    for t, (scaled, boxes) in enumerate(_regions(heat, probabilities)):
        if boxes:
            overlaps = box_iou_matrix(boxes_xyxy, boxes)
            iou[..., t] = _matched(overlaps, _choices(scaled, boxes, mean_sizes_wh, len(overlaps)))
            best = np.maximum(best, overlaps.max(axis=1))
    return iou, best


def _regions(
    heat: npt.NDArray[np.float32], probabilities: bool
) -> Iterator[tuple[npt.NDArray[np.float32], list[Corners]]]:
    """The scaled map and its regions at each level; nothing for a blank map."""
    scaled = normalise_map(heat)
    if scaled is None:
        return
    for boxes in level_boxes(scaled, THRESHOLDS):
        yield scaled, boxes
    absolute = absolute_map(heat) if probabilities else None
    if absolute is not None:
        levels = [probability_level(absolute, p) for p in PROBABILITIES]
        for boxes in level_boxes(absolute, levels):
            yield absolute, boxes


def _choices(
    scaled: npt.NDArray[np.float32],
    boxes: Sequence[Corners],
    mean_sizes_wh: Sequence[MeanSize],
    number: int,
) -> IndexArray:
    """(V, R, up to `number`) regions chosen by each size rule with each mean size."""
    if len(boxes) <= number:
        everything = np.arange(len(boxes))
        return np.broadcast_to(everything, (len(mean_sizes_wh), len(CHOICES), len(boxes)))
    corners, heats = np.array(boxes), np.array([mean_heat(scaled, box) for box in boxes])
    rows = [
        [choose(corners, heats, rule, size, number) for rule in CHOICES] for size in mean_sizes_wh
    ]
    return np.array(rows, dtype=np.intp)


def _matched(overlaps: FloatArray, choices: IndexArray) -> FloatArray:
    """IoU of G boxes with the chosen regions, matched one to one: (G, V, R); 0 without one."""
    if len(overlaps) == 1:
        return np.asarray(overlaps[:, choices[..., 0]])
    iou = np.zeros((len(overlaps), *choices.shape[:2]))
    found: dict[tuple[int, ...], FloatArray] = {}  # most rules choose the same regions
    for v, r in np.ndindex(choices.shape[:2]):
        chosen = tuple(np.sort(choices[v, r]).tolist())
        if chosen not in found:
            found[chosen] = np.zeros(len(overlaps))
            box, region = linear_sum_assignment(overlaps[:, chosen], maximize=True)
            found[chosen][box] = overlaps[:, chosen][box, region]
        iou[:, v, r] = found[chosen]
    return iou
