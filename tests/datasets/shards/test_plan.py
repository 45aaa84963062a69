"""Plans of shards, and what is refused before any image is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cxrloc.datasets.radiograph import Radiograph
from cxrloc.datasets.shards.plan import plan_shards
from datasets.shards.small import plans


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
        ({"rows": 0}, "rows: got 0, expected at least 1 image per shard"),
        ({"sizes": ()}, r"size: got \[\], expected one or more different sizes"),
        ({"sizes": (8, 8)}, r"size: got \[8, 8\], expected one or more different sizes"),
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
    with pytest.raises(ValueError, match="no images to put into shards"):
        plans([], "out")
    with pytest.raises(ValueError, match=r"image 5\.png is listed twice"):
        plans([*images, images[0]], "out")
    with pytest.raises(ValueError, match=r"0\.png has no file"):
        plans([Radiograph("0.png", None, "p", "", {})], "out")
    with pytest.raises(ValueError, match=r"image 5\.png is in no part of the split"):
        plan_shards(images, {}, "out", sizes=(8,), diseases=())
