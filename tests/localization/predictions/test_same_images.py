"""Images of one ground truth found among those of another."""

from __future__ import annotations

import pytest

from cxrloc.localization.predictions.same_images import same_images

CHESTX_DET = "36199.png"  # 00000003_003
RSNA = "0004cfab-14fd-4e49-80ba-63a80b6bddd6"  # 00019124_092


@pytest.mark.parametrize("name", ["b.png", "b.jpg", "images/b.png", "b"])
def test_folders_and_endings_do_not_count(name: str) -> None:
    same = same_images(["a.png", "b.png"], [name, "c.png"])

    assert (same.first_of, same.unknown, same.renamed) == ({name: "b.png"}, 1, {})


def test_names_of_chestx_det_and_rsna_stand_for_nihs() -> None:
    first = ["00000003_003.jpg", "00019124_092.png"]

    same = same_images(first, [CHESTX_DET, f"{RSNA}.dcm"])

    assert same.first_of == {CHESTX_DET: first[0], f"{RSNA}.dcm": first[1]}
    assert same.renamed == {"ChestX-Det": 1, "RSNA": 1}


def test_it_works_the_other_way_round_and_without_nihs_names_on_either_side() -> None:
    assert same_images([CHESTX_DET], ["00000003_003.png"]).first_of == {
        "00000003_003.png": CHESTX_DET
    }
    assert same_images([CHESTX_DET], [CHESTX_DET]).renamed == {}
    assert same_images(["00019124_092.png"], [CHESTX_DET]).unknown == 1


def test_two_names_of_one_image_are_doubtful_and_left_out() -> None:
    same = same_images(["00000003_003.png", "b.png"], [CHESTX_DET, "00000003_003.png", "b.png"])

    # found under its own name first; what another name claims too is not sure any more
    assert (same.first_of, same.doubtful) == ({"b.png": "b.png"}, 2)
