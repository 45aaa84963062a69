"""Images to shards: planned from the sorted index, resumed, alike from every engine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest

from cxrloc.datasets.files.storage import Storage
from cxrloc.datasets.images.pixel_cache import PixelCache
from cxrloc.datasets.images.read import decode_image
from cxrloc.datasets.radiograph import Radiograph
from cxrloc.datasets.shards import write
from datasets.shards.small import COUNT, build, contents, plans


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
    monkeypatch.setattr(write, "decode_image", None)
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
    with pytest.raises(
        ValueError, match=r"size=8 was started with other settings \(encoding was 'raw'"
    ):
        build(plans(images, tmp_path / "out", encoding="png"))
    with pytest.raises(ValueError, match=r"shards was 5, now 3, images was .*use another out"):
        build(plans(images, tmp_path / "out", rows=3))
    with pytest.raises(ValueError, match=r"started with other settings \(images was "):
        build(
            plans([*images[1:], Radiograph("5.png", images[0].path, "q", "", {})], tmp_path / "out")
        )
    assert contents(tmp_path / "out", "**/*.*") == before


def test_a_task_that_fails_leaves_no_half_shard_and_no_manifest(
    images: list[Radiograph], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decode = decode_image

    def fail_at_image_3(data: bytes, path: Path) -> Any:
        if path.name == "3.png":
            raise OSError("no space left")
        return decode(data, path)

    build(plans(images, tmp_path / "whole"))
    monkeypatch.setattr(write, "decode_image", fail_at_image_3)
    with pytest.raises(OSError, match="no space left"):
        build(plans(images, tmp_path / "out"))
    names = [p.name for p in (tmp_path / "out").rglob("*") if p.is_file()]
    assert sorted(names) == ["_settings.json", "a-00000.json", "part-00000.parquet"]
    monkeypatch.undo()
    again = build(plans(images, tmp_path / "out"))
    assert [record.reused for record in again] == [True, False, False, False, False]
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
