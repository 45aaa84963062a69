"""Match a results file's names of images and diseases to a COCO ground truth."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from cxrloc.datasets.images.read import IMAGE_SUFFIXES

_OTHER_FILE = "was it made for another ground-truth file?"


class CocoNames:
    """Numbers and names of a ground truth, looked up both ways; `source` appears in its errors."""

    def __init__(self, coco: Mapping[str, Any], source: str) -> None:
        for key in ("images", "categories"):
            if key not in coco:
                raise ValueError(f"{source}: the ground truth has no {key!r}; expected a COCO dict")
        self.images = {image["id"]: image for image in coco["images"]}
        self.categories = {category["id"]: category["name"] for category in coco["categories"]}
        self.image_of = {image["file_name"]: image for image in coco["images"]}
        self.category_of = {name: number for number, name in self.categories.items()}
        stems: dict[str, list[Any]] = {}
        for image in coco["images"]:
            stems.setdefault(_stem(image["file_name"]), []).append(image)
        self.image_of_stem = {stem: images[0] for stem, images in stems.items() if len(images) == 1}

    def image(self, value: Any, where: str) -> Any:
        entry = None
        if isinstance(value, str):
            plain = PurePosixPath(
                value
            ).name  # without extension; or the name has none, dots included
            entry = self.image_of.get(value) or self.image_of_stem.get(plain)
            if entry is None and PurePosixPath(value).suffix.lower() in IMAGE_SUFFIXES:
                entry = self.image_of_stem.get(_stem(value))
        elif isinstance(value, int | float) and not isinstance(value, bool):
            entry = self.images.get(value)
        if entry is None:
            first = next(iter(self.images.values()), None)
            example = (
                f"for example {first['id']} or {first['file_name']!r}" if first else "(it has none)"
            )
            raise ValueError(
                f"{where}: image_id {value!r} is not in the ground truth; expected one of its "
                f"{len(self.images)} images, {example}"
            )
        return entry

    def disease(self, value: Any, where: str) -> str:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        name = self.categories.get(value) if is_number else None
        if name is None:
            listed = ", ".join(f"{number} {name}" for number, name in self.categories.items())
            raise ValueError(f"{where}: category_id {value!r} is unknown; expected one of {listed}")
        return str(name)

    def check_written_names(
        self, entry: Mapping[str, Any], image: Any, disease: str, where: str
    ) -> None:
        written = entry.get("file_name", image["file_name"])
        if written != image["file_name"] and _stem(str(written)) != _stem(image["file_name"]):
            raise ValueError(
                f"{where}: file_name {written!r} does not match image_id {entry['image_id']!r}, "
                f"which is {image['file_name']!r} in the ground truth; {_OTHER_FILE}"
            )
        written = entry.get("category", disease)
        if written != disease:
            raise ValueError(
                f"{where}: category {written!r} does not match category_id "
                f"{entry['category_id']!r}, which is {disease!r} in the ground truth; {_OTHER_FILE}"
            )


def _stem(name: str) -> str:
    # Not the folder: foreign files write images/00000001_000.png.
    return PurePosixPath(name).stem
