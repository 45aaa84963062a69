"""Extract boxes from heat maps: Deep MedIA's rule, and Wang et al.'s (2017) two-threshold rule.

A heat map is coarse (one cell per 32 pixels of network input, or 16 or 8). It is scaled to the
original image, normalised to 0..255 and thresholded; each connected region gives one candidate box.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import cv2
import numpy as np
import numpy.typing as npt

Heat = npt.NDArray[np.floating]
Corners = tuple[float, float, float, float]
ScoredBox = tuple[Corners, float]
SizeRule = Literal["closest", "hottest", "largest"]

_STRIDE = 32  # pixels of network input to a cell, usually
_CUT_OFF = 4  # standard deviations at which a Gaussian ends
_CONSTANT = 1e-5  # range / largest value below which a float32 map is constant up to rounding


@dataclass(frozen=True)
class CamBoxRule:
    """Rule that turns a heat map into boxes.

    Attributes:
        thresholds: levels on the 0..255 scale; in a region the map is strictly above the level.
        closest: number of candidates to keep, those closest in size to the disease's mean box; the
            hottest of them is returned. None returns every candidate.
        size_rule: `closest` is the choice just described; `hottest` returns the hottest of all
            candidates and `largest` the one with the largest area.
        smooth_cells: standard deviation in cells of the Gaussian that smooths the network's cells
            before scaling (see `smooth_map`); 0 leaves them unchanged.
        probability: cut a map of probabilities (guided_cam) above this one instead of at
            `thresholds`; a map that stays below is cut at half of its peak. None uses `thresholds`.

    Size is compared as the Euclidean distance between (width, height) pairs, so a long thin
    box is not close to a square one of the same area.
    """

    thresholds: tuple[float, ...] = (180.0,)
    closest: int | None = 5
    size_rule: SizeRule = "closest"
    smooth_cells: float = 0.0
    probability: float | None = None

    def __post_init__(self) -> None:
        if self.probability is not None and not 0 < self.probability < 1:
            raise ValueError(f"probability: expected None or one in (0, 1), got {self.probability}")
        if not self.thresholds or not all(0 <= t < 255 for t in self.thresholds):
            raise ValueError(
                f"thresholds: expected at least one number in [0, 255), got {self.thresholds}"
            )
        if self.closest is not None and self.closest < 1:
            raise ValueError(f"closest: expected None or at least 1, got {self.closest}")
        if self.size_rule not in get_args(SizeRule):
            rules = ", ".join(get_args(SizeRule))
            raise ValueError(f"size_rule: expected one of {rules}, got {self.size_rule!r}")
        if self.closest is None and self.size_rule != "closest":
            raise ValueError(
                f"closest: None returns every candidate, but size_rule {self.size_rule!r} one"
            )
        if not 0 <= self.smooth_cells < np.inf:
            raise ValueError(f"smooth_cells: expected at least 0, got {self.smooth_cells}")


DEEP_MEDIA = CamBoxRule(thresholds=(180.0,), closest=5)
WANG = CamBoxRule(thresholds=(60.0, 180.0), closest=None)


def boxes_from_map(
    heat: Heat,
    rule: CamBoxRule = DEEP_MEDIA,
    mean_size_wh: tuple[float, float] | None = None,
    *,
    number: int = 1,
    overwrite: bool = False,
) -> list[ScoredBox]:
    """Extract the boxes of one heat map in the frame of the original image (see `map_to_frame`).

    Args:
        heat: (H, W) map, any scale, already smoothed if the rule says so (see `smooth_map`).
        rule: thresholds and selection.
        mean_size_wh: mean width and height of the disease's boxes in pixels of this frame; None (no
            training box for the disease) skips the choice by size, so the hottest candidate wins.
        number: how many boxes a rule with `closest` returns at most.
        overwrite: see `normalise_map`.

    Returns:
        (box_xyxy, score), the rule's first choice first: the hottest unless it chooses by area. The
        score is the mean of the map on its 0..1 scale within the box; with `probability` that scale
        is the probabilities' own. A map that is all zero,
        constant or not finite gives no box.
    """
    scaled = (normalise_map if rule.probability is None else absolute_map)(
        heat, overwrite=overwrite
    )
    if scaled is None:
        return []
    levels = rule.thresholds
    if rule.probability is not None:
        levels = (probability_level(scaled, rule.probability),)
    corners = [box for level in level_boxes(scaled, levels) for box in level]
    boxes = list(dict.fromkeys(corners))  # a sharp peak can give one box at both levels
    if not boxes:
        return []
    heats = np.array([mean_heat(scaled, box) for box in boxes])
    if rule.closest is not None:
        best = choose(np.array(boxes), heats, rule, mean_size_wh, number)
        return [(boxes[i], float(heats[i])) for i in best]
    return [(boxes[i], float(heats[i])) for i in np.argsort(-heats, kind="stable")]


def choose(
    boxes_xyxy: npt.NDArray[np.float64],
    heats: npt.NDArray[np.float64],
    rule: CamBoxRule,
    mean_size_wh: tuple[float, float] | None,
    number: int = 1,
) -> list[int]:
    """Indices of the `number` candidates that the rule prefers, of N >= 1; the first among equals.

    Args:
        boxes_xyxy: (N, 4) candidates.
        heats: (N,) mean heat of each.
        rule: its size rule and `closest` (not None).
        mean_size_wh: as for `boxes_from_map`.
        number: how many at most; more than `closest` are the hottest of as many closest.
    """
    sizes = boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]
    if rule.size_rule == "largest":
        return _first(sizes[:, 0] * sizes[:, 1], number)
    if rule.size_rule == "hottest" or mean_size_wh is None:
        return _first(heats, number)
    distances = np.hypot(*(sizes - mean_size_wh).T)
    nearest = np.argsort(distances, kind="stable")[: max(rule.closest or 1, number)]
    return [int(nearest[i]) for i in _first(heats[nearest], number)]


def _first(values: npt.NDArray[np.float64], number: int) -> list[int]:
    """Indices of the highest values, in descending order; the first among equals."""
    return [int(i) for i in np.argsort(-values, kind="stable")[:number]]


def smooth_map(cells: Heat, smooth_cells: float) -> Heat:
    """Smooth the network's (h, w) cells; border cells are repeated outside."""
    if smooth_cells == 0:
        return cells
    # with OpenCV: importing scipy's filters takes longer than the prediction of an image
    kernel = cv2.getGaussianKernel(2 * int(_CUT_OFF * smooth_cells + 0.5) + 1, smooth_cells)
    smooth = cv2.sepFilter2D(
        cells.astype(np.float64), cv2.CV_64F, kernel, kernel, borderType=cv2.BORDER_REPLICATE
    )
    return np.asarray(smooth, dtype=cells.dtype)


def normalise_map(heat: Heat, *, overwrite: bool = False) -> npt.NDArray[np.float32] | None:
    """Stretch the map to 0..255, or return None if it is blank (constant, all zero, not finite).

    Args:
        heat: (H, W).
        overwrite: write into `heat`, which is float32, and spare a frame of memory.

    Raises:
        ValueError: if `heat` is not two-dimensional.
    """
    found = span(heat)
    if found is None:
        return None
    low, high = found
    scaled = np.subtract(heat, low, out=heat if overwrite else None, dtype=np.float32)
    scaled *= np.float32(255.0 / (high - low))
    return scaled


def absolute_map(heat: Heat, *, overwrite: bool = False) -> npt.NDArray[np.float32] | None:
    """Scale a map of probabilities to 0..255 without stretching; else as `normalise_map`."""
    if span(heat) is None:
        return None
    return np.multiply(heat, np.float32(255), out=heat if overwrite else None, dtype=np.float32)


def probability_level(scaled: npt.NDArray[np.float32], probability: float) -> float:
    """Level at which to cut an `absolute_map`: a probability, or half the peak if that is below."""
    peak = float(scaled.max())
    return 255 * probability if peak > 255 * probability else peak / 2


def span(heat: Heat) -> tuple[float, float] | None:
    """Least and largest value of a map (H, W), or None if it is blank."""
    if heat.ndim != 2:
        raise ValueError(f"heat: expected shape (H, W), got {heat.shape}")
    if heat.size == 0:
        return None
    low, high = float(heat.min()), float(heat.max())  # NaN anywhere makes both NaN
    if not np.isfinite([low, high]).all() or high - low <= _CONSTANT * max(abs(low), abs(high)):
        return None
    return low, high


def unit_map(heat: Heat) -> npt.NDArray[np.float32]:
    """Stretch the map to 0..1; all zero if it is blank (see `normalise_map`)."""
    scaled = normalise_map(heat)
    return np.zeros(heat.shape, np.float32) if scaled is None else scaled / np.float32(255)


def map_to_frame(
    cells: Heat, size_hw: tuple[int, int], *, aligned: bool = False
) -> npt.NDArray[np.float32]:
    """Scale a network's (h, w) map to the original image of `size_hw`, shape (H, W).

    The network saw `fit_square`: the image at the top left of a square with padding to the right
    and below. So the map covers the square over the longer side, and the part over the padding is
    cut off. Bilinear with half-pixel centres (cv2's INTER_LINEAR, torch's align_corners=False).

    Args:
        cells: the map, one cell per 32 x 32 pixels of the network's input, or finer.
        size_hw: the original frame.
        aligned: put a cell's heat at the centre of what the cell sees. The strided layers of a
            ResNet are centred on even pixels, so cell i sees the area around pixel 32 i, not
            32 i + 15.5 where scaling puts it. Without this, heat is half a cell too far right and
            down (71 px of 1024 at 224 px input, 31 at 512, 16 at 1024), as in published use. Finer
            cells go less than half a pixel of the input too far.
    """
    height, width = size_hw
    side = max(height, width)
    square = cv2.resize(
        np.ascontiguousarray(cells, dtype=np.float32), (side, side), interpolation=cv2.INTER_LINEAR
    )
    if aligned:
        down, right = (aligned_shift(side, count) for count in cells.shape)
        square = np.pad(square[down:, right:], ((0, down), (0, right)), mode="edge")
    return np.asarray(square[:height, :width], dtype=np.float32)


def aligned_shift(side: int, count: int) -> int:
    """Pixels by which `map_to_frame(aligned=True)` shifts a row of `count` cells over `side`."""
    return round((0.5 - 0.5 / _STRIDE) * side / count)


def level_boxes(scaled: npt.NDArray[np.float32], levels: Sequence[float]) -> list[list[Corners]]:
    """`region_boxes` of the 0..255 map strictly above each level."""
    return [region_boxes(scaled > np.float32(level)) for level in levels]


def region_boxes(mask: npt.NDArray[np.bool_]) -> list[Corners]:
    """Box each 8-connected region of an (H, W) mask, sorted by top, left, bottom, right.

    Pixel (row, column) covers [column, column + 1) x [row, row + 1). Contours are an order of
    magnitude faster than labelling components and give the same boxes; a region inside another's
    hole counts.
    """
    contours, hierarchy = cv2.findContours(
        np.ascontiguousarray(mask).view(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE
    )
    boxes: list[Corners] = []
    for contour, links in zip(contours, () if hierarchy is None else hierarchy[0], strict=True):
        if links[3] < 0:  # no parent: an outer border, not a hole's
            x, y, width, height = cv2.boundingRect(contour)
            boxes.append((float(x), float(y), float(x + width), float(y + height)))
    return sorted(boxes, key=lambda box: (box[1], box[0], box[3], box[2]))


def mean_heat(scaled: npt.NDArray[np.float32], box: Corners) -> float:
    """Mean of the 0..255 map within a box of whole pixels, on a 0..1 scale."""
    x1, y1, x2, y2 = map(int, box)
    return float(cv2.mean(scaled[y1:y2, x1:x2])[0]) / 255.0  # adds in float64
