"""Read boxes in COCO's form: one JSON file for all images, or one per part.

    root/annotations/instances_default.json        CVAT, with images below root/images/
    root/train/_annotations.coco.json ...          Roboflow, beside the images of train, valid, test
    root/result.json, root/labels.json ...         Label Studio, FiftyOne and others
    or the file or folder named by --annotations

Any COCO file is first made ours (`cxrloc.datasets.files.coco.read` says what is accepted). An image
that the file lists without annotations was looked at; image files that it does not list are left
out. Extra keys of an image that count: `patient_id`, `view`, `sex`, `age_years`, and `labels`, the
findings without a box, so that a `ground_truth.json` of ours can be prepared again. A mask becomes
its outlines; a rectangle that repeats the box is dropped.

Error: no COCO file, or several that are not the parts of one split.
Warning, counted (an error with `strict=True`): crowds (the finding counts for the image, the box
    does not); what the reading of the file doubts.
Note, counted: what the reading of the file changed.
`matching/to_index.py` says how other faults are treated.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from cxrloc.datasets.files.coco.read import read_coco
from cxrloc.datasets.files.parse import read_json
from cxrloc.datasets.images.sizes import size_hw
from cxrloc.datasets.labels.map import LabelMap, read_label_map
from cxrloc.datasets.readers.annotations.matching.annotated import (
    AnnotatedImage,
    Annotations,
    DrawnBox,
)
from cxrloc.datasets.readers.annotations.matching.files import ImageFinder, image_files
from cxrloc.datasets.readers.annotations.matching.outlines import coco_outlines
from cxrloc.datasets.readers.annotations.matching.parts import part_of_word
from cxrloc.datasets.readers.annotations.matching.to_index import Choices, to_index
from cxrloc.datasets.readers.annotations.where import below, given_files, only_one
from cxrloc.datasets.readers.index import DatasetIndex, ReaderWarnings

_PARTS = ("images", "annotations", "categories")
_CHECK = "CHECK"
SizeOf = Callable[[str], tuple[int, int] | None]


def index(
    root: Path,
    *,
    label_file: Path | None = None,
    strict: bool = False,
    annotations: str = "",
    labels: str = "",
    patient: str = "",
    unboxed: str = "",
) -> DatasetIndex:
    """Index a folder of images with COCO files; the docstrings say how faults are treated.

    Args:
        label_file: another name of `annotations`.
        annotations: the COCO file, or a folder with the files of the parts.
        labels, patient, unboxed: see `Choices`.
    """
    warnings, choices = ReaderWarnings(strict), Choices.of(labels, patient, unboxed)
    root = root.absolute()
    paths = image_files(root, warnings)
    files = _coco_files(root, Path(annotations) if annotations else label_file)
    label_map = None if choices.labels is None else read_label_map(choices.labels)
    finder = ImageFinder(root, paths)
    images: list[AnnotatedImage] = []
    names: dict[str, None] = dict.fromkeys(label_map.diseases if label_map else ())
    for path, part in files.items():
        of_file, of_names = _read(path, part, label_map, _size_in(finder, path), warnings)
        images += of_file
        names |= dict.fromkeys(of_names)
    found = Annotations(tuple(images), tuple(names), tuple(files))
    # the names are diseases by now
    return to_index(root, found, replace(choices, labels=None), warnings, paths)


def _coco_files(root: Path, asked: Path | None) -> dict[Path, str]:
    """Each COCO file and the part that its name states, or empty."""
    if asked is not None:
        files = given_files(root, asked, ".json")
        files = files if len(files) == 1 else list(filter(_is_coco, files))
    else:
        files = list(filter(_is_coco, below(root, ".json")))
    instances = [path for path in files if path.stem.startswith("instances_")]
    files = instances or files
    parts = {path: _part(path) for path in files}
    if len(files) > 1 and all(parts.values()) and len(set(parts.values())) == len(files):
        return parts
    expected = "a COCO file (.json with images, annotations and categories)"
    return {path: parts[path] for path in [only_one(files, root, expected)]}


def _part(path: Path) -> str:
    """instances_train2017.json, test.json, train/_annotations.coco.json."""
    words = (path.stem, path.stem.rpartition("_")[2], path.parent.name)
    return next(filter(None, map(part_of_word, words)), "")


def _is_coco(path: Path) -> bool:
    try:
        content = read_json(path)
    except (ValueError, OSError):
        return False
    return isinstance(content, dict) and all(isinstance(content.get(p), list) for p in _PARTS)


def _size_in(finder: ImageFinder, path: Path) -> SizeOf:
    def size_of(name: str) -> tuple[int, int] | None:
        file = finder.find(name, str(path), path.parent)
        try:
            return None if file is None else size_hw(file)
        except (OSError, ValueError):
            return None

    return size_of


def _read(
    path: Path,
    part: str,
    labels: LabelMap | None,
    size_of: SizeOf,
    warnings: ReaderWarnings,
) -> tuple[list[AnnotatedImage], list[str]]:
    foreign = read_coco(path, labels, size_of)
    for note in foreign.notes:
        tell = warnings.warn if note.startswith(_CHECK) else warnings.note
        tell(note, [path.name])
    coco = foreign.coco
    names = {category["id"]: str(category["name"]) for category in coco["categories"]}
    boxes: dict[int, list[DrawnBox]] = {}
    crowds: dict[int, list[str]] = {}
    for row in coco["annotations"]:
        name, image = names[row["category_id"]], row["image_id"]
        if row["iscrowd"]:
            crowds.setdefault(image, []).append(name)
        else:
            where = f"{path}, annotation {row['id']} of image {image}"
            boxes.setdefault(image, []).append(_box(row, name, where))
    crowded = [name for of_image in crowds.values() for name in of_image]
    warnings.warn("crowds, whose boxes are left out", crowded)
    images = [
        _image(row, path, part, boxes.get(row["id"], ()), crowds.get(row["id"], ()))
        for row in coco["images"]
    ]
    return images, list(names.values())


def _box(row: Mapping[str, Any], name: str, where: str) -> DrawnBox:
    x, y, width, height = row["bbox"]
    box = (float(x), float(y), float(x + width), float(y + height))
    return DrawnBox(name, box, where, coco_outlines(row.get("segmentation"), box))


def _image(
    row: Mapping[str, Any],
    path: Path,
    part: str,
    boxes: Sequence[DrawnBox],
    crowds: Sequence[str],
) -> AnnotatedImage:
    age = row.get("age_years")
    patient = row.get("patient_id")
    return AnnotatedImage(
        name=str(row["file_name"]),
        where=f"{path}, image {row['id']}",
        boxes=tuple(boxes),
        present=(*(str(name) for name in row.get("labels") or ()), *crowds),
        frame_wh=(row["width"], row["height"]),
        patient="" if patient is None else str(patient).strip(),
        part=part,
        folder=path.parent,
        view=str(row.get("view") or ""),
        sex=str(row.get("sex") or ""),
        age_years=math.nan if age is None else float(age),
    )
