"""Convert radiographs to a COCO ground truth, without loss.

Boxes become `bbox` xywh with the finding's polygons, or a rectangle. Positive labels without a
box, for which a prediction is neither right nor wrong, go into the image's
`not_exhaustive_category_ids` (LVIS's key). COCO tools ignore it and the extra image keys
`patient_id` (if known), `view`, `sex`, `age_years`, `labels` (all positive diseases, boxed or not)
and `fold`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import Any

from cxrloc.datasets.files.manifest import RESEARCH_USE
from cxrloc.datasets.radiograph import Box, Radiograph


def to_coco(
    radiographs: Sequence[Radiograph],
    diseases: Sequence[str],
    folds: Mapping[str, int] | None = None,
) -> dict[str, Any]:
    """Build the COCO ground truth of all radiographs, with image ids from 1 in their order.

    Categories are `diseases` in order, with ids from 1; boxes and labels of other diseases are left
    out. `file_name` is the image id. With `folds` (image id -> fold) each image states its fold.
    """
    category = {disease: number for number, disease in enumerate(diseases, start=1)}
    annotations: list[dict[str, Any]] = []
    for image_number, radiograph in enumerate(radiographs, start=1):
        for box in radiograph.boxes:
            if box.disease in category:
                number = len(annotations) + 1
                annotations.append(_annotation(number, image_number, category[box.disease], box))
    return {
        "info": {"description": f"cxrloc ground truth. {RESEARCH_USE}."},
        "images": [_image(i, r, category, folds) for i, r in enumerate(radiographs, start=1)],
        "annotations": annotations,
        "categories": [{"id": i, "name": d} for d, i in category.items()],
    }


def select_images(coco: Mapping[str, Any], file_names: Set[str]) -> dict[str, Any]:
    """Restrict a ground truth to some images; ids do not change."""
    images = [image for image in coco["images"] if image["file_name"] in file_names]
    ids = {image["id"] for image in images}
    annotations = [a for a in coco["annotations"] if a["image_id"] in ids]
    return {**coco, "images": images, "annotations": annotations}


def load_coco(path: Path) -> dict[str, Any]:
    """Read and check a COCO ground-truth file.

    Raises:
        FileNotFoundError: if the file is missing.
        ValueError: if it is not JSON, lacks a section, or has inconsistent ids, names or boxes.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"no COCO ground truth {path}; cxrloc prepare writes ground_truth.json"
        )
    try:
        coco = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    if not isinstance(coco, dict):
        raise ValueError(
            f"{path} holds a JSON {type(coco).__name__}, expected an object with images, "
            "annotations and categories (is it a results file?)"
        )
    check_coco(coco, str(path))
    return coco


def check_coco(coco: Mapping[str, Any], where: str = "COCO ground truth") -> None:
    """Raise ValueError unless ids are unique, references resolve, and boxes are valid."""
    for part in ("images", "annotations", "categories"):
        if not isinstance(coco.get(part), list):
            raise ValueError(
                f"{where}: missing list {part!r}; expected images, annotations, categories"
            )
    images = _unique(coco["images"], "id", f"{where}, images")
    _unique(coco["images"], "file_name", f"{where}, images")
    categories = _unique(coco["categories"], "id", f"{where}, categories")
    _unique(coco["categories"], "name", f"{where}, categories")
    _unique(coco["annotations"], "id", f"{where}, annotations")
    for image in coco["images"]:
        if not all(
            isinstance(image.get(key), int) and image[key] > 0 for key in ("width", "height")
        ):
            raise ValueError(
                f"{where}: image {image['id']} has no positive integer width and height"
            )
    for annotation in coco["annotations"]:
        _check_annotation(annotation, images, categories, where)


def _check_annotation(
    annotation: Mapping[str, Any], images: set[Any], categories: set[Any], where: str
) -> None:
    here = f"{where}: annotation {annotation['id']}"
    for key, ids in (("image_id", images), ("category_id", categories)):
        if annotation.get(key) not in ids:
            raise ValueError(
                f"{here} has {key} {annotation.get(key)!r}, which the file does not list"
            )
    bbox = annotation.get("bbox")
    good = isinstance(bbox, list) and len(bbox) == 4
    good = good and all(isinstance(v, int | float) and math.isfinite(v) for v in bbox or ())
    if not good or bbox is None or bbox[2] <= 0 or bbox[3] <= 0:
        raise ValueError(f"{here} has bbox {bbox!r}, expected [x, y, w, h] with w > 0 and h > 0")


def _unique(rows: Sequence[Mapping[str, Any]], key: str, where: str) -> set[Any]:
    seen: set[Any] = set()
    for row in rows:
        if not isinstance(row, Mapping) or key not in row:
            raise ValueError(f"{where}: an entry lacks {key!r}: {row!r}")
        if row[key] in seen:
            raise ValueError(f"{where}: {key} {row[key]!r} occurs twice")
        seen.add(row[key])
    return seen


def _image(
    number: int,
    radiograph: Radiograph,
    category: Mapping[str, int],
    folds: Mapping[str, int] | None,
) -> dict[str, Any]:
    unboxed = [d for d in radiograph.positives if d in category and d not in radiograph.boxed]
    age = radiograph.age_years
    entry = {
        "id": number,
        "file_name": radiograph.image_id,
        "width": radiograph.size_hw[1],
        "height": radiograph.size_hw[0],
        **({"patient_id": radiograph.patient_id} if radiograph.patient_known else {}),
        "view": radiograph.view,
        "sex": radiograph.sex,
        "age_years": None if math.isnan(age) else age,
        "labels": list(radiograph.positives),
        "not_exhaustive_category_ids": sorted(category[d] for d in unboxed),
    }
    return entry if folds is None else {**entry, "fold": folds[radiograph.image_id]}


def _annotation(number: int, image: int, category: int, box: Box) -> dict[str, Any]:
    x1, y1, x2, y2 = box.box_xyxy
    w, h = _extent(x1, x2), _extent(y1, y2)
    return {
        "id": number,
        "image_id": image,
        "category_id": category,
        "bbox": [x1, y1, w, h],
        "area": w * h,
        "segmentation": [list(p) for p in box.polygons] or [[x1, y1, x2, y1, x2, y2, x1, y2]],
        "iscrowd": 0,
    }


def _extent(low: float, high: float) -> float:
    """The float e such that low + e == high exactly; high - low may have a rounding error."""
    extent = high - low
    for candidate in (extent, math.nextafter(extent, 0), math.nextafter(extent, math.inf)):
        if low + candidate == high:
            return candidate
    return extent  # only for boxes far outside any frame
