"""The phantom's healthy chest: one patient's anatomy and its X-ray attenuation, layer by layer."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from cxrloc.datasets.phantom_canvas import (
    FRAME,
    Array,
    Canvas,
    Points,
    ellipse,
    rounded,
    smooth_noise,
)

MIDLINE = FRAME / 2
RIGHT, LEFT = -1, 1  # the patient's right lung is on the left of the film
# Outline of a lung: u = distance from the midline in half widths, v = 0 at the apex, 1 at the dome.
_LATERAL = ((0.46, -0.01), (0.64, 0.05), (0.79, 0.18), (0.90, 0.40), (0.965, 0.65), (1.0, 0.90))
_BASE = ((1.01, 1.06), (1.0, 1.2), (0.95, 1.13), (0.80, 1.02), (0.58, 0.975), (0.36, 0.985))
_MEDIAL = ((0.17, 1.06), (0.13, 0.85), (0.14, 0.55), (0.17, 0.30), (0.21, 0.12), (0.31, 0.015))
# The heart in its own box: 0 = its right border and top, 1 = its apex and bottom.
_HEART = ((0.34, 0.0), (0.52, -0.03), (0.61, 0.14), (0.72, 0.36), (0.90, 0.60), (1.03, 0.84),
          (0.98, 1.0), (0.70, 1.0), (0.35, 1.0), (0.06, 0.98), (-0.03, 0.66), (0.06, 0.38),
          (0.22, 0.16))  # fmt: skip


@dataclass(frozen=True)
class Anatomy:
    """One patient's chest, lengths in the 1024 frame, before the pose of a film.

    Attributes:
        half_width: midline to the widest point of the lung.
        apex, dome_right, dome_left: y of the lung tops and of the two diaphragm domes.
        heart_wh: width and height of the heart.
        fat: soft tissue between ribs and skin.
        breast: size of the breast shadow, 0 for none.
        vessel_seed: draws the lung's vessel tree.
    """

    sex: str
    age_years: int
    half_width: float
    apex: float
    dome_right: float
    dome_left: float
    heart_wh: tuple[float, float]
    fat: float
    breast: float
    rib_drop: float
    rib_phase: float
    spine_bend: float
    aorta: float
    bubble: float
    vessel_seed: int

    def dome(self, side: int) -> float:
        """Y of the diaphragm dome of one side."""
        return self.dome_right if side == RIGHT else self.dome_left

    def at(self, side: int, uv: Points | tuple[tuple[float, float], ...]) -> Points:
        """Lung coordinates (u, v) of one side -> patient coordinates (x, y)."""
        u, v = np.asarray(uv, dtype=np.float64).T
        y = self.apex + v * (self.dome(side) - self.apex)
        return np.stack([MIDLINE + side * u * self.half_width, y], axis=1)

    def lung(self, side: int) -> Points:
        """Outline of the lung of one side."""
        return rounded(self.at(side, (*_LATERAL, *_BASE, *_MEDIAL)), times=2)

    def heart_box(self) -> tuple[float, float, float, float]:
        """Box xyxy of the heart: a third of it right of the midline, its bottom at the diaphragm."""
        width, height = self.heart_wh
        left, bottom = MIDLINE - 0.34 * width, self.dome_left + 32
        return left, bottom - height, left + width, bottom

    def heart(self) -> Points:
        """Outline of the heart; it touches all four sides of `heart_box`."""
        shape = rounded(_HEART, times=3)
        low, high = shape.min(axis=0), shape.max(axis=0)
        x1, y1, x2, y2 = self.heart_box()
        return (shape - low) / (high - low) * [x2 - x1, y2 - y1] + [x1, y1]

    def with_heart(self, width: float, height: float) -> Anatomy:
        """The same chest with a heart of another size."""
        return replace(self, heart_wh=(width, height))


def sample_anatomy(rng: np.random.Generator) -> Anatomy:
    """A healthy adult; men are larger, fat widens the silhouette and raises the diaphragm."""
    male = rng.random() < 0.56
    half_width = rng.normal(338 if male else 322, 13)
    apex = rng.normal(132, 14)
    fat = float(np.clip(rng.gamma(3.0, 17.0), 14, 110))
    dome = float(np.clip(rng.normal(715, 28) - 0.3 * fat, 610, 770))
    heart_width = 2 * half_width * float(np.clip(rng.normal(0.425, 0.025), 0.37, 0.47))
    age = int(np.clip(rng.normal(47, 16), 18, 90))
    return Anatomy(
        sex="M" if male else "F",
        age_years=age,
        half_width=float(half_width),
        apex=float(apex),
        dome_right=dome,
        dome_left=dome + float(rng.uniform(8, 34)),
        heart_wh=(heart_width, heart_width * float(rng.uniform(0.78, 0.9))),
        fat=fat,
        breast=0.0 if male else float(rng.uniform(0.5, 1.2)),
        rib_drop=float(rng.normal(0.15, 0.02)),
        rib_phase=float(rng.uniform(-0.03, 0.04)),
        spine_bend=float(rng.normal(0, 6)),
        aorta=float(np.clip(rng.normal(30 + 0.25 * (age - 47), 5), 20, 52)),
        bubble=float(rng.uniform(0.0, 1.0)),
        vessel_seed=int(rng.integers(2**31)),
    )


def lung_mask(anatomy: Anatomy, canvas: Canvas, blur: float = 3.0) -> Array:
    """Both lungs in [0, 1], the part behind the heart included."""
    return canvas.fill([anatomy.lung(RIGHT), anatomy.lung(LEFT)], blur)


def attenuation(anatomy: Anatomy, canvas: Canvas, markings_kept: Array | None = None) -> Array:
    """Attenuation of the healthy chest, (size, size), about 0 in air to 2.5 in the abdomen.

    Args:
        markings_kept: factor in [0, 1] on the lung's vessels (0 where a pneumothorax has none).
    """
    x, y = canvas.grid()
    lungs = lung_mask(anatomy, canvas)
    field = _soft_tissue(anatomy, canvas, y)
    field = field * (1 - lungs) + lungs * _lung_tissue(anatomy, canvas, lungs, y)
    vessels = _vessels(anatomy, canvas)
    field += 0.34 * vessels * (vessels * 0 + 1 if markings_kept is None else markings_kept)
    heart = canvas.fill([anatomy.heart()], blur=3.5)
    field += heart * (0.68 * lungs + 0.22 * (1 - lungs))
    field += _mediastinum(anatomy, canvas) + _bones(anatomy, canvas) + _spine(anatomy, canvas, x)
    return np.maximum(field, 0)


def _soft_tissue(anatomy: Anatomy, canvas: Canvas, y: Array) -> Array:
    body = canvas.fill([_silhouette(anatomy)], blur=3)
    depth = canvas.blurred(body, 26)  # the body is thinner towards the skin
    arms = canvas.fill([_arm(anatomy, RIGHT), _arm(anatomy, LEFT)], blur=9)
    dome = min(anatomy.dome_right, anatomy.dome_left)
    belly = np.clip((y - dome + 60) / 260, 0, 1)
    field = body * (0.30 + 0.72 * depth + 0.95 * belly) + 0.55 * arms * (1 - 0.5 * body)
    if anatomy.breast:
        breasts = canvas.fill([_breast(anatomy, RIGHT), _breast(anatomy, LEFT)], blur=5)
        field += 0.1 * anatomy.breast * breasts
    if anatomy.bubble > 0.25:
        field -= 0.75 * canvas.fill([_stomach(anatomy)], blur=5) * anatomy.bubble
    return np.asarray(field, np.float32)


def _lung_tissue(anatomy: Anatomy, canvas: Canvas, lungs: Array, y: Array) -> Array:
    rim = 1 - canvas.blurred(lungs, 34)  # the chest wall is seen edge-on near the rim
    height = (y - anatomy.apex) / (anatomy.dome_right - anatomy.apex)
    tissue = 0.27 + 0.34 * rim + 0.10 * np.clip(height, 0, 1) ** 2
    if anatomy.breast:
        breasts = canvas.fill([_breast(anatomy, RIGHT), _breast(anatomy, LEFT)], blur=6)
        tissue += 0.12 * anatomy.breast * breasts
    return np.asarray(tissue, np.float32)


def _silhouette(anatomy: Anatomy) -> Points:
    """Neck, shoulders and trunk, from the top of the film to below its bottom."""
    wall = anatomy.half_width + 22 + anatomy.fat
    top = anatomy.apex
    half = [(84, -200), (86, top - 95), (112, top - 62), (210, top - 36), (wall * 0.86, top - 14),
            (wall * 1.13, top + 40), (wall * 1.18, top + 190), (wall * 1.04, top + 300),
            (wall, 640), (wall * 1.02, 860), (wall * 1.06, 1250)]  # fmt: skip
    right = [(MIDLINE + x, y) for x, y in half]
    left = [(MIDLINE - x, y) for x, y in reversed(half)]
    return rounded(right + left, times=2)


def _arm(anatomy: Anatomy, side: int) -> Points:
    wall = anatomy.half_width + 22 + anatomy.fat
    top = anatomy.apex
    offsets = [(wall * 0.95, top - 5), (wall * 1.2, top + 10), (wall * 1.36, top + 120),
               (wall * 1.5, top + 520), (wall * 1.56, 1300), (wall * 1.26, 1300),
               (wall * 1.2, top + 480), (wall * 1.1, top + 230)]  # fmt: skip
    return rounded([(MIDLINE + side * x, y) for x, y in offsets], times=2)


def _breast(anatomy: Anatomy, side: int) -> Points:
    x, y = anatomy.at(side, ((0.66, 0.80),))[0]
    size = 95 + 45 * anatomy.breast
    return ellipse(x, y, 1.25 * size, size)


def _stomach(anatomy: Anatomy) -> Points:
    x, y = anatomy.at(LEFT, ((0.52, 1.0),))[0]
    size = 25 + 42 * anatomy.bubble
    return ellipse(x, y + 30 + 0.6 * size, 1.5 * size, 0.7 * size)


def _mediastinum(anatomy: Anatomy, canvas: Canvas) -> Array:
    top, heart_top = anatomy.apex, anatomy.heart_box()[1]
    root = heart_top + 70
    great = rounded([(MIDLINE - 52, top - 10), (MIDLINE + 48, top - 10), (MIDLINE + 66, heart_top),
                     (MIDLINE + 60, root), (MIDLINE - 66, root), (MIDLINE - 62, heart_top)])  # fmt: skip
    knob_y = top + 0.26 * (anatomy.dome_left - top)
    knob = ellipse(MIDLINE + 44 + 0.5 * anatomy.aorta, knob_y, anatomy.aorta, anatomy.aorta * 1.15)
    field = 0.30 * canvas.fill([great], blur=5) + 0.32 * canvas.fill([knob], blur=3)
    return field - 0.34 * canvas.strokes(_trachea(anatomy), blur=4)


def _trachea(anatomy: Anatomy) -> list[tuple[Points, float, float]]:
    carina = anatomy.apex + 0.36 * (anatomy.dome_right - anatomy.apex)
    x = MIDLINE + 0.5 * anatomy.spine_bend
    tube = np.array([(x, -60.0), (x, anatomy.apex), (x - 4, carina)])
    right = np.array([(x - 4, carina - 4), (x - 62, carina + 62)])
    left = np.array([(x - 4, carina - 4), (x + 74, carina + 52)])
    return [(tube, 36, 1.0), (right, 22, 0.7), (left, 20, 0.6)]


def _spine(anatomy: Anatomy, canvas: Canvas, x: Array) -> Array:
    rows = np.arange(-40.0, 1120.0, 53.0)
    bodies, processes = [], []
    for y in rows:
        centre = MIDLINE + anatomy.spine_bend * np.sin(np.pi * y / FRAME)
        half = 31 + 11 * y / FRAME
        bodies.append(rounded([(centre - half, y), (centre + half, y), (centre + half, y + 43),
                               (centre - half, y + 43)], times=2))  # fmt: skip
        processes.append(ellipse(centre, y + 38, 7, 15))
        processes += [ellipse(centre + s * half * 0.62, y + 15, 7, 9) for s in (-1, 1)]
    column = np.exp(-(((x - MIDLINE) / 62) ** 4)).astype(np.float32)
    bones = 0.16 * canvas.fill(bodies, blur=2.5) + 0.11 * canvas.fill(processes, blur=2)
    return np.asarray(0.12 * column + bones, np.float32)


def _bones(anatomy: Anatomy, canvas: Canvas) -> Array:
    behind, front = _ribs(anatomy)
    field = _tubes(canvas, behind, 0.15, 0.12) + _tubes(canvas, front, 0.07, 0.07)
    field += _tubes(canvas, _clavicles(anatomy), 0.26, 0.16)
    blades = [rounded(_shoulder_blade(anatomy, side)) for side in (RIGHT, LEFT)]
    heads = [ellipse(*_shoulder(anatomy, side), 62, 66) for side in (RIGHT, LEFT)]
    field += 0.09 * canvas.fill(blades, blur=3) + 0.30 * canvas.fill(heads, blur=4)
    return np.asarray(field, np.float32)


def _tubes(canvas: Canvas, lines: list[tuple[Points, float]], core: float, rim: float) -> Array:
    """Hollow bones: a tube is denser along its two edges (cortex) than in the middle."""
    outer = canvas.strokes([(points, width, 1.0) for points, width in lines], blur=1.6)
    inner = canvas.strokes([(points, width * 0.62, 1.0) for points, width in lines], blur=1.6)
    return (core + rim) * outer - rim * inner


def _ribs(anatomy: Anatomy) -> tuple[list[tuple[Points, float]], list[tuple[Points, float]]]:
    """Centre lines and widths of the ribs' posterior and anterior parts."""
    lateral_u, lateral_v = np.array(_LATERAL).T
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
        t = np.linspace(0, 1, 20)
        x = MIDLINE + side * anatomy.half_width * (0.12 + 1.0 * t)
        y = anatomy.apex + 66 - 76 * t + 14 * np.sin(2 * np.pi * t)
        lines.append((np.stack([x, y], axis=1), 25.0))
    return lines


def _shoulder(anatomy: Anatomy, side: int) -> tuple[float, float]:
    return MIDLINE + side * (anatomy.half_width * 1.2 + 0.3 * anatomy.fat), anatomy.apex + 62


def _shoulder_blade(anatomy: Anatomy, side: int) -> list[tuple[float, float]]:
    x, y = _shoulder(anatomy, side)
    return [(x, y - 30), (x - side * 130, y - 8), (x - side * 128, y + 90), (x - side * 70, y + 300),
            (x - side * 40, y + 280), (x - side * 4, y + 60)]  # fmt: skip


def _vessels(anatomy: Anatomy, canvas: Canvas) -> Array:
    rng = np.random.default_rng(anatomy.vessel_seed)
    lines: list[tuple[Points, float, float]] = []
    for side in (RIGHT, LEFT):
        hilum = anatomy.at(side, ((0.20, 0.44 if side == RIGHT else 0.41),))[0]
        for angle in np.linspace(-1.25, 1.45, 10):
            _branch(rng, lines, hilum, side, float(angle + rng.normal(0, 0.12)), 15.0, 0)
    tree = canvas.strokes(lines, blur=1.7)
    return tree * lung_mask(anatomy, canvas)


def _branch(
    rng: np.random.Generator,
    lines: list[tuple[Points, float, float]],
    start: Points,
    side: int,
    angle: float,
    width: float,
    level: int,
) -> None:
    length = rng.uniform(80, 125) * 0.82**level
    bend = angle + rng.normal(0, 0.14)
    steps = np.array([[np.cos(a) * side, np.sin(a)] for a in np.linspace(angle, bend, 5)])
    points = np.vstack([start, start + np.cumsum(steps * length / 5, axis=0)])
    lines.append((points, width, max(0.25, 0.95 * 0.72**level)))
    if level < 4:
        for turn in (rng.uniform(0.15, 0.42), -rng.uniform(0.15, 0.42)):
            _branch(rng, lines, points[-1], side, bend + turn, width * 0.62, level + 1)
