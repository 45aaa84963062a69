"""Fill boxes and outlines as masks. A pixel is inside if its centre is."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from cxrloc.detection.data import Outline, Sample


def finding_masks(sample: Sample, size: int) -> Tensor:
    """(n, size, size) uint8 masks: filled outlines, and filled boxes where there is no outline."""
    masks = rectangle_masks(sample.boxes, size)
    for row, outline in enumerate(sample.outlines):
        if outline:
            masks[row] = torch.from_numpy(outline_mask(outline, size))
    return masks


def rectangle_masks(boxes: np.ndarray[Any, Any], size: int) -> Tensor:
    """(n, size, size) uint8 masks of boxes (n, 4) xyxy."""
    centres = torch.arange(size) + 0.5
    corners = torch.as_tensor(boxes, dtype=torch.float32)[:, :, None]
    across = (centres >= corners[:, 0]) & (centres < corners[:, 2])
    down = (centres >= corners[:, 1]) & (centres < corners[:, 3])
    return (down[:, :, None] & across[:, None, :]).to(torch.uint8)


def outline_mask(outline: Outline, size: int) -> npt.NDArray[np.uint8]:
    """(size, size) uint8 mask of the polygons of one finding, which may overlap."""
    mask = np.zeros((size, size), dtype=np.uint8)
    for polygon in outline:
        mask |= _filled(polygon, size)
    return mask


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
