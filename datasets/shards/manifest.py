"""Read what a folder of shards says of itself, and hold its files to it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field
from typing_extensions import TypedDict

from cxrloc.datasets.files.checked import AtLeastOne, Count, Name, PathName, Sha256, checked
from cxrloc.datasets.files.parse import one_line
from cxrloc.datasets.files.runs.workers import thread_pool
from cxrloc.datasets.files.storage import Storage
from cxrloc.datasets.shards.format import (
    REJECTS,
    Encoding,
    ShardInput,
    manifest_name,
)

HOW_TO_MAKE = "make it with: cxrloc build-shards --prepared DIR --out {out} --size {size}"


class ShardEntry(TypedDict):
    """A shard in the manifest of a size."""

    name: PathName
    rows: Count
    bytes: Count
    sha256: Sha256


class ShardManifest(TypedDict):
    """What the manifest of a size says."""

    schema_version: Literal[1]  # `SCHEMA_VERSION`
    size: AtLeastOne
    encoding: Encoding
    diseases: list[Name]
    input: ShardInput
    clahe_clip: Annotated[float, Field(strict=True, ge=0, le=1000)]
    rows: Count
    shards: Annotated[list[ShardEntry], Field(min_length=1)]


def read_manifest(storage: Storage, size: int) -> ShardManifest:
    """The manifest of a size, after checking that its shards are those it was written for.

    Every byte of every shard is read once, by a thread for each core.

    Raises:
        FileNotFoundError: if the size is unfinished.
        ValueError: naming the first shard that is missing, or has other bytes.
    """
    how = HOW_TO_MAKE.format(out=storage.url, size=size)
    name = manifest_name(size)
    if not storage.exists(name):
        raise FileNotFoundError(f"no finished shards of {size} px in {storage.url}; {how}")
    where = f"{storage.url}/{name}"
    manifest: ShardManifest = checked(storage.read_json(name), ShardManifest, where, how)
    if manifest["size"] != size:
        raise ValueError(f"{where}: shards of {manifest['size']} px, expected {size}; {how}")
    _check_lengths(storage, manifest["shards"], how)
    check_hashes(storage, manifest["shards"], how)
    return manifest


def _check_lengths(storage: Storage, shards: Sequence[ShardEntry], how: str) -> None:
    states = storage.states([shard["name"] for shard in shards])
    for shard, state in zip(shards, states, strict=True):
        held = "no file" if state is None else f"{state[0]} bytes"
        if held != f"{shard['bytes']} bytes":
            raise ValueError(
                f"{storage.url}/{shard['name']}: {held}, expected {shard['bytes']} bytes by "
                f"_manifest.json; {how}"
            )


def check_hashes(storage: Storage, shards: Sequence[ShardEntry], how: str) -> None:
    """Raise ValueError for the first shard whose bytes are not those that were written."""
    names = [shard["name"] for shard in shards]
    with thread_pool(os.cpu_count()) as threads:  # hashing releases Python's lock
        for shard, sha256 in zip(shards, threads.map(storage.sha256, names), strict=True):
            if sha256 != shard["sha256"]:
                raise ValueError(
                    f"{storage.url}/{shard['name']} is damaged: its hash is not the manifest's; "
                    f"{how} again, it makes this shard alone"
                )


def read_rejects(storage: Storage) -> Mapping[str, str]:
    """Image -> the reason for which it is in no shard.

    Raises:
        FileNotFoundError, ValueError: if the list is missing or damaged.
    """
    expected = pa.schema([(name, pa.string()) for name in ("image_id", "path", "reason")])
    try:
        with storage.open(REJECTS) as stream:
            table = pq.read_table(stream)
        table.validate(full=True)
        if not table.schema.equals(expected):
            raise ValueError(f"columns {table.schema.names}, expected {expected.names}")
    except FileNotFoundError:
        raise
    except (pa.ArrowException, OSError, ValueError) as error:
        raise ValueError(
            f"{storage.url}/{REJECTS} is damaged: {one_line(error)}; build the shards again"
        ) from error
    columns: dict[str, list[Any]] = table.to_pydict()
    return dict(zip(columns["image_id"], columns["reason"], strict=True))
