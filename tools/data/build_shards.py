"""Images to sharded Parquet: decoded, scaled to the training squares and written once.

    python tools/data/build_shards.py --prepared data/nih --out data/shards --size 256 512
        [--engine local|spark] [--master local[*]] [--encoding raw|png] [--split folds|official]
        [--input grey|enhanced [--clahe_clip 2]] [--rows 512] [--workers N] [--images FOLDER_OR_URL]

Both engines write the same bytes. A run that was killed goes on with the same command: finished
shards are kept, no half shard is ever seen. Images that cannot be read land in rejects.parquet.
`--prepared` is local; `--out` and `--images` may be any path or URL of fsspec that every worker can
open. The layout is described in datasets/shards/write.py, a shard in
datasets/shards/format.py. Research use only, never a diagnosis.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cxrloc.configs.command_line import load_config, run_tool
from cxrloc.datasets.files.manifest import file_sha256, run_manifest
from cxrloc.datasets.prepared.folder import PreparedData, load_prepared
from cxrloc.datasets.shards.engines import Engine, build_shards, local_engine, spark_engine
from cxrloc.datasets.shards.format import REJECTS
from cxrloc.datasets.shards.plan import plan_shards
from cxrloc.datasets.shards.write import ShardRecord


@dataclass(frozen=True)
class BuildShardsConfig:
    """Options of build_shards.

    Attributes:
        prepared: folder that tools/prepare_data.py wrote.
        out: folder or URL to write.
        size: side of the squares in pixels, one or more.
        engine: local (processes of this machine) or spark.
        master: of Spark: local[*], spark://host:7077, yarn, ...; a session that is there is used.
        encoding: raw pixels (fastest to read) or png (about half the bytes, decoded when read).
        input: grey, the images as they are, of which training makes its channels as it goes, or
            enhanced: the channels of `model.input` enhanced, made once and three times the bytes.
        clahe_clip: of enhanced images, as `model.clahe_clip` of the training that will read them.
        split: directories by fold of the prepared folder, or by the data set's official lists.
        rows: images a shard.
        workers: processes of engine local; one a core when not given.
        images: the data set's folder as the workers see it, path or URL; where it was prepared when
            not given.
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
    images: str = ""

    def __post_init__(self) -> None:
        if self.workers is not None and self.workers < 1:
            raise ValueError(f"workers: got {self.workers}, expected at least 1")


def build(config: BuildShardsConfig) -> list[ShardRecord]:
    """Do what the module says; returns the records of all shards.

    Raises:
        FileNotFoundError: if the prepared folder or its images are not there.
        ValueError: for settings that do not fit the prepared folder or what `out` holds.
        OSError: if a task failed; finished shards stay.
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
        images_at=config.images,
        images_root=Path(prepared.manifest["config"]["root"]) if config.images else None,
    )
    files = prepared.files
    hashes = {path.name: file_sha256(path) for path in (files.index, files.folds)}

    def run() -> Mapping[str, object]:
        return run_manifest(config, seed=0, hashes=hashes, started=started)

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
            "prepare the data set with its lists, or take --split folds"
        )
    return prepared.official


def _sizes_joined(arguments: Sequence[str]) -> list[str]:
    """`--size 256 512` as `--size=[256,512]`: the parser of dataclass fields wants one word."""
    joined = list(arguments)
    if "--size" in joined:
        begin = end = joined.index("--size") + 1
        while end < len(joined) and joined[end].isdigit():
            end += 1
        if end > begin:
            joined[begin - 1 : end] = [f"--size=[{','.join(joined[begin:end])}]"]
    return joined


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
    arguments = _sizes_joined(sys.argv[1:] if argv is None else argv)
    return run_tool(
        "build_shards", lambda: _build(load_config(BuildShardsConfig, arguments, __doc__))
    )


def _build(config: BuildShardsConfig) -> None:
    began = time.perf_counter()
    records = build(config)
    print(f"wrote {config.out} in {time.perf_counter() - began:.1f} s: {_summary(records)}")


if __name__ == "__main__":
    sys.exit(main())
