"""What is written of an image for a tool in which people correct boxes."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2

from cxrloc.datasets.files.atomic import whole_file
from cxrloc.datasets.images.read import read_image

_PICTURES = (".png", ".jpg", ".jpeg")


@dataclass(frozen=True)
class ExportedBox:
    """A predicted box: its disease, its corners in pixels of the original image, its score."""

    disease: str
    box_xyxy: tuple[float, float, float, float]
    score: float


@dataclass(frozen=True)
class ExportedImage:
    """An image with the boxes that are to be corrected.

    Attributes:
        path: the file that was predicted.
        name: of its copy; a DICOM image becomes a PNG.
        size_hw: the original frame of the boxes.
        boxes: may be empty: the image is listed all the same.
    """

    path: Path
    name: str
    size_hw: tuple[int, int]
    boxes: tuple[ExportedBox, ...]

    @classmethod
    def of(
        cls, path: Path, stem: str, record: Mapping[str, Any], boxes_per_disease: int
    ) -> ExportedImage:
        """From a record of `cxrloc predict` (`localization/diagnosis/to_json.py`).

        Args:
            stem: of the copy's name.
            boxes_per_disease: how many of the strongest boxes, of the last localizer that was
                asked: the detector's where there is one.
        """
        (image,) = record["images"]
        names = {category["id"]: category["name"] for category in record["categories"]}
        localizer = record["localizers"][-1]
        boxes = [
            ExportedBox(names[row["category_id"]], _corners(row["bbox"]), float(row["score"]))
            for row in record["annotations"]
            if row["localizer"] == localizer and row["rank"] <= boxes_per_disease
        ]
        suffix = path.suffix.lower() if path.suffix.lower() in _PICTURES else ".png"
        return cls(path, f"{stem}{suffix}", (image["height"], image["width"]), tuple(boxes))


def _corners(bbox: Sequence[float]) -> tuple[float, float, float, float]:
    x, y, width, height = bbox
    return x, y, x + width, y + height


def diseases_of(record: Mapping[str, Any]) -> list[str]:
    """All diseases of the gate, so that people can also choose those that were not found."""
    return [str(category["name"]) for category in record["categories"]]


def write_images(images: Iterable[ExportedImage], folder: Path) -> None:
    """Copy the images, or link them where the file system can; DICOM images become PNG files."""
    folder.mkdir(parents=True, exist_ok=True)
    for image in images:
        target = folder / image.name
        if target.exists():
            continue
        if image.path.suffix.lower() in _PICTURES:
            _link_or_copy(image.path, target)
            continue
        with whole_file(target) as temporary:
            if not cv2.imwrite(str(temporary), read_image(image.path).pixels):
                raise OSError(f"cannot write {target}")


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source.resolve(), target)
    except OSError:  # another disk, or a file system without links
        shutil.copyfile(source, target)
