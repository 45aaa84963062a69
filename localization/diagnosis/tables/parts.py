"""The tables of many images as parts, each written whole, by whoever predicts its images.

OUT/findings.parquet and OUT/boxes.parquet are folders of part-00000.parquet and so on, which
pandas, pyarrow, DuckDB and Spark read as one table. A part holds the same images in both; its
findings are written last. Both have the part's key: a hash of the models, the settings and its
files. A part with another key, or with rows other than those that were written, is done again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from cxrloc.datasets.files.storage import Storage
from cxrloc.localization.diagnosis.tables.rows import BOXES, FINDINGS, ImageRows, summary_of

FINDINGS_TABLE, BOXES_TABLE = "findings.parquet", "boxes.parquet"
_KEY, _MANIFEST, _CONTENT = b"cxrloc_key", b"cxrloc_manifest", b"cxrloc_sha256"


def part_key(manifest: Mapping[str, Any], facts: Sequence[Any]) -> str:
    """The key of a part.

    Args:
        manifest: of the run; its settings, models and what is written count.
        facts: of each image, what tells its file from another, and its names.
    """
    known = [manifest["config"], manifest["hashes"], manifest["write"], facts]
    return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()


def write_part(
    storage: Storage, number: int, key: str, manifest: Mapping[str, Any], rows: Sequence[ImageRows]
) -> None:
    """Write a part of both tables."""
    about = {_KEY: key.encode(), _MANIFEST: json.dumps(manifest).encode()}
    boxes = [row for image in rows for row in image.boxes]
    findings = [row for image in rows for row in image.findings]
    for table, schema, held in ((BOXES_TABLE, BOXES, boxes), (FINDINGS_TABLE, FINDINGS, findings)):
        made = pa.Table.from_pylist(held, schema=schema)
        content = _content(made.to_pylist(), about[_KEY])
        made = made.replace_schema_metadata({**about, _CONTENT: content})
        with storage.whole_file(part_name(table, number)) as stream:
            pq.write_table(made, stream, compression="zstd")


def read_part(storage: Storage, number: int, key: str | None = None) -> list[ImageRows] | None:
    """The rows of a part, by image; None if it is not there, is damaged, or has another key."""
    tables = []
    for table, schema in ((FINDINGS_TABLE, FINDINGS), (BOXES_TABLE, BOXES)):
        name = part_name(table, number)
        if not storage.exists(name):
            return None
        try:
            with storage.open(name) as stream:
                read = pq.ParquetFile(stream).read()
            rows = read.to_pylist()
        except (OSError, ValueError, OverflowError, MemoryError, pa.ArrowException):
            return None
        about = read.schema.metadata or {}
        stated = about.get(_KEY, b"")
        if not read.schema.equals(schema) or (key and stated != key.encode()):
            return None
        if about.get(_CONTENT) != _content(rows, stated):
            return None
        tables.append(rows)
    return _by_image(*tables)


def _content(rows: Sequence[Mapping[str, Any]], key: bytes) -> bytes:
    """Hash of the rows and the key: Parquet tells damage of few of its bytes."""
    return hashlib.sha256(key + json.dumps(rows).encode()).hexdigest().encode()


def part_name(table: str, number: int) -> str:
    return f"{table}/part-{number:05d}.parquet"


def summaries(rows: Sequence[ImageRows]) -> Iterator[tuple[dict[str, Any] | None, str]]:
    """What is known of each image of a part, and why there is no prediction."""
    for image in rows:
        yield summary_of(image.findings, image.boxes), image.findings[0]["failure"] or ""


def _by_image(
    findings: Sequence[Mapping[str, Any]], boxes: Sequence[Mapping[str, Any]]
) -> list[ImageRows]:
    of_image: dict[str, list[Mapping[str, Any]]] = {}
    for box in boxes:
        of_image.setdefault(box["result"], []).append(box)
    groups = groupby(findings, key=lambda row: str(row["result"]))
    return [ImageRows(list(rows), of_image.get(result, [])) for result, rows in groups]
