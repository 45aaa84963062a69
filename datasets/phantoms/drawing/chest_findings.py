"""Draw the phantom's eight diseases as radiographic signs in the visible lung of an image."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np

from cxrloc.datasets.phantoms.drawing.canvas import FRAME, Array, Points, smooth_noise
from cxrloc.datasets.phantoms.drawing.chest_anatomy import RIGHT, Anatomy
from cxrloc.datasets.phantoms.drawing.sheet import (
    FLAT,
    SHEET,
    UNIT,
    Lungs,
    Rectangle,
    Sign,
    free_side,
    place,
)
from cxrloc.datasets.phantoms.drawing.statistics import BOX_STATISTICS, sample_size

_X, _Y = FLAT.grid()  # frame coordinates of the sheet's pixels


def draw_sign(
    disease: str, lungs: Lungs, taken: Sequence[Rectangle], rng: np.random.Generator
) -> Sign:
    """Draw one finding (any but Cardiomegaly, which enlarges the heart itself).

    Args:
        taken: boxes already on the image, to avoid if there is room.
    """
    size = sample_size(rng, disease)
    if disease in _FIXED:
        return _FIXED[disease](lungs, free_side(taken, rng), size, rng)
    return _PLACED[disease](lungs, place(disease, lungs, size, taken, rng), rng)


def heart_size(anatomy: Anatomy, rng: np.random.Generator) -> tuple[float, float]:
    """Width and height of an enlarged heart: over 0.54 of the thorax (healthy: under 0.47)."""
    width, height = sample_size(rng, "Cardiomegaly")
    thorax = 2 * anatomy.half_width
    width = float(np.clip(width, 0.55 * thorax, 0.74 * thorax))
    return width, float(np.clip(height, 0.68 * width, 0.95 * width))


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
    extent = _step(0.97 - q, 0.16) * lungs.both
    ball = np.sqrt(np.clip(1.05 - q**2, 0, 1))  # a sphere is thickest in its middle
    mottle = 1 + 0.07 * smooth_noise(rng, 60, SHEET)
    return Sign(strength * extent * (0.35 + 0.65 * ball) * mottle, extent)


def _nodule(lungs: Lungs, where: Rectangle, rng: np.random.Generator) -> Sign:
    return _round(lungs, where, rng, float(rng.uniform(0.50, 0.70)))


def _mass(lungs: Lungs, where: Rectangle, rng: np.random.Generator) -> Sign:
    return _round(lungs, where, rng, float(rng.uniform(0.60, 0.85)))


def _infiltration(lungs: Lungs, where: Rectangle, rng: np.random.Generator) -> Sign:
    """Hazy, ill-defined, mottled; vessels stay visible through it."""
    q = _radius(where, 2.4) + 0.08 * smooth_noise(rng, 16, SHEET)
    extent = _step(0.93 - q, 0.26) * lungs.both
    grain = 0.8 * smooth_noise(rng, 128, SHEET) + 0.6 * smooth_noise(rng, 64, SHEET)
    texture = 0.72 + 0.30 * np.tanh(grain)
    return Sign(float(rng.uniform(0.34, 0.46)) * extent * texture, extent)


def _pneumonia(lungs: Lungs, where: Rectangle, rng: np.random.Generator) -> Sign:
    """Dense lobar consolidation: one straight border at the fissure, air-filled bronchi inside."""
    x1, y1, x2, y2 = where
    q = _radius(where, 3.2) + 0.06 * smooth_noise(rng, 20, SHEET)
    body = _step(0.97 - q, 0.16)
    slope, upper = rng.uniform(-0.25, 0.25), rng.random() < 0.5
    edge = (_Y - (y1 + 10 if upper else y2 - 10)) - slope * (_X - (x1 + x2) / 2)
    extent = body * _step(edge if upper else -edge, 7) * lungs.both
    patches = 0.84 + 0.12 * smooth_noise(rng, 26, SHEET) + 0.07 * smooth_noise(rng, 70, SHEET)
    airways = FLAT.strokes(_bronchi(where, rng), blur=2.8)
    strength = float(rng.uniform(0.66, 0.86))
    return Sign(strength * extent * np.clip(patches, 0.5, 1.1) * (1 - 0.6 * airways), extent)


def _bronchi(where: Rectangle, rng: np.random.Generator) -> list[tuple[Points, float, float]]:
    x1, y1, x2, y2 = where
    inner, outer = (x2, x1) if x1 + x2 < FRAME else (x1, x2)
    root = np.array([inner + 0.15 * (outer - inner), y1 + rng.uniform(0.3, 0.6) * (y2 - y1)])
    lines = []
    for target in np.linspace(0.15, 0.85, int(rng.integers(3, 6))):
        tip = np.array([inner + rng.uniform(0.65, 0.9) * (outer - inner), y1 + target * (y2 - y1)])
        knee = root + 0.5 * (tip - root) + rng.normal(0, 8, 2)
        side = knee + 0.8 * (tip - knee)[::-1] * [1, -0.5]
        wide = 6 + 0.02 * (abs(outer - inner) + y2 - y1)
        lines += [(np.stack([root, knee, tip]), wide, 1.0), (np.stack([knee, side]), wide - 3, 0.8)]
    return lines


def _atelectasis(lungs: Lungs, where: Rectangle, rng: np.random.Generator) -> Sign:
    """One to three plate-like bands across the rectangle, with a little haze between them."""
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
    extent = FLAT.strokes(lines, blur=4) * lungs.both
    haze = _step(0.9 - _radius(where, 2.5), 0.3) * lungs.both
    mottle = 0.92 + 0.12 * smooth_noise(rng, 40, SHEET)
    return Sign(float(rng.uniform(0.55, 0.75)) * extent * mottle + 0.12 * haze, extent)


def _effusion(lungs: Lungs, side: int, size: tuple[float, float], rng: np.random.Generator) -> Sign:
    """Fluid in the costophrenic angle; its surface is a meniscus, highest at the chest wall."""
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
    wide = cv2.GaussianBlur(cv2.dilate(mask, np.ones((7, 7), np.uint8)), (0, 0), 1.5)
    share = float(rng.uniform(0.82, 0.95)) * fluid * np.asarray(wide, np.float32)
    return Sign(np.asarray(share, np.float32), extent, level=float(rng.uniform(1.5, 1.8)))


def _lowest(mask: Array) -> Array:
    """Y of the lowest lung pixel in each column; 0 if there is none."""
    seen = mask > 0.5
    lowest = SHEET - np.argmax(seen[::-1], axis=0)
    return np.where(seen.any(axis=0), lowest * UNIT, 0).astype(np.float32)


def _pneumothorax(
    lungs: Lungs, side: int, size: tuple[float, float], rng: np.random.Generator
) -> Sign:
    """Air without markings between chest wall and pleural line, at the apex or laterally."""
    mask = lungs.masks[side]
    top = lungs.bounds(side)[1]
    centre_y = rng.normal(*BOX_STATISTICS["Pneumothorax"].centre_y)
    apical = centre_y - size[1] / 2 < top + 120
    fall = _collapse(mask, side, size, centre_y, apical, top)
    share = rng.uniform(0.40, 0.55) if apical else rng.uniform(0.7, 0.9)
    depth = float(share) * min(size[0], 0.7 * size[1])
    sink = float(rng.uniform(0.30, 0.45)) * min(size[1], 260) if apical else 0.0
    shifted = cv2.remap(
        mask,
        (_X + side * depth * fall) / UNIT - 0.5,
        (_Y - sink * fall) / UNIT - 0.5,
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT,
    )
    collapsed = np.minimum(np.asarray(shifted, np.float32), mask)
    air = _largest_part(np.clip(mask - collapsed, 0, 1))
    line = (
        4 * collapsed * (1 - collapsed) * (mask > 0.9) * _near(air)
    )  # its soft edge, where there is air
    return Sign(-0.20 * air + 0.30 * line + 0.05 * collapsed * fall, air, markings_gone=air)


def _collapse(
    mask: Array, side: int, size: tuple[float, float], centre_y: float, apical: bool, top: float
) -> Array:
    """How far the lung has collapsed from the wall at each pixel, 0..1."""
    middle = top if apical else centre_y
    half = size[1] if apical else size[1] / 2
    rows = np.clip(1 - ((_Y - middle) / half) ** 2, 0, 1)
    near = (mask > 0.5) & (rows > 0)
    columns = np.flatnonzero(near.any(axis=0)) * UNIT
    wall = float(columns[0] if side == RIGHT else columns[-1])
    inner = wall - side * 1.25 * size[0]
    across = np.clip(side * (_X - inner) / (0.4 * size[0]), 0, 1)
    return np.asarray(rows * across, np.float32)


def _largest_part(air: Array) -> Array:
    """The largest connected region, without slivers along the heart and the diaphragm."""
    _, parts, statistics, _ = cv2.connectedComponentsWithStats((air > 0.25).astype(np.uint8))
    if len(statistics) < 2:
        return air
    largest = parts == 1 + int(np.argmax(statistics[1:, cv2.CC_STAT_AREA]))
    return np.asarray(air * _near(largest.astype(np.float32)), np.float32)


def _near(region: Array) -> Array:
    """1 within about 6 units of the frame around pixels where `region` exceeds a half."""
    return np.asarray(cv2.dilate((region > 0.5).astype(np.float32), np.ones((7, 7), np.uint8)))


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
