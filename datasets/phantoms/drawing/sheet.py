"""Provide the sheet on which findings are drawn, and find free room on it.

All signs live on a fixed sheet of 512 x 512 pixels that shows the 1024 frame, so an image's boxes
do not depend on the size at which it is written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from cxrloc.datasets.phantoms.drawing.canvas import FRAME, Array, Canvas, Points
from cxrloc.datasets.phantoms.drawing.chest_anatomy import LEFT, RIGHT, Anatomy
from cxrloc.datasets.phantoms.drawing.statistics import BOX_STATISTICS

SHEET = 512
UNIT = FRAME / SHEET
Rectangle = tuple[float, float, float, float]
FLAT = Canvas(SHEET, np.array([[1.0, 0, 0], [0, 1, 0]]))  # the sheet itself, without a pose


@dataclass(frozen=True)
class Sign:
    """One drawn finding on the sheet.

    Attributes:
        added: attenuation to add (negative: more air), (512, 512).
        extent: strength of the sign at each pixel, 0..1; the box is tight around `extent` > 0.3.
        markings_gone: missing share of the lung's vessels (pneumothorax), or None.
        level: for fluid: attenuation to which `added` (then a share) raises the image, so that the
            borders of heart and diaphragm vanish; None for all other signs.
    """

    added: Array
    extent: Array
    markings_gone: Array | None = None
    level: float | None = None

    def onto(self, depth: Array) -> Array:
        """Add this sign to an image's attenuation `depth` (size, size)."""
        added = resized(self.added, len(depth))
        if self.level is None:
            return np.maximum(depth + added, 0)
        return np.asarray(depth + added * np.maximum(self.level - depth, 0), np.float32)

    def box(self) -> Rectangle:
        """Box xyxy in the 1024 frame around the drawn pixels."""
        seen = self.extent > 0.3
        columns, rows = np.flatnonzero(seen.any(axis=0)), np.flatnonzero(seen.any(axis=1))
        x1, x2 = columns[0] * UNIT, (columns[-1] + 1) * UNIT
        y1, y2 = rows[0] * UNIT, (rows[-1] + 1) * UNIT
        return float(x1), float(y1), float(x2), float(y2)


def resized(field: Array, size: int) -> Array:
    """Resize a field of the sheet to another image size."""
    if size == len(field):
        return field
    how = cv2.INTER_AREA if size < len(field) else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(field, (size, size), interpolation=how), np.float32)


@dataclass(frozen=True)
class Lungs:
    """The part of each lung not covered by the heart: soft masks (512, 512) by side."""

    masks: Mapping[int, Array]

    @classmethod
    def of(cls, anatomy: Anatomy, pose: Points) -> Lungs:
        """The lungs of a chest in an image's pose."""
        canvas = Canvas(SHEET, pose)
        heart = canvas.fill([anatomy.heart()], blur=2)
        return cls({s: canvas.fill([anatomy.lung(s)], 2) * (1 - heart) for s in (RIGHT, LEFT)})

    @property
    def both(self) -> Array:
        """Mask of both sides together."""
        return np.maximum(self.masks[RIGHT], self.masks[LEFT])

    def bounds(self, side: int) -> Rectangle:
        """Box xyxy of one side."""
        return Sign(self.masks[side], self.masks[side]).box()


def free_side(taken: Sequence[Rectangle], rng: np.random.Generator) -> int:
    """A side without any drawing yet; if there is none, either side."""
    free = [
        side
        for side in (RIGHT, LEFT)
        if not any((box[0] + box[2] < FRAME) == (side == RIGHT) for box in taken)
    ]
    return int(rng.choice(free or (RIGHT, LEFT)))


def place(
    disease: str,
    lungs: Lungs,
    size: tuple[float, float],
    taken: Sequence[Rectangle],
    rng: np.random.Generator,
) -> Rectangle:
    """Of 40 random rectangles of about `size`, the one with the most visible free lung.

    Heights follow NIH. Both sides have an equal chance, although the heart leaves less of the left
    lung: the other side is tried only if the first has little room.
    """
    free = (lungs.both > 0.5).astype(np.uint8)
    for x1, y1, x2, y2 in taken:
        free[int(y1 / UNIT) : int(y2 / UNIT), int(x1 / UNIT) : int(x2 / UNIT)] = 0
    area = np.asarray(cv2.integral(free), np.int32)
    best, best_share = (0.0, 0.0, 0.0, 0.0), -1.0
    first = int(rng.choice((RIGHT, LEFT)))
    for attempt in range(40):
        if attempt == 30 and best_share > 0.6:
            break
        side = first if attempt < 30 else -first
        shrink = 1 - 0.2 * (attempt % 30) / 30
        rectangle = _candidate(disease, lungs, side, (size[0] * shrink, size[1] * shrink), rng)
        share = _share(area, rectangle)
        if share > best_share:
            best, best_share = rectangle, share
        if share > 0.9:
            break
    return best


def _candidate(
    disease: str, lungs: Lungs, side: int, size: tuple[float, float], rng: np.random.Generator
) -> Rectangle:
    width, height = size
    left, top, right, bottom = lungs.bounds(side)
    centre_y = rng.normal(*BOX_STATISTICS[disease].centre_y)
    y = float(np.clip(centre_y - height / 2, top + 25, max(top + 25, bottom - 110 - height)))
    row = np.flatnonzero(lungs.masks[side][int((y + height / 2) / UNIT)] > 0.5) * UNIT
    if len(row):
        left, right = float(row[0]), float(row[-1])
    width = min(width, right - left)
    x = float(rng.uniform(left, right - width))
    return x, y, x + width, y + height


def _share(area: npt.NDArray[np.int32], rectangle: Rectangle) -> float:
    x1, y1, x2, y2 = (int(np.clip(value / UNIT, 0, SHEET)) for value in rectangle)
    seen = float(area[y2, x2]) - float(area[y1, x2]) - float(area[y2, x1]) + float(area[y1, x1])
    return seen / max((x2 - x1) * (y2 - y1), 1)
