"""Draw the phantom's healthy chest as X-ray attenuation: soft tissue, lungs, vessels, heart."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from cxrloc.datasets.phantoms.drawing.canvas import Array, Canvas, Points, ellipse, rounded
from cxrloc.datasets.phantoms.drawing.chest_anatomy import LEFT, MIDLINE, RIGHT, Anatomy
from cxrloc.datasets.phantoms.drawing.chest_skeleton import bones, spine


def lung_mask(anatomy: Anatomy, canvas: Canvas) -> Array:
    """Both lungs in [0, 1], including the part behind the heart."""
    return canvas.fill([anatomy.lung(RIGHT), anatomy.lung(LEFT)], 3.0)


def attenuation(anatomy: Anatomy, canvas: Canvas, markings_kept: Array | None = None) -> Array:
    """Attenuation of the healthy chest (size, size), from about 0 in air to 2.5 in the abdomen.

    Args:
        markings_kept: factor in [0, 1] on the lung's vessels (0 inside a pneumothorax).
    """
    x, y = canvas.grid()
    lungs = lung_mask(anatomy, canvas)
    field = _soft_tissue(anatomy, canvas, y)
    field = field * (1 - lungs) + lungs * _lung_tissue(anatomy, canvas, lungs, y)
    heart = canvas.fill([anatomy.heart()], blur=4)
    vessels = _vessels(anatomy, canvas, lungs) * (1 - 0.7 * heart)
    field += 0.30 * vessels * (1.0 if markings_kept is None else markings_kept)
    field += heart * (0.74 * lungs + 0.26 * (1 - lungs))
    field += _mediastinum(anatomy, canvas) + spine(anatomy, canvas, x)
    field += bones(anatomy, canvas) * (0.45 + 0.55 * lungs) * (1 - 0.35 * heart)
    return np.maximum(field, 0)


def _soft_tissue(anatomy: Anatomy, canvas: Canvas, y: Array) -> Array:
    body = canvas.fill([_silhouette(anatomy)], blur=3)
    depth = canvas.blurred(body, 22) * canvas.blurred(body, 75) ** 1.5  # thinner towards the skin
    arms = canvas.fill([_arm(anatomy, RIGHT), _arm(anatomy, LEFT)], blur=3)
    arms = arms * canvas.blurred(arms, 28)
    dome = min(anatomy.dome_right, anatomy.dome_left)
    belly = np.clip((y - dome + 60) / 260, 0, 1) * canvas.blurred(body, 60)
    field = np.maximum(body * (0.22 + 0.95 * depth + 1.15 * belly), 0.9 * arms)
    if anatomy.breast:
        breasts = canvas.fill([_breast(anatomy, RIGHT), _breast(anatomy, LEFT)], blur=5)
        field += 0.1 * anatomy.breast * breasts
    if anatomy.bubble > 0.25:
        field -= 0.75 * canvas.fill([_stomach(anatomy)], blur=5) * anatomy.bubble
    return np.asarray(field, np.float32)


def _lung_tissue(anatomy: Anatomy, canvas: Canvas, lungs: Array, y: Array) -> Array:
    rim = 1 - canvas.blurred(lungs, 34)  # the chest wall is seen edge-on near the rim
    height = (y - anatomy.apex) / (anatomy.dome_right - anatomy.apex)
    tissue = 0.21 + 0.36 * rim + 0.10 * np.clip(height, 0, 1) ** 2
    if anatomy.breast:
        breasts = canvas.fill([_breast(anatomy, RIGHT), _breast(anatomy, LEFT)], blur=6)
        tissue += 0.12 * anatomy.breast * breasts
    return np.asarray(tissue, np.float32)


def _silhouette(anatomy: Anatomy) -> Points:
    """Neck, shoulders and trunk, from the top of the image to below its bottom."""
    wall = anatomy.half_width + 22 + anatomy.fat
    top = anatomy.apex
    half = [
        (88, -200),
        (90, top - 130),
        (104, top - 98),
        (150, top - 74),
        (240, top - 50),
        (wall * 0.88, top - 34),
        (wall * 1.14, top - 12),
        (wall * 1.30, top + 60),
        (wall * 1.30, top + 170),
        (wall * 1.13, top + 285),
        (wall * 1.02, top + 390),
        (wall, 640),
        (wall * 1.02, 860),
        (wall * 1.06, 1250),
    ]
    right = [(MIDLINE + x, y) for x, y in half]
    left = [(MIDLINE - x, y) for x, y in reversed(half)]
    return rounded(right + left, times=2)


def _arm(anatomy: Anatomy, side: int) -> Points:
    wall = anatomy.half_width + 22 + anatomy.fat
    top = anatomy.apex
    offsets = [
        (wall * 0.98, top + 10),
        (wall * 1.24, top + 2),
        (wall * 1.42, top + 120),
        (wall * 1.55, top + 520),
        (wall * 1.62, 1300),
        (wall * 1.28, 1300),
        (wall * 1.24, top + 480),
        (wall * 1.12, top + 260),
    ]
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
    corners = [
        (-60, top - 10),
        (56, top - 10),
        (74, heart_top),
        (84, root),
        (-74, root),
        (-68, heart_top),
    ]
    great = rounded([(MIDLINE + x, y) for x, y in corners])
    knob_y = top + 0.26 * (anatomy.dome_left - top)
    knob = ellipse(MIDLINE + 44 + 0.5 * anatomy.aorta, knob_y, anatomy.aorta, anatomy.aorta * 1.15)
    field = 0.30 * canvas.fill([great], blur=5) + 0.32 * canvas.fill([knob], blur=3)
    return np.asarray(field - 0.34 * canvas.strokes(_trachea(anatomy), blur=4), np.float32)


def _trachea(anatomy: Anatomy) -> list[tuple[Points, float, float]]:
    carina = anatomy.apex + 0.36 * (anatomy.dome_right - anatomy.apex)
    x = MIDLINE + 0.5 * anatomy.spine_bend
    tube = np.array([(x, -60.0), (x, anatomy.apex), (x - 4, carina)])
    right = np.array([(x - 4, carina - 4), (x - 62, carina + 62)])
    left = np.array([(x - 4, carina - 4), (x + 74, carina + 52)])
    return [(tube, 36, 1.0), (right, 22, 0.7), (left, 20, 0.6)]


def _vessels(anatomy: Anatomy, canvas: Canvas, lungs: Array) -> Array:
    rng = np.random.default_rng(anatomy.vessel_seed)
    lines: list[tuple[Points, float, float]] = []
    for side in (RIGHT, LEFT):
        hilum = anatomy.at(side, ((0.20, 0.44 if side == RIGHT else 0.41),))[0]
        for angle in np.linspace(-1.35, 1.5, 9):
            start = hilum + rng.normal(0, 1, 2) * (8, 26)
            width = float(rng.uniform(8, 13))
            branches: list[_Branch] = []
            _grow(rng, branches, -1, float(angle + rng.normal(0, 0.12)), width, 0)
            lines += _lines(branches, start, side)
    tree = canvas.strokes(lines, blur=2.2)
    hila = canvas.fill([_hilum(anatomy, side) for side in (RIGHT, LEFT)], blur=14)
    return (tree + 0.6 * hila) * lungs


def _hilum(anatomy: Anatomy, side: int) -> Points:
    x, y = anatomy.at(side, ((0.20, 0.44 if side == RIGHT else 0.41),))[0]
    return ellipse(x, y, 30, 62)


class _Branch(NamedTuple):
    """Part of a vessel between two forks; `parent` is its place in the list, -1 at the root."""

    parent: int
    level: int
    length: float
    width: float
    angle: float  # where it starts
    bend: float  # where it ends


def _grow(
    rng: np.random.Generator,
    branches: list[_Branch],
    parent: int,
    angle: float,
    width: float,
    level: int,
) -> None:
    """Append a branch and all that fork off it, a parent before its children."""
    length = rng.uniform(45, 95) * 0.92**level
    bend = angle + rng.normal(0, 0.2)
    own = len(branches)
    branches.append(_Branch(parent, level, length, width, angle, bend))
    if level < 5:
        for turn in (rng.uniform(0.05, 0.3), -rng.uniform(0.2, 0.6)):
            if level < 1 or rng.random() < 0.8:
                _grow(rng, branches, own, bend + turn, width * 0.72, level + 1)


def _lines(
    branches: Sequence[_Branch], start: Points, side: int
) -> Iterator[tuple[Points, float, float]]:
    """Points, width and strength of every branch; all at once, as there are hundreds."""
    parents, levels, lengths, _, begins, ends = map(np.array, zip(*branches, strict=True))
    angles = np.linspace(begins, ends, 5, axis=1)
    steps = np.stack([np.cos(angles) * side, np.sin(angles)], axis=-1)
    along = np.cumsum(steps * lengths[:, None, None] / 5, axis=1)
    points = np.concatenate([np.zeros_like(along[:, :1]), along], axis=1)
    points[0] += start
    for level in range(1, int(levels.max()) + 1):
        here = np.flatnonzero(levels == level)
        points[here] += points[parents[here], -1:]
    for branch, places in zip(branches, points, strict=True):
        yield places, branch.width, max(0.2, 0.8 * 0.8**branch.level)
