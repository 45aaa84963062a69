"""Read, check and write masks in results files: COCO's run lengths and polygons."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from pycocotools import mask as rle


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


def mask_size(encoded: Mapping[str, Any], where: str) -> tuple[int, int]:
    """Height and width of an encoded mask's frame.

    Raises:
        ValueError: starting with `where`, if the mask has no size.
    """
    try:
        height, width = encoded["size"]
        return int(height), int(width)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{where}: segmentation without a size [height, width] ({error!r})"
        ) from error


def parse_segmentation(entry: Mapping[str, Any], size_hw: tuple[int, int], where: str) -> Any:
    """Return an entry's encoded mask in the frame `size_hw`, or None if it has none.

    Raises:
        ValueError: starting with `where`, if it is not a mask or has another frame.
    """
    value = entry.get("segmentation")
    if value is None or value == []:
        return None
    try:
        if isinstance(value, list):  # polygons
            return rle.merge(rle.frPyObjects(value, *size_hw))
        encoded = rle.frPyObjects(value, *size_hw) if isinstance(value["counts"], list) else value
        size = tuple(encoded["size"])
    except Exception as error:  # pycocotools raises a bare Exception for bad polygons
        raise ValueError(f"{where}: segmentation is neither RLE nor polygons ({error})") from error
    if size != size_hw:
        raise ValueError(
            f"{where}: segmentation has size {list(size)}, expected the image's {list(size_hw)}"
        )
    return encoded
