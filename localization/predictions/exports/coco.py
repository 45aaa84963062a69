"""COCO for CVAT (`COCO 1.0`) and any other tool, and the same file as FiftyOne wants it.

    annotations/instances_default.json, images/default/*       --export coco
    labels.json, data/*                                        --export fiftyone

Each annotation has its `score`, which FiftyOne shows as the confidence and CVAT leaves out.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cxrloc.datasets.files.manifest import RESEARCH_USE, write_json
from cxrloc.localization.predictions.exports.exported import ExportedImage, write_images


def write_coco(images: Sequence[ExportedImage], diseases: Sequence[str], out: Path) -> Path:
    """Write the archive's content as CVAT imports it; returns the file of annotations."""
    write_images(images, out / "images" / "default")
    path = out / "annotations" / "instances_default.json"
    write_json(path, _document(images, diseases, first_id=1))
    return path


def write_fiftyone(images: Sequence[ExportedImage], diseases: Sequence[str], out: Path) -> Path:
    """Write a `COCODetectionDataset`; returns the file of annotations."""
    write_images(images, out / "data")
    write_json(out / "labels.json", _document(images, diseases, first_id=0))
    return out / "labels.json"


def _document(
    images: Sequence[ExportedImage], diseases: Sequence[str], first_id: int
) -> dict[str, Any]:
    category = {disease: number for number, disease in enumerate(diseases, start=first_id)}
    annotations: list[dict[str, Any]] = []
    for number, image in enumerate(images, start=1):
        for box in image.boxes:
            x1, y1, x2, y2 = box.box_xyxy
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": category[box.disease],
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "area": (x2 - x1) * (y2 - y1),
                    "iscrowd": 0,
                    "segmentation": [],
                    "score": box.score,
                }
            )
    return {
        "info": {"description": f"Predictions of cxrloc. {RESEARCH_USE}."},
        "licenses": [],
        "images": [
            {"id": n, "file_name": i.name, "width": i.size_hw[1], "height": i.size_hw[0]}
            for n, i in enumerate(images, start=1)
        ],
        "categories": [
            {"id": n, "name": name, "supercategory": ""} for name, n in category.items()
        ],
        "annotations": annotations,
    }
