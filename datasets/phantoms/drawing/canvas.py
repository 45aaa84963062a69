"""Draw shapes given in patient coordinates as soft masks of any image size."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

FRAME = 1024.0  # NIH's frame, the unit of all lengths and boxes of the phantom
Array = npt.NDArray[np.floating[Any]]  # pixel fields; float32 where they are large
Points = npt.NDArray[np.float64]
_SHIFT = 4  # fixed-point bits of cv2's sub-pixel drawing


@dataclass(frozen=True)
class Canvas:
    """A square of `size` pixels showing the 1024 frame in the pose of one image.

    Attributes:
        size: side of the image in pixels.
        pose: (2, 3) affine map, patient coordinates -> 1024 frame (scale, small rotation, shift).
    """

    size: int
    pose: Points

    @property
    def scale(self) -> float:
        """Pixels per unit of the 1024 frame."""
        return self.size / FRAME

    def fill(self, outlines: Iterable[Points], blur: float = 1.5) -> Array:
        """Union of closed outlines as a mask in [0, 1], with edges softened by sigma `blur`."""
        mask = np.zeros((self.size, self.size), np.uint8)
        for outline in outlines:
            cv2.fillPoly(mask, [self._fixed(outline)], 255, cv2.LINE_AA, _SHIFT)
        return self.blurred(mask.astype(np.float32) / 255, blur)

    def strokes(self, lines: Iterable[tuple[Points, float, float]], blur: float = 1.5) -> Array:
        """Draw open lines (points, width, strength 0..1); lines thinner than a pixel are faint."""
        mask = np.zeros((self.size, self.size), np.uint8)
        for points, width, strength in lines:
            pixels = width * self.scale
            value = round(255 * strength * min(1.0, pixels))
            thickness = max(1, round(pixels))
            cv2.polylines(mask, [self._fixed(points)], False, value, thickness, cv2.LINE_AA, _SHIFT)
        return self.blurred(mask.astype(np.float32) / 255, blur)

    def blurred(self, field: Array, sigma: float) -> Array:
        """Gaussian blur with sigma in units of the 1024 frame; wide blurs use a smaller copy."""
        pixels = sigma * self.scale
        if pixels < 0.3:
            return field
        shrink = 4 if pixels > 8 else 1
        small = cv2.resize(field, None, fx=1 / shrink, fy=1 / shrink, interpolation=cv2.INTER_AREA)
        small = cv2.GaussianBlur(small, (0, 0), pixels / shrink, borderType=cv2.BORDER_REPLICATE)
        if shrink == 1:
            return np.asarray(small, np.float32)
        return np.asarray(cv2.resize(small, field.shape[::-1]), np.float32)

    def grid(self) -> tuple[Array, Array]:
        """Patient coordinates x and y of every pixel centre, each (size, size)."""
        centres = (np.arange(self.size) + 0.5) / self.scale
        inverse = cv2.invertAffineTransform(self.pose)
        row, column = centres[None, :], centres[:, None]
        x = inverse[0, 0] * row + inverse[0, 1] * column + inverse[0, 2]
        y = inverse[1, 0] * row + inverse[1, 1] * column + inverse[1, 2]
        return x.astype(np.float32), y.astype(np.float32)

    def _fixed(self, points: Points) -> npt.NDArray[np.int32]:
        posed = points @ self.pose[:, :2].T + self.pose[:, 2]
        return np.asarray(np.round((posed * self.scale - 0.5) * 2**_SHIFT), np.int32)


def smooth_noise(rng: np.random.Generator, cells: int, size: int) -> Array:
    """Random field (size, size) of about unit variance, with `cells` independent values a side."""
    coarse = rng.standard_normal((cells, cells)).astype(np.float32)
    return np.asarray(cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC), np.float32)


def rounded(corners: Sequence[tuple[float, float]] | Points, times: int = 3) -> Points:
    """Closed outline with cut corners (Chaikin 1974): a few points give a soft shape."""
    points = np.asarray(corners, dtype=np.float64)
    for _ in range(times):
        after = np.roll(points, -1, axis=0)
        pairs = np.stack([0.75 * points + 0.25 * after, 0.25 * points + 0.75 * after], axis=1)
        points = pairs.reshape(-1, 2)
    return points


def ellipse(x: float, y: float, half_width: float, half_height: float) -> Points:
    """Closed outline of an axis-parallel ellipse."""
    angle = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    return np.stack([x + half_width * np.cos(angle), y + half_height * np.sin(angle)], axis=1)
