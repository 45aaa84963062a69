"""The phantom's eight diseases, drawn as their radiographic signs into the visible lung of one film.

All signs live on a fixed sheet of 512 x 512 pixels that shows the 1024 frame, so that a film's boxes are the
same whatever size its image is written at.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from cxrloc.datasets.phantom_anatomy import LEFT, RIGHT, Anatomy
from cxrloc.datasets.phantom_canvas import FRAME, Array, Canvas, smooth_noise
from cxrloc.datasets.phantom_statistics import BOX_STATISTICS, sample_size

SHEET = 512
UNIT = FRAME / SHEET
Rectangle = tuple[float, float, float, float]
_FLAT = np.array([[1.0, 0, 0], [0, 1, 0]])
_X, _Y = Canvas(SHEET, _FLAT).grid()  # frame coordinates of the sheet's pixels


@dataclass(frozen=True)
class Sign:
    """One drawn finding on the sheet.

    Attributes:
        added: attenuation to add (negative: more air), (512, 512).
        extent: how much of the sign is at a pixel, 0..1; the box is drawn tight around `extent` > 0.3.
        airless: share of the lung's markings that is gone (pneumothorax), or None.
    """

    added: Array
    extent: Array
    airless: Array | None = None

    def box(self) -> Rectangle:
        """Box xyxy in the 1024 frame around what was drawn."""
        seen = self.extent > 0.3
        columns, rows = np.flatnonzero(seen.any(axis=0)), np.flatnonzero(seen.any(axis=1))
        x1, x2 = columns[0] * UNIT, (columns[-1] + 1) * UNIT
        y1, y2 = rows[0] * UNIT, (rows[-1] + 1) * UNIT
        return float(x1), float(y1), float(x2), float(y2)


@dataclass(frozen=True)
class Lungs:
    """What of each lung is seen beside the heart: soft masks (512, 512) by side."""

    masks: Mapping[int, Array]

    @classmethod
    def of(cls, anatomy: Anatomy, pose: Array) -> Lungs:
        canvas = Canvas(SHEET, np.asarray(pose, np.float64))
        heart = canvas.fill([anatomy.heart()], blur=2)
        return cls({s: canvas.fill([anatomy.lung(s)], 2) * (1 - heart) for s in (RIGHT, LEFT)})

    @property
    def both(self) -> Array:
        """Mask of the two sides together."""
        return np.maximum(self.masks[RIGHT], self.masks[LEFT])

    def bounds(self, side: int) -> Rectangle:
        """Box xyxy of one side."""
        return Sign(self.masks[side], self.masks[side]).box()


def draw_sign(
    disease: str, lungs: Lungs, taken: Sequence[Rectangle], rng: np.random.Generator
) -> Sign:
    """Draw one finding (any but Cardiomegaly, which is the heart itself).

    Args:
        taken: boxes already on the film, to be kept clear of where there is room.
    """
    size = sample_size(rng, disease)
    if disease in _FIXED:
        return _FIXED[disease](lungs, _free_side(lungs, taken, rng), size, rng)
    return _PLACED[disease](lungs, _place(disease, lungs, size, taken, rng), rng)


def heart_size(
    anatomy: Anatomy, rng: np.random.Generator
) -> tuple[float, float]:
    """Width and height of an enlarged heart: cardiothoracic ratio over 0.54 (healthy: under 0.47)."""
    width, height = sample_size(rng, "Cardiomegaly")
    thorax = 2 * anatomy.half_width
    width = float(np.clip(width, 0.55 * thorax, 0.74 * thorax))
    return width, float(np.clip(height, 0.68 * width, 0.95 * width))


def _free_side(lungs: Lungs, taken: Sequence[Rectangle], rng: np.random.Generator) -> int:
    free = [
        side
        for side in (RIGHT, LEFT)
        if not any((box[0] + box[2] < FRAME) == (side == RIGHT) for box in taken)
    ]
    return int(rng.choice(free or (RIGHT, LEFT)))


def _place(
    disease: str,
    lungs: Lungs,
    size: tuple[float, float],
    taken: Sequence[Rectangle],
    rng: np.random.Generator,
) -> Rectangle:
    """Rectangle of about `size` with the most visible free lung, of 40 drawn; height as in NIH."""
    free = (lungs.both > 0.5).astype(np.uint8)
    for x1, y1, x2, y2 in taken:
        free[int(y1 / UNIT) : int(y2 / UNIT), int(x1 / UNIT) : int(x2 / UNIT)] = 0
    area = cv2.integral(free)
    best, best_share = (0.0, 0.0, 0.0, 0.0), -1.0
    for attempt in range(40):
        shrink = 1 - 0.2 * attempt / 40
        rectangle = _candidate(disease, lungs, size[0] * shrink, size[1] * shrink, rng)
        share = _share(area, rectangle)
        if share > best_share:
            best, best_share = rectangle, share
        if share > 0.9:
            break
    return best


def _candidate(
    disease: str, lungs: Lungs, width: float, height: float, rng: np.random.Generator
) -> Rectangle:
    side = int(rng.choice((RIGHT, LEFT)))
    left, top, right, bottom = lungs.bounds(side)
    centre_y = rng.normal(*BOX_STATISTICS[disease].centre_y)
    y = float(np.clip(centre_y - height / 2, top + 25, max(top + 25, bottom - 110 - height)))
    row = np.flatnonzero(lungs.masks[side][int((y + height / 2) / UNIT)] > 0.5) * UNIT
    if len(row):
        left, right = float(row[0]), float(row[-1])
    width = min(width, right - left)
    x = float(rng.uniform(left, right - width))
    return x, y, x + width, y + height


def _share(area: Array, rectangle: Rectangle) -> float:
    x1, y1, x2, y2 = (int(np.clip(value / UNIT, 0, SHEET)) for value in rectangle)
    seen = float(area[y2, x2]) - float(area[y1, x2]) - float(area[y2, x1]) + float(area[y1, x1])
    return seen / max((x2 - x1) * (y2 - y1), 1)


def _radius(rectangle: Rectangle, power: float = 2.0) -> Array:
    """Distance from the rectangle's centre, 1 on the (super)ellipse that fills it."""
    x1, y1, x2, y2 = rectangle
    u = np.abs((_X - (x1 + x2) / 2) / ((x2 - x1) / 2))
    v = np.abs((_Y - (y1 + y2) / 2) / ((y2 - y1) / 2))
    return np.asarray((u**power + v**power) ** (1 / power), np.float32)


def _step(field: Array, width: float) -> Array:
    """Smooth step from 0 to 1 around 0, over `width` to either side."""
    t = np.clip(field / (2 * width) + 0.5, 0, 1)
    return np.asarray(t * t * (3 - 2 * t), np.float32)


def _round(lungs: Lungs, where: Rectangle, rng: np.random.Generator, strength: float) -> Sign:
    x1, y1, x2, y2 = where
    angle = np.arctan2(_Y - (y1 + y2) / 2, _X - (x1 + x2) / 2)
    lobes = sum(
        rng.uniform(0, 0.05) * np.cos(k * angle + rng.uniform(0, 2 * np.pi)) for k in (2, 3, 4, 5)
    )
    q = _radius(where) * (1 + lobes)
    extent = _step(1 - q, 0.10) * lungs.both
    ball = np.sqrt(np.clip(1.05 - q**2, 0, 1))  # a sphere is thickest in its middle
    return Sign(strength * extent * (0.55 + 0.45 * ball), extent)


def _nodule(lungs: Lungs, where: Rectangle, rng: np.random.Generator) -> Sign:
    return _round(lungs, where, rng, float(rng.uniform(0.50, 0.70)))


def _mass(lungs: Lungs, where: Rectangle, rng: np.random.Generator) -> Sign:
    return _round(lungs, where, rng, float(rng.uniform(0.60, 0.85)))


def _infiltration(lungs: Lungs, where: Rectangle, rng: np.random.Generator) -> Sign:
    """Hazy, ill-defined, mottled; vessels stay visible through it."""
    q = _radius(where, 2.4) + 0.10 * smooth_noise(rng, 14, SHEET)
    extent = _step(0.93 - q, 0.30) * lungs.both
    grain = smooth_noise(rng, 90, SHEET) + 0.7 * smooth_noise(rng, 45, SHEET)
    texture = 0.62 + 0.38 * np.tanh(1.2 * grain)
    return Sign(float(rng.uniform(0.34, 0.46)) * extent * texture, extent)


def _pneumonia(lungs: Lungs, where: Rectangle, rng: np.random.Generator) -> Sign:
    """Dense lobar consolidation: one straight border at the fissure, air-filled bronchi inside."""
    x1, y1, x2, y2 = where
    q = _radius(where, 3.2) + 0.07 * smooth_noise(rng, 18, SHEET)
    body = _step(1 - q, 0.12)
    slope, upper = rng.uniform(-0.25, 0.25), rng.random() < 0.5
    edge = (_Y - (y1 + 10 if upper else y2 - 10)) - slope * (_X - (x1 + x2) / 2)
    extent = body * _step(edge if upper else -edge, 7) * lungs.both
    patches = 0.86 + 0.14 * smooth_noise(rng, 22, SHEET)
    airways = Canvas(SHEET, _FLAT).strokes(_bronchi(where, rng), blur=2.0)
    strength = float(rng.uniform(0.66, 0.86))
    return Sign(strength * extent * np.clip(patches, 0.5, 1.1) * (1 - 0.62 * airways), extent)


def _bronchi(
    where: Rectangle, rng: np.random.Generator
) -> list[tuple[np.ndarray[tuple[int, ...], np.dtype[np.float64]], float, float]]:
    x1, y1, x2, y2 = where
    inner, outer = (x2, x1) if x1 + x2 < FRAME else (x1, x2)
    root = np.array([inner + 0.15 * (outer - inner), y1 + rng.uniform(0.3, 0.6) * (y2 - y1)])
    lines = []
    for target in np.linspace(0.15, 0.85, int(rng.integers(3, 6))):
        tip = np.array([inner + rng.uniform(0.65, 0.9) * (outer - inner), y1 + target * (y2 - y1)])
        knee = root + 0.5 * (tip - root) + rng.normal(0, 8, 2)
        side = knee + 0.8 * (tip - knee)[::-1] * [1, -0.5]
        lines += [(np.stack([root, knee, tip]), 13.0, 1.0), (np.stack([knee, side]), 9.0, 0.8)]
    return lines


def _atelectasis(lungs: Lungs, where: Rectangle, rng: np.random.Generator) -> Sign:
    """One to three plate-like bands across the rectangle, a little haze between them."""
    x1, y1, x2, y2 = where
    width, height = x2 - x1, y2 - y1
    number = 1 if height < 0.55 * width else int(rng.integers(2, 4))
    thickness = float(rng.uniform(17, 26))
    rise = (height if number == 1 else min(0.45 * height, 0.4 * width)) - thickness
    up = 1 if rng.random() < 0.5 else -1
    t = np.linspace(0, 1, 16)
    lines = []
    for middle in np.linspace(y1 + (rise + thickness) / 2, y2 - (rise + thickness) / 2, number):
        y = middle + up * rise * (t - 0.5) + rng.uniform(-0.05, 0.05) * width * np.sin(np.pi * t)
        ends = rng.uniform(0, 0.1, 2) * width if number > 1 else (0.0, 0.0)
        x = x1 + ends[0] + t * (width - ends[0] - ends[1])
        lines.append((np.stack([x, y], axis=1), thickness, 1.0))
    extent = Canvas(SHEET, _FLAT).strokes(lines, blur=2.5) * lungs.both
    haze = _step(0.9 - _radius(where, 2.5), 0.3) * lungs.both
    return Sign(float(rng.uniform(0.55, 0.75)) * extent + 0.10 * haze, extent)


def _effusion(
    lungs: Lungs, side: int, size: tuple[float, float], rng: np.random.Generator
) -> Sign:
    """Fluid that fills the costophrenic angle; its surface is a meniscus, high at the chest wall."""
    mask = lungs.masks[side]
    left, _, right, bottom = lungs.bounds(side)
    wall, top = (left if side == RIGHT else right), bottom - size[1]
    floor = _lowest(mask)
    inward = -side * (_X[0] - wall)  # distance from the wall, per column
    reach = (inward > 0) & (inward < size[0]) & (floor > top + 30)
    edge = float(inward[reach].max()) if reach.any() else 40.0
    end = float(floor[np.argmin(np.abs(inward - edge))])
    t = np.clip(inward / edge, 0, 1)
    surface = top + (end - top) * (1 - (1 - t) ** float(rng.uniform(1.7, 2.6)))
    fluid = _step(_Y - surface[None, :], 7) * (inward < edge + 4)[None, :]
    extent = np.asarray(fluid * mask, np.float32)
    depth = np.clip((_Y - top) / size[1], 0, 1)
    return Sign(extent * (float(rng.uniform(0.72, 0.9)) + 0.25 * depth), extent)


def _lowest(mask: Array) -> Array:
    """Y of the lowest lung pixel of each column, 0 where there is none."""
    seen = mask > 0.5
    lowest = SHEET - np.argmax(seen[::-1], axis=0)
    return np.where(seen.any(axis=0), lowest * UNIT, 0).astype(np.float32)


def _pneumothorax(
    lungs: Lungs, side: int, size: tuple[float, float], rng: np.random.Generator
) -> Sign:
    """Air without markings between chest wall and a visible pleural line, at the apex or laterally."""
    mask = lungs.masks[side]
    left, top, right, bottom = lungs.bounds(side)
    centre_y = rng.normal(*BOX_STATISTICS["Pneumothorax"].centre_y)
    apical = centre_y - size[1] / 2 < top + 120
    fall, wall = _collapse(mask, side, size, centre_y, apical, top)
    depth = float(rng.uniform(0.30, 0.46)) * size[0]
    sink = float(rng.uniform(0.30, 0.45)) * min(size[1], 260) if apical else 0.0
    shifted = cv2.remap(
        mask, (_X + side * depth * fall) / UNIT - 0.5, (_Y - sink * fall) / UNIT - 0.5,
        cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT,
    )  # fmt: skip
    collapsed = np.minimum(np.asarray(shifted, np.float32), mask)
    air = np.clip(mask - collapsed, 0, 1)
    line = Canvas(SHEET, _FLAT).blurred(4 * collapsed * (1 - collapsed), 1.0) * (air * 0 + 1)
    line = line * (mask > 0.9) * (fall > 0.03)
    return Sign(-0.20 * air + 0.30 * line + 0.05 * collapsed * fall, air, airless=air)


def _collapse(
    mask: Array, side: int, size: tuple[float, float], centre_y: float, apical: bool, top: float
) -> tuple[Array, float]:
    """How far the lung has fallen from the wall at each pixel, 0..1, and the x of that wall."""
    middle = top if apical else centre_y
    half = size[1] if apical else size[1] / 2
    rows = np.clip(1 - ((_Y - middle) / half) ** 2, 0, 1)
    near = (mask > 0.5) & (rows > 0)
    columns = np.flatnonzero(near.any(axis=0)) * UNIT
    wall = float(columns[0] if side == RIGHT else columns[-1])
    inner = wall - side * size[0]
    across = np.clip(side * (_X - inner) / (0.45 * size[0]), 0, 1)
    return np.asarray(rows * across, np.float32), wall


_Placed = Callable[[Lungs, Rectangle, np.random.Generator], Sign]
_Fixed = Callable[[Lungs, int, tuple[float, float], np.random.Generator], Sign]
_PLACED: dict[str, _Placed] = {
    "Atelectasis": _atelectasis,
    "Infiltration": _infiltration,
    "Mass": _mass,
    "Nodule": _nodule,
    "Pneumonia": _pneumonia,
}
_FIXED: dict[str, _Fixed] = {"Effusion": _effusion, "Pneumothorax": _pneumothorax}
