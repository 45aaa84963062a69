"""Separate the body on a radiograph from air and collimated borders.

    outside = ~body_mask(pixels)

The background is dark and touches the border of the image; the body is the largest part of the
rest, with holes filled. So markers in the air next to the patient are not body, and lungs, which
are dark but enclosed, are. Works for limb and chest images; the image must be bright where dense
(MONOCHROME2, as all readers return it).
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from cxrloc.datasets.images.transforms import fitted

Mask = npt.NDArray[np.bool_]

_SIDE = 256  # longer side of the copy to segment; the mask is accurate to 2 or 3 of its pixels
_BLUR = 2.0  # sigma, pixels of the copy
_DARK = 0.3  # end of the background, from the darkest percentile (0) to Otsu's threshold (1)
_LEAST_RANGE = 20  # grey values between these two; below, background and body are not separable


def body_mask(pixels: npt.NDArray[np.uint8]) -> Mask:
    """Segment the patient: (H, W) bool from grey uint8 pixels (H, W).

    An image without a dark border, or of a single grey value, is all body.
    """
    if pixels.ndim != 2 or pixels.dtype != np.uint8:
        raise ValueError(f"expected grey uint8 (H, W), got {pixels.dtype} {pixels.shape}")
    height, width = pixels.shape
    inner = fitted((height, width), min(_SIDE, max(height, width)))
    small = cv2.resize(pixels, inner, interpolation=cv2.INTER_AREA)
    smooth = np.asarray(cv2.GaussianBlur(small, (0, 0), _BLUR), dtype=np.uint8)
    body = _largest(~_touching_border(smooth < _dark_level(smooth)))
    return cv2.resize(body.astype(np.uint8), (width, height)) > 0


def _dark_level(smooth: npt.NDArray[np.uint8]) -> float:
    """Grey value below which border pixels are background, from Otsu's (1979) threshold."""
    otsu, _ = cv2.threshold(smooth, 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    darkest = float(np.percentile(smooth, 1))
    return darkest + _DARK * (otsu - darkest) if otsu - darkest >= _LEAST_RANGE else -1.0


def _touching_border(dark: Mask) -> Mask:
    framed = cv2.copyMakeBorder(dark.astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=1)
    _, labels = cv2.connectedComponents(framed, connectivity=4)
    return np.asarray((labels == labels[0, 0])[1:-1, 1:-1])


def _largest(mask: Mask) -> Mask:
    """The largest 4-connected component, with holes filled."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(
        mask.astype(np.uint8), connectivity=4
    )
    if count < 2:
        return np.ones_like(mask)
    part = labels == 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))
    return ~_touching_border(~part)
