r"""Pack images into sharded Parquet: decoded, scaled to the training squares, and written once.

    cxrloc build-shards --prepared data/nih --out data/shards --size 256 512
    cxrloc build-shards --prepared data/nih --out s3://bucket/shards \
        --engine spark --master spark://host:7077 --root s3://bucket/nih
    cxrloc build-shards --prepared data/nih --out data/shards \
        --input enhanced --clahe-clip 2

Both engines write the same bytes. The same command resumes a run that was killed: finished shards
are kept, and no half-written shard is ever seen. Images that cannot be read are listed in
rejects.parquet. --prepared is a local folder; --out and --root may be any path or URL that fsspec
and every worker can open. datasets/shards/write.py describes the layout, and
datasets/shards/format.py a shard. Research use only, never a diagnosis.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cxrloc.configs.command_line import load_config, run_tool
from cxrloc.datasets.files.manifest import file_sha256, run_manifest
from cxrloc.datasets.files.runs.locks import writes_folder
from cxrloc.datasets.files.storage import Storage
from cxrloc.datasets.prepared.folder import PreparedData, load_prepared
from cxrloc.datasets.shards.engines import Engine, build_shards, local_engine, spark_engine
from cxrloc.datasets.shards.format import REJECTS
from cxrloc.datasets.shards.plan import plan_shards
from cxrloc.datasets.shards.write import ShardRecord


@dataclass(frozen=True)
class BuildShardsConfig:
    """What is packed, and how.

    Attributes:
        prepared: folder written by `cxrloc prepare`.
        out: folder or URL to write.
        size: side of the squares in pixels; several make several sets.
        engine: local (processes on this machine) or spark.
        master: Spark's master: local[*], spark://host:7077, yarn, ... An existing session is used
            as it is.
        encoding: raw pixels (fastest to read) or png (about half the bytes, decoded when read).
        input: grey keeps the images as they are, and training makes its channels as it goes.
            enhanced makes the channels of `model.input` enhanced once, in three times the bytes.
        clahe_clip: clip limit of enhanced images; must equal `model.clahe_clip` of the training
            that reads them.
        split: one directory per fold of the prepared folder, or per official list.
        rows: images per shard.
        workers: processes of engine local (default: one per core).
        root: folder of the data set as the workers see it, path or URL (default: where it was
            prepared).
    """

    prepared: str
    out: str
    size: tuple[int, ...] = (256,)
    engine: Literal["local", "spark"] = "local"
    master: str = "local[*]"
    encoding: Literal["raw", "png"] = "raw"
    input: Literal["grey", "enhanced"] = "grey"
    clahe_clip: float = 0.0
    split: Literal["folds", "official"] = "folds"
    rows: int = 512
    workers: int | None = None
    root: str = ""

    def __post_init__(self) -> None:
        if self.workers is not None and self.workers < 1:
            raise ValueError(f"workers: got {self.workers}, expected at least 1")


def build(config: BuildShardsConfig) -> list[ShardRecord]:
    """Write the shards; returns the records of all of them.

    Raises:
        FileNotFoundError: if the prepared folder or its images are not there.
        ValueError: for settings that do not fit the prepared folder or what `out` holds.
        OSError: if a task failed; finished shards are kept.
    """
    started = time.time()
    prepared = load_prepared(Path(config.prepared))
    plans = plan_shards(
        prepared.radiographs,
        _splits(prepared, config.split),
        config.out,
        sizes=config.size,
        diseases=tuple(dict.fromkeys(d for r in prepared.radiographs for d in r.labels)),
        encoding=config.encoding,
        input=config.input,
        clahe_clip=config.clahe_clip,
        rows=config.rows,
        images_at=config.root,
        images_root=prepared.images_root if config.root else None,
    )
    files = prepared.files
    hashes = {path.name: file_sha256(path) for path in (files.index, files.folds)}

    def run() -> Mapping[str, object]:
        folder = Storage.at(config.out).local_path("") or Path.cwd()
        return run_manifest(config, seed=0, hashes=hashes, started=started, folder=folder)

    return build_shards(plans, _engine(config), run)


def _engine(config: BuildShardsConfig) -> Engine:
    return spark_engine(config.master) if config.engine == "spark" else local_engine(config.workers)


def _splits(prepared: PreparedData, split: str) -> Mapping[str, str]:
    if split == "folds":
        return {image: f"fold{fold}" for image, fold in prepared.folds.items()}
    unlisted = [r.image_id for r in prepared.radiographs if r.image_id not in prepared.official]
    if unlisted:
        raise ValueError(
            f"{len(unlisted)} images are in neither official list, the first is {unlisted[0]}; "
            "prepare the data set with its lists, or use --split folds"
        )
    return prepared.official


def _summary(records: Sequence[ShardRecord]) -> str:
    rejected = len({image for record in records for image, _, _ in record.rejects})
    size = records[0].name.partition("/")[0]
    images = sum(record.rows for record in records if record.name.startswith(f"{size}/"))
    written = sum(record.bytes for record in records)
    return (
        f"{images:,} images in {len(records):,} shards, {written / 1e6:,.1f} MB; "
        f"{sum(record.reused for record in records):,} shards were finished before; "
        f"{rejected:,} images cannot be read" + (f", see {REJECTS}" if rejected else "")
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool; returns the exit status."""
    return run_tool("build_shards", lambda: _build(load_config(BuildShardsConfig, argv, __doc__)))


def _build(config: BuildShardsConfig) -> None:
    began = time.perf_counter()
    folder = Storage.at(config.out).local_path("")
    with contextlib.nullcontext() if folder is None else writes_folder(folder):
        records = build(config)
    print(f"wrote {config.out} in {time.perf_counter() - began:.1f} s: {_summary(records)}")


if __name__ == "__main__":
    sys.exit(main())
