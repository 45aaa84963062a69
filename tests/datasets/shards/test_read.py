"""Reading shards: the tensors of the PNGs, every image once over workers and ranks."""

from __future__ import annotations

import json
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

from cxrloc.classification.training import samplers
from cxrloc.classification.training.batches import EpochBatches, ImageBatches, Loader, make_loader
from cxrloc.classification.training.distributed import Member
from cxrloc.classification.training.samplers import ByRowGroups, row_groups_in_use
from cxrloc.datasets.images.pixel_cache import PixelCache
from cxrloc.datasets.radiograph import Radiograph
from cxrloc.datasets.shards import write
from cxrloc.datasets.shards.engines import build_shards, local_engine
from cxrloc.datasets.shards.format import ShardFile
from cxrloc.datasets.shards.plan import plan_shards
from cxrloc.datasets.shards.read import ShardSet, epoch_order

COUNT, SIZE = 24, 8
DISEASES = ("Mass", "Hernia")
IDS = [f"{i:02d}.png" for i in range(COUNT)]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> list[Radiograph]:
    """24 images of noise; image i has Mass i % 2, its Hernia is unknown."""
    folder, made = tmp_path_factory.mktemp("images"), []
    rng = np.random.default_rng(0)
    for i, name in enumerate(IDS):
        assert cv2.imwrite(str(folder / name), rng.integers(0, 256, (12, 10), dtype=np.uint8))
        labels = {"Mass": float(i % 2), "Hernia": math.nan}
        made.append(Radiograph(name, folder / name, f"p{i // 2}", "", labels))
    return made


def build(images: list[Radiograph], out: str, monkeypatch: pytest.MonkeyPatch, **more: Any) -> str:
    """Row groups of 2 images, shards of 5, splits a (0 to 11) and b."""
    monkeypatch.setattr(write, "ROWS_PER_GROUP", 2)
    splits = {name: "a" if i < COUNT // 2 else "b" for i, name in enumerate(IDS)}
    settings = {"sizes": (SIZE,), "diseases": DISEASES, "rows": 5, **more}
    build_shards(plan_shards(images, splits, out, **settings), local_engine(1), dict)
    return out


@pytest.fixture
def shards(images: list[Radiograph], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ShardSet:
    return ShardSet(build(images, str(tmp_path / "out"), monkeypatch), SIZE)


def training(
    shards: ShardSet,
    images: list[Radiograph],
    batch_size: int,
    workers: int = 0,
    rank: int = 0,
    world_size: int = 1,
) -> Loader:
    """As a training reads shards, by one of its processes."""
    batches = ImageBatches(shards, images, DISEASES)
    assert batches.groups is not None
    order = ByRowGroups(batches.groups, batch_size, seed=3)
    return make_loader(batches, batch_size, order, workers, Member(rank, world_size))


def fed(loader: Loader) -> list[bytes]:
    """Each image's pixels, in the order they come."""
    return [square.numpy().tobytes() for squares, _ in loader for square in squares]


@pytest.mark.parametrize("encoding", ["raw", "png"])
@pytest.mark.parametrize("clip", [0.0, 2.0])
def test_channels_made_with_the_shards_are_those_made_on_the_fly(
    shards: ShardSet,
    images: list[Radiograph],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    encoding: str,
    clip: float,
) -> None:
    made: dict[str, Any] = {"input": "enhanced", "clahe_clip": clip, "encoding": encoding}
    enhanced = ShardSet(build(images, str(tmp_path / "enhanced"), monkeypatch, **made), SIZE)
    ready = ImageBatches(enhanced, images, DISEASES, clip, "enhanced")
    on_the_fly = ImageBatches(shards, images, DISEASES, clip, "enhanced")
    channels = ready.squares(range(COUNT))
    assert channels.shape == (COUNT, 3, SIZE, SIZE)
    np.testing.assert_array_equal(channels, on_the_fly.squares(range(COUNT)))


def test_a_folder_of_grey_shards_takes_no_enhanced_ones(
    shards: ShardSet, images: list[Radiograph], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValueError, match="input was 'grey', now 'enhanced'"):
        build(images, shards.url, monkeypatch, input="enhanced")


def everyone(shards: ShardSet) -> Counter[bytes]:
    return Counter(shards[name].tobytes() for name in IDS)


@pytest.mark.parametrize("place", ["raw, mapped", "png, mapped", "raw, memory", "png, memory"])
def test_batches_are_those_of_reading_the_pngs(
    images: list[Radiograph], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    encoding, _, where = place.partition(", ")
    out = str(tmp_path / "out") if where == "mapped" else f"memory://{uuid.uuid4().hex}"
    shards = ShardSet(build(images, out, monkeypatch, encoding=encoding), SIZE)
    cache = PixelCache.open(images, SIZE, tmp_path / "cache", workers=1)
    expected = ImageBatches(cache, images, DISEASES[::-1])
    batches = ImageBatches(shards, images, DISEASES[::-1])
    places = [list(range(7)), list(range(7, 14)), list(range(14, 21)), list(range(21, 24))]
    for (squares, labels), rows in zip(make_loader(batches, 7), places, strict=True):
        assert squares.dtype == torch.uint8
        assert labels.dtype == torch.float32
        torch.testing.assert_close(squares, expected[rows][0], rtol=0, atol=0)
        torch.testing.assert_close(labels, expected[rows][1], rtol=0, atol=0, equal_nan=True)
    assert batches.image_ids == expected.image_ids
    assert batches.patients == expected.patients
    np.testing.assert_array_equal(batches.labels, expected.labels)


def test_a_set_knows_its_images_without_reading_pixels(shards: ShardSet) -> None:
    assert len(shards) == COUNT
    assert list(shards.image_ids) == IDS
    assert shards.patients[:4] == ("p0", "p0", "p1", "p1")
    assert shards.splits == ("a",) * 12 + ("b",) * 12
    assert shards.diseases == DISEASES
    # shards of 5, 5 and 2 images in each split, row groups of 2
    assert shards.groups.tolist() == [
        0,
        0,
        1,
        1,
        2,
        3,
        3,
        4,
        4,
        5,
        6,
        6,
        7,
        7,
        8,
        8,
        9,
        10,
        10,
        11,
        11,
        12,
        13,
        13,
    ]
    assert "00.png" in shards
    assert "x.png" not in shards
    with pytest.raises(KeyError, match=r"no pixels of x\.png in .*out at 8 px"):
        shards["x.png"]


def test_two_workers_of_two_ranks_feed_every_image_once(
    shards: ShardSet, images: list[Radiograph]
) -> None:
    streams = [fed(training(shards, images, 6, 2, rank, 2)) for rank in (0, 1)]
    assert [len(stream) for stream in streams] == [12, 12]
    assert Counter(streams[0]) + Counter(streams[1]) == everyone(shards)
    assert not set(streams[0]) & set(streams[1])
    for rank, stream in enumerate(streams):  # the order does not depend on the workers
        assert fed(training(shards, images, 6, 0, rank, 2)) == stream
        assert fed(training(shards, images, 6, 1, rank, 2)) == stream


def test_workers_that_persist_hear_of_a_new_epoch(
    shards: ShardSet, images: list[Radiograph]
) -> None:
    alone, helped = training(shards, images, 6), training(shards, images, 6, workers=2)
    streams = []
    for epoch in (0, 5):
        for loader in (alone, helped):
            assert isinstance(loader.sampler, EpochBatches)
            loader.sampler.set_epoch(epoch)
        streams.append(fed(helped))
        assert streams[-1] == fed(alone)
    assert streams[0] != streams[1]


def test_images_are_shuffled_across_shards_but_few_row_groups_are_in_use() -> None:
    groups = np.repeat(np.arange(6), 4)
    order = epoch_order(groups, np.random.default_rng(0), together=2)
    assert sorted(order.tolist()) == list(range(24))
    windows = groups[order].reshape(3, 8)
    used = [sorted(set(window.tolist())) for window in windows]
    assert [len(window) for window in used] == [2, 2, 2]
    assert used != [[0, 1], [2, 3], [4, 5]]
    assert sorted(group for window in used for group in window) == [0, 1, 2, 3, 4, 5]
    assert any(window.tolist() != sorted(window.tolist()) for window in windows)
    assert epoch_order(groups[:0], np.random.default_rng(0), together=2).tolist() == []


def test_what_is_held_is_bounded(
    images: list[Radiograph], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(samplers, "SHUFFLED_GROUPS", 3)
    held = row_groups_in_use(4)
    assert held == 8
    out = build(images, str(tmp_path / "out"), monkeypatch, encoding="png")
    shards = ShardSet(out, SIZE, held)
    read, of_file = list[tuple[str, int]](), ShardFile.read

    def noting(file: ShardFile, group: int) -> Any:
        read.append((file.name, group))
        return of_file(file, group)

    monkeypatch.setattr(ShardFile, "read", noting)
    for squares, _ in training(shards, images, 4):
        assert len(squares) == 4
        assert len(shards._pixels._held) <= held
        assert len(shards._pixels._files) <= held
    assert len(set(read)) == 14  # every row group
    # each once, but for one that lies over a border of the 4 stretches
    assert len(read) <= 14 + 3


def test_a_set_travels_to_other_processes_without_its_pixels(shards: ShardSet) -> None:
    shards["00.png"]
    copy = pickle.loads(pickle.dumps(shards))
    assert not copy._pixels._mapped
    np.testing.assert_array_equal(copy["05.png"], shards["05.png"])


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("rows", 9, "says other things of size=8/split=a/part-00000.parquet"),
        ("bytes", -5, "shards.0.bytes: got -5, expected a number greater than or equal to 0"),
        ("sha256", "a", "shards.0.sha256: got 'a'"),
    ],
)
def test_a_manifest_that_is_none_is_named(
    shards: ShardSet, tmp_path: Path, key: str, value: object, message: str
) -> None:
    path = tmp_path / "out" / f"size={SIZE}/_manifest.json"
    manifest = json.loads(path.read_text())
    manifest["shards"][0][key] = value
    path.write_text(json.dumps(manifest))
    with pytest.raises(ValueError, match=message) as error:
        ShardSet(shards.url, SIZE)
    assert "_manifest.json" in str(error.value)


def test_what_is_missing_or_was_changed_is_named(
    shards: ShardSet, images: list[Radiograph], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with pytest.raises(FileNotFoundError, match=r"no finished shards of 9 px in .*build-shards"):
        ShardSet(str(out), 9)
    with pytest.raises(FileNotFoundError, match=r"no finished shards of 8 px in .*nowhere"):
        ShardSet(str(tmp_path / "nowhere"), SIZE)
    shard = out / f"size={SIZE}/split=b/part-00001.parquet"
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-1])
    expected = (
        rf"part-00001\.parquet: {len(whole) - 1} bytes, expected {len(whole)} bytes by _manifest"
    )
    with pytest.raises(ValueError, match=expected):
        ShardSet(str(out), SIZE)
    place = len(whole) // 2
    shard.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
    with pytest.raises(ValueError, match=r"part-00001\.parquet is damaged: its hash is not"):
        ShardSet(str(out), SIZE)
    shard.unlink()
    with pytest.raises(ValueError, match=r"part-00001\.parquet: no file, expected"):
        ShardSet(str(out), SIZE)


def test_parts_that_changed_places_or_come_from_elsewhere_are_named(
    shards: ShardSet, tmp_path: Path
) -> None:
    first, second = sorted((tmp_path / "out").glob(f"size={SIZE}/split=*/part-*.parquet"))[:2]
    one, two = first.read_bytes(), second.read_bytes()
    first.write_bytes(two)
    second.write_bytes(one)
    with pytest.raises(ValueError, match=r"part-0000.\.parquet.*build-shards"):
        ShardSet(shards.url, SIZE)
    second.write_bytes(two)
    first.write_bytes(one[:-8] + bytes(4) + one[-4:])  # as long, its footer's length is lost
    with pytest.raises(ValueError, match=r"part-00000\.parquet is damaged: its hash is not"):
        ShardSet(shards.url, SIZE)
