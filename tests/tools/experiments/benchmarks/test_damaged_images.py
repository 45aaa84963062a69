"""Damaged images are sorted by what the product and an independent decoder say of them."""

from __future__ import annotations

from collections import Counter

import cv2
import pytest

from builders import chest_pixels
from cxrloc.tools.experiments.benchmarks.fuzz.damaged_images import (
    OUTCOMES,
    REFUSED,
    SAME,
    UNSAID,
    _Decoders,
    damage,
    image_kinds,
)


@pytest.fixture(scope="module")
def kinds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[bytes]]:
    path = tmp_path_factory.mktemp("images") / "a.png"
    assert cv2.imwrite(str(path), chest_pixels())
    return image_kinds([path], 64)


def test_every_damaged_file_has_one_outcome(kinds: dict[str, list[bytes]]) -> None:
    result = damage(kinds, 3 * len(kinds))
    assert set(result.counts) == set(kinds)
    assert {sum(count[name] for name in OUTCOMES) for count in result.counts.values()} == {3}
    total = sum(result.counts.values(), Counter[str]())
    assert total[UNSAID] == len(result.unsaid) == 0
    assert result.counts["PNG"][REFUSED] + result.counts["PNG"][SAME] == 3  # it has checksums
    assert "all" in result.table()


def test_the_other_decoder_complains_of_damage_alone(kinds: dict[str, list[bytes]]) -> None:
    with _Decoders() as decoders:
        for kind in ("PNG", "JPEG", "DICOM, JPEG"):
            (whole,) = kinds[kind]
            middle = len(whole) // 2
            assert decoders.complaint(whole) == ""
            assert decoders.complaint(whole[:middle] + whole[middle + 40 :]) != ""
