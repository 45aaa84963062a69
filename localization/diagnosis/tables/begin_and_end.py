"""What is done with the tables before the first image of a run, and after its last."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cxrloc.datasets.files.storage import Storage
from cxrloc.localization.diagnosis.tables.bounds import part_bounds
from cxrloc.localization.diagnosis.tables.coco_results import (
    COCO_RESULTS,
    delete_coco_results,
    write_coco_results,
)
from cxrloc.localization.diagnosis.tables.parts import BOXES_TABLE, FINDINGS_TABLE

_SETTINGS = "_settings.json"  # names with _ are no part of a table


def begin_tables(storage: Storage, manifest: Mapping[str, Any], images: int) -> None:
    """Delete parts of other models or settings, those beyond the last, and what is written last."""
    known = {key: manifest[key] for key in ("config", "hashes", "write")}
    parts = sum(1 for _ in part_bounds(images))
    delete_coco_results(storage)
    for table in (FINDINGS_TABLE, BOXES_TABLE):
        name = f"{table}/{_SETTINGS}"
        same = _read(storage, name) == known
        storage.remove_temporaries(table)
        for part in storage.names(table):
            number = _number(part)
            if number is not None and (not same or number >= parts):
                storage.delete(f"{table}/{part}")
        if not same:
            storage.write_json(name, known)


def end_tables(
    storage: Storage, images: int, localizers: Sequence[str], manifest: Mapping[str, Any]
) -> Iterator[str]:
    """Write what is made of the finished tables; yields a sentence about each file."""
    parts = sum(1 for _ in part_bounds(images))
    for localizer, boxes in write_coco_results(storage, parts, localizers, manifest).items():
        yield f"{boxes} boxes of {localizer} are in {COCO_RESULTS}/{localizer}.json."


def _read(storage: Storage, name: str) -> Any:
    try:
        return storage.read_json(name)
    except (FileNotFoundError, ValueError):
        return None


def _number(part: str) -> int | None:
    stem = part.removeprefix("part-").removesuffix(".parquet")
    return int(stem) if stem.isdecimal() else None
