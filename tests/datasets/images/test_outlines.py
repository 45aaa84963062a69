"""Outlines of masks cover exactly their pixels."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from pycocotools import mask as rle

from cxrloc.datasets.images.outlines import box_around, outline_mask, outlines


def _filled(mask: np.ndarray) -> np.ndarray:
    polygons = tuple(np.reshape(points, (-1, 2)) for points in outlines(mask))
    return outline_mask(polygons, len(mask))


def _without_holes(mask: np.ndarray) -> np.ndarray:
    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return np.asarray(cv2.drawContours(np.zeros_like(mask), contours, -1, 1, cv2.FILLED))


@pytest.mark.parametrize("share", [0.05, 0.3, 0.6, 0.95])
def test_a_filled_outline_is_the_mask_without_its_holes(share: float) -> None:
    rng = np.random.default_rng(1)
    for _ in range(20):
        mask = (rng.random((24, 24)) < share).astype(np.uint8)
        assert (_filled(mask) == _without_holes(mask)).all()


def test_a_smooth_mask_is_the_same_in_cocos_tools() -> None:
    mask = np.zeros((64, 64), np.uint8)
    cv2.ellipse(mask, (30, 34), (20, 11), 30, 0, 360, 1, cv2.FILLED)
    polygons = [list(points) for points in outlines(mask)]
    drawn = rle.decode(rle.merge(rle.frPyObjects(polygons, 64, 64)))
    assert (drawn == mask).all()


def test_a_pixel_has_four_corners_and_parts_come_from_the_top_left() -> None:
    mask = np.zeros((8, 8), np.uint8)
    mask[5:7, 1:4] = 1
    mask[2, 6] = 1
    pixel, rectangle = (np.reshape(points, (-1, 2)).tolist() for points in outlines(mask))
    assert sorted(pixel) == [[6, 2], [6, 3], [7, 2], [7, 3]]
    assert sorted(rectangle) == [[1, 5], [1, 7], [4, 5], [4, 7]]
    assert box_around(mask) == (1, 2, 7, 7)


def test_an_empty_mask_has_no_outline_and_no_box() -> None:
    empty = np.zeros((4, 4), np.uint8)
    assert outlines(empty) == ()
    with pytest.raises(ValueError, match="an empty mask has no box"):
        box_around(empty)
