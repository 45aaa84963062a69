"""Which images of a prepared folder a localizer boxes."""

from __future__ import annotations

from pathlib import Path

import pytest

from cxrloc.datasets.prepared.choice import ImageChoice, select_radiographs
from cxrloc.datasets.prepared.folder import PreparedData
from cxrloc.datasets.radiograph import Box, Radiograph

BOX = (Box("Mass", (0, 0, 8, 8)),)
IMAGES = [
    Radiograph("boxed", Path("a.png"), "1", "PA", {"Mass": 1}, boxes=BOX),
    Radiograph("trained", Path("b.png"), "2", "PA", {"Mass": 0}),
    Radiograph("tested", Path("c.png"), "3", "PA", {"Mass": 0}),
]
OFFICIAL = {"boxed": "test", "trained": "train_val", "tested": "test"}


def prepared(official: dict[str, str]) -> PreparedData:
    return PreparedData(IMAGES, {r.image_id: 0 for r in IMAGES}, 3, official, {}, Path("mine"))


@pytest.mark.parametrize(
    ("choice", "chosen"),
    [
        ("boxed", ["boxed"]),
        ("all", ["boxed", "trained", "tested"]),
        ("test", ["boxed", "tested"]),
    ],
)
def test_boxed_images_are_always_chosen_others_if_asked_for(
    choice: ImageChoice, chosen: list[str]
) -> None:
    images = select_radiographs(IMAGES, choice, prepared(OFFICIAL))
    assert [r.image_id for r in images] == chosen


def test_without_official_lists_there_is_no_test_part_to_choose() -> None:
    with pytest.raises(ValueError, match="mine has no image of an official test list; choose"):
        select_radiographs(IMAGES, "test", prepared({}))
