"""Read and write predicted boxes: a COCO results file (a JSON list) for a COCO ground truth.

Each entry has `image_id` (the ground truth's number), `category_id`, `bbox` (x, y, width, height),
`score` and, if the localizer gives one, `segmentation` (RLE). Our files also have the names as
`file_name` and `category`, checked on reading; other tools' files lack them and are still read.
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
_OUTSIDE_PX = 1e-6  # x + width of a box on the border differs from it only by rounding


@dataclass(frozen=True)
class ParsedPredictions:
    """Content of a results file.

    Attributes:
        boxes: in file order, clipped at the frame.
        clipped: number that extended beyond the frame and were clipped.
        dropped: number without area or entirely outside, left out.
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
    """Write boxes atomically as a COCO results file, in the given order.

    Args:
        path: file to write (JSON).
        localizations: boxes; each image and disease must be in `coco`.
        coco: ground truth whose ids the file uses.
        extra: (image_id, disease) -> JSON values to add under their own keys (gate probability,
            threshold); other tools ignore unknown keys.

    Raises:
        ValueError: if the ground truth lacks an image or disease, a mask has another shape than the
            image, or an extra key is one of the file's own.
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
    """Read the boxes of a COCO results file from any tool, in the original frame of the images.

    An entry's `image_id` may be the ground truth's number, its file name, or that name without
    extension. Boxes beyond the border are clipped; boxes without area or entirely outside are left
    out. A UserWarning counts both. An entry without `bbox` but with `segmentation` gets the box
    around its mask.

    Args:
        path: the results file.
        coco: the ground truth.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if an entry is invalid; names the file, the entry's number (from 0) and the
            expected content.
    """
    return _parsed(_entries(path), CocoNames(coco, str(path)), path).localizations


def read_boxes(path: Path, coco: Mapping[str, Any]) -> BoxColumns:
    """Like `read_predictions`, but as columns, for files with many boxes."""
    return _parsed(_entries(path), CocoNames(coco, str(path)), path).boxes


def read_results(path: Path, coco: Mapping[str, Any]) -> tuple[BoxColumns, list[MaskResult]]:
    """Like `read_boxes` and `read_mask_results`, opening the file once."""
    entries, names = _entries(path), CocoNames(coco, str(path))
    return _parsed(entries, names, path).boxes, _masks(entries, names, path)


def _parsed(entries: list[Any], names: CocoNames, path: Path) -> ParsedPredictions:
    parsed = _columns(entries, names, str(path))
    if parsed.clipped or parsed.dropped:
        warnings.warn(
            f"{path}: of {len(entries)} boxes, {parsed.clipped} were clipped at the image's border "
            f"and {parsed.dropped} left out (no area, or entirely outside the image)",
            stacklevel=3,
        )
    return parsed


def parse_predictions(
    entries: Any, coco: Mapping[str, Any], *, source: str = "predictions"
) -> ParsedPredictions:
    """Like `read_predictions`, from parsed JSON; `source` is the name in error messages."""
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
    """Read the entries of a results file that have a mask; [] if none has.

    The masks stay encoded, in their own frame.

    Raises:
        FileNotFoundError, ValueError: like `read_predictions`.
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
            f"got a dict with keys {keys}. Is it a ground-truth file? Save only its list"
        )
    if not isinstance(entries, list):
        raise ValueError(f"{source}: expected a JSON list, got {type(entries).__name__}")
    return entries


def _entry(box: Localization, names: CocoNames) -> dict[str, Any]:
    where = f"box of {box.image_id}, {box.disease}"
    image = names.image(box.image_id, where)
    if box.disease not in names.category_of:
        categories = ", ".join(names.category_of)
        raise ValueError(f"{where}: the ground truth lacks this category; it has {categories}")
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
            raise ValueError(f"{where}: missing {key!r}; its keys are {', '.join(entry)}")
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
    plain = type(box) is list and list(map(type, box)) == _FOUR_FLOATS  # in most files all are
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
