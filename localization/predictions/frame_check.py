"""Recognise predicted boxes that are not x, y, width, height in pixels of the images.

Boxes are read in every way that tools write them: two corners, centre and size, shares of the
image, pixels of a resized copy. If another reading meets the ground truth much better than the one
that COCO has, the file means it, and the boxes must be converted before they are scored.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from cxrloc.datasets.files.coco.frames import EXPECTED, are_shares, refuse_shares, usual_frames
from cxrloc.localization.boxes import iou

FloatArray = npt.NDArray[np.float64]
_PAIRS = 500  # images with a disease that are looked at
_CLEAR, _SURE = 0.2, 4  # mean IoU of another reading, and how many times that of xywh
_LIKELY, _CLOSE = 2, 0.5
_ENOUGH, _SEVERAL = 10, 3  # ground-truth boxes
_MISSED = 0.15  # centres read as corners meet a box by 1/7
_NEARLY_ALL = 0.95  # a few boxes may reach over the border
_OVER = 0.02  # of the image's side


def check_predicted_frames(
    boxes_xywh: FloatArray,
    frames_wh: FloatArray,
    pairs: Sequence[tuple[str, str]],
    coco: Mapping[str, Any],
    source: str,
) -> list[str]:
    """Refuse boxes that are clearly written in another way than COCO's, and warn of doubtful ones.

    Args:
        boxes_xywh, frames_wh: (N, 4) boxes as written and (N, 2) sizes of their images.
        pairs: file name and disease of each box.
        coco: the ground truth.
        source: begins the error's message.

    Returns:
        Warnings.

    Raises:
        ValueError: saying how the boxes are written, and how to convert them.
    """
    if not len(boxes_xywh):
        return []
    refuse_shares(boxes_xywh, frames_wh, f"{source}: the predicted boxes")
    tiny = int(are_shares(boxes_xywh, frames_wh).sum())
    warnings = [f"CHECK: {tiny} boxes are within the image's first pixel"] if tiny else []
    box, truth_xyxy = _partners(pairs, coco)
    if len(truth_xyxy):
        warnings += _readings(boxes_xywh, frames_wh, box, truth_xyxy, source)
    return warnings


def _partners(
    pairs: Sequence[tuple[str, str]], coco: Mapping[str, Any]
) -> tuple[list[npt.NDArray[np.intp]], FloatArray]:
    """For some ground-truth boxes, the predicted boxes of their image and disease."""
    images = {image["id"]: image["file_name"] for image in coco["images"]}
    names = {category["id"]: category["name"] for category in coco["categories"]}
    rows: dict[tuple[str, str], list[int]] = {}
    for row, pair in enumerate(pairs):
        rows.setdefault(pair, []).append(row)
    partners, truth = [], []
    for annotation in coco.get("annotations", ()):
        pair = images[annotation["image_id"]], names[annotation["category_id"]]
        if pair in rows and not annotation.get("iscrowd"):
            partners.append(np.array(rows[pair][:100], dtype=np.intp))
            truth.append(annotation["bbox"])
        if len(truth) == _PAIRS:
            break
    boxes = np.array(truth, dtype=np.float64).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    return partners, boxes


def _readings(
    boxes_xywh: FloatArray,
    frames_wh: FloatArray,
    partners: list[npt.NDArray[np.intp]],
    truth_xyxy: FloatArray,
    source: str,
) -> list[str]:
    box = np.concatenate(partners)
    truth = np.repeat(np.arange(len(partners)), [len(rows) for rows in partners])
    farthest = (boxes_xywh[:, :2] + boxes_xywh[:, 2:]).max(axis=1)
    reach = float(np.quantile(farthest, _NEARLY_ALL))

    def met(corners: FloatArray) -> float:
        """Mean over the ground-truth boxes of the best IoU."""
        best = np.zeros(len(truth_xyxy))
        np.maximum.at(best, truth, iou(corners, truth_xyxy[truth]))
        return float(best.mean())

    seen, sizes = boxes_xywh[box], frames_wh[box]
    as_written = met(np.concatenate([seen[:, :2], seen[:, :2] + seen[:, 2:]], axis=1))
    few = len(truth_xyxy) < _ENOUGH
    others = {how: met(corners) for how, corners in _ways(seen, sizes, reach, few)}
    how, best = max(others.items(), key=lambda item: item[1], default=("", 0.0))
    found = (
        f"read as x, y, width, height they meet {len(truth_xyxy)} ground-truth boxes with a mean "
        f"IoU of {as_written:.2f}, read as {how} of {best:.2f}. {EXPECTED}"
    )
    as_corners = how == _CORNERS and (seen[:, 2:] > seen[:, :2]).all() and best > as_written
    clear = best >= _CLEAR and (best >= _SURE * as_written or as_corners)
    if clear and not few:
        raise ValueError(f"{source}: the predicted boxes look like {how}: {found}: convert them")
    # chance alone makes a few boxes fit another reading a little
    likely = best >= (_CLOSE if few else _CLEAR) and best >= _LIKELY * as_written
    if likely and (as_corners or not few or as_written <= _MISSED):
        return [f"CHECK: the predicted boxes may be {how}: {found}"]
    if as_written == 0 and len(truth_xyxy) >= _SEVERAL:
        return [
            f"CHECK: no predicted box touches the ground-truth box of its image and disease, in "
            f"{len(truth_xyxy)} that were looked at. Do ids and names mean the same images and "
            f"diseases in both files? {EXPECTED}"
        ]
    return []


_CORNERS = "two corners x1, y1, x2, y2"


def _ways(
    seen: FloatArray, sizes: FloatArray, reach: float, few: bool
) -> Iterator[tuple[str, FloatArray]]:
    """How boxes may be written, and their corners if they are."""
    corner, second = seen[:, :2], seen[:, 2:]
    yield _CORNERS, np.concatenate([corner, np.maximum(corner, second)], axis=1)
    half = second / 2
    yield (
        "centre x, centre y, width, height",
        np.concatenate([corner - half, corner + half], axis=1),
    )
    both = np.concatenate([corner, corner + second], axis=1)
    for side in usual_frames(reach, any_larger=few):
        scale = sizes / side
        if np.abs(scale - 1).max() > _OVER:
            name = "per cent of the image" if side == 100 else f"pixels of a {side} x {side} copy"
            yield name, both * np.tile(scale, 2)
        longest = sizes.max(axis=1, keepdims=True) / side
        if np.abs(longest - scale).max() > _OVER:
            yield f"pixels of a copy with a long side of {side}", both * longest
            padding = (side - sizes / longest) / 2
            name = f"pixels of a copy padded to {side} x {side}"
            yield name, (both - np.tile(padding, 2)) * longest
