"""Compute COCO's average precision with faster-coco-eval, at the IoU thresholds of radiology
(.1 to .7), at .5 alone, and at COCO's (.5 to .95).

Imprecise boxes are still useful on a radiograph, and the ground truth is rough, hence the lower
range. Each localizer is scored on the images that it has predicted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from faster_coco_eval import COCO, COCOeval_faster

from cxrloc.classification.metrics.bootstrap import MACRO_MEAN
from cxrloc.classification.report.tables import ResultTable, TableRow, Value, to_markdown
from cxrloc.datasets.images.transforms import fitted, square_scale

RANGES: dict[str, tuple[float, ...]] = {
    "ap_10_70": tuple(round(0.1 * i, 2) for i in range(1, 8)),
    "ap_50": (0.5,),
    "ap_50_95": tuple(round(0.5 + 0.05 * i, 2) for i in range(10)),
}
RANGE_NAMES = {"ap_10_70": ".1:.1:.7", "ap_50": ".5", "ap_50_95": ".5:.05:.95"}
_THRESHOLDS = sorted({t for thresholds in RANGES.values() for t in thresholds})
MAX_DETECTIONS = 100
_BLOCKS = {"bbox": "Box AP", "segm": "Mask AP"}
ApTable = dict[str, dict[str, float | None]]


@dataclass(frozen=True)
class AveragePrecision:
    """AP of one kind of output.

    Attributes:
        kind: `bbox` or `segm`.
        per_disease: disease -> range (a key of `RANGES`) -> AP in [0, 1]; None (undefined) without
            ground truth for the disease.
        mean: range -> mean over the diseases with an AP; None if there is none.
        undefined: diseases left out of the mean.
    """

    kind: str
    per_disease: ApTable
    mean: dict[str, float | None]
    undefined: tuple[str, ...]


def coco_ap(
    ground_truth: Mapping[str, Any],
    results: Sequence[Mapping[str, Any]],
    kind: Literal["bbox", "segm"] = "bbox",
    *,
    unboxed: Literal["ignored", "counted"] = "ignored",
) -> AveragePrecision:
    """Compute AP per disease and its mean over the images of `ground_truth`.

    Args:
        ground_truth: COCO dict; `segm` takes its polygons.
        results: COCO results (`bbox` or `segmentation`, `score`); those on other images are left
            out.
        unboxed: treatment of predictions of a disease on an image that lists it in
            `not_exhaustive_category_ids` (labelled present, not boxed): leave out, or count as
            false positive.
    """
    kept = _kept_entries(ground_truth, results, kind, unboxed)
    # faster-coco-eval sorts the categories by number
    names = {c["id"]: c["name"] for c in sorted(ground_truth["categories"], key=lambda c: c["id"])}
    precision = _precision(ground_truth, kept, kind)
    per_disease = {
        disease: {name: _ap(precision[_rows(t), :, place]) for name, t in RANGES.items()}
        for place, disease in enumerate(names.values())
    }
    undefined = tuple(d for d, row in per_disease.items() if row["ap_10_70"] is None)
    mean = {name: _mean([row[name] for row in per_disease.values()]) for name in RANGES}
    return AveragePrecision(kind, per_disease, mean, undefined)


def _kept_entries(
    ground_truth: Mapping[str, Any],
    results: Sequence[Mapping[str, Any]],
    kind: str,
    unboxed: str,
) -> list[dict[str, Any]]:
    """Copy the entries that count."""
    open_ids = {
        image["id"]: frozenset(image.get("not_exhaustive_category_ids", ()))
        for image in ground_truth["images"]
    }
    left_out = "bbox" if kind == "segm" else "segmentation"  # loadRes prefers bbox over the mask
    counted = unboxed == "counted"
    kept = [
        dict(one)
        for one in results
        if (ids := open_ids.get(one["image_id"])) is not None
        and (counted or one["category_id"] not in ids)
    ]
    for one in kept:
        one.pop(left_out, None)
    return kept


def _precision(
    ground_truth: Mapping[str, Any], results: list[dict[str, Any]], kind: str
) -> npt.NDArray[np.float64]:
    """Precision (thresholds, 101 recalls, categories); -1 for a category without ground truth."""
    truth = COCO()
    annotations = [_complete(annotation) for annotation in ground_truth["annotations"]]
    truth.dataset = {**ground_truth, "annotations": annotations}
    truth.createIndex()
    found = truth.loadRes(results) if results else COCO()  # modifies the entries
    evaluation = COCOeval_faster(truth, found, kind)
    evaluation.params.iouThrs = np.array(_THRESHOLDS)
    evaluation.params.maxDets = [MAX_DETECTIONS]
    evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, 1e10]], ["all"]
    evaluation.params.imgIds = [image["id"] for image in ground_truth["images"]]
    evaluation.params.catIds = sorted(category["id"] for category in ground_truth["categories"])
    evaluation.params.useCats = 1
    evaluation.evaluate()
    evaluation.accumulate()
    return np.asarray(evaluation.eval["precision"][:, :, :, 0, 0], dtype=np.float64)


def _complete(annotation: Mapping[str, Any]) -> dict[str, Any]:
    """Add the keys that the evaluation requires and other files leave out."""
    _, _, width, height = annotation["bbox"]
    return {"area": width * height, "iscrowd": 0, **annotation}


def _rows(thresholds: Sequence[float]) -> list[int]:
    return [_THRESHOLDS.index(t) for t in thresholds]


def _ap(precision: npt.NDArray[np.float64]) -> float | None:
    return None if (precision < 0).all() else float(precision.mean())


def _mean(values: Sequence[float | None]) -> float | None:
    defined = [value for value in values if value is not None]
    return sum(defined) / len(defined) if defined else None


def scaled_coco(ground_truth: Mapping[str, Any], image_ids: Sequence[int], size: int) -> Any:
    """Scale the named images of a COCO dict to a long side of `size` pixels.

    Mask AP is computed in this small frame: pasting thousands of masks into 1024 x 1024 images
    takes minutes and changes no figure beyond pixel rounding.
    """
    wanted = set(image_ids)
    images = [i for i in ground_truth["images"] if i["id"] in wanted]
    scale = {i["id"]: square_scale((i["height"], i["width"]), size) for i in images}
    return {
        "images": [_scaled_image(i, size) for i in images],
        "categories": ground_truth["categories"],
        "annotations": [
            _scaled_annotation(a, scale[a["image_id"]])
            for a in ground_truth["annotations"]
            if a["image_id"] in wanted
        ],
    }


def _scaled_image(image: Mapping[str, Any], size: int) -> dict[str, Any]:
    width, height = fitted((image["height"], image["width"]), size)
    return {**image, "height": height, "width": width}


def _scaled_annotation(annotation: Mapping[str, Any], scale: float) -> dict[str, Any]:
    return {
        **annotation,
        "bbox": [value * scale for value in annotation["bbox"]],
        "area": annotation["area"] * scale**2,
        "segmentation": [[v * scale for v in polygon] for polygon in annotation["segmentation"]],
    }


def ap_markdown(tables: Sequence[AveragePrecision], more_notes: Sequence[str] = ()) -> str:
    """Format a page with a block for boxes and one for masks; a row per disease and their mean.

    Args:
        more_notes: sentences about the images, without their full stops.
    """
    rows = [
        TableRow(_BLOCKS[table.kind], {"disease": disease}, _cells(row))
        for table in tables
        for disease, row in (*table.per_disease.items(), (MACRO_MEAN, table.mean))
    ]
    notes = tuple(
        f"{_BLOCKS[table.kind]}: without ground truth, not in the mean: "
        f"{', '.join(table.undefined)}"
        for table in tables
        if table.undefined
    )
    return to_markdown(
        ResultTable("coco_ap", "COCO average precision", tuple(rows), (*more_notes, *notes))
    )


def _cells(values: Mapping[str, float | None]) -> dict[str, Value]:
    figures = ((RANGE_NAMES[name], values[name]) for name in RANGES)
    return {name: math.nan if value is None else value for name, value in figures}
