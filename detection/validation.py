"""Score a detector: while it trains, and stage by stage, to see where it loses a finding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cxrloc.classification.metrics.bootstrap import MACRO_MEAN
from cxrloc.classification.report.tables import ResultTable, TableRow, to_markdown
from cxrloc.datasets.files.atomic import write_text
from cxrloc.datasets.images.transforms import fitted
from cxrloc.datasets.prepared.coco import to_coco
from cxrloc.datasets.radiograph import LoadedImage, Radiograph
from cxrloc.detection.data import DetectionSet, Squares
from cxrloc.detection.mask_rcnn import Detections, Explained, Predictor
from cxrloc.localization.boxes import FloatArray, box_iou_matrix, iou
from cxrloc.localization.evaluation.coco_ap import coco_ap


def image_of(radiograph: Radiograph, squares: Squares, size: int) -> LoadedImage:
    """Crop the padding from a cached square, which leaves a resized copy of the original."""
    width, height = fitted(radiograph.size_hw, size)
    pixels = np.asarray(squares[radiograph.image_id])[:height, :width]
    return radiograph.image(pixels)


def images_of(data: DetectionSet) -> Iterator[LoadedImage]:
    """Yield the images of a detection set."""
    return (image_of(radiograph, data.squares, data.size) for radiograph in data.radiographs)


@dataclass(frozen=True)
class ValidationScores:
    """How well a detector does on a set of images.

    Attributes:
        average_precision: mean over the diseases and the IoU thresholds .1 to .7.
        mean_iou: over all ground-truth boxes, with the strongest detection of their disease; none
            counts 0.
    """

    average_precision: float
    mean_iou: float


def validation_scores(predictor: Predictor, data: DetectionSet) -> ValidationScores:
    """Score a detector on these images; 0 without a box."""
    images = predictor.predict(list(images_of(data)))
    values = [
        value
        for radiograph, detections in zip(data.radiographs, images, strict=True)
        for value in best_ious(radiograph, detections, detections.boxes_xyxy, data.diseases)
    ]
    if not values:
        return ValidationScores(0.0, 0.0)
    precision = coco_ap(to_coco(data.radiographs, data.diseases), _entries(images, data.diseases))
    return ValidationScores(precision.mean["ap_10_70"] or 0.0, float(np.mean(values)))


def scores_line(step: int, scores: ValidationScores) -> str:
    """The progress of a training in words."""
    return (
        f"step {step}: on the validation images AP {scores.average_precision:.3f}, "
        f"mean IoU {scores.mean_iou:.3f}"
    )


def _entries(images: Sequence[Detections], diseases: Sequence[str]) -> list[dict[str, Any]]:
    """The detections as COCO results; image ids are those of `to_coco`."""
    return [
        {
            "image_id": number,
            "category_id": diseases.index(disease) + 1,
            "bbox": [x1, y1, x2 - x1, y2 - y1],
            "score": score,
        }
        for number, image in enumerate(images, start=1)
        for disease, (x1, y1, x2, y2), score in zip(
            image.diseases, image.boxes_xyxy.tolist(), image.scores.tolist(), strict=True
        )
    ]


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


# stage -> what its best box of the disease is
STAGES = {
    "proposals": "best region that the first stage proposes",
    "boxes": "best box of the disease in any region, whatever its score",
    "kept": "best of the boxes that are kept",
    "first": "the box with the highest score",
}
STAGE_IOUS = (0.3, 0.5)
_FIGURES = [
    *(f"{stage} IoU > {threshold:g}" for threshold in STAGE_IOUS for stage in STAGES),
    *(f"{stage} mean IoU" for stage in STAGES),
]


def write_stages(path: Path, predictor: Predictor, data: DetectionSet) -> None:
    """Write `stage_table` as a page, if there is a box and the predictor shows its candidates."""
    if isinstance(predictor, Explained) and len(data):
        write_text(path, to_markdown(stage_table(predictor, data)))


def stage_table(predictor: Explained, data: DetectionSet) -> ResultTable:
    """Share of the boxes that each stage still finds, and its mean IoU, per disease.

    What is lost from one stage to the next says what to mend: too few regions, boxes that are off,
    or a score that prefers another place.
    """
    images = list(images_of(data))
    ious: dict[str, list[tuple[float, ...]]] = {disease: [] for disease in data.diseases}
    every = zip(
        data.radiographs, predictor.candidates(images), predictor.predict(images), strict=True
    )
    for radiograph, considered, detections in every:
        for box in radiograph.boxes:
            if box.disease in ious:
                truth, number = [box.box_xyxy], data.diseases.index(box.disease)
                kept = detections.boxes_xyxy[np.array(detections.diseases) == box.disease]
                stages = (considered.proposals, considered.boxes[:, number], kept, kept[:1])
                ious[box.disease].append(tuple(_best(boxes, truth) for boxes in stages))
    figures = {disease: _stage_figures(values) for disease, values in ious.items() if values}
    counts = {disease: len(values) for disease, values in ious.items()}
    macro = {name: float(np.mean([row[name] for row in figures.values()])) for name in _FIGURES}
    rows = [
        *(TableRow("", {"disease": d, "n": counts[d]}, row) for d, row in figures.items()),
        TableRow("", {"disease": MACRO_MEAN, "n": sum(counts.values())}, macro),
    ]
    notes = tuple(f"{stage}: {meaning}" for stage, meaning in STAGES.items())
    return ResultTable("stages", "Where the detector loses a finding", tuple(rows), notes)


def _best(boxes: FloatArray, truth: Sequence[Sequence[float]]) -> float:
    return float(box_iou_matrix(boxes, truth).max(initial=0.0))


def _stage_figures(ious: Sequence[tuple[float, ...]]) -> dict[str, float]:
    """Figures of one disease, from its boxes' IoU at each stage."""
    stages = np.array(ious).T
    shares = [(values > threshold).mean() for threshold in STAGE_IOUS for values in stages]
    return dict(zip(_FIGURES, map(float, [*shares, *stages.mean(axis=1)]), strict=True))
