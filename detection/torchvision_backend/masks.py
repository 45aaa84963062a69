"""Fill boxes and outlines as masks. A pixel is inside if its centre is."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from cxrloc.datasets.images.outlines import outline_mask
from cxrloc.detection.data import Sample


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
