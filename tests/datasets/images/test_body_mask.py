"""The body: what is not dark border; enclosed lungs belong to it, markers beside it do not."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from cxrloc.datasets.images.body_mask import body_mask
from cxrloc.datasets.phantoms.drawing.chest import render_image


def test_an_ellipse_on_black_is_body_with_its_dark_lung() -> None:
    image = np.full((400, 300), 3, np.uint8)
    cv2.ellipse(image, (150, 220), (100, 140), 0, 0, 360, 160, -1)
    cv2.ellipse(image, (120, 220), (30, 60), 0, 0, 360, 5, -1)  # as dark as the air outside
    cv2.putText(image, "L", (15, 60), cv2.FONT_HERSHEY_SIMPLEX, 1.2, 250, 4)
    body = body_mask(image)
    assert body.dtype == np.bool_
    assert body.shape == (400, 300)
    assert body[220, 120]
    assert not body[20:65, 10:45].any()
    assert body.mean() == pytest.approx(np.pi * 103 * 143 / (400 * 300), rel=0.03)


def test_a_image_without_dark_border_or_of_one_grey_is_all_body() -> None:
    assert body_mask(np.full((50, 70), 90, np.uint8)).all()
    assert body_mask(np.zeros((50, 70), np.uint8)).all()
    rng = np.random.default_rng(0)
    assert body_mask(rng.normal(120, 5, (300, 300)).astype(np.uint8)).all()


def test_collimated_borders_are_outside() -> None:
    image = np.full((500, 500), 140, np.uint8)
    image[:, :60] = 2
    image[460:] = 2
    body = body_mask(image)
    assert not body[:, :50].any()
    assert not body[468:].any()
    assert body[:450, 70:].all()


def test_the_phantoms_lungs_are_body_and_its_upper_corner_is_not() -> None:
    image = render_image(patient=1, image_size=256)
    body = body_mask(image.pixels)
    assert body[64:180, 60:200].all()
    assert not body[:6, :6].any()


def test_colour_is_refused() -> None:
    with pytest.raises(ValueError, match=r"expected grey uint8 \(H, W\), got uint8 \(4, 4, 3\)"):
        body_mask(np.zeros((4, 4, 3), np.uint8))
