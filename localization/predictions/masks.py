"""Read, check and write masks in results files: COCO's run lengths and polygons."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from pycocotools import mask as rle

from cxrloc.datasets.files.coco.masks import (
    Box,
    box_of_polygons,
    box_of_run_lengths,
    polygons,
    run_lengths,
)
from cxrloc.datasets.files.coco.values import shown


@dataclass(frozen=True)
class MaskResult:
    """A predicted mask as stored in a file.

    Attributes:
        rle: COCO's encoded mask, in the frame of the image or in a smaller one.
    """

    image_id: str
    disease: str
    score: float
    rle: Mapping[str, Any] = field(repr=False)


def encode_mask(
    mask: npt.NDArray[np.bool_], size_hw: tuple[int, int], where: str = "mask"
) -> dict[str, Any]:
    """Encode an (H, W) mask as COCO's compressed RLE; `counts` is a str, as JSON requires."""
    if mask.shape != size_hw:
        raise ValueError(f"{where}: expected a mask of shape {size_hw}, got {mask.shape}")
    return plain_rle(rle.encode(np.asfortranarray(mask, dtype=np.uint8)))


def plain_rle(encoded: Mapping[str, Any]) -> dict[str, Any]:
    """Make the `counts` of a compressed RLE of pycocotools a str."""
    counts = encoded["counts"]
    text = counts.decode("ascii") if isinstance(counts, bytes) else counts
    return {"size": [int(side) for side in encoded["size"]], "counts": text}


def encoded_mask(
    value: Any, size_hw: tuple[int, int], where: str, *, any_frame: bool = False
) -> dict[str, Any] | None:
    """Return a segmentation as COCO's compressed RLE, or None if it has no area to speak of.

    Args:
        size_hw: the image's frame: that of polygons, and of run lengths unless `any_frame`.

    Raises:
        ValueError: starting with `where`, if it is not a mask or has another frame.
    """
    if isinstance(value, dict):
        return run_lengths(value, where, None if any_frame else size_hw)
    if not isinstance(value, list):
        raise ValueError(f"{where}: segmentation is neither RLE nor polygons: {shown(value)}")
    parts = polygons(value, where, size_hw)
    return plain_rle(rle.merge(rle.frPyObjects(parts, *size_hw))) if parts else None


def box_around(value: Any, size_hw: tuple[int, int], where: str) -> Box | None:
    """Return the box x, y, width, height around a segmentation in the image's frame.

    Raises:
        ValueError: like `encoded_mask`.
    """
    if isinstance(value, list):
        parts = polygons(value, where, size_hw)
        return box_of_polygons(parts) if parts else None
    encoded = encoded_mask(value, size_hw, where)
    return None if encoded is None else box_of_run_lengths(encoded)
