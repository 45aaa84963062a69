"""The pixel cache: decoded once, reused, remade when an image changes; unreadable images named."""

from __future__ import annotations

import pickle
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from builders import write_image
from cxrloc.datasets.images import pixel_cache
from cxrloc.datasets.images.pixel_cache import PixelCache, in_threads
from cxrloc.datasets.images.read import UnreadableImageError
from cxrloc.datasets.radiograph import Radiograph


@pytest.fixture
def images(tmp_path: Path) -> list[Radiograph]:
    """Five images of value 0, 10, 20, 30, 40; the fourth is wide."""
    shapes = [(16, 16), (16, 16), (16, 16), (8, 16), (16, 16)]
    return [
        Radiograph(f"{i}.png", write_image(tmp_path / f"{i}.png", 10 * i, shape), f"p{i}", "", {})
        for i, shape in enumerate(shapes)
    ]


@pytest.mark.parametrize("workers", [1, 2, None])
def test_each_image_is_its_square_whatever_the_workers(
    images: list[Radiograph], tmp_path: Path, workers: int | None
) -> None:
    cache = PixelCache.open(images, 8, tmp_path / "cache", workers=workers)
    assert len(cache) == 5
    assert (cache["2.png"] == 20).all()
    assert cache["3.png"].tolist() == [[30] * 8] * 4 + [[0] * 8] * 4
    assert cache["4.png"].dtype == np.uint8
    assert cache.unreadable == {}


def test_the_second_opening_decodes_nothing_and_says_so(
    images: list[Radiograph],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    first = PixelCache.open(images, 8, tmp_path / "cache", workers=1)
    monkeypatch.setattr(pixel_cache, "read_image", None)
    again = PixelCache.open(images, 8, tmp_path / "cache", workers=1)
    assert f"pixels: reusing {first.path}" in capsys.readouterr().out
    np.testing.assert_array_equal(again.pixels, first.pixels)
    assert sorted(p.suffix for p in (tmp_path / "cache").iterdir()) == [".json", ".npy"]


def test_another_size_or_image_or_a_changed_file_makes_another_cache(
    images: list[Radiograph], tmp_path: Path
) -> None:
    paths = [PixelCache.open(images, 8, tmp_path / "cache", workers=1).path]
    paths.append(PixelCache.open(images, 9, tmp_path / "cache", workers=1).path)
    more = Radiograph("5.png", write_image(tmp_path / "5.png", 50), "p5", "", {})
    paths.append(PixelCache.open([*images, more], 8, tmp_path / "cache", workers=1).path)
    assert images[0].path is not None
    assert cv2.imwrite(str(images[0].path), np.full((32, 32), 77, np.uint8))
    changed = PixelCache.open(images, 8, tmp_path / "cache", workers=1)
    assert len({*paths, changed.path}) == 4
    assert (changed["0.png"] == 77).all()


def test_some_of_the_images_are_not_decoded_or_stored_again(
    images: list[Radiograph], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert images[1].path is not None
    images[1].path.write_bytes(images[1].path.read_bytes()[:-20])
    every = PixelCache.open(images, 8, tmp_path / "cache", workers=1)
    monkeypatch.setattr(pixel_cache, "read_grey", None)
    some = PixelCache.open([images[4], images[2]], 8, tmp_path / "cache", workers=1)
    assert (some.path, list(some.rows), some.unreadable) == (every.path, ["4.png", "2.png"], {})
    assert (some["2.png"] == 20).all()
    assert (pickle.loads(pickle.dumps(some))["4.png"] == 40).all()
    assert "0.png" not in some
    unread = PixelCache.open(images[:2], 8, tmp_path / "cache", workers=1)
    assert list(unread.unreadable) == ["1.png"]


def test_the_size_is_said_before_anything_is_decoded(
    images: list[Radiograph],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    room = {"free": 5 * 1024**2}
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(**room))
    PixelCache.open(images, 1024, tmp_path / "cache", workers=1)
    said = "pixels: 5 images at 1024 x 1024 px take 5 MB in"
    assert capsys.readouterr().out.startswith(said)
    room["free"] = 992**2
    monkeypatch.setattr(pixel_cache, "read_grey", None)
    expected = "cache has 1 MB free, but the decoded pixels of 5 images at 992 x 992 px take 5 MB"
    with pytest.raises(OSError, match=expected):
        PixelCache.open(images, 992, tmp_path / "cache", workers=1)


def test_threads_do_not_run_far_ahead_of_who_takes_their_results(images: list[Radiograph]) -> None:
    begun: list[str] = []
    many = [replace(images[0], image_id=str(i)) for i in range(100)]

    def look(radiograph: Radiograph) -> str:
        begun.append(radiograph.image_id)
        return radiograph.image_id

    results = in_threads(look, many, 2, "look")
    assert [next(results) for _ in range(3)] == ["0", "1", "2"]
    assert len(begun) <= 3 + 4 * 2 + 1
    assert list(results) == [str(i) for i in range(3, 100)]


def test_an_unreadable_image_is_named_left_out_and_remembered(
    images: list[Radiograph], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = images[1].path
    assert path is not None
    path.write_bytes(path.read_bytes()[:-20])
    for _ in range(2):  # made, then reused
        cache = PixelCache.open(images, 8, tmp_path / "cache", workers=2)
        assert list(cache.unreadable) == ["1.png"]
        assert "truncated PNG" in cache.unreadable["1.png"]
        assert "pixels: left out 1.png: truncated PNG" in capsys.readouterr().out
        assert "1.png" not in cache
        assert len(cache) == 4
        assert (cache["2.png"] == 20).all()
        with pytest.raises(KeyError, match=r"no pixels of 1\.png: truncated PNG"):
            cache["1.png"]
    with pytest.raises(UnreadableImageError, match=r"1\.png: truncated PNG"):
        PixelCache.open(images, 8, tmp_path / "cache", strict=True)


def test_an_interrupted_making_leaves_nothing_behind(
    images: list[Radiograph], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(path: Path) -> None:
        raise MemoryError

    monkeypatch.setattr(pixel_cache, "read_image", fail)
    with pytest.raises(MemoryError):
        PixelCache.open(images, 8, tmp_path / "cache", workers=1)
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_cache_travels_to_other_processes_as_a_path(
    images: list[Radiograph], tmp_path: Path
) -> None:
    cache = PixelCache.open(images, 256, tmp_path / "cache", workers=1)
    data = pickle.dumps(cache)
    assert len(data) < 2000  # 5 squares of 256 x 256 are 327,680 bytes
    np.testing.assert_array_equal(pickle.loads(data)["4.png"], cache["4.png"])


def test_no_images_make_an_empty_cache(tmp_path: Path) -> None:
    cache = PixelCache.open([], 8, tmp_path / "cache")
    assert len(cache) == 0
    with pytest.raises(KeyError, match="not among the images of this cache"):
        cache["a"]


def test_images_without_a_file_or_given_twice_are_refused(
    images: list[Radiograph], tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="gone has no file"):
        PixelCache.open([Radiograph("gone", None, "p", "", {})], 8, tmp_path)
    with pytest.raises(ValueError, match=r"image 0\.png is listed twice"):
        PixelCache.open([images[0], images[0]], 8, tmp_path)


def test_images_without_their_markers_have_a_cache_of_their_own(tmp_path: Path) -> None:
    image = np.full((128, 128), 90, np.uint8)
    image[8:24, 10:13] = image[21:24, 10:20] = 240  # an L
    assert cv2.imwrite(str(tmp_path / "a.png"), image)
    images = [Radiograph("a.png", tmp_path / "a.png", "p", "", {})]

    def brightest(markers: str) -> tuple[int, Path]:
        cache = PixelCache.open(images, 128, tmp_path, workers=1, markers=markers)
        return int(cache["a.png"].max()), cache.path

    kept, masked, painted = (brightest(how) for how in ("keep", "mask", "inpaint"))
    assert (kept[0], masked[0]) == (240, 90)
    assert 90 <= painted[0] < 95  # inpainting continues slopes too
    assert len({kept[1], masked[1], painted[1]}) == 3
    assert PixelCache.open(images, 128, tmp_path, workers=1).path == kept[1]
    with pytest.raises(ValueError, match="markers 'off': expected one of keep, mask, inpaint"):
        brightest("off")
