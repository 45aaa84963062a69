"""Read another person's boxes on some of the images of a ground truth: a second reader.

The file is a COCO ground truth of its own. Its images are those that the reader read, with or
without a box, its categories the diseases that the reader judges. Its images are found among those
of the first ground truth by name: folders and endings do not count, and names of ChestX-Det and of
the RSNA challenge stand for the NIH images that they were made from.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from cxrloc.datasets.labels.map import LabelMap, name_key
from cxrloc.datasets.labels.names import canonical_label
from cxrloc.datasets.prepared.coco import load_coco
from cxrloc.localization.boxes import xywh_to_xyxy
from cxrloc.localization.predictions.columns import BoxColumns
from cxrloc.localization.predictions.same_images import same_images

_SAME_ASPECT = 0.01  # resizing rounds a side of 100 pixels by up to half a percent


@dataclass(frozen=True)
class SecondReading:
    """What a second reader says on the images of a ground truth.

    Two names that become the same common name are one finding here: a reader's Consolidation can
    answer both Pneumonia and Infiltration.

    Attributes:
        boxes: under the ground truth's image names and in its frames, with common names for the
            diseases; each has score 1, as readers give none.
        images: images of the ground truth that were read, boxed or not.
        judged: common names of the reader's categories.
        common: disease of the ground truth -> common name; None if the label map leaves it out.
        unboxed: images and common names that the reader labels without a box.
        notes: facts that a reader of the figures must know.
    """

    boxes: BoxColumns = field(repr=False)
    images: frozenset[str] = field(repr=False)
    judged: tuple[str, ...]
    common: Mapping[str, str | None]
    unboxed: frozenset[tuple[str, str]] = field(repr=False, default=frozenset())
    notes: tuple[str, ...] = ()


def read_second_reader(
    path: Path, coco: Mapping[str, Any], labels: LabelMap | None = None
) -> SecondReading:
    """Read a second reader's ground truth for the images of `coco`.

    Args:
        path: COCO ground truth of the second reader.
        coco: the first ground truth (`load_coco`).
        labels: names of either file -> common names; unlisted names stay as they are.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the two have no image in common, if a frame has another shape, or if no box
            of the first has a disease that the reader judges.
    """
    reader = load_coco(path)
    first = {str(image["file_name"]): image for image in coco["images"]}
    ours, found = _same(reader["images"], first, path)
    diseases = list(_categories(coco).values())
    categories = _categories(reader)
    common = _common_names([*diseases, *categories.values()], labels)
    common_of = {number: common[name] for number, name in categories.items()}
    boxes, changed = _boxes(reader, ours, first, common_of, path)
    named = _category_notes(diseases, list(categories.values()), common)
    reading = SecondReading(
        boxes=boxes,
        images=frozenset(ours.values()),
        judged=tuple(dict.fromkeys(name for name in common_of.values() if name is not None)),
        common={disease: common[disease] for disease in diseases},
        unboxed=frozenset(_unboxed(reader["images"], ours, common_of, boxes)),
        notes=(*named, *found, *changed),
    )
    _check_boxes_to_score(reading, coco, path)
    return reading


def _categories(coco: Mapping[str, Any]) -> dict[Any, str]:
    rows = sorted(coco["categories"], key=lambda category: category["id"])
    return {row["id"]: str(row["name"]) for row in rows}


def _same(
    images: Iterable[Mapping[str, Any]], first: Mapping[str, Any], path: Path
) -> tuple[dict[Any, str], list[str]]:
    """The reader's image id -> name in the first ground truth, and what to say of the others."""
    names = {image["id"]: str(image["file_name"]) for image in images}
    same = same_images(first, tuple(names.values()))
    if not same.first_of:
        raise ValueError(
            f"{path}: none of its {len(names)} images is in the ground truth ({len(first)} images);"
            f" expected the same names, but for folders and endings: {_some(names.values())} here, "
            f"{_some(first)} there. Names of ChestX-Det and RSNA are known as NIH's"
        )
    notes = []
    if same.renamed:
        notes.append(f"{same.renamed} images found through the NIH names behind theirs")
    if same.unknown:
        notes.append(f"{same.unknown} of its {len(names)} images are not in the ground truth")
    if same.doubtful:
        notes.append(f"left out, as several names fit one image: {same.doubtful} images")
    found = {i: same.first_of[name] for i, name in names.items() if name in same.first_of}
    return found, notes


def _some(names: Iterable[str]) -> str:
    return next(map(repr, names), "none")


def _common_names(names: Iterable[str], labels: LabelMap | None) -> dict[str, str | None]:
    """Name -> common name; the first spelling of a common name counts."""
    spelled: dict[str, str] = {}
    common: dict[str, str | None] = {}
    for name in names:
        target = _canonical(name) if labels is None else _mapped(name, labels)
        common[name] = None if target is None else spelled.setdefault(name_key(target), target)
    return common


def _mapped(name: str, labels: LabelMap) -> str | None:
    """By the map's line for the name or for its usual spelling; else as it is, or left out."""
    for spelling in (name, _canonical(name)):
        if labels.lists(spelling):
            return labels.disease(spelling)
    return None if labels.others_left_out else _canonical(name)


def _canonical(name: str) -> str:
    try:
        return canonical_label(name)  # `Pleural Effusion` is Effusion
    except ValueError:
        return name


def _boxes(
    reader: Mapping[str, Any],
    ours: Mapping[Any, str],
    first: Mapping[str, Mapping[str, Any]],
    common: Mapping[Any, str | None],
    path: Path,
) -> tuple[BoxColumns, list[str]]:
    """The reader's boxes in the frames of the first ground truth, and what was done to them."""
    frames = {image["id"]: image for image in reader["images"] if image["id"] in ours}
    scale = {i: _scale(frames[i], first[ours[i]], path) for i in frames}
    kept = [a for a in reader["annotations"] if a["image_id"] in ours]
    crowds = sum(bool(a.get("iscrowd", 0)) for a in kept)
    kept = [a for a in kept if not a.get("iscrowd", 0) and common[a["category_id"]] is not None]
    corners = xywh_to_xyxy([a["bbox"] for a in kept]).reshape(-1, 4)
    factors = np.array([scale[a["image_id"]] * 2 for a in kept], dtype=np.float64).reshape(-1, 4)
    boxes = BoxColumns(
        [ours[a["image_id"]] for a in kept],
        [str(common[a["category_id"]]) for a in kept],
        corners * factors,
        np.ones(len(kept)),
    )
    resized = [i for i in scale if scale[i] != (1.0, 1.0)]
    notes = [f"crowd annotations, left out: {crowds}"] if crowds else []
    if resized:
        example = f"{_frame(frames[resized[0]])} to {_frame(first[ours[resized[0]]])}"
        notes.append(f"boxes of {len(resized)} images scaled to another frame ({example})")
    return boxes, notes


def _scale(image: Mapping[str, Any], first: Mapping[str, Any], path: Path) -> tuple[float, float]:
    """Factors of x and y from the reader's frame to the first's.

    Raises:
        ValueError: for frames of another shape: then the reader saw a part, or a padded image.
    """
    x, y = (first[side] / image[side] for side in ("width", "height"))
    if abs(x - y) > _SAME_ASPECT * max(x, y):
        raise ValueError(
            f"{path}: image {image['file_name']} is {_frame(image)} and {_frame(first)} in the "
            "ground truth; expected the same frame or a resized one of the same shape. Convert "
            "the boxes to the frame of the ground truth, or take the image out of the file"
        )
    return x, y


def _frame(image: Mapping[str, Any]) -> str:
    return f"{image['width']} x {image['height']}"


def _unboxed(
    images: Iterable[Mapping[str, Any]],
    ours: Mapping[Any, str],
    common: Mapping[Any, str | None],
    boxes: BoxColumns,
) -> Iterator[tuple[str, str]]:
    """Images and common names that the reader labels without any box."""
    boxed = set(zip(boxes.image_ids, boxes.diseases, strict=True))
    for image in images:
        for number in image.get("not_exhaustive_category_ids", ()):
            pair = ours.get(image["id"]), common.get(number)
            if None not in pair and pair not in boxed:
                yield pair  # type: ignore[misc]


def _category_notes(
    diseases: Sequence[str], categories: Sequence[str], common: Mapping[str, str | None]
) -> Iterator[str]:
    """What each side's names became, and what the other side lacks."""
    ours, theirs = ({common[name] for name in names} - {None} for names in (diseases, categories))
    for target in dict.fromkeys(common[name] for name in categories):
        sides = [[n for n in names if common[n] == target] for names in (categories, diseases)]
        keys = [{name_key(name) for name in names} for names in sides]
        if target is not None and all(sides) and keys[0] != keys[1]:
            notes = " and ".join(sides[0]), " and ".join(sides[1])
            yield f"{notes[0]} counts as {notes[1]}"
    missing = [name for name in diseases if common[name] not in theirs]
    if missing:
        yield f"not judged, so left out: {', '.join(missing)}"
    extra = [name for name in categories if common[name] not in ours]
    if extra:
        yield f"not in the ground truth, so left out: {', '.join(extra)}"


def _check_boxes_to_score(reading: SecondReading, coco: Mapping[str, Any], path: Path) -> None:
    names = {c["id"]: str(c["name"]) for c in coco["categories"]}
    images = {image["id"]: str(image["file_name"]) for image in coco["images"]}
    if not any(
        images[a["image_id"]] in reading.images
        and reading.common[names[a["category_id"]]] in reading.judged
        for a in coco["annotations"]
    ):
        raise ValueError(
            f"{path}: the ground truth has no box to score it on: none on the "
            f"{len(reading.images)} images in common, of {', '.join(reading.judged)}, the diseases "
            "that this reader judges. --second-reader-labels tells which names mean the same"
        )
