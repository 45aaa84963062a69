"""Write images into shards: the work of one task, the same function for every engine.

The output folder contains

size=256/split=fold0/part-00000.parquet   the shards (see `cxrloc.datasets.shards.format`)
size=256/_settings.json                   the sources and settings of this size
size=256/_done/fold0-00000.json           one record per finished shard: key, hash, rejected images
size=256/_manifest.json                   all shards and their hashes; written last
rejects.parquet                           image_id, path and reason for unreadable images

Spark and pyarrow ignore names with `_`, so `size=256` is a plain partitioned data set.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from typing_extensions import TypedDict

from cxrloc.datasets.files.checked import Count, Name, PathName, Sha256, Text, checked
from cxrloc.datasets.files.storage import Storage
from cxrloc.datasets.images.read import UnreadableImageError, decode_image
from cxrloc.datasets.images.transforms import fit_square, input_channels
from cxrloc.datasets.radiograph import LoadedImage, Radiograph
from cxrloc.datasets.shards.format import (
    ROWS_PER_GROUP,
    Squares,
    image_batch,
    shard_name,
    shard_writer,
)
from cxrloc.datasets.shards.plan import ShardPlan

Reject = tuple[str, str, str]


@dataclass(frozen=True)
class ShardRecord:
    """A finished shard.

    Attributes:
        name: path under the output folder.
        key: hash of everything that determines the shard; another key means another shard.
        rows: number of images.
        bytes, sha256: size and hash of the file.
        rejects: (image id, path, reason) of unreadable images.
        reused: it existed before this run.
    """

    name: str
    key: str
    rows: int
    bytes: int
    sha256: str
    rejects: tuple[Reject, ...]
    reused: bool = False


def make_shards(plan: ShardPlan) -> list[ShardRecord]:
    """Do one task: write its unfinished shards, decoding images once for all sizes.

    A missing or damaged image is left out and noted.

    Returns:
        One record for each of the plan's sizes, in order.

    Raises:
        OSError: for any other failure to read or write; finished shards are kept.
    """
    storage = Storage.at(plan.out)
    images = Storage.at(plan.images_at) if plan.images_at else Storage.of_paths()
    states = images.states(plan.sources)
    keys = {size: plan.key(size, states) for size in plan.sizes}
    records = {size: _finished(storage, plan, size, keys[size]) for size in plan.sizes}
    missing = tuple(size for size, record in records.items() if record is None)
    if missing:
        rows, rejects = _write(storage, images, replace(plan, sizes=missing))
    for size in missing:
        name = shard_name(size, plan.split, plan.number)
        length, hashed = storage.states([name])[0], storage.sha256(name)
        assert length is not None
        record = ShardRecord(name, keys[size], rows, length[0], hashed, rejects)
        storage.write_json(_record_name(plan, size), asdict(record))
        records[size] = record
    return [record for record in records.values() if record is not None]


def _finished(storage: Storage, plan: ShardPlan, size: int, key: str) -> ShardRecord | None:
    """The record of an unchanged shard with the same sources and settings, or None."""
    name = _record_name(plan, size)
    if not storage.exists(name):
        return None
    try:
        fields: _Fields = checked(storage.read_json(name), _Fields, name)
    except ValueError:  # damaged: the shard is made again
        return None
    record = ShardRecord(**fields, reused=True)
    there = record.key == key and storage.exists(record.name)
    return record if there and storage.sha256(record.name) == record.sha256 else None


class _Fields(TypedDict):
    name: PathName
    key: Name
    rows: Count
    bytes: Count
    sha256: Sha256
    rejects: tuple[tuple[Text, Text, Text], ...]


def _record_name(plan: ShardPlan, size: int) -> str:
    return f"size={size}/_done/{plan.split}-{plan.number:05d}.json"


def _write(storage: Storage, images: Storage, plan: ShardPlan) -> tuple[int, tuple[Reject, ...]]:
    """Write the plan's shards, row group by row group; return images per shard, and rejects."""
    rows, rejects = 0, list[Reject]()
    kinds = {size: plan.kind(size) for size in plan.sizes}
    with ExitStack() as files:
        writers = {}
        for size, kind in kinds.items():
            name = shard_name(size, plan.split, plan.number)
            sink = files.enter_context(storage.whole_file(name))
            writers[size] = files.enter_context(shard_writer(sink, kind.schema(plan.split)))
        for group, squares in _groups(images, plan, rejects):
            rows += len(group)
            for size, writer in writers.items():
                batch = image_batch(kinds[size], plan.split, group, squares[size])
                writer.write_batch(batch, row_group_size=ROWS_PER_GROUP)
    return rows, tuple(rejects)


def _groups(
    images: Storage, plan: ShardPlan, rejects: list[Reject]
) -> Iterator[tuple[Sequence[Radiograph], dict[int, list[Squares]]]]:
    """Yield readable images, `ROWS_PER_GROUP` at a time, with their squares of every size."""
    group, squares = list[Radiograph](), {size: list[Squares]() for size in plan.sizes}
    for radiograph, source in zip(plan.radiographs, plan.sources, strict=True):
        try:
            image = _read(images, source)
        except UnreadableImageError as error:
            rejects.append((radiograph.image_id, plan.whole_source(source), error.reason))
            continue
        group.append(radiograph)
        for size, of_size in squares.items():
            square = fit_square(image.finest, size)
            of_size.append(input_channels(square, plan.input, plan.clahe_clip))
        if len(group) == ROWS_PER_GROUP:
            yield group, squares
            group, squares = [], {size: [] for size in plan.sizes}
    if group:
        yield group, squares


def _read(images: Storage, source: str) -> LoadedImage:
    try:
        return decode_image(images.read(source), Path(source))
    except FileNotFoundError as error:
        raise UnreadableImageError(Path(source), "no such file") from error
    except PermissionError as error:
        raise UnreadableImageError(Path(source), "permission denied") from error
