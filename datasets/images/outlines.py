"""Turn a mask into outlines that cover exactly its pixels, and outlines into a mask."""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.uint8]


def outlines(mask: Mask) -> tuple[tuple[float, ...], ...]:
    """Outline of each connected part of a mask, as x1, y1, x2, y2, ... along the pixels' edges.

    Filled by the rule that a pixel is inside if its centre is, they give the mask again, with its
    holes filled. Pixels that touch at a corner belong together.

    Args:
        mask: (H, W) uint8, 0 outside.

    Returns:
        One polygon per part, from the top left; none for an empty mask.
    """
    # OpenCV's contours join the centres of the border's pixels, half a pixel too far inside. In a
    # copy of twice the size, each pixel of the border has one edge of the original to go to.
    doubled = np.kron(mask != 0, np.ones((2, 2), dtype=np.uint8)).astype(np.uint8)
    contours, _ = cv2.findContours(doubled, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    corners = [_corners((contour[:, 0].astype(np.int64) + 1) // 2) for contour in contours]
    return tuple(tuple(map(float, points.ravel())) for points in sorted(corners, key=_top_left))


def box_around(mask: Mask) -> tuple[float, float, float, float]:
    """The box xyxy whose edges are the outer edges of a mask's pixels.

    Raises:
        ValueError: for an empty mask.
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        raise ValueError("an empty mask has no box")
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)


def outline_mask(outline: Iterable[npt.NDArray[np.float64]], size: int) -> npt.NDArray[np.uint8]:
    """(size, size) uint8 mask of the polygons (n, 2) of one finding, which may overlap.

    A pixel is inside if its centre is.
    """
    mask = np.zeros((size, size), dtype=np.uint8)
    for polygon in outline:
        mask |= _filled(polygon, size)
    return mask


def _corners(points: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Leave out repeated points, then those within a straight run."""
    moved = (points != np.roll(points, 1, axis=0)).any(axis=1)
    points = points[moved]
    before, after = points - np.roll(points, 1, axis=0), np.roll(points, -1, axis=0) - points
    straight: npt.NDArray[np.int64] = points[(before != after).any(axis=1)]
    return straight


def _top_left(points: npt.NDArray[np.int64]) -> tuple[int, int]:
    return int(points[:, 1].min()), int(points[:, 0].min())


def _filled(polygon: npt.NDArray[np.float64], size: int) -> npt.NDArray[np.uint8]:
    """Fill one polygon (n, 2) by the even-odd rule, as COCO's tools do.

    cv2.fillPoly would also colour the pixels under the line, half a pixel all around.
    """
    (x, y), (x_next, y_next) = polygon.T, np.roll(polygon, -1, axis=0).T
    centres = np.arange(size) + 0.5
    rows, edges = np.nonzero((y <= centres[:, None]) != (y_next <= centres[:, None]))
    slope = (x_next - x)[edges] / (y_next - y)[edges]
    crossings = x[edges] + (centres[rows] - y[edges]) * slope
    first_right = np.clip(np.ceil(crossings - 0.5), 0, size).astype(np.int64)
    crossed = np.zeros((size, size + 1), dtype=np.int64)
    np.add.at(crossed, (rows, first_right), 1)
    return (np.cumsum(crossed, axis=1)[:, :size] % 2).astype(np.uint8)
