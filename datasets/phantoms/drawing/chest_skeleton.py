"""Draw the phantom's bones as X-ray attenuation: ribs, spine, clavicles, shoulders."""

from __future__ import annotations

import numpy as np

from cxrloc.datasets.phantoms.drawing.canvas import FRAME, Array, Canvas, Points, ellipse, rounded
from cxrloc.datasets.phantoms.drawing.chest_anatomy import LATERAL, LEFT, MIDLINE, RIGHT, Anatomy


def spine(anatomy: Anatomy, canvas: Canvas, x: Array) -> Array:
    """Attenuation of the vertebrae; `x` is the patient coordinate of every pixel."""
    rows = np.arange(-40.0, 1120.0, 53.0)
    corners, processes = [], []
    for y in rows:
        centre = MIDLINE + anatomy.spine_bend * np.sin(np.pi * y / FRAME)
        half = 31 + 11 * y / FRAME
        left, right = centre - half, centre + half
        corners.append([(left, y), (right, y), (right, y + 43), (left, y + 43)])
        processes.append(ellipse(centre, y + 38, 7, 15))
        processes += [ellipse(centre + s * half * 0.62, y + 15, 7, 9) for s in (-1, 1)]
    column = np.exp(-np.square(np.square((x - MIDLINE) / 62)))
    bodies = rounded(np.array(corners), times=2)
    bones = 0.13 * canvas.fill(bodies, blur=3) + 0.10 * canvas.fill(processes, blur=2)
    return np.asarray(0.14 * column + bones, np.float32)


def bones(anatomy: Anatomy, canvas: Canvas) -> Array:
    """Attenuation of ribs, clavicles, shoulder blades and upper arms."""
    behind, front = _ribs(anatomy)
    field = tubes(canvas, behind, 0.09, 0.11) + tubes(canvas, front, 0.045, 0.055)
    field += tubes(canvas, _clavicles(anatomy), 0.16, 0.18)
    return np.asarray(field, np.float32) + _shoulders(anatomy, canvas)


def _shoulders(anatomy: Anatomy, canvas: Canvas) -> Array:
    """Upper arm bones and shoulder blades, with a dense margin."""
    sides = (RIGHT, LEFT)
    blades = [rounded(_shoulder_blade(anatomy, side)) for side in sides]
    arms = [ellipse(*_shoulder(anatomy, side), 58, 62) for side in sides]
    shafts = [rounded(_shaft(anatomy, side)) for side in sides]
    margin = [(np.vstack([blade, blade[:1]]), 7.0, 1.0) for blade in blades]
    soft = canvas.fill(arms + shafts, blur=5)
    field = 0.05 * canvas.fill(blades, blur=3) + 0.08 * canvas.strokes(margin, blur=2)
    return np.asarray(field + 0.30 * soft, np.float32)


def _shaft(anatomy: Anatomy, side: int) -> list[tuple[float, float]]:
    x, y = _shoulder(anatomy, side)
    outline = [(-44, 0), (52, 0), (74, 140), (128, 560), (80, 560), (16, 140)]
    return [(x + side * dx, y + dy) for dx, dy in outline]


def tubes(canvas: Canvas, lines: list[tuple[Points, float]], core: float, rim: float) -> Array:
    """Draw hollow bones: a tube is denser along its two edges (cortex) than in the middle."""
    outer = canvas.strokes([(points, width, 1.0) for points, width in lines], blur=1.6)
    inner = canvas.strokes([(points, width * 0.62, 1.0) for points, width in lines], blur=1.6)
    return (core + rim) * outer - rim * inner


def _ribs(anatomy: Anatomy) -> tuple[list[tuple[Points, float]], list[tuple[Points, float]]]:
    """Centre lines and widths of the ribs' posterior and anterior parts."""
    lateral_u, lateral_v = np.array(LATERAL).T
    t = np.linspace(0, 1, 24)
    behind, front = [], []
    for side in (RIGHT, LEFT):
        for index in range(11):
            start = anatomy.rib_phase - 0.01 + 0.098 * index
            end = start + anatomy.rib_drop + 0.012 * index
            wall = 1.03 * float(np.interp(end, lateral_v, lateral_u))
            u = 0.10 + (wall - 0.10) * np.sin(t * np.pi / 2) ** 0.9
            v = start - 0.045 * np.sin(np.pi * np.minimum(1.5 * t, 1)) + (end - start) * t**2.4
            behind.append((anatomy.at(side, np.stack([u, v], axis=1)), 21 + 0.5 * index))
            if 1 <= index <= 8:
                u = wall - (wall - 0.36 - 0.03 * index) * (1 - np.cos(t * np.pi / 2))
                v = end + (0.17 + 0.012 * index) * np.sin(t * np.pi / 2)
                front.append((anatomy.at(side, np.stack([u, v], axis=1)), 24.0))
    return behind, front


def _clavicles(anatomy: Anatomy) -> list[tuple[Points, float]]:
    lines = []
    for side in (RIGHT, LEFT):
        t = np.linspace(0, 1, 24)
        x = MIDLINE + side * anatomy.half_width * (0.14 + 0.92 * t)
        y = anatomy.apex + 70 - 72 * t + 15 * np.sin(2 * np.pi * t)
        points = np.stack([x, y], axis=1)
        lines += [(points, 21.0), (points[:6], 29.0), (points[17:23], 26.0)]
    return lines


def _shoulder(anatomy: Anatomy, side: int) -> tuple[float, float]:
    return MIDLINE + side * (anatomy.half_width * 1.2 + 0.3 * anatomy.fat), anatomy.apex + 62


def _shoulder_blade(anatomy: Anatomy, side: int) -> list[tuple[float, float]]:
    x, y = _shoulder(anatomy, side)
    outline = [(0, -30), (-130, -8), (-128, 90), (-70, 300), (-40, 280), (-4, 60)]
    return [(x + side * dx, y + dy) for dx, dy in outline]
