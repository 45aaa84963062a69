"""Turn a COCO segmentation into outlines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pycocotools import mask as rle

from cxrloc.datasets.images.outlines import outlines

Box = tuple[float, float, float, float]
Outlines = tuple[tuple[float, ...], ...]
_ROUNDING = 0.01


def coco_outlines(segmentation: Any, box_xyxy: Box) -> Outlines:
    """Outlines of polygons or run lengths; none if there are none or they repeat the box."""
    if isinstance(segmentation, Mapping):
        return outlines(rle.decode(segmentation))
    polygons = tuple(tuple(map(float, points)) for points in segmentation or ())
    return () if len(polygons) == 1 and _is_box(polygons[0], box_xyxy) else polygons


def _is_box(points: Sequence[float], box_xyxy: Box) -> bool:
    x1, y1, x2, y2 = box_xyxy
    corners = {(points[i], points[i + 1]) for i in range(0, len(points), 2)}
    return len(corners) == 4 and all(
        any(abs(x - a) + abs(y - b) < _ROUNDING for x, y in corners)
        for a, b in ((x1, y1), (x2, y1), (x2, y2), (x1, y2))
    )
