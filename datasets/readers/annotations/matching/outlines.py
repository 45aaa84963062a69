"""Turn a COCO segmentation into outlines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from pycocotools import mask as rle

Box = tuple[float, float, float, float]
Outlines = tuple[tuple[float, ...], ...]
_ROUNDING = 0.01


def outlines(segmentation: Any, box_xyxy: Box) -> Outlines:
    """Outlines of polygons or run lengths; none if there are none or they repeat the box."""
    if isinstance(segmentation, Mapping):
        return _around(rle.decode(segmentation))
    polygons = tuple(tuple(map(float, points)) for points in segmentation or ())
    return () if len(polygons) == 1 and _is_box(polygons[0], box_xyxy) else polygons


def _is_box(points: Sequence[float], box_xyxy: Box) -> bool:
    x1, y1, x2, y2 = box_xyxy
    corners = {(points[i], points[i + 1]) for i in range(0, len(points), 2)}
    return len(corners) == 4 and all(
        any(abs(x - a) + abs(y - b) < _ROUNDING for x, y in corners)
        for a, b in ((x1, y1), (x2, y1), (x2, y2), (x1, y2))
    )


def _around(mask: npt.NDArray[np.uint8]) -> Outlines:
    """The outer outlines of a mask, through the corners of its pixels rather than their centres."""
    # each pixel as two by two, so that an outline runs along the pixel's outer edge
    large = np.kron(mask, np.ones((2, 2), np.uint8))
    found, _ = cv2.findContours(large, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    outer = [(np.ceil(contour[:, 0] / 2 + 0.0)).astype(float) for contour in found]
    return tuple(tuple(points.ravel().tolist()) for points in outer if len(points) >= 3)
