"""Convert a diagnosis to JSON, as written by `cxrloc predict` and returned by the HTTP API.

`images`, `categories` and `annotations` are COCO's, so any COCO tool opens the file; it ignores
the other keys:

    research_use   one sentence
    message        one sentence: the boxed diseases, or that no disease passed the gate
    warnings       sentences about the image: lateral, no body part given and the like (DICOM), or
                   inputs (age, sex, view) that the gate was trained with and the file lacks
    images         [{id: 1, file_name, width, height}]: the original frame, pixels; for a DICOM
                   image with a known pixel size also row_mm, column_mm and spacing_source
    categories     [{id, name}]: the classifier's diseases, ids from 1 in its order; with --labels
                   the names that they became (manifest.config.labels: disease -> name or null)
    findings       [{category_id, disease, probability 0..1, threshold 0..1 or null (gate
                   decide), present: bool}] for every disease of the classifier
    annotations    boxes of present diseases only: [{id, image_id: 1, category_id, bbox [x, y,
                   width, height] in pixels of the original frame, area, iscrowd: 0, score,
                   localizer, rank: 1 for the strongest box of a localizer and disease, the only
                   one drawn, segmentation (RLE) if the localizer gives a mask,
                   bbox_mm [x, y, width, height] in mm from the frame's corner if the pixel size is
                   known}]
    localizers     names of the localizers used
    runtime        runtime of the gate's network: program, number format, device; then every other
                   localizer with its network's runtime
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cxrloc.datasets.files.manifest import RESEARCH_USE
from cxrloc.localization.boxes import xyxy_to_xywh
from cxrloc.localization.predictions.masks import encode_mask

if TYPE_CHECKING:
    from cxrloc.localization.diagnosis.diagnoser import Diagnosis
    from cxrloc.localization.localizer import Localization


def to_json(diagnosis: Diagnosis) -> dict[str, Any]:
    """Convert the diagnosis to JSON-ready values (schema: this module's docstring)."""
    category = {finding.disease: i for i, finding in enumerate(diagnosis.findings, start=1)}
    annotations: list[dict[str, Any]] = []
    for name, boxes in diagnosis.boxes.items():
        for k, box in enumerate(boxes):
            rank = 1 + sum(better.disease == box.disease for better in boxes[:k])
            entry = {"id": len(annotations) + 1, "image_id": 1, "localizer": name, "rank": rank}
            annotations.append(entry | _annotation(box, category[box.disease], diagnosis))
    return {
        "research_use": f"{RESEARCH_USE}.",
        "message": diagnosis.message,
        "warnings": list(diagnosis.warnings),
        "images": [_image(diagnosis)],
        "categories": [{"id": number, "name": name} for name, number in category.items()],
        "findings": [{"category_id": category[f.disease], **vars(f)} for f in diagnosis.findings],
        "annotations": annotations,
        "localizers": list(diagnosis.boxes),
        "runtime": diagnosis.runtime,
    }


def _image(diagnosis: Diagnosis) -> dict[str, Any]:
    height, width = diagnosis.size_hw
    image = {"id": 1, "file_name": diagnosis.image_id, "width": width, "height": height}
    if diagnosis.spacing is None:
        return image
    spacing = diagnosis.spacing
    millimetres = {"row_mm": spacing.row_mm, "column_mm": spacing.column_mm}
    return {**image, **millimetres, "spacing_source": spacing.source}


def _annotation(box: Localization, category: int, diagnosis: Diagnosis) -> dict[str, Any]:
    xywh = [float(value) for value in xyxy_to_xywh([box.box_xyxy])[0]]
    entry = {"category_id": category, "bbox": xywh, "area": xywh[2] * xywh[3], "iscrowd": 0}
    if diagnosis.spacing is not None:
        mm = (diagnosis.spacing.column_mm, diagnosis.spacing.row_mm)
        entry["bbox_mm"] = [value * mm[i % 2] for i, value in enumerate(xywh)]
    if box.mask is not None:
        entry["segmentation"] = encode_mask(box.mask, diagnosis.size_hw)
    return {**entry, "score": box.score}
