"""The one geometry of every network input: long side scaled to `size`, padded to a square.

A film is anchored top left, so a coordinate of the original frame times `square_scale` is a
coordinate of the square, and a box goes back by dividing and clipping to the frame.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt


def square_scale(size_hw: tuple[int, int], size: int) -> float:
    """Factor from the original frame (height, width) to a square of `size` pixels a side."""
    if min(size_hw) < 1 or size < 1:
        raise ValueError(f"expected positive sizes, got frame {size_hw} and square {size}")
    return size / max(size_hw)


def fit_square(pixels: npt.NDArray[np.uint8], size: int) -> npt.NDArray[np.uint8]:
    """Scale grey pixels (H, W) to fit (size, size), zeros at the right or at the bottom.

    Shrinking averages over areas, enlarging interpolates linearly.
    """
    if pixels.ndim != 2 or pixels.dtype != np.uint8:
        raise ValueError(f"expected grey uint8 (H, W), got {pixels.dtype} {pixels.shape}")
    height, width = pixels.shape
    scale = square_scale((height, width), size)
    inner = max(1, round(height * scale)), max(1, round(width * scale))
    if inner != (height, width):
        how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        pixels = cv2.resize(pixels, inner[::-1], interpolation=how).astype(np.uint8, copy=False)
    if inner == (size, size):
        return np.ascontiguousarray(pixels)
    square = np.zeros((size, size), dtype=np.uint8)
    square[: inner[0], : inner[1]] = pixels
    return square


def equalise(
    square: npt.NDArray[np.uint8], clip_limit: float, tiles: int = 8
) -> npt.NDArray[np.uint8]:
    """Equalise the film in a square of `fit_square`; the padding beside it stays zero.

    CLAHE (Zuiderveld 1994): each of tiles x tiles regions gets its histogram equalised, no grey
    value counting more than `clip_limit` times the mean, which limits how much noise is amplified;
    pixels between the centres of regions interpolate.

    Args:
        square: (S, S) uint8. Black rows at the bottom and columns at the right are padding.
        clip_limit: 0 returns the square as it is.
        tiles: regions along each side of the film.
    """
    if clip_limit == 0 or not square.any():
        return square
    height = int(np.flatnonzero(square.any(axis=1))[-1]) + 1
    width = int(np.flatnonzero(square.any(axis=0))[-1]) + 1
    film = np.ascontiguousarray(square[:height, :width])
    equalised = np.zeros_like(square)
    equalised[:height, :width] = cv2.createCLAHE(clip_limit, (tiles, tiles)).apply(film)
    return equalised
