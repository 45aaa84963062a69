"""Images to shards: planned from the sorted index, resumed, alike from every engine."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import shutil
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import fsspec
import numpy as np
import pyarrow.parquet as pq
import pytest

from builders import write_image
from cxrloc.datasets.files.storage import Storage
from cxrloc.datasets.images.pixel_cache import PixelCache
from cxrloc.datasets.images.read import decode_grey
from cxrloc.datasets.radiograph import Radiograph
from cxrloc.datasets.shards import write
from cxrloc.datasets.shards.engines import Engine, build_shards, local_engine, spark_engine
from cxrloc.datasets.shards.plan import ShardPlan, plan_shards
from cxrloc.datasets.shards.write import ShardRecord

# Images 0 to 7 of value 10 i; images 0 to 4 in split a, the others in b.
COUNT = 8


@pytest.fixture
def images(tmp_path: Path) -> list[Radiograph]:
    """Eight images, not in order, of 20 x 16 pixels; image 3 is wide, its label unknown."""
    paths = [
        write_image(tmp_path / "data" / f"{i}.png", 10 * i, (8, 16) if i == 3 else (20, 16))
        for i in range(COUNT)
    ]
    labels = [{"Mass": math.nan if i == 3 else float(i % 2)} for i in range(COUNT)]
    made = [Radiograph(f"{i}.png", paths[i], f"p{i // 2}", "", labels[i]) for i in range(COUNT)]
    return [made[i] for i in (5, 0, 7, 3, 1, 2, 6, 4)]


def plans(images: Sequence[Radiograph], out: Path | str, **changes: Any) -> list[ShardPlan]:
    """Two images a shard at 8 px."""
    splits = {r.image_id: "a" if int(r.image_id[0]) < 5 else "b" for r in images}
    settings: dict[str, Any] = {"sizes": (8,), "diseases": ("Mass",), "rows": 2, **changes}
    return plan_shards(images, splits, str(out), **settings)


def build(planned: Sequence[ShardPlan], engine: Engine | None = None) -> list[ShardRecord]:
    return build_shards(planned, engine or local_engine(1), lambda: {"who": "test"})


def contents(out: Path, pattern: str = "size=*/split=*/*.parquet") -> dict[str, bytes]:
    return {str(p.relative_to(out)): p.read_bytes() for p in sorted(out.glob(pattern))}


def test_plans_follow_the_sorted_index_whatever_the_order_of_the_images(
    images: list[Radiograph], tmp_path: Path
) -> None:
    planned = plans(images, tmp_path / "out")
    assert [(p.split, p.number, [r.image_id[0] for r in p.radiographs]) for p in planned] == [
        ("a", 0, ["0", "1"]),
        ("a", 1, ["2", "3"]),
        ("a", 2, ["4"]),
        ("b", 0, ["5", "6"]),
        ("b", 1, ["7"]),
    ]
    assert plans(images[::-1], tmp_path / "out") == planned


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rows": 0}, "rows: got 0, expected at least 1 image a shard"),
        ({"sizes": ()}, r"size: got \[\], expected one or more, each once"),
        ({"sizes": (8, 8)}, r"size: got \[8, 8\], expected one or more, each once"),
        ({"sizes": (0,)}, "size: got 0, expected 1 to 4096"),
        ({"images_at": "x", "images_root": Path("/elsewhere")}, r"is not in /elsewhere"),
    ],
)
def test_bad_requests_are_refused_before_any_image_is_read(
    images: list[Radiograph], tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        plans(images, tmp_path / "out", **changes)
    assert not (tmp_path / "out").exists()


def test_images_without_file_or_split_given_twice_or_not_at_all_are_refused(
    images: list[Radiograph],
) -> None:
    with pytest.raises(ValueError, match="there are no images"):
        plans([], "out")
    with pytest.raises(ValueError, match=r"image 5\.png is listed twice"):
        plans([*images, images[0]], "out")
    with pytest.raises(ValueError, match=r"0\.png has no file"):
        plans([Radiograph("0.png", None, "p", "", {})], "out")
    with pytest.raises(ValueError, match=r"image 5\.png is in no part of the split"):
        plan_shards(images, {}, "out", sizes=(8,), diseases=())


def test_shards_hold_the_squares_of_the_pixel_cache_and_the_labels(
    images: list[Radiograph], tmp_path: Path
) -> None:
    made = build(plans(images, tmp_path / "out", sizes=(8, 32)))
    assert [record.rows for record in made] == [2, 2, 1, 2, 1] * 2
    for size in (8, 32):
        cache = PixelCache.open(images, size, tmp_path / "cache", workers=1)
        table = pq.read_table(tmp_path / "out" / f"size={size}")  # with its partitions
        assert table["image_id"].to_pylist() == [f"{i}.png" for i in range(COUNT)]
        assert table["split"].to_pylist() == ["a"] * 5 + ["b"] * 3
        assert str(table["label_Mass"].to_pylist()) == "[0.0, 1.0, 0.0, nan, 0.0, 1.0, 0.0, 1.0]"
        for row in table.to_pylist():
            assert row["pixels"] == cache[row["image_id"]].tobytes()


def test_row_groups_are_of_one_size_without_the_rejected_images(
    images: list[Radiograph], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(write, "ROWS_PER_GROUP", 2)
    (tmp_path / "data" / "1.png").write_bytes(b"")
    build(plans(images, tmp_path / "out", rows=6))
    about = pq.read_metadata(tmp_path / "out/size=8/split=a/part-00000.parquet")
    assert [about.row_group(g).num_rows for g in range(about.num_row_groups)] == [2, 2]


def test_unreadable_images_land_in_the_rejects_with_their_reason(
    images: list[Radiograph], tmp_path: Path
) -> None:
    data = tmp_path / "data"
    (data / "4.png").write_bytes((data / "4.png").read_bytes()[:-20])
    (data / "6.png").unlink()
    made = build(plans(images, tmp_path / "out", sizes=(8, 16)))
    assert sum(record.rows for record in made if "size=8/" in record.name) == 6
    rejects = pq.read_table(tmp_path / "out" / "rejects.parquet").to_pylist()
    assert [(row["image_id"], row["path"]) for row in rejects] == [
        ("4.png", str(data / "4.png")),
        ("6.png", str(data / "6.png")),
    ]
    assert rejects[0]["reason"].startswith("truncated PNG")
    assert rejects[1]["reason"] == "no such file"
    manifest = json.loads((tmp_path / "out/size=8/_manifest.json").read_text())
    assert (manifest["rows"], manifest["rejected"]) == (6, 2)
    assert pq.read_table(tmp_path / "out/size=8/split=a/part-00002.parquet").num_rows == 0


def test_without_a_bad_image_the_table_of_rejects_is_empty(
    images: list[Radiograph], tmp_path: Path
) -> None:
    build(plans(images, tmp_path / "out"))
    table = pq.read_table(tmp_path / "out" / "rejects.parquet")
    assert (table.num_rows, table.column_names) == (0, ["image_id", "path", "reason"])


def test_the_manifest_names_every_shard_with_its_hash(
    images: list[Radiograph], tmp_path: Path
) -> None:
    made = build(plans(images, tmp_path / "out"))
    manifest = json.loads((tmp_path / "out/size=8/_manifest.json").read_text())
    assert manifest["run"] == {"who": "test"}
    assert (manifest["size"], manifest["encoding"], manifest["diseases"]) == (8, "raw", ["Mass"])
    assert [shard["name"] for shard in manifest["shards"]] == [record.name for record in made]
    for shard in manifest["shards"]:
        path = tmp_path / "out" / shard["name"]
        assert shard["bytes"] == path.stat().st_size
        assert shard["sha256"] == Storage.at(tmp_path / "out").sha256(shard["name"])


def test_finished_shards_are_not_redone(
    images: list[Radiograph], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = build(plans(images, tmp_path / "out"))
    before, rejects = contents(tmp_path / "out"), contents(tmp_path / "out", "*.parquet")
    monkeypatch.setattr(write, "decode_grey", None)
    again = build(plans(images, tmp_path / "out"))
    assert [record.reused for record in first + again] == [False] * 5 + [True] * 5
    assert [record.sha256 for record in again] == [record.sha256 for record in first]
    assert contents(tmp_path / "out") == before
    assert contents(tmp_path / "out", "*.parquet") == rejects


def test_only_what_changed_is_redone(images: list[Radiograph], tmp_path: Path) -> None:
    """An image's file, a shard that is damaged without a change of its size, one that is gone."""
    out = tmp_path / "out"
    build(plans(images, out))
    before = contents(out)
    assert cv2.imwrite(str(tmp_path / "data" / "7.png"), np.full((9, 9), 70, np.uint8))
    damaged, gone = (
        out / "size=8/split=a/part-00000.parquet",
        out / "size=8/split=a/part-00001.parquet",
    )
    damaged.write_bytes(damaged.read_bytes()[:-9] + b"\0" * 9)
    gone.unlink()
    again = build(plans(images, out))
    assert [record.reused for record in again] == [False, False, True, True, False]
    changed = "size=8/split=b/part-00001.parquet"
    after = contents(out)
    assert after[changed] != before[changed]
    assert {**after, changed: b""} == {**before, changed: b""}


def test_a_image_that_was_mended_leaves_the_rejects(
    images: list[Radiograph], tmp_path: Path
) -> None:
    good = (tmp_path / "data" / "7.png").read_bytes()
    (tmp_path / "data" / "7.png").write_bytes(good[:-20])
    build(plans(images, tmp_path / "out"))
    assert pq.read_table(tmp_path / "out" / "rejects.parquet").num_rows == 1
    (tmp_path / "data" / "7.png").write_bytes(good)
    again = build(plans(images, tmp_path / "out"))
    assert [record.reused for record in again] == [True, True, True, True, False]
    assert pq.read_table(tmp_path / "out" / "rejects.parquet").num_rows == 0


def test_a_size_can_be_added_later(images: list[Radiograph], tmp_path: Path) -> None:
    build(plans(images, tmp_path / "one"))
    build(plans(images, tmp_path / "one", sizes=(16,)))
    made = build(plans(images, tmp_path / "one", sizes=(8, 16)))
    assert all(record.reused for record in made)
    build(plans(images, tmp_path / "both", sizes=(8, 16)))
    assert contents(tmp_path / "one") == contents(tmp_path / "both")


def test_a_folder_of_other_settings_or_images_is_refused(
    images: list[Radiograph], tmp_path: Path
) -> None:
    build(plans(images, tmp_path / "out"))
    before = contents(tmp_path / "out", "**/*.*")
    with pytest.raises(ValueError, match=r"size=8 was begun with other settings \(encoding: 'raw'"):
        build(plans(images, tmp_path / "out", encoding="png"))
    with pytest.raises(ValueError, match=r"shards: 5 there, 3 now, images: .*take another out"):
        build(plans(images, tmp_path / "out", rows=3))
    with pytest.raises(ValueError, match=r"begun with other settings \(images: "):
        build(
            plans([*images[1:], Radiograph("5.png", images[0].path, "q", "", {})], tmp_path / "out")
        )
    assert contents(tmp_path / "out", "**/*.*") == before


def test_a_task_that_fails_leaves_no_half_shard_and_no_manifest(
    images: list[Radiograph], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decode = decode_grey

    def fail_at_image_3(data: bytes, path: Path) -> Any:
        if path.name == "3.png":
            raise OSError("no space left")
        return decode(data, path)

    build(plans(images, tmp_path / "whole"))
    monkeypatch.setattr(write, "decode_grey", fail_at_image_3)
    with pytest.raises(OSError, match="no space left"):
        build(plans(images, tmp_path / "out"))
    names = [p.name for p in (tmp_path / "out").rglob("*") if p.is_file()]
    assert sorted(names) == ["_settings.json", "a-00000.json", "part-00000.parquet"]
    monkeypatch.undo()
    again = build(plans(images, tmp_path / "out"))
    assert [record.reused for record in again] == [True, False, False, False, False]
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_images_and_shards_may_lie_in_a_store(images: list[Radiograph], tmp_path: Path) -> None:
    """memory: is a file system of fsspec that lives in this process."""
    name = uuid.uuid4().hex
    memory = fsspec.filesystem("memory")
    memory.put(str(tmp_path / "data"), f"/{name}/images", recursive=True)
    build(plans(images, tmp_path / "local"))
    planned = plans(
        images, f"memory://{name}/out",
        images_at=f"memory://{name}/images", images_root=tmp_path / "data",
    )  # fmt: skip
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
        pytest.skip("PySpark is not installed: pip install -e '.[spark]'")
    if shutil.which("java") is None and "JAVA_HOME" not in os.environ:
        pytest.skip("there is no Java, which Spark runs on: install 17 or newer")
    return spark_engine("local[2]")
