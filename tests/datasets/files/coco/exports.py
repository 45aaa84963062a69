"""COCO files as CVAT, Label Studio, Roboflow, FiftyOne and a YOLO script write them.

All show the same findings: keys, their order, ids and odd values are those of the tools.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

SIZES_WH = {
    "00000001_000": (1024, 1024),
    "00000002_000": (2500, 2048),
    "00000002_001": (2048, 2500),
    "00000003_000": (1024, 1024),  # without a finding
}
DISEASES = ("Effusion", "Infiltration", "Nodule")
# image, disease, x, y, width, height
FINDINGS: tuple[tuple[str, str, float, float, float, float], ...] = (
    ("00000001_000", "Effusion", 100.0, 520.0, 260.0, 300.0),
    ("00000001_000", "Effusion", 640.0, 560.0, 250.0, 280.0),  # two of a disease
    ("00000001_000", "Nodule", 700.0, 250.0, 60.0, 50.0),
    ("00000002_000", "Infiltration", 1500.0, 900.0, 700.0, 650.0),
    ("00000002_000", "Effusion", 300.0, 1200.0, 500.0, 600.0),
    ("00000002_001", "Nodule", 1600.0, 600.0, 90.0, 110.0),
    ("00000002_001", "Infiltration", 250.0, 1700.0, 600.0, 500.0),
)
_IMAGE_ID = {name: number for number, name in enumerate(SIZES_WH)}


def cvat() -> dict[str, Any]:
    """COCO 1.0 of CVAT, written by Datumaro: the last finding is painted with the brush."""
    annotations = []
    for number, (image, disease, *box) in enumerate(FINDINGS, start=1):
        painted = number == len(FINDINGS)
        annotations.append(
            {
                "id": number,
                "image_id": _IMAGE_ID[image] + 1,
                "category_id": DISEASES.index(disease) + 1,
                "segmentation": _runs(box, SIZES_WH[image]) if painted else [],
                "area": box[2] * box[3],
                "bbox": box,
                "iscrowd": int(painted),
                "attributes": {"occluded": False}
                if painted
                else {"occluded": False, "rotation": 0.0},
            }
        )
    return {
        "licenses": [{"name": "", "id": 0, "url": ""}],
        "info": {
            "contributor": "",
            "date_created": "",
            "description": "",
            "url": "",
            "version": "",
            "year": "",
        },
        "categories": [
            {"id": number, "name": name, "supercategory": ""}
            for number, name in enumerate(DISEASES, start=1)
        ],
        "images": [
            {
                "id": number,
                "width": width,
                "height": height,
                "file_name": f"batch 1/{name}.png",
                "license": 0,
                "flickr_url": "",
                "coco_url": "",
                "date_captured": 0,
            }
            for number, (name, (width, height)) in enumerate(SIZES_WH.items(), start=1)
        ],
        "annotations": annotations,
    }


def label_studio() -> dict[str, Any]:
    r"""Label Studio on Windows: ids from 0, hashes before names, images\ as folder."""
    return {
        "images": [
            {
                "width": width,
                "height": height,
                "id": number,
                "file_name": f"images\\cb0618f{number}-{name}.png",
            }
            for number, (name, (width, height)) in enumerate(SIZES_WH.items())
        ],
        "categories": [{"id": number, "name": name} for number, name in enumerate(DISEASES)],
        "annotations": [
            {
                "id": number,
                "image_id": _IMAGE_ID[image],
                "category_id": DISEASES.index(disease),
                "segmentation": [],
                "bbox": box,
                "ignore": 0,
                "iscrowd": 0,
                "area": box[2] * box[3],
            }
            for number, (image, disease, *box) in enumerate(FINDINGS)
        ],
        "info": {
            "year": 2026,
            "version": "1.0",
            "description": "",
            "contributor": "Label Studio",
            "url": "",
            "date_created": "2026-11-27 10:00:00.123456",
        },
    }


def roboflow() -> dict[str, Any]:
    """Roboflow: category 0 is the project, names have a hash, some boxes are whole numbers."""
    return {
        "info": {
            "year": "2026",
            "version": "1",
            "description": "Exported from roboflow.com",
            "contributor": "",
            "url": "https://public.roboflow.com/object-detection/undefined",
            "date_created": "2026-11-27T10:00:00+00:00",
        },
        "licenses": [
            {
                "id": 1,
                "url": "https://creativecommons.org/licenses/by/4.0/",
                "name": "CC BY 4.0",
            }
        ],
        "categories": [
            {"id": 0, "name": "chest-findings", "supercategory": "none"},
            *(
                {"id": number, "name": name, "supercategory": "chest-findings"}
                for number, name in enumerate(DISEASES, start=1)
            ),
        ],
        "images": [
            {
                "id": number,
                "license": 1,
                "file_name": f"{name}_png.rf.0a1b2c3d4e5f60718293a4b5c6d7e8f{number}.jpg",
                "height": height,
                "width": width,
                "date_captured": "2026-11-27T10:00:00+00:00",
                "extra": {"name": f"{name}.png"},
            }
            for number, (name, (width, height)) in enumerate(SIZES_WH.items())
        ],
        "annotations": [
            {
                "id": number,
                "image_id": _IMAGE_ID[image],
                "category_id": DISEASES.index(disease) + 1,
                "bbox": [int(box[0]), int(box[1]), box[2], box[3]],
                "area": box[2] * box[3],
                "segmentation": [],
                "iscrowd": 0,
            }
            for number, (image, disease, *box) in enumerate(FINDINGS)
        ],
    }


def fiftyone() -> dict[str, Any]:
    """FiftyOne: null where it knows nothing, no segmentation, attributes beside COCO's keys."""
    return {
        "info": {
            "year": "",
            "version": "",
            "description": "Exported from FiftyOne",
            "contributor": "",
            "url": "https://voxel51.com/fiftyone",
            "date_created": "2026-11-27T10:00:00",
        },
        "licenses": [],
        "categories": [
            {"id": number, "name": name, "supercategory": None}
            for number, name in enumerate(DISEASES)
        ],
        "images": [
            {
                "id": number,
                "file_name": f"{name}.png",
                "height": height,
                "width": width,
                "license": None,
                "coco_url": None,
            }
            for number, (name, (width, height)) in enumerate(SIZES_WH.items(), start=1)
        ],
        "annotations": [
            {
                "id": number,
                "image_id": _IMAGE_ID[image] + 1,
                "category_id": DISEASES.index(disease),
                "bbox": box,
                "area": box[2] * box[3],
                "iscrowd": 0,
                "reader": "R1",
            }
            for number, (image, disease, *box) in enumerate(FINDINGS, start=1)
        ],
    }


def yolo_script() -> dict[str, Any]:
    """One of the many scripts that turn YOLO's label files into COCO: names as image ids.

    Its boxes come from shares with six digits, so none is exact.
    """
    annotations = []
    for number, (image, disease, *box) in enumerate(FINDINGS):
        width, height = SIZES_WH[image]
        cx, cy = round((box[0] + box[2] / 2) / width, 6), round((box[1] + box[3] / 2) / height, 6)
        w, h = round(box[2] / width, 6), round(box[3] / height, 6)
        annotations.append(
            {
                "id": number,
                "image_id": image,
                "category_id": DISEASES.index(disease),
                "bbox": [(cx - w / 2) * width, (cy - h / 2) * height, w * width, h * height],
                "area": w * width * h * height,
                "iscrowd": 0,
                "segmentation": [],
            }
        )
    return {
        "images": [
            {"id": name, "file_name": f"{name}.png", "width": width, "height": height}
            for name, (width, height) in SIZES_WH.items()
        ],
        "annotations": annotations,
        "categories": [
            {"id": number, "name": name, "supercategory": name}
            for number, name in enumerate(DISEASES)
        ],
    }


EXPORTS: dict[str, Callable[[], dict[str, Any]]] = {
    "CVAT": cvat,
    "Label Studio": label_studio,
    "Roboflow": roboflow,
    "FiftyOne": fiftyone,
    "YOLO script": yolo_script,
}


def perfect_results(coco: dict[str, Any]) -> list[dict[str, Any]]:
    """The ground truth as results, with ids and boxes as its file writes them."""
    kept = ("image_id", "category_id", "bbox")
    return [
        {**{key: annotation[key] for key in kept}, "score": 0.9 - 0.1 * place}
        for place, annotation in enumerate(coco["annotations"])
    ]


def written(path: Path, document: Any) -> Path:
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


def _runs(box: list[float], size_wh: tuple[int, int]) -> dict[str, Any]:
    """Uncompressed run lengths of a rectangle."""
    width, height = size_wh
    x, y, w, h = map(int, box)
    mask = np.zeros((height, width), dtype=np.uint8)
    mask[y : y + h, x : x + w] = 1
    pixels = mask.flatten(order="F")
    ends = np.flatnonzero(np.diff(pixels)) + 1
    counts = np.diff(np.concatenate([[0], ends, [len(pixels)]])).tolist()
    return {"counts": counts, "size": [height, width]}
