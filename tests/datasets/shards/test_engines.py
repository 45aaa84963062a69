"""Shards by two processes, by Spark, and in a store."""

from __future__ import annotations

import importlib.util
import os
import shutil
import uuid
from pathlib import Path

import fsspec
import pytest

from cxrloc.datasets.radiograph import Radiograph
from cxrloc.datasets.shards.engines import Engine, local_engine, spark_engine
from datasets.shards.small import COUNT, build, contents, plans


def test_images_and_shards_may_lie_in_a_store(images: list[Radiograph], tmp_path: Path) -> None:
    """memory: is a file system of fsspec that lives in this process."""
    name = uuid.uuid4().hex
    memory = fsspec.filesystem("memory")
    memory.put(str(tmp_path / "data"), f"/{name}/images", recursive=True)
    build(plans(images, tmp_path / "local"))
    planned = plans(
        images,
        f"memory://{name}/out",
        images_at=f"memory://{name}/images",
        images_root=tmp_path / "data",
    )
    assert planned[0].sources == ("0.png", "1.png")
    shutil.rmtree(tmp_path / "data")
    build(planned)
    memory.get(f"/{name}/out", str(tmp_path / "copy"), recursive=True)
    assert contents(tmp_path / "copy") == contents(tmp_path / "local")
    assert len(contents(tmp_path / "copy")) == 5


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["raw", "png"])
def test_two_processes_and_spark_write_the_bytes_of_one_process(
    images: list[Radiograph], tmp_path: Path, encoding: str
) -> None:
    (tmp_path / "data" / "6.png").write_bytes(b"")
    engines = {"one": local_engine(1), "two": local_engine(2), "spark": _spark()}
    made = {
        name: build(plans(images, tmp_path / name, sizes=(8, 16), encoding=encoding), engine)
        for name, engine in engines.items()
    }
    expected = contents(tmp_path / "one", "**/*.parquet")
    assert len(expected) == 11  # 5 shards of 2 sizes, and the rejects
    assert contents(tmp_path / "two", "**/*.parquet") == expected
    assert contents(tmp_path / "spark", "**/*.parquet") == expected
    assert made["one"] == made["two"] == made["spark"]
    again = build(plans(images, tmp_path / "spark", sizes=(8, 16), encoding=encoding))
    assert all(record.reused for record in again)  # one engine goes on where another stopped


@pytest.mark.slow
def test_spark_reads_the_shards_as_a_partitioned_table(
    images: list[Radiograph], tmp_path: Path
) -> None:
    engine = _spark()
    build(plans(images, tmp_path / "out"), engine)
    from pyspark.sql import SparkSession

    session = SparkSession.builder.master("local[1]").getOrCreate()
    try:
        frame = session.read.parquet(str(tmp_path / "out" / "size=8")).orderBy("image_id")
        rows = [(row["image_id"], row["split"], len(row["pixels"])) for row in frame.collect()]
    finally:
        session.stop()
    assert rows == [(f"{i}.png", "a" if i < 5 else "b", 64) for i in range(COUNT)]


@pytest.mark.slow
def test_a_failed_spark_task_is_reported_with_its_reason(
    images: list[Radiograph], tmp_path: Path
) -> None:
    engine = _spark()
    planned = plans(images, tmp_path / "out")
    (tmp_path / "out" / "size=8").mkdir(parents=True)
    (tmp_path / "out" / "size=8" / "split=a").write_text("a file where the folder should be")
    with pytest.raises(OSError, match=r"a Spark task failed .*finished shards are kept"):
        build(planned, engine)


def _spark() -> Engine:
    if importlib.util.find_spec("pyspark") is None:
        pytest.skip("PySpark is not installed: pip install 'cxrloc[spark]'")
    if shutil.which("java") is None and "JAVA_HOME" not in os.environ:
        pytest.skip("there is no Java, which Spark runs on: install 17 or newer")
    return spark_engine("local[2]")
