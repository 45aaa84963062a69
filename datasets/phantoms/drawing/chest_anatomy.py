"""Sample a phantom patient's anatomy: the places of lungs, heart and diaphragm."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from cxrloc.datasets.phantoms.drawing.canvas import FRAME, Points, rounded

MIDLINE = FRAME / 2
RIGHT, LEFT = -1, 1  # the patient's right lung is on the left of the image
# Outline of a lung: u = distance from the midline in half widths, v = 0 at the apex, 1 at the dome.
LATERAL = ((0.46, -0.01), (0.64, 0.05), (0.79, 0.18), (0.90, 0.40), (0.965, 0.65), (1.0, 0.90))
_BASE = ((1.01, 1.06), (1.0, 1.2), (0.95, 1.13), (0.80, 1.02), (0.58, 0.975), (0.36, 0.985))
_MEDIAL = ((0.17, 1.06), (0.13, 0.85), (0.14, 0.55), (0.17, 0.30), (0.21, 0.12), (0.31, 0.015))
# The heart in its own box: 0 = its right border and top, 1 = its apex and bottom.
_HEART = (
    (0.26, 0.0),
    (0.50, -0.03),
    (0.60, 0.10),
    (0.70, 0.32),
    (0.89, 0.56),
    (1.03, 0.82),
    (0.98, 1.0),
    (0.70, 1.0),
    (0.35, 1.0),
    (0.10, 0.99),
    (-0.01, 0.74),
    (0.01, 0.46),
    (0.15, 0.20),
)


@dataclass(frozen=True)
class Anatomy:
    """One patient's chest before posing, with lengths in the 1024 frame.

    Attributes:
        half_width: distance from the midline to the widest point of the lung.
        apex, dome_right, dome_left: y of the lung tops and of the two diaphragm domes.
        heart_wh: width and height of the heart.
        fat: thickness of the soft tissue between ribs and skin.
        breast: size of the breast shadow, 0 for none.
        vessel_seed: seed of the lung's vessel tree.
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
        return rounded(self.at(side, (*LATERAL, *_BASE, *_MEDIAL)), times=2)

    def heart_box(self) -> tuple[float, float, float, float]:
        """Box xyxy of the heart, with a third right of the midline and the diaphragm below."""
        width, height = self.heart_wh
        left, bottom = MIDLINE - 0.34 * width, self.dome_left + 32
        return left, bottom - height, left + width, bottom

    def heart(self) -> Points:
        """Outline of the heart; it touches all four sides of `heart_box`."""
        shape = rounded(_HEART, times=3)
        low, high = shape.min(axis=0), shape.max(axis=0)
        x1, y1, x2, y2 = self.heart_box()
        size, corner = np.array([x2 - x1, y2 - y1]), np.array([x1, y1])
        return np.asarray((shape - low) / (high - low) * size + corner, np.float64)

    def with_heart(self, width: float, height: float) -> Anatomy:
        """The same chest with a heart of this size."""
        return replace(self, heart_wh=(width, height))


def sample_anatomy(rng: np.random.Generator) -> Anatomy:
    """Sample a healthy adult; men are larger, fat widens the body and raises the diaphragm."""
    male = rng.random() < 0.56
    half_width = rng.normal(352 if male else 334, 13)
    apex = rng.normal(132, 14)
    fat = float(np.clip(rng.gamma(3.5, 17.0), 16, 120))
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
