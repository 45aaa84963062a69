"""Warn of an image whose grey is unlike that of a chest radiograph, whatever its format."""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np
import numpy.typing as npt

Grey = npt.NDArray[np.uint8]

_NARROW = 13  # grey values: 5 % of 256
_SAME_GREY = 0.95  # share of the pixels
_SIDE = 64  # the image is judged at this size
_EDGE = 4  # width of its border
_BRIGHTER = 55  # grey values by which the border of an inverted image exceeds its middle
# rows and columns of the parts of a frontal chest image at this size
_LUNGS = ((slice(18, 38), slice(12, 24)), (slice(18, 38), slice(40, 52)))
_SPINE, _BELLY = (slice(12, 40), slice(29, 35)), (slice(48, 60), slice(20, 44))
_CORNERS = ((slice(0, 8), slice(0, 10)), (slice(0, 8), slice(54, 64)))
_COLOURED = 12  # mean difference of the channels; JPEG leaves up to 3 in a grey image


def grey_doubts(grey: Grey) -> Iterable[str]:
    """Sentences about grey pixels (H, W): no contrast, or black and white the wrong way round."""
    if grey.min() == grey.max():
        yield f"No contrast: every pixel has the grey value {grey[0, 0]} (of 0 to 255)."
        return
    counts = np.bincount(grey.ravel(), minlength=256)
    share, low = _narrowest(counts)
    if share >= _SAME_GREY:
        high = low + _NARROW - 1
        yield (
            f"Little contrast: {share:.0%} of the pixels have grey values from {low} to {high} "
            "(of 0 to 255). Was a window of another kind of image applied?"
        )
        return
    if min(grey.shape) >= _SIDE and _is_inverted(
        cv2.resize(grey, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    ):
        yield (
            "Lungs and corners, or the border, are brighter than the middle: are black and white "
            "the right way round?"
        )


def colour_doubts(pixels: npt.NDArray[np.generic]) -> Iterable[str]:
    """A sentence about pixels (H, W, C) in BGR(A) that are in colour."""
    if pixels.ndim != 3 or pixels.shape[2] < 3:
        return
    small = np.asarray(pixels[::4, ::4, :3], dtype=np.float64)
    scale = 255.0 / (np.iinfo(np.uint16).max if pixels.dtype == np.uint16 else 255)
    difference = float((small.max(axis=2) - small.min(axis=2)).mean()) * scale
    if difference > _COLOURED:
        yield "An image in colour: a radiograph is grey. Its luminance is judged."


def _narrowest(counts: npt.NDArray[np.intp]) -> tuple[float, int]:
    """Largest share of the pixels within `_NARROW` grey values, and the lowest of these."""
    sums = np.convolve(counts, np.ones(_NARROW, dtype=np.int64), mode="valid")
    low = int(sums.argmax())
    return float(sums[low] / counts.sum()), low


def _is_inverted(small: npt.NDArray[np.number]) -> bool:
    """Whether dark and bright are turned round in an image of `_SIDE` pixels a side.

    The spine is brighter than the lungs, and the belly than the corners above the shoulders: on
    the 1,026 NIH images that we have, by 33 grey values or more in sum.
    """
    values = small.astype(np.float64)
    lungs, corners = (np.mean([values[part].mean() for part in p]) for p in (_LUNGS, _CORNERS))
    upright = (values[_SPINE].mean() - lungs) + (values[_BELLY].mean() - corners)
    border = np.ones(small.shape, dtype=bool)
    border[_EDGE:-_EDGE, _EDGE:-_EDGE] = False
    quarter = _SIDE // 4
    middle = values[quarter:-quarter, quarter:-quarter].mean()
    return bool(upright < 0 or values[border].mean() > middle + _BRIGHTER)
