"""Report COCO's average precision of every localizer, separately for boxes and masks."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from itertools import chain
from typing import Any, Literal

import numpy as np

from cxrloc.classification.metrics.bootstrap import MACRO_MEAN
from cxrloc.classification.report.tables import ResultTable, TableRow, value_text
from cxrloc.datasets.files.manifest import RESEARCH_USE
from cxrloc.localization.boxes import xyxy_to_xywh
from cxrloc.localization.evaluation.coco_ap import (
    RANGE_NAMES,
    AveragePrecision,
    coco_ap,
    scaled_coco,
)
from cxrloc.localization.evaluation.contest import standing
from cxrloc.localization.evaluation.detections import Detections
from cxrloc.localization.evaluation.evaluated import Evaluated
from cxrloc.localization.evaluation.ground_truth import (
    UNBOXED,
    BoolArray,
    GroundTruth,
    ImageTable,
)
from cxrloc.localization.predictions.masks import MaskResult
from cxrloc.localization.report.sections import Section

Kind = Literal["bbox", "segm"]
Results = Sequence[Mapping[str, Any]]
_KINDS: dict[Kind, str] = {"bbox": "box AP", "segm": "mask AP"}
_COCO = RANGE_NAMES["ap_50_95"]
_BOUNDS: tuple[Literal["ignored", "counted"], ...] = ("ignored", "counted")


def average_precision(evaluated: Evaluated) -> Section:
    """AP of each localizer on the images it predicted, for all its boxes and its masks."""
    masks_of = evaluated.inputs.masks
    box_rows: list[TableRow] = []
    mask_rows: dict[str, list[TableRow]] = {}
    for name, detections in evaluated.everywhere.items():
        coco = coco_of(evaluated.truth, evaluated.looked_at[name])
        box_rows += _rows(coco, name, box_results(detections), "bbox")
        if name in masks_of:
            results = _mask_results(masks_of[name], evaluated.images)
            mask_rows[name] = _rows(_in_frame_of(coco, results), name, results, "segm")
    rows = [*box_rows, *chain.from_iterable(mask_rows[name] for name in masks_of)]
    finding = _finding(box_rows, evaluated.once(standing))
    return Section("coco_ap", "COCO average precision", finding, _PARAGRAPHS, (_table(rows),))


def _finding(rows: Sequence[TableRow], shown: Collection[str]) -> str:
    """Mean box AP of the localizers in `shown` over COCO's ten thresholds."""
    means = {
        str(row.lead["localizer"]): row.cells[MACRO_MEAN]
        for row in rows
        if (row.lead["IoU thresholds"], row.lead["unboxed positives"]) == (_COCO, _BOUNDS[0])
    }
    named = [f"{name} {value_text(means[name])}" for name in shown if name in means]
    return (
        f"Mean box AP, IoU .5 to .95: {', '.join(named)}." if named else "No localizer was given."
    )


_PARAGRAPHS = (
    "Average precision rewards correct boxes and scores that rank them over all images: it is the "
    "area under a disease's precision-recall curve (101 recalls), averaged over the IoU thresholds "
    "named in the table. faster-coco-eval computes it on all images that a localizer predicted, "
    "without an area limit, for at most 100 boxes per image and disease.",
)
_NOTES = (
    "Unboxed positives: predictions of a disease on an image labelled with it but without a box "
    "are 'ignored' (neither right nor wrong, LVIS's convention) or 'counted' as false. The truth "
    "lies in between",
    "Mask AP uses the ground truth's rectangles as masks: a Mask R-CNN taught rectangles learns "
    "rectangles",
    "No interval: AP ranks all images together, so its value depends on how many of them lack the "
    "disease",
)


def coco_of(truth: GroundTruth, looked: BoolArray) -> dict[str, Any]:
    """The images where `looked` (N,) is true, with their boxes, as a COCO dict.

    Images keep the numbers of the ground truth's file, which rank images with equal scores.
    """
    images, kept = truth.images, looked[truth.image_of_box]
    boxes = zip(
        truth.image_of_box[kept].tolist(),
        truth.column_of_box[kept].tolist(),
        truth.boxes_xyxy[kept].tolist(),
        strict=True,
    )
    return {
        "images": [_image(images, row) for row in np.flatnonzero(looked).tolist()],
        "categories": [{"id": i, "name": name} for i, name in enumerate(images.diseases, start=1)],
        "annotations": [
            _annotation(number, images.numbers[row], column + 1, box)
            for number, (row, column, box) in enumerate(boxes, start=1)
        ],
    }


def _image(images: ImageTable, row: int) -> dict[str, Any]:
    height, width = images.sizes_hw[row]
    unboxed = (np.flatnonzero(images.status[row] == UNBOXED) + 1).tolist()
    number = images.numbers[row]
    return {"id": number, "height": height, "width": width, "not_exhaustive_category_ids": unboxed}


def _annotation(number: int, image: int, category: int, box_xyxy: list[float]) -> dict[str, Any]:
    x1, y1, x2, y2 = box_xyxy
    return {
        "id": number,
        "image_id": image,
        "category_id": category,
        "bbox": [x1, y1, x2 - x1, y2 - y1],
        "area": (x2 - x1) * (y2 - y1),
        "segmentation": [[x1, y1, x2, y1, x2, y2, x1, y2]],
        "iscrowd": 0,
    }


def box_results(detections: Detections) -> list[dict[str, Any]]:
    numbers = detections.truth.images.numbers
    rows = zip(
        detections.image.tolist(),
        detections.disease.tolist(),
        xyxy_to_xywh(detections.boxes_xyxy).tolist(),
        detections.score.tolist(),
        strict=True,
    )
    return [
        {"image_id": numbers[row], "category_id": column + 1, "bbox": box, "score": score}
        for row, column, box, score in rows
    ]


def _mask_results(masks: Sequence[MaskResult], images: ImageTable) -> list[dict[str, Any]]:
    """Masks in the image's frame or in a smaller one with the same aspect ratio (the network's)."""
    return [
        {
            "image_id": images.numbers[images.row_of[mask.image_id]],
            "category_id": images.column_of[mask.disease] + 1,
            "segmentation": mask.rle,
            "score": mask.score,
        }
        for mask in masks
    ]


def _in_frame_of(coco: dict[str, Any], results: Results) -> Mapping[str, Any]:
    """The ground truth in the frame of the masks, which may be smaller than the images' frame."""
    sides = {image["id"]: max(image["height"], image["width"]) for image in coco["images"]}
    first = next((mask for mask in results if mask["image_id"] in sides), None)
    if first is None or max(first["segmentation"]["size"]) == sides[first["image_id"]]:
        return coco
    return dict(scaled_coco(coco, list(sides), max(first["segmentation"]["size"])))


def _rows(coco: Mapping[str, Any], name: str, results: Results, kind: Kind) -> list[TableRow]:
    tables = _bounds(coco, results, kind)
    boxes = len(coco["annotations"])
    return [
        TableRow(
            block=_KINDS[kind],
            lead={
                "localizer": name,
                "IoU thresholds": RANGE_NAMES[range_],
                "unboxed positives": bound,
            },
            cells=_cells(table, range_),
            trail={"boxes": boxes, "images": len(coco["images"])},
        )
        for range_ in RANGE_NAMES
        for bound, table in tables.items()
    ]


def _bounds(coco: Mapping[str, Any], results: Results, kind: Kind) -> dict[str, AveragePrecision]:
    """AP with unboxed positives ignored and counted; both are equal if no image has any."""
    if not any(image["not_exhaustive_category_ids"] for image in coco["images"]):
        return dict.fromkeys(_BOUNDS, coco_ap(coco, results, kind))
    return {bound: coco_ap(coco, results, kind, unboxed=bound) for bound in _BOUNDS}


def _cells(table: AveragePrecision, range_: str) -> dict[str, float]:
    figures = {disease: row[range_] for disease, row in table.per_disease.items()}
    figures[MACRO_MEAN] = table.mean[range_]
    return {name: math.nan if value is None else value for name, value in figures.items()}


def _table(rows: Sequence[TableRow]) -> ResultTable:
    title = "COCO average precision per disease, for boxes and masks"
    return ResultTable("coco_ap", title, tuple(rows), (*_NOTES, RESEARCH_USE))
