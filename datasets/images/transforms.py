"""Define the geometry of every network input: long side scaled to `size`, padded to a square.

An image is anchored top left: multiply coordinates in the original frame by `square_scale` to get
coordinates in the square. To map a box back, divide and clip to the frame.

Training and prediction share `input_channels`, which turns grey values into network input.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

Square = npt.NDArray[np.uint8]
# `stretch` maps the grey values at these quantiles of an image to black and white
STRETCH_SHARES = (0.02, 0.98)
_SIXTEEN_TO_EIGHT = 65535 / 255


def square_scale(size_hw: tuple[int, int], size: int) -> float:
    """Scale factor from the original frame (height, width) to a square of side `size`."""
    if min(size_hw) < 1 or size < 1:
        raise ValueError(f"expected positive sizes, got frame {size_hw} and square {size}")
    return size / max(size_hw)


def boxes_in_frame(
    boxes: npt.NDArray[np.float64], size_hw: tuple[int, int], size: int
) -> npt.NDArray[np.float64]:
    """Boxes (M, 4) in a square of side `size`, in the original frame and cut at its edges."""
    height, width = size_hw
    inside: npt.NDArray[np.float64] = np.clip(
        boxes / square_scale(size_hw, size), 0, np.array([width, height, width, height])
    )
    return inside


def fit_square(pixels: Square | npt.NDArray[np.uint16], size: int) -> Square:
    """Scale grey pixels (H, W) to fit (size, size), padded with zeros at the right or bottom.

    Shrinking averages over areas, enlarging interpolates linearly. Pixels of 16 bits are rounded to
    8 only afterwards.
    """
    if pixels.ndim != 2 or pixels.dtype not in (np.uint8, np.uint16):
        raise ValueError(f"expected grey uint8 or uint16 (H, W), got {pixels.dtype} {pixels.shape}")
    height, width = pixels.shape
    inner = fitted((height, width), size)[::-1]
    scaled: npt.NDArray[Any] = pixels
    if inner != (height, width):
        how = cv2.INTER_AREA if size < max(height, width) else cv2.INTER_LINEAR
        scaled = np.asarray(cv2.resize(pixels, inner[::-1], interpolation=how))
    if pixels.dtype == np.uint16:
        scaled = np.rint(scaled / _SIXTEEN_TO_EIGHT)
    grey = np.ascontiguousarray(scaled, dtype=np.uint8)
    if inner == (size, size):
        return grey
    square = np.zeros((size, size), dtype=np.uint8)
    square[: inner[0], : inner[1]] = grey
    return square


def input_channels(square: Square, kind: str, clahe_clip: float = 0.0) -> Square:
    """Convert a square of `fit_square` to the channels of a network with this `model.input` kind.

    Args:
        square: (S, S) uint8.
        kind: grey and single: the image itself, equalised by `equalise` if `clahe_clip` is above 0.
            enhanced: three channels: the image; the image equalised, by CLAHE if `clahe_clip` is
            above 0 and otherwise over its whole histogram; the image stretched.
        clahe_clip: clip limit of `equalise`.

    Returns:
        (S, S) uint8, or (3, S, S) for enhanced.
    """
    if kind != "enhanced":
        return equalise(square, clahe_clip)
    equal = equalise(square, clahe_clip) if clahe_clip else equalise_histogram(square)
    return np.stack([square, equal, stretch(square)])


def equalise(square: Square, clip_limit: float) -> Square:
    """Equalise the image in a square of `fit_square`; the padding stays zero.

    CLAHE (Zuiderveld 1994) equalises the histogram in each of 8 x 8 regions. No grey value counts
    more than `clip_limit` times the mean, which limits the amplification of noise. Pixels between
    the region centres are interpolated.

    Args:
        square: (S, S) uint8. Black rows at the bottom and columns at the right are padding.
        clip_limit: 0 returns the square unchanged.
    """
    if clip_limit == 0:
        return square
    return _on_image(square, cv2.createCLAHE(clip_limit, (8, 8)).apply)


def equalise_histogram(square: Square) -> Square:
    """Equalise the histogram over the whole image; the padding stays zero."""
    return _on_image(square, cv2.equalizeHist)


def stretch(square: Square) -> Square:
    """Stretch the contrast linearly: the 2nd percentile of the image to 0, the 98th to 255.

    Values beyond are clipped, so a side marker, which is brighter than bone, does not set the
    scale. An image with two equal percentiles is unchanged.
    """
    return _on_image(square, _stretched)


def _stretched(image: Square) -> Square:
    counts = np.bincount(image.ravel(), minlength=256)  # quantiles of bytes need no sorting
    low, high = (_quantile(counts, share) for share in STRETCH_SHARES)
    if high <= low:
        return image
    scaled = (np.arange(256) - low) * (255 / (high - low))
    greys: Square = np.rint(scaled).clip(0, 255).astype(np.uint8)
    return np.asarray(greys[image])


def _quantile(counts: npt.NDArray[np.int64], share: float) -> float:
    """Quantile of grey values counted by value, interpolated linearly as in `numpy.quantile`."""
    place = share * (counts.sum() - 1)
    below = int(place)
    first, second = np.searchsorted(counts.cumsum(), (below, math.ceil(place)), side="right")
    return float(first + (second - first) * (place - below))


def _on_image(square: Square, change: Callable[[Square], Any]) -> Square:
    """Apply `change` to the image but not to the padding added by `fit_square`."""
    if not square.any():
        return square
    height = int(np.flatnonzero(square.any(axis=1))[-1]) + 1
    width = int(np.flatnonzero(square.any(axis=0))[-1]) + 1
    changed = np.zeros_like(square)
    changed[:height, :width] = change(np.ascontiguousarray(square[:height, :width]))
    return changed


def fitted(size_hw: tuple[int, int], side: int) -> tuple[int, int]:
    """Width and height with the frame's aspect ratio and a longer side of `side`."""
    scale = square_scale(size_hw, side)
    return max(1, round(size_hw[1] * scale)), max(1, round(size_hw[0] * scale))


def resized(pixels: npt.NDArray[Any], size_wh: tuple[int, int]) -> npt.NDArray[Any]:
    """Resize pixels for drawing: smooth when enlarged, averaged when shrunk."""
    if pixels.shape[1::-1] == tuple(size_wh):
        return pixels
    shrinks = pixels.shape[0] > size_wh[1]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(pixels, size_wh, interpolation=method))
