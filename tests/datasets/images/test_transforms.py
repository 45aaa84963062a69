"""The geometry of a network's input."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from cxrloc.datasets.images.transforms import (
    equalise,
    equalise_histogram,
    fit_square,
    input_channels,
    square_scale,
    stretch,
)


def test_shrinking_averages_areas() -> None:
    pixels = np.array([[0, 10, 100, 100], [20, 30, 100, 100], [7, 7, 0, 4], [7, 7, 4, 0]], np.uint8)
    assert fit_square(pixels, 2).tolist() == [[15, 100], [7, 2]]


def test_sixteen_bits_are_rounded_after_the_average() -> None:
    values = np.array([[100.49, 100.49], [100.49, 101.4]])  # of 255; the mean is 100.7
    assert fit_square(np.rint(values).astype(np.uint8), 1).tolist() == [[100]]
    assert fit_square(np.rint(values * 257).astype(np.uint16), 1).tolist() == [[101]]
    assert fit_square(np.array([[0, 65535]], np.uint16), 2).tolist() == [[0, 255], [0, 0]]


def test_a_wide_image_is_padded_at_the_bottom_a_tall_one_at_the_right() -> None:
    wide = np.full((2, 4), 9, np.uint8)
    assert fit_square(wide, 4).tolist() == [[9] * 4, [9] * 4, [0] * 4, [0] * 4]
    assert fit_square(wide.T.copy(), 4).tolist() == [[9, 9, 0, 0]] * 4


def test_a_square_of_the_right_size_is_unchanged() -> None:
    pixels = np.arange(16, dtype=np.uint8).reshape(4, 4)
    np.testing.assert_array_equal(fit_square(pixels, 4), pixels)


def test_a_point_lands_where_the_scale_says() -> None:
    pixels = np.zeros((80, 40), np.uint8)
    pixels[40:44, 20:24] = 255
    square = fit_square(pixels, 20)
    scale = square_scale((80, 40), 20)
    assert scale == 0.25
    assert np.argwhere(square).tolist() == [[40 * scale, 20 * scale]]


def test_an_extreme_shape_keeps_at_least_one_pixel() -> None:
    assert fit_square(np.full((1, 400), 5, np.uint8), 4).tolist() == [[5] * 4, *[[0] * 4] * 3]


def test_what_is_not_grey_or_has_no_size_is_refused() -> None:
    with pytest.raises(ValueError, match=r"grey uint8 or uint16 \(H, W\), got uint8 \(2, 2, 3\)"):
        fit_square(np.zeros((2, 2, 3), np.uint8), 4)
    with pytest.raises(ValueError, match=r"frame \(0, 5\) and square 4"):
        square_scale((0, 5), 4)


def checkerboard(low: int, high: int, side: int = 64) -> npt.NDArray[np.uint8]:
    """(side, side), half of every region each."""
    return np.where(np.indices((side, side)).sum(axis=0) % 2, high, low).astype(np.uint8)


def test_without_a_limit_each_grey_becomes_the_share_of_pixels_up_to_it() -> None:
    # half the pixels are at most 100: 255 / 2, rounded to even; all are at most 104
    assert set(equalise(checkerboard(100, 104), clip_limit=256).ravel()) == {128, 255}


def test_the_clip_limit_bounds_how_much_contrast_is_amplified() -> None:
    equalised = equalise(checkerboard(100, 104, side=512), clip_limit=2)
    low, high = sorted(set(equalised.ravel().tolist()))
    # a grey value counts at most twice the mean, 2 / 256; three lie between the two without pixels,
    # and the excess, 2 * (1 / 2 - 2 / 256) of the pixels, is spread over all 256
    spread = 2 * (1 / 2 - 2 / 256) / 256
    assert high - low == pytest.approx(255 * (2 / 256 + 4 * spread), abs=1)


def test_equalising_reaches_the_image_but_not_the_padding_beside_it() -> None:
    image = np.random.default_rng(0).integers(100, 110, (64, 40)).astype(np.uint8)
    square = fit_square(image, 64)
    equalised = equalise(square, clip_limit=4)
    assert not equalised[:, 40:].any()
    alone = cv2.createCLAHE(4, (8, 8)).apply(image)
    np.testing.assert_array_equal(equalised[:, :40], alone)


def test_a_clip_limit_of_zero_and_a_black_square_change_nothing() -> None:
    square = checkerboard(3, 9)
    assert equalise(square, clip_limit=0) is square
    assert not equalise(np.zeros((8, 8), np.uint8), clip_limit=2).any()


def test_a_flat_histogram_is_kept_and_an_uneven_one_spread() -> None:
    # of 4 pixels each at most 100, 110, 120: (cumulated - first) / (all - first) * 255
    image = np.repeat([100, 110, 120], 4).astype(np.uint8).reshape(3, 4)
    square = fit_square(image, 4)
    result = equalise_histogram(square)
    assert [sorted(set(row.tolist())) for row in result[:3]] == [[0], [128], [255]]
    assert not result[3].any()  # padding


def test_stretching_sends_the_2nd_percentile_to_black_and_the_98th_to_white() -> None:
    # 101 pixels 50 .. 150: percentiles 52 and 148
    image = np.arange(50, 151, dtype=np.uint8).reshape(1, 101)
    result = stretch(image)[0]
    assert result[:3].tolist() == [0, 0, 0]
    assert result[-3:].tolist() == [255, 255, 255]
    assert result[50] == round((100 - 52) * 255 / 96)


def test_stretching_is_by_the_quantiles_of_numpy_on_images_of_any_size() -> None:
    rng = np.random.default_rng(0)
    for side in (1, 2, 7, 60):
        image = rng.normal(120, 40, (side, side)).clip(1, 255).astype(np.uint8)
        low, high = np.quantile(image, (0.02, 0.98))
        expected = np.rint((image - low) * 255 / max(high - low, 1e-9)).clip(0, 255)
        np.testing.assert_array_equal(stretch(image), image if high == low else expected)


def test_stretching_leaves_padding_and_flat_images_alone() -> None:
    square = fit_square(np.full((64, 32), 77, np.uint8), 64)
    np.testing.assert_array_equal(stretch(square), square)


def test_enhanced_channels_are_the_image_equalised_and_stretched() -> None:
    square = fit_square(np.random.default_rng(0).integers(90, 140, (64, 40)).astype(np.uint8), 64)
    grey, equal, stretched = input_channels(square, "enhanced")
    np.testing.assert_array_equal(grey, square)
    np.testing.assert_array_equal(equal, equalise_histogram(square))
    np.testing.assert_array_equal(stretched, stretch(square))
    clahe = input_channels(square, "enhanced", clahe_clip=2)
    np.testing.assert_array_equal(clahe[[0, 2]], np.stack([grey, stretched]))
    np.testing.assert_array_equal(clahe[1], equalise(square, 2))


def test_one_channel_is_the_image_itself_or_the_image_equalised() -> None:
    square = checkerboard(3, 9)
    for kind in ("grey", "single"):
        assert input_channels(square, kind) is square
        np.testing.assert_array_equal(input_channels(square, kind, 2), equalise(square, 2))
