"""Convert radiographs to a COCO ground truth, without loss.

Boxes become `bbox` xywh with the finding's polygons, or a rectangle. Diseases labelled present or
unknown without a box, for which a prediction is neither right nor wrong, go into the image's
`not_exhaustive_category_ids` (LVIS's key). COCO tools ignore it and the extra image keys
`patient_id` (if known), `view`, `sex`, `age_years`, `labels` (all positive diseases, boxed or not)
and `fold`.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import Any

from cxrloc.datasets.files.coco.images import SizeOf, odd_values
from cxrloc.datasets.files.coco.read import NOTES, read_coco
from cxrloc.datasets.files.manifest import RESEARCH_USE
from cxrloc.datasets.labels.map import LabelMap
from cxrloc.datasets.prepared.hashes import check_stated_hash
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


def load_coco(
    path: Path, labels: LabelMap | None = None, size_of: SizeOf | None = None
) -> dict[str, Any]:
    """Read a COCO ground truth, ours or any tool's, as ours (`datasets.files.coco.read`).

    One of a prepared folder must be the file that the folder's manifest was written for. What was
    changed or is doubtful is a UserWarning each, and in `coco["info"]["reading_notes"]`.

    Raises:
        FileNotFoundError: if the file is missing.
        ValueError: if it is not JSON, lacks a section, has inconsistent ids, names or boxes, or was
            changed since its folder was prepared.
    """
    check_stated_hash(path)
    foreign = read_coco(path, labels, size_of)
    notes = [*foreign.notes, *odd_values(foreign.coco["images"])]
    if not notes:
        return foreign.coco
    for note in notes:
        warnings.warn(f"{path}: {note}", stacklevel=2)
    return {**foreign.coco, "info": {**foreign.coco.get("info", {}), NOTES: notes}}


def _image(
    number: int,
    radiograph: Radiograph,
    category: Mapping[str, int],
    folds: Mapping[str, int] | None,
) -> dict[str, Any]:
    unboxed = [
        d for d in category if d not in radiograph.boxed and radiograph.labels.get(d, 0) != 0
    ]
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
