"""Read one entry of a COCO results file: image, disease, box and score."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from cxrloc.datasets.files.checked import LONGEST_SIDE
from cxrloc.datasets.files.coco.masks import has_mask
from cxrloc.datasets.files.coco.values import is_number, shown
from cxrloc.localization.predictions.coco_names import CocoNames, has_category_name
from cxrloc.localization.predictions.masks import box_around

_FOUR_FLOATS = [float] * 4


class Row(NamedTuple):
    """A predicted box as it is written, with the ground truth's names."""

    image_id: str
    disease: str
    box_xywh: list[float]
    frame_wh: tuple[int, int]
    score: float


def read_row(entry: Any, names: CocoNames, where: str) -> Row | None:
    """Read an entry's box; None if its category is one that the ground truth leaves out.

    Raises:
        ValueError: starting with `where`, saying what was expected.
    """
    if not isinstance(entry, dict):
        raise ValueError(f"{where}: expected an object, got {type(entry).__name__}")
    for key in ("image_id", "category_id", "score"):
        if key not in entry and not (key == "category_id" and has_category_name(entry)):
            raise ValueError(f"{where}: missing {key!r}; its keys are {', '.join(entry)}")
    image = names.image(entry["image_id"], where)
    disease = names.disease(entry, where)
    names.check_file_name(entry, image, where)
    size_hw = int(image["height"]), int(image["width"])
    box_xywh, score = _box_xywh(entry, size_hw, where), score_of(entry, where)
    if disease is None:
        return None
    return Row(image["file_name"], disease, box_xywh, (size_hw[1], size_hw[0]), score)


def _box_xywh(entry: Mapping[str, Any], size_hw: tuple[int, int], where: str) -> list[float]:
    box: Any = entry.get("bbox")
    plain = type(box) is list and list(map(type, box)) == _FOUR_FLOATS  # in most files all are
    known = plain and math.isfinite(sum(box)) and any(box)
    if known and min(box) >= -LONGEST_SIDE and max(box) <= LONGEST_SIDE:
        return list(box)
    no_box = box in (None, "", []) or (_is_box(box) and not any(box))
    if no_box and has_mask(entry.get("segmentation")):
        around = box_around(entry["segmentation"], size_hw, where)
        if around is not None:
            return list(around)
    if box is None and "bbox" not in entry:
        raise ValueError(
            f"{where}: has neither 'bbox' nor 'segmentation' (run lengths, or polygons of three "
            "points or more)"
        )
    if not _is_box(box):
        raise ValueError(
            f"{where}: bbox {shown(box)}, expected four finite numbers x, y, width, height"
        )
    if max(map(abs, box)) > LONGEST_SIDE:
        raise ValueError(
            f"{where}: bbox {shown(box)} lies outside any image: the largest ones have "
            f"{LONGEST_SIDE} pixels a side. Correct or delete the entry"
        )
    return [float(v) for v in box]


def _is_box(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 4 and all(map(is_number, value))


def score_of(entry: Mapping[str, Any], where: str) -> float:
    """The score of an entry.

    Raises:
        ValueError: starting with `where`, if it is no finite number.
    """
    if not is_number(entry.get("score")):
        raise ValueError(f"{where}: score {shown(entry['score'])}, expected a finite number")
    return float(entry["score"])
