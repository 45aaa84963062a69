"""Read and write predicted boxes: a COCO results file (a JSON list) for a COCO ground truth.

Each entry has `image_id` (the ground truth's number), `category_id`, `bbox` (x, y, width, height),
`score` and, if the localizer gives one, `segmentation` (RLE). Our files also have the names as
`file_name` and `category`, checked on reading; other tools' files lack them and are still read.

Read are files of any tool: `image_id` may be a number, a text, the file's name or that without
ending; `category_id` a number, a text or the category's name; `category` or `category_name` the
name in any case, or a synonym of the label map. An entry without `bbox` gets the box around its
`segmentation` (polygons, run lengths of both kinds). A whole COCO dict counts if its annotations
have scores; its ids mean its own images and categories, by name. Boxes that clearly are shares of
the image, two corners, centre and size, or pixels of a resized copy are refused, and said if they
only may be: the ground truth's boxes tell.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from cxrloc.datasets.files.coco.annotations import OUTSIDE_PX
from cxrloc.datasets.files.coco.images import SOURCE_ID
from cxrloc.datasets.files.coco.masks import has_mask
from cxrloc.datasets.files.manifest import write_json_list
from cxrloc.datasets.files.parse import read_json
from cxrloc.localization.boxes import as_boxes, xywh_to_xyxy, xyxy_to_xywh
from cxrloc.localization.localizer import Localization
from cxrloc.localization.predictions.coco_names import CocoNames
from cxrloc.localization.predictions.columns import BoxColumns
from cxrloc.localization.predictions.frame_check import check_predicted_frames
from cxrloc.localization.predictions.masks import (
    MaskResult,
    encode_mask,
    encoded_mask,
)
from cxrloc.localization.predictions.results_document import entries_of, read_entries
from cxrloc.localization.predictions.results_entry import read_row, score_of

Extra = Mapping[tuple[str, str], Mapping[str, Any]]
_OWN_KEYS = ("image_id", "file_name", "category_id", "category", "bbox", "score", "segmentation")


@dataclass(frozen=True)
class ParsedPredictions:
    """Content of a results file.

    Attributes:
        boxes: in file order, clipped at the frame.
        clipped: number that extended beyond the frame and were clipped.
        dropped: number without area or entirely outside, left out.
        notes: what was changed or left out, or is doubtful, as sentences.
    """

    boxes: BoxColumns = field(repr=False)
    clipped: int = 0
    dropped: int = 0
    notes: tuple[str, ...] = ()

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
    entries = (
        {**_entry(box, names), **extra.get((box.image_id, box.disease), {})}
        for box in localizations
    )
    write_json_list(path, entries)


def join_results(
    joined: Path, parts: Sequence[Path], image_ids: Sequence[int]
) -> list[dict[str, Any]]:
    """Write several of our results files into one; return the entries of some images.

    Only one part is in memory at a time: a hundred thousand images have a million boxes.

    Args:
        joined: file to write, the parts' entries in their order.
        image_ids: `image_id` of the entries to return.
    """
    asked, kept = set(image_ids), list[dict[str, Any]]()

    def entries() -> Iterator[dict[str, Any]]:
        for part in parts:
            results = read_json(part)
            kept.extend(entry for entry in results if entry["image_id"] in asked)
            yield from results

    write_json_list(joined, entries())
    return kept


def read_predictions(path: Path, coco: Mapping[str, Any]) -> list[Localization]:
    """Read the boxes of a COCO results file from any tool, in the original frame of the images.

    Boxes beyond the border are clipped; boxes without area or entirely outside are left out. A
    UserWarning counts both, and says where the boxes may mean something else.

    Args:
        path: the results file.
        coco: the ground truth (`load_coco`).

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if an entry is invalid; names the file, the entry's number (from 0) and the
            expected content. Or if the boxes are shares of the image, two corners or pixels of
            another copy.
    """
    return _read(path, coco).localizations


def read_boxes(path: Path, coco: Mapping[str, Any]) -> BoxColumns:
    """Like `read_predictions`, but as columns, for files with many boxes."""
    return _read(path, coco).boxes


def read_results(path: Path, coco: Mapping[str, Any]) -> tuple[BoxColumns, list[MaskResult]]:
    """Like `read_boxes` and `read_mask_results`, opening the file once."""
    names = CocoNames(coco, str(path))
    entries = read_entries(path, names)
    return _warned(_columns(entries, names, coco, str(path)), path).boxes, _masks(
        entries, names, path
    )


def _read(path: Path, coco: Mapping[str, Any]) -> ParsedPredictions:
    names = CocoNames(coco, str(path))
    return _warned(_columns(read_entries(path, names), names, coco, str(path)), path)


def _warned(parsed: ParsedPredictions, path: Path) -> ParsedPredictions:
    for note in parsed.notes:
        warnings.warn(f"{path}: {note}", stacklevel=4)
    return parsed


def parse_predictions(
    entries: Any, coco: Mapping[str, Any], *, source: str = "predictions"
) -> ParsedPredictions:
    """Like `read_predictions`, from parsed JSON; `source` is the name in error messages."""
    names = CocoNames(coco, source)
    return _columns(entries_of(entries, names, source), names, coco, source)


def _columns(
    entries: list[Any], names: CocoNames, coco: Mapping[str, Any], source: str
) -> ParsedPredictions:
    read = [
        read_row(entry, names, f"{source}: entry {place}") for place, entry in enumerate(entries)
    ]
    rows = [row for row in read if row is not None]
    written = as_boxes([row.box_xywh for row in rows])
    frames = np.array([row.frame_wh for row in rows], dtype=np.float64).reshape(-1, 2)
    pairs = [(row.image_id, row.disease) for row in rows]
    doubts = check_predicted_frames(written, frames, pairs, coco, source)
    raw = xywh_to_xyxy(written)
    boxes = np.clip(raw, 0.0, np.tile(frames, 2))
    has_area = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    over = has_area & (np.abs(raw - boxes).max(axis=1, initial=0.0) > OUTSIDE_PX)
    rows = [rows[i] for i in np.flatnonzero(has_area)]
    columns = BoxColumns(
        [row.image_id for row in rows],
        [row.disease for row in rows],
        boxes[has_area],
        np.array([row.score for row in rows], dtype=np.float64),
    )
    clipped, dropped = int(over.sum()), int((~has_area).sum())
    counted = _counted(len(read), clipped, dropped, len(read) - len(has_area))
    return ParsedPredictions(columns, clipped, dropped, (*doubts, *counted))


def _counted(entries: int, clipped: int, dropped: int, other: int) -> list[str]:
    notes = []
    if clipped or dropped:
        notes.append(
            f"of {entries} boxes, {clipped} were clipped at the image's border and {dropped} left "
            "out (no area, or entirely outside the image)"
        )
    if other:
        notes.append(
            f"of {entries} boxes, {other} are of categories that the ground truth leaves out"
        )
    return notes


def read_mask_results(path: Path, coco: Mapping[str, Any]) -> list[MaskResult]:
    """Read the entries of a results file that have a mask; [] if none has.

    The masks stay encoded, in their own frame.

    Raises:
        FileNotFoundError, ValueError: like `read_predictions`.
    """
    names = CocoNames(coco, str(path))
    return _masks(read_entries(path, names), names, path)


def _masks(entries: list[Any], names: CocoNames, path: Path) -> list[MaskResult]:
    results, empty = [], 0
    for place, entry in enumerate(entries):
        where = f"{path}: entry {place}"
        if not isinstance(entry, dict) or not has_mask(entry.get("segmentation")):
            continue
        image = names.image(entry.get("image_id"), where)
        size_hw = (int(image["height"]), int(image["width"]))
        disease = names.disease(entry, where)
        # run lengths may have a frame of their own; polygons have the image's
        encoded = encoded_mask(entry["segmentation"], size_hw, where, any_frame=True)
        score = score_of(entry, where)
        empty += encoded is None
        if disease is not None and encoded is not None:
            results.append(MaskResult(str(image["file_name"]), disease, score, encoded))
    if empty:
        warnings.warn(
            f"{path}: masks without a polygon of three points, left out: {empty}", stacklevel=3
        )
    return results


def _entry(box: Localization, names: CocoNames) -> dict[str, Any]:
    where = f"box of {box.image_id}, {box.disease}"
    image = names.image(box.image_id, where)
    if box.disease not in names.category_of:
        categories = ", ".join(names.category_of)
        raise ValueError(f"{where}: the ground truth lacks this category; it has {categories}")
    entry: dict[str, Any] = {
        "image_id": image.get(SOURCE_ID, image["id"]),
        "file_name": image["file_name"],
        "category_id": names.category_of[box.disease],
        "category": box.disease,
        "bbox": [float(v) for v in xyxy_to_xywh([box.box_xyxy])[0]],
        "score": float(box.score),
    }
    if box.mask is not None:
        entry["segmentation"] = encode_mask(box.mask, (image["height"], image["width"]), where)
    return entry
