"""YOLO as Ultralytics and CVAT (`Ultralytics YOLO Detection 1.0`) have it; scores are left out.

data.yaml, train.txt, images/train/*, labels/train/*.txt
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import yaml

from cxrloc.datasets.files.atomic import write_text
from cxrloc.localization.predictions.exports.exported import ExportedImage, write_images


def write_yolo(images: Sequence[ExportedImage], diseases: Sequence[str], out: Path) -> Path:
    """Write the folder; returns data.yaml."""
    write_images(images, out / "images" / "train")
    numbers = {disease: number for number, disease in enumerate(diseases)}
    for image in images:
        lines = _lines(image, numbers)
        write_text(out / "labels" / "train" / f"{Path(image.name).stem}.txt", "".join(lines))
    write_text(out / "train.txt", "".join(f"images/train/{image.name}\n" for image in images))
    content = {"path": "./", "train": "train.txt", "names": dict(enumerate(diseases))}
    write_text(out / "data.yaml", yaml.safe_dump(content, sort_keys=False, allow_unicode=True))
    return out / "data.yaml"


def _lines(image: ExportedImage, numbers: dict[str, int]) -> list[str]:
    height, width = image.size_hw
    lines = []
    for box in image.boxes:
        x1, y1, x2, y2 = box.box_xyxy
        shares = (
            (x1 + x2) / 2 / width,
            (y1 + y2) / 2 / height,
            (x2 - x1) / width,
            (y2 - y1) / height,
        )
        lines.append(f"{numbers[box.disease]} {' '.join(f'{share:.8f}' for share in shares)}\n")
    return lines
