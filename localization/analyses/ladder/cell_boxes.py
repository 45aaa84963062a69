"""Compute the limit set by a heat map's grid: the best box with sides between cells."""

from __future__ import annotations

from itertools import product

import numpy as np

from cxrloc.localization.boxes import FloatArray, iou
from cxrloc.localization.cam.boxes import aligned_shift


def best_cell_iou(
    box_xyxy: FloatArray, size_hw: tuple[int, int], grid_hw: tuple[int, int], *, aligned: bool
) -> float:
    """Best IoU of a box (4,) with any box whose sides lie on the map's grid in the frame.

    Sixteen candidates contain the best box. Fix three sides of a box P that meets G and move the
    fourth, say its left side. Left of G's, moving it outward only adds to the union, so the nearest
    line outside G is best. Within G, let the overlap I be w wide and a high and P be b >= a high.
    Moving it inward by d gives IoU = (I - a d) / (U - (b - a) d), which falls with d if
    I (b - a) < a U, that is w (b - a) < U. Since U = |P| + |G| - I >= w b + |G| - w a, it falls:
    the nearest line within G is best. So each side of the best box is one of two lines.
    """
    side = max(size_hw)
    ys = cell_lines(grid_hw[0], side, size_hw[0], aligned=aligned)
    xs = cell_lines(grid_hw[1], side, size_hw[1], aligned=aligned)
    lines = [_around(grid, at) for grid, at in zip((xs, ys, xs, ys), box_xyxy, strict=True)]
    candidates = np.array(list(product(*lines)))  # inverted ones have IoU 0
    return float(iou(candidates, np.tile(box_xyxy, (len(candidates), 1))).max())


def cell_lines(cells: int, side: int, extent: int, *, aligned: bool) -> FloatArray:
    """Borders of a row of cells in pixels of the frame, placed as in `map_to_frame`.

    Args:
        cells: number of cells over `side`.
        side: longer side of the frame, covered by the map.
        extent: size of the frame in this direction; lines beyond are clipped to it.
        aligned: shift the cells; the last one extends to the border.
    """
    lines = np.arange(cells + 1) * (side / cells)
    if aligned:
        lines[:-1] -= aligned_shift(side, cells)
    return np.unique(np.clip(lines, 0, extent))


def _around(lines: FloatArray, at: float) -> tuple[float, float]:
    """The last line at or before a coordinate, and the first at or after it."""
    last = len(lines) - 1
    before = min(max(int(np.searchsorted(lines, at, "right")) - 1, 0), last)
    after = min(int(np.searchsorted(lines, at, "left")), last)
    return float(lines[before]), float(lines[after])
