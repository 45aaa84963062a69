"""Make the segmentations of any tool one form: polygons as flat lists, or COCO's run lengths."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt
from pycocotools import mask as rle

from cxrloc.datasets.files.coco.values import is_number, shown, whole

Box = tuple[float, float, float, float]
Polygons = list[list[float]]
_COMPRESSED = re.compile(r"[0-o]*[0-O]")  # 6 bits a character; the last one has no continuation
_FLOATS = frozenset({float})
_FARTHEST, _LONGEST = 10, 100  # of an outline, in sides of the image
MOST_PIXELS = 2**27


def has_mask(value: Any) -> bool:
    """Whether a segmentation is there: null, "", [], [[]] and {} are none."""
    if isinstance(value, list):
        return any(map(has_mask, value)) if value and isinstance(value[0], list) else bool(value)
    return value not in (None, "", {})


def polygons(value: Sequence[Any], where: str, size_hw: tuple[int, int]) -> Polygons:
    """Polygons as flat lists of x, y; those without an area (fewer than three points) are left out.

    A polygon may be a flat list or a list of points, and one polygon need not be in a list.

    Raises:
        ValueError: starting with `where`; also for an outline far outside the image of `size_hw`,
            or absurdly long: drawing it would take all memory.
    """
    parts = _polygons(value, where)
    if parts:
        _check_extent(parts, where, size_hw)
    return parts


def _check_extent(parts: Polygons, where: str, size_hw: tuple[int, int]) -> None:
    side, around = max(size_hw), sum(size_hw)
    for part in parts:
        farthest = max(max(part), -min(part))
        if farthest > _FARTHEST * side:
            raise ValueError(
                f"{where}: segmentation has a coordinate of {farthest:g}, outside any image; the "
                f"image has {size_hw[1]} x {size_hw[0]} pixels. Correct or delete the outline"
            )
        if len(part) * 1.5 * farthest <= _LONGEST * around:  # too few points to be that long
            continue
        xy = np.array(part, dtype=np.float64).reshape(-1, 2)
        length = float(np.hypot(*(xy - np.roll(xy, 1, axis=0)).T).sum())
        if length > _LONGEST * around:
            raise ValueError(
                f"{where}: segmentation has an outline of {length:.0f} pixels around parts of an "
                f"image of {size_hw[1]} x {size_hw[0]}. Correct or delete it"
            )


def _polygons(value: Sequence[Any], where: str) -> Polygons:
    if all(map(_is_plain, value)):  # in most files all are
        return list(value)
    flat = [list(part) for part in _parts(value)]
    for part in flat:
        if not all(map(is_number, part)) or len(part) % 2:
            raise ValueError(
                f"{where}: segmentation is neither RLE nor polygons of finite x, y: {shown(part)}"
            )
    return [part for part in flat if len(part) >= 6]


def _is_plain(part: Any) -> bool:
    """Whether it is a flat list of finite x, y of at least three points."""
    return (
        type(part) is list
        and len(part) >= 6
        and len(part) % 2 == 0
        and _FLOATS.issuperset(map(type, part))
        and math.isfinite(sum(part))
    )


def _parts(value: Sequence[Any]) -> list[Sequence[Any]]:
    """Split nested lists into flat polygons; what is not a number stays for the check."""
    if not any(isinstance(part, list) for part in value):
        return [value]
    inner = [part if isinstance(part, list) else [part] for part in value if part != []]
    if all(len(part) == 1 and isinstance(part[0], list) for part in inner) and len(inner) > 1:
        inner = [part[0] for part in inner]  # a contour of OpenCV: one point in each list
    if len(inner) > 2 and all(_is_point(part) for part in inner):
        return [list(chain.from_iterable(inner))]
    return list(chain.from_iterable(_parts(part) for part in inner))


def _is_point(part: Sequence[Any]) -> bool:
    return len(part) == 2 and not any(isinstance(v, list) for v in part)


def box_of_polygons(parts: Polygons) -> Box:
    """The box x, y, width, height around all points."""
    xs = list(chain.from_iterable(part[0::2] for part in parts))
    ys = list(chain.from_iterable(part[1::2] for part in parts))
    return min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)


def run_lengths(
    value: Mapping[str, Any], where: str, size_hw: tuple[int, int] | None = None
) -> dict[str, Any]:
    """COCO's compressed run lengths from compressed or uncompressed ones, checked to be whole.

    Args:
        size_hw: the image's frame, which the mask must have; None allows any frame.

    Raises:
        ValueError: starting with `where`.
    """
    height, width = rle_size(value, where)
    if size_hw is not None and (height, width) != size_hw:
        raise ValueError(
            f"{where}: segmentation has size {[height, width]}, expected the image's "
            f"{list(size_hw)} (height, width)"
        )
    counts = value.get("counts")
    runs = _uncompressed(counts) if isinstance(counts, list) else _compressed(counts)
    if runs is None or (runs < 0).any() or int(runs.sum()) != height * width:
        raise ValueError(
            f"{where}: segmentation is neither RLE nor polygons (its `counts` do not fill the "
            f"{height} x {width} pixels of its `size`)"
        )
    if isinstance(counts, list):
        encoded = rle.frPyObjects({"size": [height, width], "counts": runs.tolist()}, height, width)
        return {"size": [height, width], "counts": encoded["counts"].decode("ascii")}
    return {"size": [height, width], "counts": counts}


def rle_size(value: Mapping[str, Any], where: str) -> tuple[int, int]:
    """Height and width of the frame of run lengths.

    Raises:
        ValueError: starting with `where`, if there is no size.
    """
    size = value.get("size")
    sides = [whole(side) for side in size] if isinstance(size, list) and len(size) == 2 else [None]
    if None in sides or min(side or 0 for side in sides) < 1:
        raise ValueError(
            f"{where}: segmentation without a size [height, width], got {shown(size)}: it is "
            "neither RLE nor polygons"
        )
    height, width = (int(side or 0) for side in sides)
    if height * width > MOST_PIXELS:
        raise ValueError(f"{where}: segmentation has size {size}, larger than any image")
    return height, width


def _uncompressed(counts: list[Any]) -> npt.NDArray[np.int64] | None:
    runs = [whole(count) for count in counts]
    if any(run is None or not 0 <= run < 2**31 for run in runs):
        return None
    return np.array(runs, dtype=np.int64)


def _compressed(counts: Any) -> npt.NDArray[np.int64] | None:
    """Run lengths of COCO's text: groups of 5 bits, each run after the third a difference."""
    if not isinstance(counts, str) or not _COMPRESSED.fullmatch(counts):
        return None
    code = np.frombuffer(counts.encode("ascii"), dtype=np.uint8).astype(np.int64) - 48
    last = (code & 0x20) == 0
    starts = np.flatnonzero(np.concatenate([[True], last[:-1]]))
    place = np.arange(len(code)) - np.repeat(starts, np.diff(np.append(starts, len(code))))
    if place.max() > 6:
        return None  # longer than 32 bits
    runs = np.add.reduceat((code & 0x1F) << (5 * place), starts)
    ends = np.flatnonzero(last)
    negative = (code[ends] & 0x10) != 0
    runs = np.where(negative, runs - (1 << (5 * (place[ends] + 1))), runs)
    runs[1::2] = np.cumsum(runs[1::2])
    runs[2::2] = np.cumsum(runs[2::2])
    return runs


def box_of_run_lengths(encoded: Mapping[str, Any]) -> Box:
    """The box x, y, width, height around a mask; without area if the mask is empty."""
    x, y, width, height = rle.toBbox(encoded).tolist()
    return float(x), float(y), float(width), float(height)
