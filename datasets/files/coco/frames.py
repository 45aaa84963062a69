"""Recognise boxes that are not x, y, width, height in pixels of their image.

Shares of the image (0 to 1), two corners, and pixels of a smaller or larger copy are ways to write
boxes that COCO does not have. Scored as they stand they would miss everything without a word.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
EXPECTED = "COCO boxes are x, y, width, height in pixels of the image as given by width and height"
_SMALLEST_IMAGE = 16  # pixels; in a smaller one a box of one pixel may be meant
_FEW, _FEW_IMAGES = 5, 3  # findings of fewer boxes or images may lie in one corner by chance
_CORNER = 0.55
_SIDES = (
    *(100, 128, 224, 256, 299, 320, 384, 416, 448, 480, 512, 600, 640, 768, 800, 896, 1000, 1024),
    *(1280, 1333, 1536, 2000, 2048, 2500, 3000, 4096),
)
_OUTLINE = 0.2  # of a box's side, by which a box and its outline may differ
_OVER = 0.02  # of the image's side: more than careless drawing at the border


def check_frames(
    boxes_xywh: FloatArray,
    frames_wh: npt.NDArray[np.float64],
    images: npt.NDArray[np.intp],
    source: str,
) -> list[str]:
    """Refuse boxes that cannot be pixels, and warn of those that hardly are.

    Args:
        boxes_xywh, frames_wh, images: (N, 4), (N, 2) and (N,), one row per box.
        source: begins the error's message.

    Returns:
        Warnings, to be printed and reported.

    Raises:
        ValueError: if they are shares of the image or two corners.
    """
    if not len(boxes_xywh):
        return []
    what = "the boxes of the annotations"
    refuse_shares(boxes_xywh, frames_wh, f"{source}: {what}")
    _refuse_corners(boxes_xywh, frames_wh, f"{source}: {what}")
    tiny = int(are_shares(boxes_xywh, frames_wh).sum())
    if tiny:
        return [f"CHECK {what}: {tiny} lie within the first pixel of their image. {EXPECTED}"]
    if len(boxes_xywh) < _FEW or len(np.unique(images)) < _FEW_IMAGES:
        return []
    doubts = (_in_a_corner(boxes_xywh, frames_wh), _over_the_border(boxes_xywh, frames_wh))
    return [f"CHECK {what}: {doubt} {EXPECTED}" for doubt in doubts if doubt]


def check_outlines(boxes_xywh: FloatArray, around_xywh: FloatArray, source: str) -> list[str]:
    """Compare boxes with those around the outlines of the same annotations, both (N, 4).

    Returns:
        Warnings, if they do not agree.

    Raises:
        ValueError: if they agree once the boxes are read as two corners.
    """
    if not len(boxes_xywh):
        return []
    around = np.concatenate([around_xywh[:, :2], around_xywh[:, :2] + around_xywh[:, 2:]], axis=1)
    sides = np.maximum(np.abs(around_xywh[:, 2:]), 1)
    as_corners = np.abs(boxes_xywh - around) / np.tile(sides, 2)
    as_written = np.abs(boxes_xywh - around_xywh) / np.tile(sides, 2)
    agree = (as_written < _OUTLINE).all(axis=1)
    corners = (as_corners < _OUTLINE).all(axis=1) & ~agree
    what = "the boxes of the annotations"
    if corners.mean() > 0.5:
        raise ValueError(
            f"{source}: {what} are two corners x1, y1, x2, y2: so read, {int(corners.sum())} of "
            f"{len(corners)} fit their outlines, for example "
            f"{boxes_xywh[int(corners.argmax())].tolist()}. {EXPECTED}: write x2 - x1 and y2 - y1 "
            "as width and height"
        )
    if agree.mean() > 0.5:
        return []
    return [
        f"CHECK {what}: {int((~agree).sum())} of {len(agree)} that were looked at do not fit the "
        f"outline in their segmentation, for example {boxes_xywh[int(agree.argmin())].tolist()} "
        f"around {around[int(agree.argmin())].tolist()} (two corners). {EXPECTED}"
    ]


def are_shares(boxes_xywh: FloatArray, frames_wh: FloatArray) -> npt.NDArray[np.bool_]:
    """(N,) boxes that lie within the image's first pixel."""
    return _within(boxes_xywh, frames_wh, 0, 1)


def refuse_shares(boxes_xywh: FloatArray, frames_wh: FloatArray, what: str) -> None:
    """Raise ValueError if most boxes are shares of their image."""
    # predicted shares may reach a little over the border
    unit = _within(boxes_xywh, frames_wh, -0.5, 1.5)
    if not unit.any() or unit.mean() < 0.5:
        return
    first = int(np.flatnonzero(unit)[0])
    width, height = frames_wh[first].astype(int).tolist()
    shares = boxes_xywh[unit]
    over = ((shares[:, :2] + shares[:, 2:]).max(axis=1) > 1.001).mean()
    centred = ((shares[:, :2] - shares[:, 2:] / 2).min(axis=1) >= -0.001).all() and over > 0
    kind = "centre x, centre y, width, height, as YOLO writes them" if centred else "from 0 to 1"
    raise ValueError(
        f"{what}: {int(unit.sum())} of {len(unit)} are shares of the image ({kind}), for example "
        f"{boxes_xywh[first].tolist()} in an image of {width} x {height}. {EXPECTED}: multiply x "
        "and width by the image's width, y and height by its height"
        + (", and subtract half the width and height from the centre" if centred else "")
    )


def _within(
    boxes_xywh: FloatArray, frames_wh: FloatArray, low: float, high: float
) -> npt.NDArray[np.bool_]:
    """(N,) boxes with an area and all values in a range, in images that are no toys."""
    inside = (boxes_xywh.min(axis=1) >= low) & (boxes_xywh.max(axis=1) <= high)
    large = (frames_wh.min(axis=1) >= _SMALLEST_IMAGE) & (boxes_xywh[:, 2:].min(axis=1) > 0)
    return np.asarray(inside & large)


def _refuse_corners(boxes_xywh: FloatArray, frames_wh: FloatArray, what: str) -> None:
    """Raise ValueError if the boxes make sense as two corners alone."""
    corner, second = boxes_xywh[:, :2], boxes_xywh[:, 2:]
    over = ((corner + second) > frames_wh * (1 + _OVER)).any(axis=1)
    are_corners = ((second > corner) & (second <= frames_wh + 1)).all() and (corner >= -1).all()
    if not are_corners or len(over) < _FEW or over.mean() < 0.3:
        return
    first = int(np.flatnonzero(over)[0])
    width, height = frames_wh[first].astype(int).tolist()
    raise ValueError(
        f"{what}: they look like two corners x1, y1, x2, y2: read as x, y, width, height, "
        f"{int(over.sum())} of {len(over)} reach beyond their image, for example "
        f"{boxes_xywh[first].tolist()} in an image of {width} x {height}, and read as two corners "
        f"none does. {EXPECTED}: write x2 - x1 and y2 - y1 as width and height"
    )


def _in_a_corner(boxes_xywh: FloatArray, frames_wh: FloatArray) -> str:
    reach = ((boxes_xywh[:, :2] + boxes_xywh[:, 2:]) / frames_wh).max(axis=0)
    if reach.max() > _CORNER:
        return ""
    right, bottom = (boxes_xywh[:, :2] + boxes_xywh[:, 2:]).max(axis=0).tolist()
    width, height = frames_wh.max(axis=0).astype(int).tolist()
    return (
        f"all {len(boxes_xywh)} lie in the top left {right:.0f} x {bottom:.0f} "
        f"pixels of images of up to {width} x {height}. Are they pixels of a resized copy (such as "
        f"{_copy(max(right, bottom))} x {_copy(max(right, bottom))}), or per cent?"
    )


def usual_frames(reach: float, *, any_larger: bool = False) -> list[int]:
    """The usual sides of a network's input that boxes may come from.

    Args:
        reach: how far nearly all boxes reach to the right or down.
        any_larger: a few boxes need not reach near the border.
    """
    largest = math.inf if any_larger else 1.6 * reach
    return [side for side in _SIDES if reach <= side * (1 + _OVER) and side <= largest]


def _copy(reach: float) -> int:
    return next((side for side in _SIDES if side >= reach), int(reach) + 1)


def _over_the_border(boxes_xywh: FloatArray, frames_wh: FloatArray) -> str:
    corners = boxes_xywh[:, :2] + boxes_xywh[:, 2:]
    over = (corners > frames_wh * (1 + _OVER)).any(axis=1)
    over |= (boxes_xywh[:, :2] < -_OVER * frames_wh).any(axis=1)
    if over.mean() < 0.1 or over.sum() < _FEW_IMAGES:
        return ""
    first = int(np.flatnonzero(over)[0])
    width, height = frames_wh[first].astype(int).tolist()
    return (
        f"{int(over.sum())} of {len(over)} reach well beyond their image, for "
        f"example {boxes_xywh[first].tolist()} in an image of {width} x {height}. Are they two "
        f"corners, centre and size, or pixels of a larger copy?"
    )
