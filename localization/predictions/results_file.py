"""Predicted boxes on disk: a COCO results file (a JSON list) that belongs to a COCO ground truth.

Each entry holds `image_id` (the ground truth's number), `category_id`, `bbox` (x, y, width,
height), `score` and, where a localizer gives one, `segmentation` (RLE). Ours also carry the names
as `file_name` and `category`, checked when read; the files of other tools lack them and are read
all the same.
"""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from pycocotools import mask as rle

from cxrloc.datasets.files.manifest import write_json
from cxrloc.localization.boxes import xywh_to_xyxy, xyxy_to_xywh
from cxrloc.localization.localizer import Localization
from cxrloc.localization.predictions.coco_names import CocoNames
from cxrloc.localization.predictions.columns import BoxColumns
from cxrloc.localization.predictions.masks import (
    MaskResult,
    encode_mask,
    mask_size,
    parse_segmentation,
)

Extra = Mapping[tuple[str, str], Mapping[str, Any]]
_OWN_KEYS = ("image_id", "file_name", "category_id", "category", "bbox", "score", "segmentation")
_FOUR_FLOATS = [float] * 4
_OUTSIDE_PX = 1e-6  # x + width of a box on the border misses the border by rounding alone


@dataclass(frozen=True)
class ParsedPredictions:
    """What a results file held.

    Attributes:
        boxes: in the file's order, cut off at the frame.
        clipped: how many reached over the frame's border and were cut off.
        dropped: how many had no area or lay wholly outside, and were left out.
    """

    boxes: BoxColumns = field(repr=False)
    clipped: int = 0
    dropped: int = 0

    @property
    def localizations(self) -> list[Localization]:
        columns = self.boxes
        corners = map(tuple, columns.boxes_xyxy.tolist())
        rows = zip(
            columns.image_ids, columns.diseases, corners, columns.scores.tolist(), strict=True
        )
        return [Localization(*row) for row in rows]


def write_predictions(
    path: Path,
    localizations: Iterable[Localization],
    coco: Mapping[str, Any],
    extra: Extra | None = None,
) -> None:
    """Write boxes as a COCO results file, in the order given; never a half-written file.

    Args:
        path: file to write (JSON).
        localizations: boxes; each image and disease must be in `coco`.
        coco: the ground truth whose ids the file uses.
        extra: (image_id, disease) -> JSON values to carry along under their own keys (gate
            probability, threshold); tools that do not know them ignore them.

    Raises:
        ValueError: for an image or disease that the ground truth lacks, a mask of another shape
            than the image, or an extra key that is one of the file's own.
    """
    names = CocoNames(coco, "ground truth")
    extra = extra or {}
    for key in sorted({key for values in extra.values() for key in values}):
        if key in _OWN_KEYS:
            raise ValueError(f"extra key {key!r} is one of the file's own keys: {_OWN_KEYS}")
    entries = [
        {**_entry(box, names), **extra.get((box.image_id, box.disease), {})}
        for box in localizations
    ]
    write_json(path, entries)


def read_predictions(path: Path, coco: Mapping[str, Any]) -> list[Localization]:
    """Boxes of a COCO results file made by any tool, in the original frame of the images.

    An entry's `image_id` may be the ground truth's number, its file name or that name without
    ending. Boxes over the border are cut off, boxes without area or wholly outside are left out:
    both are counted in a UserWarning. An entry without `bbox` but with `segmentation` gets the box
    around its mask.

    Args:
        path: the results file.
        coco: the ground truth.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: naming the file, the entry's number (from 0) and what was expected.
    """
    return _parsed(_entries(path), CocoNames(coco, str(path)), path).localizations


def read_boxes(path: Path, coco: Mapping[str, Any]) -> BoxColumns:
    """As `read_predictions`, as columns: for files of many boxes."""
    return _parsed(_entries(path), CocoNames(coco, str(path)), path).boxes


def read_results(path: Path, coco: Mapping[str, Any]) -> tuple[BoxColumns, list[MaskResult]]:
    """As `read_boxes` and `read_mask_results`, of a file that is opened once."""
    entries, names = _entries(path), CocoNames(coco, str(path))
    return _parsed(entries, names, path).boxes, _masks(entries, names, path)


def _parsed(entries: list[Any], names: CocoNames, path: Path) -> ParsedPredictions:
    parsed = _columns(entries, names, str(path))
    if parsed.clipped or parsed.dropped:
        warnings.warn(
            f"{path}: of {len(entries)} boxes {parsed.clipped} were cut off at the image's border "
            f"and {parsed.dropped} left out (no area, or wholly outside the image)",
            stacklevel=3,
        )
    return parsed


def parse_predictions(
    entries: Any, coco: Mapping[str, Any], *, source: str = "predictions"
) -> ParsedPredictions:
    """As `read_predictions`, from the parsed JSON; `source` is the name used in error messages."""
    names = CocoNames(coco, source)
    return _columns(_results_list(entries, source), names, source)


def _columns(entries: list[Any], names: CocoNames, source: str) -> ParsedPredictions:
    rows = [_row(entry, names, f"{source}: entry {number}") for number, entry in enumerate(entries)]
    raw = xywh_to_xyxy([row.box_xywh for row in rows])
    frames = np.array([row.frame_wh for row in rows], dtype=np.float64).reshape(-1, 2)
    boxes = np.clip(raw, 0.0, np.tile(frames, 2))
    has_area = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    over = has_area & (np.abs(raw - boxes).max(axis=1, initial=0.0) > _OUTSIDE_PX)
    rows = [rows[i] for i in np.flatnonzero(has_area)]
    columns = BoxColumns(
        [row.image_id for row in rows],
        [row.disease for row in rows],
        boxes[has_area],
        np.array([row.score for row in rows], dtype=np.float64),
    )
    return ParsedPredictions(columns, int(over.sum()), int((~has_area).sum()))


def read_mask_results(path: Path, coco: Mapping[str, Any]) -> list[MaskResult]:
    """Entries of a results file that have a mask; [] if none has.

    The masks stay encoded, in whatever frame they are.

    Raises:
        FileNotFoundError, ValueError: as `read_predictions`.
    """
    names = CocoNames(coco, str(path))
    return _masks(_entries(path), names, path)


def _masks(entries: list[Any], names: CocoNames, path: Path) -> list[MaskResult]:
    results = []
    for number, entry in enumerate(entries):
        where = f"{path}: entry {number}"
        if not isinstance(entry, dict) or not entry.get("segmentation"):
            continue
        image = names.image(entry.get("image_id"), where)
        size_hw = (int(image["height"]), int(image["width"]))
        if isinstance(entry["segmentation"], dict):  # its own frame; polygons have the image's
            size_hw = mask_size(entry["segmentation"], where)
        disease = names.disease(entry.get("category_id"), where)
        encoded = parse_segmentation(entry, size_hw, where)
        results.append(MaskResult(str(image["file_name"]), disease, _score(entry, where), encoded))
    return results


def _entries(path: Path) -> list[Any]:
    if not path.is_file():
        raise FileNotFoundError(f"predictions file {path} does not exist")
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not a JSON file ({error})") from error
    return _results_list(entries, str(path))


def _results_list(entries: Any, source: str) -> list[Any]:
    if isinstance(entries, dict):
        keys = ", ".join(list(entries)[:5])
        raise ValueError(
            f"{source}: expected a COCO results LIST of {{image_id, category_id, bbox, score}}, "
            f"got a dict with keys {keys}. Is it a ground-truth file? Of a dict save only its list"
        )
    if not isinstance(entries, list):
        raise ValueError(f"{source}: expected a JSON list, got {type(entries).__name__}")
    return entries


def _entry(box: Localization, names: CocoNames) -> dict[str, Any]:
    where = f"box of {box.image_id}, {box.disease}"
    image = names.image(box.image_id, where)
    if box.disease not in names.category_of:
        categories = ", ".join(names.category_of)
        raise ValueError(f"{where}: the ground truth has no such category; it has {categories}")
    entry: dict[str, Any] = {
        "image_id": image["id"],
        "file_name": image["file_name"],
        "category_id": names.category_of[box.disease],
        "category": box.disease,
        "bbox": [float(v) for v in xyxy_to_xywh([box.box_xyxy])[0]],
        "score": float(box.score),
    }
    if box.mask is not None:
        entry["segmentation"] = encode_mask(box.mask, (image["height"], image["width"]), where)
    return entry


class _Row(NamedTuple):
    image_id: str
    disease: str
    box_xywh: list[float]
    frame_wh: tuple[int, int]
    score: float


def _row(entry: Any, names: CocoNames, where: str) -> _Row:
    if not isinstance(entry, dict):
        raise ValueError(f"{where}: expected an object, got {type(entry).__name__}")
    for key in ("image_id", "category_id", "score"):
        if key not in entry:
            raise ValueError(f"{where}: has no {key!r}; its keys are {', '.join(entry)}")
    image = names.image(entry["image_id"], where)
    disease = names.disease(entry["category_id"], where)
    names.check_written_names(entry, image, disease, where)
    height, width = int(image["height"]), int(image["width"])
    encoded = parse_segmentation(entry, (height, width), where) if "bbox" not in entry else None
    box_xywh = _box_xywh(entry, encoded, where)
    return _Row(image["file_name"], disease, box_xywh, (width, height), _score(entry, where))


def _box_xywh(entry: Mapping[str, Any], encoded: Any, where: str) -> list[float]:
    if "bbox" not in entry:
        if encoded is None:
            raise ValueError(f"{where}: has neither 'bbox' nor 'segmentation'")
        return [float(v) for v in rle.toBbox(encoded)]
    box = entry["bbox"]
    plain = type(box) is list and list(map(type, box)) == _FOUR_FLOATS  # of most files all are
    if not (plain and math.isfinite(sum(box))) and not _is_box(box):
        raise ValueError(f"{where}: bbox {box!r}, expected four finite numbers x, y, width, height")
    return [float(v) for v in box]


def _is_box(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 4 and all(map(_is_finite_number, value))


def _score(entry: Mapping[str, Any], where: str) -> float:
    if not _is_finite_number(entry["score"]):
        raise ValueError(f"{where}: score {entry['score']!r}, expected a finite number")
    return float(entry["score"])


def _is_finite_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
