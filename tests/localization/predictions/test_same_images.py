"""Images of one ground truth found among those of another."""

from __future__ import annotations

import pytest

from cxrloc.localization.predictions.same_images import SameImages, same_images

CHESTX_DET = "36199.png"  # 00000003_003
RSNA = "0004cfab-14fd-4e49-80ba-63a80b6bddd6"  # 00019124_092


@pytest.mark.parametrize("name", ["b.png", "b.jpg", "images/b.png", "b"])
def test_folders_and_endings_do_not_count(name: str) -> None:
    same = same_images(["a.png", "b.png"], [name, "c.png"])

    assert (same.first_of, same.unknown, same.renamed) == ({name: "b.png"}, 1, 0)


@pytest.mark.parametrize(
    ("name", "image"), [(CHESTX_DET, "00000003_003.jpg"), (f"{RSNA}.dcm", "00019124_092.png")]
)
def test_names_of_chestx_det_and_rsna_stand_for_nihs(name: str, image: str) -> None:
    same = same_images(["00000001_000.png", image], [name])

    assert (same.first_of, same.renamed) == ({name: image}, 1)


def test_it_works_the_other_way_round_and_with_the_same_names_on_both_sides() -> None:
    nih = "00000003_003.png"

    assert same_images([CHESTX_DET], [nih]).first_of == {nih: CHESTX_DET}
    assert same_images([CHESTX_DET], [CHESTX_DET]) == SameImages({CHESTX_DET: CHESTX_DET})
    assert same_images(["00019124_092.png"], [CHESTX_DET]).unknown == 1


def test_two_names_of_one_image_are_doubtful_and_left_out() -> None:
    twice = ["00019124_092.png", RSNA]

    same = same_images(["00019124_092.png", "b.png"], [*twice, "b.png"])

    assert (same.first_of, same.doubtful, same.unknown) == ({"b.png": "b.png"}, 2, 0)
    assert same_images([*twice, "b.png"], ["00019124_092.png", "b.png"]).doubtful == 1
