"""Score a detector cheaply: mean IoU of each disease's strongest box with its ground truth."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from cxrloc.datasets.images.transforms import fitted
from cxrloc.datasets.radiograph import LoadedImage, Radiograph
from cxrloc.detection.data import DetectionSet, Squares
from cxrloc.detection.mask_rcnn import Detections, Predictor
from cxrloc.localization.boxes import iou


def image_of(radiograph: Radiograph, squares: Squares, size: int) -> LoadedImage:
    """Crop the padding from a cached square, which leaves a resized copy of the original."""
    width, height = fitted(radiograph.size_hw, size)
    pixels = np.asarray(squares[radiograph.image_id])[:height, :width]
    return radiograph.image(pixels)


def images_of(data: DetectionSet) -> Iterator[LoadedImage]:
    """Yield the images of a detection set."""
    return (image_of(radiograph, data.squares, data.size) for radiograph in data.radiographs)


def mean_best_iou(predictor: Predictor, data: DetectionSet) -> float:
    """Mean IoU over all ground-truth boxes; a disease without a detection counts 0. 0.0 without
    boxes.
    """
    values = [
        value
        for radiograph, detections in zip(
            data.radiographs, predictor.predict(list(images_of(data))), strict=True
        )
        for value in best_ious(radiograph, detections, detections.boxes_xyxy, data.diseases)
    ]
    return float(np.mean(values)) if values else 0.0


def best_ious(
    radiograph: Radiograph,
    detections: Detections,
    boxes_xyxy: npt.NDArray[np.float64],
    diseases: Sequence[str],
) -> list[float]:
    """IoU of each ground-truth box with the strongest detection of its disease.

    Args:
        boxes_xyxy: boxes of the detections to score: `detections.boxes_xyxy`, or around the masks.
    """
    values = []
    for box in radiograph.boxes:
        if box.disease in diseases:
            rows = [i for i, name in enumerate(detections.diseases) if name == box.disease]
            rows = [i for i in rows if np.isfinite(boxes_xyxy[i]).all()]
            truth = np.array([box.box_xyxy])
            values.append(float(iou(boxes_xyxy[rows[:1]], truth)[0]) if rows else 0.0)
    return values
