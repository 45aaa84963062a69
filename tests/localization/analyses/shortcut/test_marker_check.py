"""The marker finder judged on drawn words: counts by hand, both phantoms, a sheet to look at."""

from __future__ import annotations

import math
from collections.abc import Iterator

import cv2
import numpy as np
import pytest

from cxrloc.datasets.images.markers import find_markers
from cxrloc.datasets.phantoms.markers import KINDS, Drawn, burn_in_words, marked_images
from cxrloc.datasets.radiograph import LoadedImage
from cxrloc.localization.analyses.shortcut.marker_check import (
    MarkerScore,
    marker_sheet,
    score_markers,
)


def plain(*corners: tuple[int, int]) -> np.ndarray[tuple[int, int], np.dtype[np.uint8]]:
    """Noise of grey 100, an L of 20 x 32 px of 240 at each corner."""
    image = np.random.default_rng(1).normal(100, 3, (512, 512)).astype(np.uint8)
    for x, y in corners:
        image[y : y + 32, x : x + 5] = 240
        image[y + 27 : y + 32, x : x + 20] = 240
    return image


def test_found_and_missed_markers_and_false_boxes_are_counted() -> None:
    (box,) = find_markers(plain((40, 30))).boxes_xyxy.tolist()
    here, there = (40.0, 30.0, 60.0, 62.0), (240.0, 240.0, 260.0, 272.0)
    images: list[Drawn] = [
        (plain((40, 30)), [here]),  # found
        (plain((40, 30)), [here, there]),  # one found, one that is not there missed
        (plain((40, 30)), []),  # a false box
        (plain(), [here]),
        (plain(), []),
    ]
    score = score_markers(images)
    assert box == [37.5, 27.5, 62.5, 64.5]
    assert score == MarkerScore(drawn=4, drawn_and_found=2, found=3, found_and_drawn=2)
    assert (score.precision, score.recall) == (2 / 3, 0.5)
    nothing = score_markers([(plain(), [])])
    assert math.isnan(nothing.precision)
    assert math.isnan(nothing.recall)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_words_on_phantoms_are_found_and_little_else(kind: str) -> None:
    score = score_markers(marked_images(kind, 8))
    assert score.drawn > 8 * 3  # the words, and the image's own
    assert score.precision > 0.9
    assert score.recall > 0.88


def test_the_phantoms_say_where_their_markers_are() -> None:
    for kind in KINDS:
        for pixels, boxes in marked_images(kind, 4, image_size=256, words=1):
            assert len(boxes) > 0
            for x1, y1, x2, y2 in boxes:
                part = pixels[int(y1) : math.ceil(y2), int(x1) : math.ceil(x2)]
                assert int(part.max()) - int(part.min()) > 40  # ink on what is darker


def test_unknown_phantoms_and_images_without_room_are_named() -> None:
    with pytest.raises(ValueError, match=r"unknown phantom 'knee'; expected one of chest, limb"):
        next(marked_images("knee", 1))
    white = np.full((256, 256), 250, np.uint8)
    with pytest.raises(ValueError, match=r"an image of \(256, 256\) has room for 0 of 2 words"):
        burn_in_words(white, 2, np.random.default_rng(0))


def test_a_sheet_shows_each_image_boxed_and_without_its_markers() -> None:
    def images() -> Iterator[LoadedImage]:
        for name in ("a.png", "b.png", "c.png"):
            pixels = cv2.resize(plain((40, 30)), (384, 384), interpolation=cv2.INTER_AREA)
            yield LoadedImage(name, np.asarray(pixels, np.uint8), (384, 384))

    sheet = marker_sheet([(image, find_markers(image.pixels)) for image in images()], "mask")
    written = [text for text, _ in sheet.texts]
    assert written == [
        *(f"{name}: 1 found" for name in ("a.png", "b.png", "c.png")),
        "Research use only, never a diagnosis.",
    ]
    orange = (sheet.pixels == (230, 159, 0)).all(axis=2)
    assert cv2.connectedComponents(orange.astype(np.uint8))[0] == 1 + 3
    left, right = sheet.pixels[22:406, 8:392], sheet.pixels[22:406, 400:784]
    assert left[23:46, 30:33].max() > 230  # the letter
    assert right[23:46, 30:33].max() < 115  # the grey around it
