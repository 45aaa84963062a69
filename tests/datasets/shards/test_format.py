"""One shard: its columns, its metadata, and raw pixels mapped out of the file."""

from __future__ import annotations

import json
import math
import uuid
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cxrloc.datasets.files.storage import Storage
from cxrloc.datasets.radiograph import Radiograph
from cxrloc.datasets.shards import format
from cxrloc.datasets.shards.format import (
    Encoding,
    ShardFile,
    ShardKind,
    decode_square,
    image_batch,
    shard_name,
    shard_writer,
)

DISEASES = ("Mass", "Hernia")


def images(count: int) -> list[Radiograph]:
    """Image i has Mass i % 2; its Hernia is unknown."""
    labels = [{"Mass": float(i % 2), "Hernia": math.nan} for i in range(count)]
    return [
        Radiograph(f"{i}.png", None, f"p{i}", "", labels[i], (), (20, 10 + i)) for i in range(count)
    ]


def squares(count: int, size: int) -> list[format.Squares]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (size, size), dtype=np.uint8) for _ in range(count)]


def write(storage: Storage, encoding: Encoding, size: int, groups: int = 2) -> list[format.Squares]:
    """Row groups of 3 images; returns all squares."""
    kind, drawn = ShardKind(size, encoding, DISEASES), squares(3 * groups, size)
    with storage.whole_file("a.parquet") as sink, shard_writer(sink, kind.schema("f")) as writer:
        for begin in range(0, 3 * groups, 3):
            rows = slice(begin, begin + 3)
            writer.write_batch(image_batch(kind, "f", images(3 * groups)[rows], drawn[rows]))
    return drawn


def test_columns_and_metadata_are_those_of_the_schema(tmp_path: Path) -> None:
    write(Storage.at(tmp_path), "raw", 4)
    table = pq.read_table(tmp_path / "a.parquet")
    assert [(f.name, str(f.type), f.nullable) for f in table.schema] == [
        ("image_id", "string", False),
        ("patient_id", "string", False),
        ("height", "int32", False),
        ("width", "int32", False),
        ("label_Mass", "float", False),
        ("label_Hernia", "float", False),
        ("pixels", "fixed_size_binary[16]", False),
    ]
    assert table["label_Mass"].to_pylist() == [0, 1, 0, 1, 0, 1]
    assert np.isnan(table["label_Hernia"].to_numpy()).all()
    assert table["width"].to_pylist() == [10, 11, 12, 13, 14, 15]
    about = json.loads(table.schema.metadata[b"cxrloc.shard"])
    columns = about.pop("columns")
    assert about == {
        "schema_version": 1,
        "size": 4,
        "encoding": "raw",
        "split": "f",
        "diseases": ["Mass", "Hernia"],
        "input": "grey",
        "clahe_clip": 0.0,
    }
    assert {name.replace("label_*", "label_Mass") for name in columns} <= {*table.column_names}


@pytest.mark.parametrize("size", [4, 64, 300])
def test_mapped_pixels_are_those_written_and_those_that_parquet_reads(
    tmp_path: Path, size: int
) -> None:
    drawn = write(Storage.at(tmp_path), "raw", size)
    file = ShardFile(Storage.at(tmp_path), "a.parquet")
    assert (file.rows, file.groups, file.split) == (6, {0: 3, 1: 3}, "f")
    for group in (0, 1):
        mapped, expected = file.mapped(group), np.stack(drawn[3 * group : 3 * group + 3])
        assert isinstance(mapped, np.memmap)  # the file's own bytes: no copy
        np.testing.assert_array_equal(mapped, expected)
        np.testing.assert_array_equal(np.asarray(file.read(group)), expected)
    whole = pq.read_table(tmp_path / "a.parquet")["pixels"].to_pylist()
    assert whole == [square.tobytes() for square in drawn]


@pytest.mark.parametrize("encoding", ["raw", "png"])
def test_enhanced_images_come_back_as_their_three_channels(
    tmp_path: Path, encoding: Encoding
) -> None:
    storage, kind = Storage.at(tmp_path), ShardKind(16, encoding, DISEASES, "enhanced", 2.0)
    rng = np.random.default_rng(1)
    drawn = [rng.integers(0, 256, (3, 16, 16), dtype=np.uint8) for _ in range(3)]
    with storage.whole_file("a.parquet") as sink, shard_writer(sink, kind.schema("f")) as writer:
        writer.write_batch(image_batch(kind, "f", images(3), drawn))
    file = ShardFile(storage, "a.parquet")
    assert file.kind == kind
    square = file.read(0)
    if encoding == "raw":
        np.testing.assert_array_equal(file.mapped(0), drawn)
        np.testing.assert_array_equal(square, drawn)
    else:
        np.testing.assert_array_equal([decode_square(png) for png in square], drawn)


def test_pngs_are_decoded_to_the_same_pixels(tmp_path: Path) -> None:
    drawn = write(Storage.at(tmp_path), "png", 16)
    file = ShardFile(Storage.at(tmp_path), "a.parquet")
    assert file.mapped(1) is None
    read = file.read(1)
    assert isinstance(read, list)
    for data, square in zip(read, drawn[3:], strict=True):
        np.testing.assert_array_equal(decode_square(data), square)
        np.testing.assert_array_equal(cv2.imdecode(np.frombuffer(data, np.uint8), 0), square)


def test_a_shard_of_another_writer_is_read_but_not_mapped(tmp_path: Path) -> None:
    drawn = write(Storage.at(tmp_path), "raw", 64)
    table = pq.read_table(tmp_path / "a.parquet")
    for options in ({"compression": "zstd"}, {"use_dictionary": False, "data_page_size": 1}):
        pq.write_table(table, tmp_path / "b.parquet", **options)
        file = ShardFile(Storage.at(tmp_path), "b.parquet")
        assert file.mapped(0) is None
        np.testing.assert_array_equal(np.asarray(file.read(0)), np.stack(drawn))


def test_a_store_has_nothing_to_map(tmp_path: Path) -> None:
    storage = Storage.at(f"memory://{uuid.uuid4().hex}")
    drawn = write(storage, "raw", 8)
    file = ShardFile(storage, "a.parquet")
    assert file.mapped(0) is None
    np.testing.assert_array_equal(np.asarray(file.read(1)), np.stack(drawn[3:]))


def test_a_shard_without_images_is_a_shard(tmp_path: Path) -> None:
    write(Storage.at(tmp_path), "raw", 8, groups=0)
    file = ShardFile(Storage.at(tmp_path), "a.parquet")
    assert (file.rows, file.groups, file.images().num_rows) == (0, {}, 0)


@pytest.mark.parametrize(
    ("value", "written"),
    # Thrift's zigzag varints of positive numbers: doubled, seven bits a byte, lowest first
    [(0, "00"), (1, "02"), (63, "7e"), (64, "8001"), (8192, "808001"), (2097152, "80808002")],
)
def test_page_lengths_are_compared_as_thrift_writes_them(value: int, written: str) -> None:
    assert format._zigzag(value).hex() == written


def test_other_files_are_refused_by_name(tmp_path: Path) -> None:
    storage = Storage.at(tmp_path)
    (tmp_path / "text.parquet").write_text("no")
    with pytest.raises(ValueError, match=r"text\.parquet is not a Parquet file"):
        ShardFile(storage, "text.parquet")
    pq.write_table(pa.table({"a": [1]}), tmp_path / "other.parquet")
    with pytest.raises(ValueError, match=r"other\.parquet has shard schema None, expected 1"):
        ShardFile(storage, "other.parquet")
    with pytest.raises(FileNotFoundError, match=r"gone\.parquet"):
        ShardFile(storage, "gone.parquet")


def test_kinds_check_themselves() -> None:
    with pytest.raises(ValueError, match="size: got 0, expected 1 to 4096 pixels"):
        ShardKind(0, "raw", ())
    with pytest.raises(ValueError, match="encoding: got 'jpeg', expected raw or png"):
        ShardKind(8, "jpeg", ())  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"input: got 'rgb', expected grey or enhanced"):
        ShardKind(8, "raw", (), "rgb")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"clahe_clip: got 2\.0, expected 0 with input grey"):
        ShardKind(8, "raw", (), "grey", 2.0)


def test_shards_lie_in_directories_by_size_and_split() -> None:
    assert shard_name(256, "fold0", 7) == "size=256/split=fold0/part-00007.parquet"
