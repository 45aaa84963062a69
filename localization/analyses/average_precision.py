"""COCO's average precision of every localizer, box and mask apart, as a section of the report."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from cxrloc.classification.report.tables import ResultTable, TableRow
from cxrloc.datasets.files.manifest import RESEARCH_USE
from cxrloc.localization.boxes import xyxy_to_xywh
from cxrloc.localization.evaluation.coco_ap import (
    RANGE_NAMES,
    AveragePrecision,
    coco_ap,
    scaled_coco,
)
from cxrloc.localization.localizer import Localization
from cxrloc.localization.report.sections import Section

Kind = Literal["bbox", "segm"]
Results = Sequence[Mapping[str, Any]]
_KINDS: dict[Kind, str] = {"bbox": "box AP", "segm": "mask AP"}
_BOUNDS: tuple[Literal["ignored", "counted"], ...] = ("ignored", "counted")


def ap_section(
    coco: Mapping[str, Any],
    predictions: Mapping[str, Sequence[Localization]],
    coverage: Mapping[str, frozenset[str]],
    masks: Mapping[str, Results] | None = None,
) -> Section:
    """AP of each localizer on the images that it has looked at.

    Args:
        coco: ground truth.
        predictions: localizer -> boxes; all of them, not only the strongest.
        coverage: localizer -> image ids of the images that it has looked at.
        masks: localizer -> COCO results with `segmentation`, in the images' frame or in a smaller
            one of the same aspect ratio (the frame of the network, as `train_maskrcnn` writes).
    """
    rows: list[TableRow] = []
    for name, boxes in predictions.items():
        looked_at = _images(coco, coverage[name])
        rows += _rows(looked_at, name, results_of(boxes, coco), "bbox")
    for name, results in (masks or {}).items():
        looked_at = _images(coco, coverage[name])
        rows += _rows(_in_frame_of(looked_at, results), name, results, "segm")
    return Section("coco_ap", "COCO average precision", _PARAGRAPHS, (_table(rows),))


_PARAGRAPHS = (
    "Average precision asks for boxes that are right and for scores that rank them over all "
    "images: the area under the precision-recall curve of a disease (101 recalls), averaged over "
    "the IoU thresholds named in the table. It is computed by pycocotools, on all images that a "
    "localizer has looked at, without an area limit, at most 100 boxes an image and disease.",
)
_NOTES = (
    "Unboxed positives: predictions of a disease on an image that is labelled with it but has no "
    "box of it are 'ignored' (neither right nor wrong, LVIS's convention) or 'counted' as false. "
    "The truth lies between the two",
    "Mask AP takes the ground truth's rectangles for masks: a Mask R-CNN that is taught rectangles "
    "learns rectangles",
    "No interval: AP ranks all images together, and its value depends on how many images without "
    "the disease are among them",
)


def results_of(boxes: Sequence[Localization], coco: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Boxes as COCO results with the numbers of `coco`."""
    image = {i["file_name"]: i["id"] for i in coco["images"]}
    category = {c["name"]: c["id"] for c in coco["categories"]}
    xywh = xyxy_to_xywh([box.box_xyxy for box in boxes]).tolist()
    return [
        {
            "image_id": image[box.image_id],
            "category_id": category[box.disease],
            "bbox": bbox,
            "score": box.score,
        }
        for box, bbox in zip(boxes, xywh, strict=True)
    ]


def _images(coco: Mapping[str, Any], names: frozenset[str]) -> dict[str, Any]:
    images = [image for image in coco["images"] if image["file_name"] in names]
    numbers = {image["id"] for image in images}
    kept = [a for a in coco["annotations"] if a["image_id"] in numbers]
    return {**coco, "images": images, "annotations": kept}


def _in_frame_of(coco: dict[str, Any], results: Results) -> Mapping[str, Any]:
    """The ground truth in the frame of the masks, which may be smaller than the images'."""
    sides = {image["id"]: max(image["height"], image["width"]) for image in coco["images"]}
    known = [one for one in results if one["image_id"] in sides]
    if not known or max(known[0]["segmentation"]["size"]) == sides[known[0]["image_id"]]:
        return coco
    size = max(known[0]["segmentation"]["size"])
    return dict(scaled_coco(coco, list(sides), size))


def _rows(coco: Mapping[str, Any], name: str, results: Results, kind: Kind) -> list[TableRow]:
    tables = {bound: coco_ap(coco, results, kind, unboxed=bound) for bound in _BOUNDS}
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


def _cells(table: AveragePrecision, range_: str) -> dict[str, float]:
    figures = {disease: row[range_] for disease, row in table.per_disease.items()}
    figures["macro mean"] = table.mean[range_]
    return {name: math.nan if value is None else value for name, value in figures.items()}


def _table(rows: Sequence[TableRow]) -> ResultTable:
    title = "COCO average precision per disease, box and mask apart"
    return ResultTable("coco_ap", title, tuple(rows), (*_NOTES, RESEARCH_USE))
