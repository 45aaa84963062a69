"""Streaming shards: the tensors of the PNGs, every film once over workers and ranks."""

from __future__ import annotations

import math
import pickle
import uuid
from collections import Counter
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from cxrloc.classification.data import FilmBatches
from cxrloc.datasets import etl, shard_reader
from cxrloc.datasets.pixel_cache import PixelCache
from cxrloc.datasets.radiograph import Radiograph
from cxrloc.datasets.shard_engines import build_shards, local_engine
from cxrloc.datasets.shard_plans import plan_shards
from cxrloc.datasets.shard_reader import ShardBatches, ShardSet, epoch_order, make_shard_loader
from cxrloc.datasets.shards import ShardFile

COUNT, SIZE = 24, 8
DISEASES = ("Mass", "Hernia")
IDS = [f"{i:02d}.png" for i in range(COUNT)]


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> list[Radiograph]:
    """24 films of noise; film i has Mass i % 2, its Hernia is unknown."""
    folder, made = tmp_path_factory.mktemp("films"), []
    rng = np.random.default_rng(0)
    for i, name in enumerate(IDS):
        assert cv2.imwrite(str(folder / name), rng.integers(0, 256, (12, 10), dtype=np.uint8))
        labels = {"Mass": float(i % 2), "Hernia": math.nan}
        made.append(Radiograph(name, folder / name, f"p{i // 2}", "", labels))
    return made


def build(films: list[Radiograph], out: str, monkeypatch: pytest.MonkeyPatch, **more: Any) -> str:
    """Row groups of 2 films, shards of 5, splits a (0 to 11) and b."""
    monkeypatch.setattr(etl, "ROWS_PER_GROUP", 2)
    splits = {name: "a" if i < COUNT // 2 else "b" for i, name in enumerate(IDS)}
    settings = {"sizes": (SIZE,), "diseases": DISEASES, "rows": 5, **more}
    build_shards(plan_shards(films, splits, out, **settings), local_engine(1), dict)
    return out


@pytest.fixture
def shards(films: list[Radiograph], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ShardSet:
    return ShardSet(build(films, str(tmp_path / "out"), monkeypatch), SIZE)


def fed(batches: ShardBatches, workers: int = 0) -> list[bytes]:
    """Each film's pixels, in the order they come."""
    loader = make_shard_loader(batches, workers)
    return [square.numpy().tobytes() for squares, _ in loader for square in squares]


def everyone(shards: ShardSet) -> Counter[bytes]:
    return Counter(shards[name].tobytes() for name in IDS)


@pytest.mark.parametrize("place", ["raw, mapped", "png, mapped", "raw, memory", "png, memory"])
def test_batches_are_those_of_reading_the_pngs(
    films: list[Radiograph], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    encoding, _, where = place.partition(", ")
    out = str(tmp_path / "out") if where == "mapped" else f"memory://{uuid.uuid4().hex}"
    shards = ShardSet(build(films, out, monkeypatch, encoding=encoding), SIZE)
    cache = PixelCache.open(films, SIZE, tmp_path / "cache", workers=1)
    expected = FilmBatches(cache, films, DISEASES[::-1])
    batches = ShardBatches(shards, IDS, DISEASES[::-1], 7)
    places = [list(range(7)), list(range(7, 14)), list(range(14, 21)), list(range(21, 24))]
    for (squares, labels), rows in zip(make_shard_loader(batches), places, strict=True):
        assert squares.dtype == torch.uint8
        assert labels.dtype == torch.float32
        torch.testing.assert_close(squares, expected[rows][0], rtol=0, atol=0)
        torch.testing.assert_close(labels, expected[rows][1], rtol=0, atol=0, equal_nan=True)
    assert batches.image_ids == expected.image_ids
    assert batches.patients == expected.patients
    np.testing.assert_array_equal(batches.labels, expected.labels)


def test_a_set_knows_its_films_without_reading_pixels(shards: ShardSet) -> None:
    assert len(shards) == COUNT
    assert list(shards.image_ids) == IDS
    assert shards.patients[:4] == ("p0", "p0", "p1", "p1")
    assert shards.splits == ("a",) * 12 + ("b",) * 12
    assert shards.diseases == DISEASES
    # shards of 5, 5 and 2 films in each split, row groups of 2
    assert shards.groups.tolist() == [
        0, 0, 1, 1, 2, 3, 3, 4, 4, 5, 6, 6, 7, 7, 8, 8, 9, 10, 10, 11, 11, 12, 13, 13,
    ]  # fmt: skip
    assert "00.png" in shards
    assert "x.png" not in shards
    with pytest.raises(KeyError, match=r"no pixels of x\.png in .*out at 8 px"):
        shards["x.png"]


@pytest.mark.parametrize("seed", [None, 3])
def test_two_workers_of_two_ranks_feed_every_film_once(shards: ShardSet, seed: int | None) -> None:
    ranks = [
        ShardBatches(shards, IDS, DISEASES, 3, seed, rank=rank, world_size=2) for rank in (0, 1)
    ]
    assert [len(batches) for batches in ranks] == [4, 4]
    streams = [fed(batches, workers=2) for batches in ranks]
    assert Counter(streams[0]) + Counter(streams[1]) == everyone(shards)
    assert not set(streams[0]) & set(streams[1])
    for batches, stream in zip(ranks, streams, strict=True):
        assert fed(batches) == stream  # the order does not depend on the workers


@pytest.mark.parametrize("world_size", [1, 2, 3, 5, 30])
def test_without_a_seed_uneven_shares_lose_nothing(shards: ShardSet, world_size: int) -> None:
    places = [
        place
        for rank in range(world_size)
        for batch in ShardBatches(
            shards, IDS[:23], DISEASES, 4, rank=rank, world_size=world_size
        ).batches()
        for place in batch.tolist()
    ]
    assert places == list(range(23))


def test_with_a_seed_every_rank_gives_the_same_number_of_full_batches(shards: ShardSet) -> None:
    """23 films, 2 ranks, batches of 4: 11 films a rank, 2 full batches."""
    ranks = [
        ShardBatches(shards, IDS[:23], DISEASES, 4, 0, rank=rank, world_size=2) for rank in (0, 1)
    ]
    assert [[len(b) for b in batches.batches()] for batches in ranks] == [[4, 4], [4, 4]]
    alone = ShardBatches(shards, IDS[:3], DISEASES, 4, 0)  # as EpochBatches: never nothing at all
    assert [len(b) for b in alone.batches()] == [3]
    assert len(ShardBatches(shards, [], DISEASES, 4, 0)) == 0
    assert list(ShardBatches(shards, [], DISEASES, 4)) == []


def test_each_epoch_has_an_order_of_its_own_that_the_seed_decides(shards: ShardSet) -> None:
    def order(seed: int, epoch: int) -> list[int]:
        batches = ShardBatches(shards, IDS, DISEASES, 6, seed)
        batches.set_epoch(epoch)
        return [place for batch in batches.batches() for place in batch.tolist()]

    orders = [order(0, 0), order(0, 1), order(1, 0)]
    assert all(sorted(each) == list(range(COUNT)) for each in orders)
    assert len({tuple(each) for each in [*orders, list(range(COUNT))]}) == 4
    assert order(0, 1) == orders[1]


def test_workers_that_persist_hear_of_a_new_epoch(shards: ShardSet) -> None:
    batches = ShardBatches(shards, IDS, DISEASES, 6, 0)
    loader = make_shard_loader(batches, workers=2)
    for epoch in (0, 5):
        batches.set_epoch(epoch)
        from_workers = [square.numpy().tobytes() for squares, _ in loader for square in squares]
        assert from_workers == fed(batches)


def test_films_are_shuffled_across_shards_but_few_row_groups_are_in_use(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shard_reader, "SHUFFLED_GROUPS", 2)
    groups = np.repeat(np.arange(6), 4)
    order = epoch_order(groups, np.random.default_rng(0))
    assert sorted(order.tolist()) == list(range(24))
    windows = groups[order].reshape(3, 8)
    used = [sorted(set(window.tolist())) for window in windows]
    assert [len(window) for window in used] == [2, 2, 2]
    assert used != [[0, 1], [2, 3], [4, 5]]
    assert sorted(group for window in used for group in window) == [0, 1, 2, 3, 4, 5]
    assert any(window.tolist() != sorted(window.tolist()) for window in windows)
    assert epoch_order(groups[:0], np.random.default_rng(0)).tolist() == []


def test_what_is_held_is_bounded(
    films: list[Radiograph], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shard_reader, "SHUFFLED_GROUPS", 3)
    shards = ShardSet(build(films, str(tmp_path / "out"), monkeypatch, encoding="png"), SIZE)
    read, of_file = list[tuple[str, int]](), ShardFile.read

    def noting(file: ShardFile, group: int) -> Any:
        read.append((file.name, group))
        return of_file(file, group)

    monkeypatch.setattr(ShardFile, "read", noting)
    for squares, _ in ShardBatches(shards, IDS, DISEASES, 4, 0):
        assert len(squares) == 4
        assert len(shards._pixels._held) <= 3
        assert len(shards._pixels._files) <= 3
    assert len(read) == len(set(read)) == 14  # every row group, each once


def test_a_set_travels_to_other_processes_without_its_pixels(shards: ShardSet) -> None:
    shards["00.png"]
    copy = pickle.loads(pickle.dumps(shards))
    assert not copy._pixels._mapped
    np.testing.assert_array_equal(copy["05.png"], shards["05.png"])


def test_what_is_missing_or_was_changed_is_named(
    shards: ShardSet, films: list[Radiograph], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with pytest.raises(FileNotFoundError, match=r"no finished shards of 9 px in .*build_shards"):
        ShardSet(str(out), 9)
    with pytest.raises(FileNotFoundError, match=r"no finished shards of 8 px in .*nowhere"):
        ShardSet(str(tmp_path / "nowhere"), SIZE)
    shard = out / f"size={SIZE}/split=b/part-00001.parquet"
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-1])
    expected = rf"part-00001\.parquet: {len(whole) - 1} bytes, expected {len(whole)} bytes; make it"
    with pytest.raises(ValueError, match=expected):
        ShardSet(str(out), SIZE)
    shard.unlink()
    with pytest.raises(ValueError, match=r"part-00001\.parquet: no file, expected"):
        ShardSet(str(out), SIZE)


def test_films_diseases_and_ranks_that_are_not_there_are_refused(shards: ShardSet) -> None:
    with pytest.raises(ValueError, match=r"1 images are not in the shards .*the first is x\.png"):
        ShardBatches(shards, ["00.png", "x.png"], DISEASES, 4)
    with pytest.raises(ValueError, match=r"no label Gout in .*; known are \['Mass', 'Hernia'\]"):
        ShardBatches(shards, IDS, ["Gout"], 4)
    with pytest.raises(ValueError, match="rank 2 of 2: expected 0 to 1"):
        ShardBatches(shards, IDS, DISEASES, 4, rank=2, world_size=2)
