"""Markers: letters are found where they were drawn, and little else; the rest stays."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from cxrloc.datasets.images.body_mask import body_mask
from cxrloc.datasets.images.markers import find_markers, remove_markers

LoadedImage = npt.NDArray[np.uint8]
Box = tuple[float, float, float, float]


def overlap(a: Box, b: Box) -> float:
    """IoU of two boxes xyxy."""
    w, h = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    both = max(0.0, w) * max(0.0, h)
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)


def found_boxes(image: LoadedImage) -> list[Box]:
    return [(x1, y1, x2, y2) for x1, y1, x2, y2 in find_markers(image).boxes_xyxy.tolist()]


def limb(height: int = 512, width: int = 400) -> LoadedImage:
    """A forearm on black: soft tissue, two bones with bright, blurred borders."""
    image: npt.NDArray[np.float32] = np.zeros((height, width), np.float32)
    cv2.ellipse(image, (width // 2, height // 2), (90, 300), 0, 0, 360, 90, -1)
    for x in (width // 2 - 30, width // 2 + 35):
        cv2.line(image, (x, -10), (x + 5, height + 10), 190, 34)
        cv2.line(image, (x, -10), (x + 5, height + 10), 150, 16)
    image = cv2.GaussianBlur(image, (0, 0), 3).astype(np.float32)
    image += np.random.default_rng(0).normal(6, 2, image.shape)
    return np.clip(image, 0, 255).astype(np.uint8)


def test_the_side_letter_of_a_limb_is_found_outside_of_the_body_anywhere() -> None:
    image = limb()
    assert found_boxes(image) == []
    cv2.putText(image, "R", (20, 280), cv2.FONT_HERSHEY_SIMPLEX, 2.2, 230, 7, cv2.LINE_AA)
    (box,) = found_boxes(image)
    (w, h), _ = cv2.getTextSize("R", cv2.FONT_HERSHEY_SIMPLEX, 2.2, 7)
    assert overlap(box, (20, 280 - h, 20 + w, 280)) > 0.6
    assert not body_mask(image)[260, 40]


@pytest.fixture(scope="module")
def plain_image() -> LoadedImage:
    """Noise of grey 100 all over, an L of 240 at the upper left, 5 px strokes."""
    image = np.random.default_rng(1).normal(100, 3, (512, 512)).astype(np.uint8)
    image[30:62, 40:45] = 240
    image[57:62, 40:60] = 240
    return image


def test_box_and_mask_hold_the_letter_and_its_rim(plain_image: LoadedImage) -> None:
    markers = find_markers(plain_image)
    assert markers.boxes_xyxy.tolist() == [[37.5, 27.5, 62.5, 64.5]]  # 2.5 px: 5 of a 1024 frame
    assert markers.mask[30:62, 40:45].all()
    assert markers.mask[57:62, 40:60].all()
    assert not markers.mask[:, :36].any()
    assert not markers.mask[68:].any()


@pytest.mark.parametrize("how", ["mask", "inpaint"])
def test_a_removed_marker_has_the_grey_of_its_surroundings(
    plain_image: LoadedImage, how: str
) -> None:
    mask = find_markers(plain_image).mask
    clean = remove_markers(plain_image, how)
    assert abs(float(clean[mask].mean()) - 100) < 3
    assert (clean[~mask] == plain_image[~mask]).all()
    assert plain_image[40, 42] == 240  # the given image is not written to
    assert found_boxes(clean) == []


def test_keep_and_a_image_without_markers_change_nothing(plain_image: LoadedImage) -> None:
    assert remove_markers(plain_image, "keep") is plain_image
    for empty in (np.zeros((64, 48), np.uint8), np.full((64, 48), 200, np.uint8)):
        found = find_markers(empty)
        assert found.boxes_xyxy.shape == (0, 4)
        assert found.mask.shape == (64, 48)
        assert remove_markers(empty, "inpaint") is empty


def test_a_letter_amid_the_body_is_left_but_a_line_of_text_may_lie_deeper(
    plain_image: LoadedImage,
) -> None:
    image = np.full((1024, 1024), 100, np.uint8)
    cv2.putText(image, "L", (500, 500), cv2.FONT_HERSHEY_SIMPLEX, 1.5, 240, 5)
    cv2.putText(image, "R", (260, 700), cv2.FONT_HERSHEY_SIMPLEX, 1.0, 240, 3)
    assert found_boxes(image) == []
    cv2.putText(image, "SUPINE", (200, 300), cv2.FONT_HERSHEY_SIMPLEX, 1.0, 240, 3)
    assert len(found_boxes(image)) == 1


def test_the_same_image_gives_the_same_boxes_and_scale_does_not_matter(
    plain_image: LoadedImage,
) -> None:
    once, again = find_markers(plain_image), find_markers(plain_image.copy())
    assert (once.boxes_xyxy == again.boxes_xyxy).all()
    assert (once.mask == again.mask).all()
    double = cv2.resize(plain_image, None, fx=2, fy=2, interpolation=cv2.INTER_NEAREST)
    assert (find_markers(double.astype(np.uint8)).boxes_xyxy == 2 * once.boxes_xyxy).all()


def test_bad_input_is_named(plain_image: LoadedImage) -> None:
    with pytest.raises(ValueError, match=r"markers 'blur': expected one of keep, mask, inpaint"):
        remove_markers(plain_image, "blur")
    with pytest.raises(ValueError, match=r"expected grey uint8 \(H, W\), got float32"):
        find_markers(plain_image.astype(np.float32))
