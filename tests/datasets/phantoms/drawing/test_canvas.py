"""Shapes drawn on part of the image equal those drawn on all of it."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from cxrloc.datasets.phantoms.drawing.canvas import Canvas, ellipse

POSE = np.array([[1.02, -0.03, 5.0], [0.03, 1.02, -9.0]])


@pytest.mark.parametrize("size", [200, 512])  # the first is no multiple of a vector's length
@pytest.mark.parametrize("blur", [0.1, 1.5, 14, 75])
@pytest.mark.parametrize("middle", [(500.0, 400.0), (1000.0, 20.0), (5000.0, 400.0)])
def test_a_shape_is_blurred_as_if_with_the_whole_image(
    size: int, blur: float, middle: tuple[float, float]
) -> None:
    canvas = Canvas(size, POSE)
    shape = ellipse(*middle, 40, 60)
    sharp = np.zeros((size, size), np.uint8)
    points = np.round(((shape @ POSE[:, :2].T + POSE[:, 2]) * size / 1024 - 0.5) * 16)
    cv2.fillPoly(sharp, [points.astype(np.int32)], 255, cv2.LINE_AA, 4)
    whole = canvas.blurred(sharp.astype(np.float32) / 255, blur)
    np.testing.assert_array_equal(canvas.fill([shape], blur), whole)
    assert whole.any() == (middle[0] < 1024)
