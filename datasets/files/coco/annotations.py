"""Make the annotations of any COCO file ours: ids from 1, boxes inside the image, known keys."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from cxrloc.datasets.files.checked import LONGEST_SIDE
from cxrloc.datasets.files.coco.categories import Categories
from cxrloc.datasets.files.coco.frames import check_frames, check_outlines
from cxrloc.datasets.files.coco.images import Images
from cxrloc.datasets.files.coco.masks import (
    box_of_polygons,
    box_of_run_lengths,
    has_mask,
    polygons,
    run_lengths,
)
from cxrloc.datasets.files.coco.values import flag, id_key, is_number, shown, some

OUTSIDE_PX = 1e-6  # x + width of a box on the border differs from it only by rounding
_OUTLINES = 500
_FOUR_FLOATS = [float] * 4


@dataclass(frozen=True)
class Annotations:
    """Our annotations, in file order, and what was changed."""

    entries: list[dict[str, Any]] = field(repr=False)
    notes: tuple[str, ...] = ()


def our_annotations(
    rows: Sequence[Any], images: Images, categories: Categories, where: str
) -> Annotations:
    """Make the list `annotations` ours.

    Raises:
        ValueError: starting with `where`, naming the annotations that are wrong.
    """
    sizes = {image["id"]: (image["height"], image["width"]) for image in images.entries}
    counts: Counter[str] = Counter()
    entries: list[dict[str, Any]] = []
    places: list[str] = []
    for place, row in enumerate(rows):
        here = _here(row, place, where)
        references = _references(row, images, categories, here)
        if references is None:
            continue
        entries.append(_entry(row, *references, sizes[references[0]], here, counts))
        places.append(here.removeprefix(f"{where}: "))
    boxes = np.array([entry["bbox"] for entry in entries], dtype=np.float64).reshape(-1, 4)
    frames = np.array([sizes[entry["image_id"]] for entry in entries]).reshape(-1, 2)[:, ::-1]
    image_ids = np.array([entry["image_id"] for entry in entries])
    notes = _outline_notes(entries, where) + check_frames(boxes, frames, image_ids, where)
    _check_inside(boxes, frames, places, where)
    counts["cut off"] = _cut_off(entries, boxes, frames)
    entries = _once(entries, counts)
    for our_id, entry in enumerate(entries, start=1):
        entry["id"] = our_id
    return Annotations(entries, (*notes, *_notes(counts, len(entries))))


def _outline_notes(entries: list[dict[str, Any]], where: str) -> list[str]:
    """Whether boxes and polygons agree, in the first annotations that have both."""
    both = [entry for entry in entries if isinstance(entry.get("segmentation"), list)]
    around = [box_of_polygons(entry["segmentation"]) for entry in both[:_OUTLINES]]
    boxes = [entry["bbox"] for entry in both[:_OUTLINES]]
    as_array = [np.array(rows, dtype=np.float64).reshape(-1, 4) for rows in (boxes, around)]
    return check_outlines(as_array[0], as_array[1], where)


def _here(row: Any, place: int, where: str) -> str:
    if not isinstance(row, dict):
        raise ValueError(f"{where}, annotations: entry {place} is {shown(row)}, expected an object")
    if isinstance(row.get("id"), int | str):
        return f"{where}: annotation {shown(row['id']) if row['id'] != '' else place}"
    return f"{where}: annotation entry {place}"


def _references(
    row: Mapping[str, Any], images: Images, categories: Categories, here: str
) -> tuple[int, int] | None:
    """Our ids of image and category; None if the category is left out."""
    image_key, category_key = id_key(row.get("image_id")), id_key(row.get("category_id"))
    for kind, key, known in (
        ("image_id", image_key, images.number_of),
        ("category_id", category_key, categories.number_of),
    ):
        if key is None or key not in known:
            raise ValueError(
                f"{here} has {kind} {shown(row.get(kind))}, which the file does not list"
            )
    assert image_key is not None
    assert category_key is not None
    category = categories.number_of[category_key]
    return None if category is None else (images.number_of[image_key], category)


def _entry(
    row: Mapping[str, Any],
    image: int,
    category: int,
    size_hw: tuple[int, int],
    here: str,
    counts: Counter[str],
) -> dict[str, Any]:
    segmentation = _segmentation(row, size_hw, here, counts)
    bbox = _bbox(row, segmentation, here, counts)
    entry = {**row, "image_id": image, "category_id": category, "bbox": bbox}
    entry["iscrowd"] = int(_is_crowd(row, here, counts))
    area: Any = row.get("area")
    entry["area"] = area if is_number(area) and area > 0 else bbox[2] * bbox[3]
    entry.pop("segmentation", None)
    return entry if segmentation is None else {**entry, "segmentation": segmentation}


def _segmentation(
    row: Mapping[str, Any], size_hw: tuple[int, int], here: str, counts: Counter[str]
) -> Any:
    """Polygons, run lengths, or None."""
    value = row.get("segmentation")
    if not has_mask(value):
        return None
    if isinstance(value, dict):
        return run_lengths(value, here, size_hw)
    if not isinstance(value, list):
        raise ValueError(f"{here}: segmentation is neither RLE nor polygons: {shown(value)}")
    parts = polygons(value, here, size_hw)
    counts["degenerate"] += not parts
    return parts or None


def _bbox(
    row: Mapping[str, Any], segmentation: Any, here: str, counts: Counter[str]
) -> list[float]:
    """The annotation's box x, y, width, height, or that around its mask."""
    bbox: Any = row.get("bbox")
    plain = type(bbox) is list and list(map(type, bbox)) == _FOUR_FLOATS  # in most files all are
    known = plain and math.isfinite(sum(bbox)) and bbox[2] > 0 and bbox[3] > 0
    if known and min(bbox) >= -LONGEST_SIDE and max(bbox) <= LONGEST_SIDE:
        return list(bbox)
    if segmentation is not None and (bbox in (None, "", []) or not any(_numbers(bbox))):
        counts["from mask"] += 1
        around = (
            box_of_run_lengths(segmentation)
            if isinstance(segmentation, dict)
            else box_of_polygons(segmentation)
        )
        bbox = list(around)
    good = isinstance(bbox, list) and len(bbox) == 4
    good = good and all(map(is_number, bbox or ()))
    if not good or bbox is None or bbox[2] <= 0 or bbox[3] <= 0:
        also = "" if segmentation is not None or bbox else ", or a segmentation"
        raise ValueError(
            f"{here} has bbox {shown(bbox)}, expected [x, y, w, h] with w > 0 and h > 0{also}"
        )
    if max(map(abs, bbox)) > LONGEST_SIDE:
        raise ValueError(
            f"{here} has bbox {shown(bbox)}, outside any image: the largest ones have "
            f"{LONGEST_SIDE} pixels a side. Correct or delete it"
        )
    return list(bbox)


def _numbers(bbox: Any) -> Sequence[Any]:
    """The numbers of a box; a box of four zeros beside a mask is none."""
    return bbox if isinstance(bbox, list) and len(bbox) == 4 else (1,)


def _is_crowd(row: Mapping[str, Any], here: str, counts: Counter[str]) -> bool:
    crowd = flag(row.get("iscrowd"))
    if crowd is None:
        raise ValueError(f"{here} has iscrowd {shown(row['iscrowd'])}, expected 0 or 1")
    attributes = row.get("attributes")
    # CVAT writes each painted mask as run lengths, and COCO's run lengths as a crowd.
    if crowd and isinstance(row.get("segmentation"), dict) and isinstance(attributes, dict):
        painted = "occluded" in attributes and not flag(attributes.get("is_crowd"))
        counts["painted"] += painted
        return not painted
    return crowd


def _check_inside(
    boxes: npt.NDArray[np.float64], frames: npt.NDArray[Any], places: list[str], where: str
) -> None:
    low, high = np.clip(boxes[:, :2], 0, frames), np.clip(boxes[:, :2] + boxes[:, 2:], 0, frames)
    outside = np.flatnonzero((high - low).min(axis=1, initial=math.inf) <= 0).tolist()
    if not outside:
        return
    listed = [
        f"{places[i]} has bbox {boxes[i].tolist()} in an image of {frames[i][0]} x {frames[i][1]}"
        for i in outside
    ]
    raise ValueError(
        f"{where}: boxes wholly outside their image: {some(listed)}. Correct or delete them; if "
        "there are many, `width` and `height` may be those of a resized copy"
    )


def _cut_off(
    entries: list[dict[str, Any]], boxes: npt.NDArray[np.float64], frames: npt.NDArray[Any]
) -> int:
    """Cut boxes off at the image's border, as predictions are; returns how many."""
    corners = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)
    inside = np.clip(corners, 0, np.tile(frames, 2))
    over = np.flatnonzero(np.abs(corners - inside).max(axis=1, initial=0) > OUTSIDE_PX).tolist()
    for i in over:
        x1, y1, x2, y2 = inside[i].tolist()
        entries[i]["bbox"] = [x1, y1, x2 - x1, y2 - y1]
        entries[i]["area"] = (x2 - x1) * (y2 - y1)
    return len(over)


def _once(entries: list[dict[str, Any]], counts: Counter[str]) -> list[dict[str, Any]]:
    """Each box of a category on an image once, with one outline."""
    seen: dict[Any, list[Any]] = {}
    kept = []
    for entry in entries:
        same = (entry["image_id"], entry["category_id"], entry["iscrowd"], *entry["bbox"])
        outlines = seen.setdefault(same, [])
        if entry.get("segmentation") in outlines:
            counts["repeated"] += 1
            continue
        outlines.append(entry.get("segmentation"))
        kept.append(entry)
    return kept


_NOTES = {
    "cut off": "ground-truth boxes cut off at the image's border, as predictions are: {}",
    "from mask": "ground-truth boxes made from their masks: {}",
    "repeated": "annotations that repeat another one exactly (image, category, box), left out: {}",
    "degenerate": "outlines with fewer than three points, left out: {}",
    "painted": "painted masks that CVAT marks as crowds, counted as single findings: {}",
}


def _notes(counts: Counter[str], kept: int) -> list[str]:
    return [text.format(f"{counts[kind]}") for kind, text in _NOTES.items() if counts[kind]]
