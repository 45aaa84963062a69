"""Measure overlap and convert (N, 4) boxes: xyxy, absolute pixels of the original image."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]


def as_boxes(boxes: npt.ArrayLike, name: str = "boxes") -> FloatArray:
    """Convert boxes to an (N, 4) float64 array; an empty list becomes shape (0, 4).

    Raises:
        ValueError: for any other shape and for values that are not finite.
    """
    array = np.asarray(boxes, dtype=np.float64)
    if array.size == 0 and array.ndim == 1:
        array = array.reshape(0, 4)
    if array.ndim != 2 or array.shape[1] != 4:
        raise ValueError(f"{name}: expected shape (N, 4), got {array.shape}")
    if not np.isfinite(array).all():
        row = int(np.flatnonzero(~np.isfinite(array).all(axis=1))[0])
        raise ValueError(f"{name}: expected finite numbers, row {row} is {array[row].tolist()}")
    return array


def xyxy_to_xywh(boxes_xyxy: npt.ArrayLike) -> FloatArray:
    """Convert corner boxes (left, top, right, bottom) to COCO's (left, top, width, height)."""
    boxes = as_boxes(boxes_xyxy, "boxes_xyxy")
    return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)


def xywh_to_xyxy(boxes_xywh: npt.ArrayLike) -> FloatArray:
    """Convert COCO's (left, top, width, height) to corner boxes (left, top, right, bottom)."""
    boxes = as_boxes(boxes_xywh, "boxes_xywh")
    return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)


def clip_boxes_xyxy(boxes_xyxy: npt.ArrayLike, size_hw: tuple[int, int]) -> FloatArray:
    """Clip boxes to the frame (0, 0, width, height). A box entirely outside keeps no area."""
    height, width = size_hw
    if height < 1 or width < 1:
        raise ValueError(f"size_hw: expected positive (height, width), got {size_hw}")
    limits = np.array([width, height, width, height], dtype=np.float64)
    return np.clip(as_boxes(boxes_xyxy, "boxes_xyxy"), 0.0, limits)


def box_areas(boxes_xyxy: npt.ArrayLike) -> FloatArray:
    """Areas, shape (N,). A degenerate box (right <= left or bottom <= top) has area 0."""
    boxes = as_boxes(boxes_xyxy, "boxes_xyxy")
    sides = np.maximum(boxes[:, 2:] - boxes[:, :2], 0.0)
    return np.asarray(sides[:, 0] * sides[:, 1])


def iou(predicted_xyxy: npt.ArrayLike, truth_xyxy: npt.ArrayLike) -> FloatArray:
    """|P and G| / |P or G| of box i with box i, shape (N,). 0 if both are degenerate."""
    overlap, predicted, truth = _paired_areas(predicted_xyxy, truth_xyxy)
    return _ratio(overlap, _union(overlap, predicted, truth))


def iobb(predicted_xyxy: npt.ArrayLike, truth_xyxy: npt.ArrayLike) -> FloatArray:
    """|P and G| / |P|: intersection over the DETECTED box (Wang et al. 2017), shape (N,).

    A one-pixel box inside G has IoBB 1: never read it without `iogt`. 0 if P is degenerate.
    """
    overlap, predicted, _ = _paired_areas(predicted_xyxy, truth_xyxy)
    return _ratio(overlap, predicted)


def iogt(predicted_xyxy: npt.ArrayLike, truth_xyxy: npt.ArrayLike) -> FloatArray:
    """|P and G| / |G|: the covered share of the ground-truth box, shape (N,)."""
    overlap, _, truth = _paired_areas(predicted_xyxy, truth_xyxy)
    return _ratio(overlap, truth)


def box_iou_matrix(first_xyxy: npt.ArrayLike, second_xyxy: npt.ArrayLike) -> FloatArray:
    """IoU of every box of the first (N, 4) with every box of the second (M, 4), shape (N, M)."""
    first, second = as_boxes(first_xyxy, "first_xyxy"), as_boxes(second_xyxy, "second_xyxy")
    overlap = _overlap(first[:, None, :], second[None, :, :])
    areas = box_areas(first)[:, None], box_areas(second)[None, :]
    overlap = np.minimum(overlap, np.minimum(*areas))
    return _ratio(overlap, _union(overlap, *areas))


def _paired_areas(
    predicted_xyxy: npt.ArrayLike, truth_xyxy: npt.ArrayLike
) -> tuple[FloatArray, FloatArray, FloatArray]:
    predicted = as_boxes(predicted_xyxy, "predicted_xyxy")
    truth = as_boxes(truth_xyxy, "truth_xyxy")
    if predicted.shape != truth.shape:
        raise ValueError(
            f"paired boxes: expected as many predicted as truth boxes, "
            f"got {len(predicted)} and {len(truth)}; for all pairs use box_iou_matrix"
        )
    areas = box_areas(predicted), box_areas(truth)
    # Rounding can make the overlap larger than a box that it fills: IoBB would exceed 1.
    return np.minimum(_overlap(predicted, truth), np.minimum(*areas)), *areas


def _overlap(first: FloatArray, second: FloatArray) -> FloatArray:
    left_top = np.maximum(first[..., :2], second[..., :2])
    right_bottom = np.minimum(first[..., 2:], second[..., 2:])
    sides = np.maximum(right_bottom - left_top, 0.0)
    return np.asarray(sides[..., 0] * sides[..., 1])


def _union(overlap: FloatArray, first: FloatArray, second: FloatArray) -> FloatArray:
    larger, smaller = np.maximum(first, second), np.minimum(first, second)
    return np.asarray(larger + (smaller - overlap))  # never below `larger`, so IoU <= IoBB exactly


def _ratio(part: FloatArray, whole: FloatArray) -> FloatArray:
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)
