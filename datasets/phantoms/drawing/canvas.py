"""Draw shapes given in patient coordinates as soft masks of any image size."""

from __future__ import annotations

import math
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
_SHRUNK = 8  # pixels of sigma above which a blur uses a smaller copy
_LANES = 16  # columns that cv2's filters may compute at once: a cut at a multiple changes no bit


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
        for points in self._fixed(list(outlines)):
            cv2.fillPoly(mask, [points], 255, cv2.LINE_AA, _SHIFT)
        return self._softened(mask, blur)

    def strokes(self, lines: Iterable[tuple[Points, float, float]], blur: float = 1.5) -> Array:
        """Draw open lines (points, width, strength 0..1); lines thinner than a pixel are faint."""
        mask = np.zeros((self.size, self.size), np.uint8)
        drawn = list(lines)
        every = self._fixed([points for points, _, _ in drawn])
        for points, (_, width, strength) in zip(every, drawn, strict=True):
            pixels = width * self.scale
            value = round(255 * strength * min(1.0, pixels))
            thickness = max(1, round(pixels))
            cv2.polylines(mask, [points], False, value, thickness, cv2.LINE_AA, _SHIFT)
        return self._softened(mask, blur)

    def _softened(self, mask: npt.NDArray[np.uint8], sigma: float) -> Array:
        """`blurred`, but only around what is drawn: everywhere else the result is 0."""
        pixels = sigma * self.scale
        reach = math.ceil(4 * pixels) + 1  # cv2's kernel of a float image is 8 sigma wide
        left, top, width, height = cv2.boundingRect(mask)
        rows = slice(max(0, top - reach), top + height + reach)
        right = -(-(left + width + reach) // _LANES) * _LANES
        columns = slice(max(0, left - reach) // _LANES * _LANES, right)
        soft = np.zeros(mask.shape, np.float32)
        if pixels > _SHRUNK:  # the smaller copy must be one of the whole image
            rows = columns = slice(None)
        soft[rows, columns] = self.blurred(mask[rows, columns].astype(np.float32) / 255, sigma)
        return soft

    def blurred(self, field: Array, sigma: float) -> Array:
        """Gaussian blur with sigma in units of the 1024 frame; wide blurs use a smaller copy."""
        pixels = sigma * self.scale
        if pixels < 0.3:
            return field
        shrink = 4 if pixels > _SHRUNK else 1
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

    def _fixed(self, shapes: Sequence[Points]) -> list[npt.NDArray[np.int32]]:
        """Points of each shape in this image's pixels, as cv2 takes them."""
        if not shapes:
            return []
        posed = np.concatenate(shapes) @ self.pose[:, :2].T + self.pose[:, 2]
        fixed = np.round((posed * self.scale - 0.5) * 2**_SHIFT).astype(np.int32)
        return np.split(fixed, np.cumsum([len(points) for points in shapes])[:-1])


def smooth_noise(rng: np.random.Generator, cells: int, size: int) -> Array:
    """Random field (size, size) of about unit variance, with `cells` independent values a side."""
    coarse = rng.standard_normal((cells, cells)).astype(np.float32)
    return np.asarray(cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC), np.float32)


def rounded(corners: Sequence[tuple[float, float]] | Points, times: int = 3) -> Points:
    """Closed outlines (..., n, 2) with cut corners (Chaikin 1974): few points, a soft shape."""
    points = np.asarray(corners, dtype=np.float64)
    for _ in range(times):
        after = np.roll(points, -1, axis=-2)
        pairs = np.stack([0.75 * points + 0.25 * after, 0.25 * points + 0.75 * after], axis=-2)
        points = pairs.reshape(*points.shape[:-2], -1, 2)
    return points


def ellipse(x: float, y: float, half_width: float, half_height: float) -> Points:
    """Closed outline of an axis-parallel ellipse."""
    angle = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    return np.stack([x + half_width * np.cos(angle), y + half_height * np.sin(angle)], axis=1)
