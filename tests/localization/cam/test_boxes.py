"""Boxes from heat maps: hand-made maps whose boxes are known."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from cxrloc.classification.network.classifier import build_classifier
from cxrloc.localization.cam.boxes import (
    DEEP_MEDIA,
    WANG,
    CamBoxRule,
    boxes_from_map,
    level_boxes,
    map_to_frame,
    normalise_map,
    region_boxes,
    smooth_map,
)

ALL_AT_180 = CamBoxRule((180.0,), closest=None)


def map_with(*regions: tuple[int, int, int, int, float]) -> np.ndarray:
    """(100, 120) map of zeros with rectangles x1, y1, x2, y2 of a heat."""
    heat = np.zeros((100, 120), np.float32)
    for x1, y1, x2, y2, value in regions:
        heat[y1:y2, x1:x2] = value
    return heat


def test_one_hot_rectangle_gives_exactly_its_box_with_score_one() -> None:
    assert boxes_from_map(map_with((10, 20, 40, 50, 2.0))) == [((10, 20, 40, 50), 1.0)]


@pytest.mark.parametrize("rule", [DEEP_MEDIA, WANG])
@pytest.mark.parametrize(
    "heat",
    [
        np.zeros((64, 64), np.float32),
        np.full((64, 64), 0.7, np.float32),
        np.full((64, 64), -3.0, np.float32),
        np.full((64, 64), 0.7, np.float32) + np.eye(64, dtype=np.float32) * 1e-7,
        np.full((64, 64), np.nan, np.float32),
        np.where(np.eye(64) > 0, np.nan, 1.0),
        np.where(np.eye(64) > 0, np.inf, 1.0),
        np.zeros((0, 0), np.float32),
    ],
    ids=["zero", "constant", "negative", "rounding", "nan", "some nan", "inf", "empty"],
)
def test_a_map_that_shows_nothing_gives_no_box(heat: np.ndarray, rule: CamBoxRule) -> None:
    assert boxes_from_map(heat, rule, (20, 20)) == []


def test_of_the_five_closest_in_size_the_hottest_is_chosen() -> None:
    sizes = [10, 11, 12, 13, 14, 3]  # the last is hottest of all, but sixth in closeness to 12 x 12
    heats = [0.80, 0.82, 0.84, 0.90, 0.86, 1.0]
    regions = [(20 * i, 5, 20 * i + s, 5 + s, h) for i, (s, h) in enumerate(zip(sizes, heats))]  # noqa: B905
    ((box, score),) = boxes_from_map(map_with(*regions), DEEP_MEDIA, (12, 12))
    assert box == (60.0, 5.0, 73.0, 18.0)
    assert score == pytest.approx(0.90)


def test_without_a_mean_size_the_hottest_of_all_is_chosen() -> None:
    heat = map_with((0, 0, 30, 30, 0.8), (60, 60, 63, 63, 1.0))
    assert boxes_from_map(heat, DEEP_MEDIA, None) == [((60, 60, 63, 63), 1.0)]


def test_size_is_width_and_height_not_area() -> None:
    heat = map_with((0, 0, 100, 4, 1.0), (0, 50, 20, 70, 0.9))  # both of area 400
    rule = CamBoxRule((180.0,), closest=1)
    assert boxes_from_map(heat, rule, (20, 20))[0][0] == (0, 50, 20, 70)
    assert boxes_from_map(heat, rule, (100, 4))[0][0] == (0, 0, 100, 4)


def test_wangs_rule_returns_the_boxes_of_both_thresholds_hottest_first() -> None:
    heat = map_with((10, 10, 50, 50, 100 / 255), (20, 20, 30, 40, 1.0), (80, 80, 90, 90, 0.5))
    boxes = boxes_from_map(heat, WANG)
    assert [box for box, _ in boxes] == [(20, 20, 30, 40), (80, 80, 90, 90), (10, 10, 50, 50)]
    inner, outer = 10 * 20, 40 * 40
    expected = (inner + (outer - inner) * 100 / 255) / outer
    assert [score for _, score in boxes] == pytest.approx([1.0, 0.5, expected], abs=1e-6)


def test_a_box_found_at_both_thresholds_is_returned_once() -> None:
    assert boxes_from_map(map_with((10, 20, 40, 50, 1.0)), WANG) == [((10, 20, 40, 50), 1.0)]


def test_the_threshold_is_strict() -> None:
    heat = map_with((0, 0, 9, 9, 255.0), (50, 50, 60, 60, 180.0))
    assert [box for box, _ in boxes_from_map(heat, ALL_AT_180)] == [(0, 0, 9, 9)]


def test_the_lowest_value_counts_as_zero_heat() -> None:
    scaled = normalise_map(np.array([[-1.0, 0.0], [1.0, 3.0]]))
    assert scaled is not None
    np.testing.assert_allclose(scaled, [[0, 63.75], [127.5, 255]])


def test_pixels_that_touch_at_a_corner_are_one_region() -> None:
    mask = np.zeros((10, 10), bool)
    mask[2:4, 2:4] = mask[4:6, 4:6] = True
    assert region_boxes(mask) == [(2, 2, 6, 6)]


def test_a_region_in_the_hole_of_another_is_a_region() -> None:
    mask = np.zeros((20, 20), bool)
    mask[2:18, 2:18] = True
    mask[5:15, 5:15] = False
    mask[9:11, 8:12] = True
    assert region_boxes(mask) == [(2, 2, 18, 18), (8, 9, 12, 11)]


def test_an_empty_mask_has_no_regions() -> None:
    assert region_boxes(np.zeros((5, 5), bool)) == []


@settings(max_examples=60)
@given(st.integers(0, 2**32 - 1), st.floats(0.05, 0.95))
def test_contours_give_the_boxes_of_connected_components(seed: int, share: float) -> None:
    mask = np.random.default_rng(seed).random((24, 31)) < share
    count, _, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    rows = stats[1:count]
    expected = [(x, y, x + w, y + h) for x, y, w, h, _ in rows.tolist()]
    assert sorted(region_boxes(mask)) == sorted(expected)


def test_scaling_uses_half_pixel_centres_as_torch_does() -> None:
    cells = np.random.default_rng(0).random((5, 5)).astype(np.float32)
    scaled = torch.nn.functional.interpolate(
        torch.from_numpy(cells)[None, None], size=(90, 90), mode="bilinear", align_corners=False
    )[0, 0].numpy()
    np.testing.assert_allclose(map_to_frame(cells, (90, 90)), scaled, atol=1e-5)


@pytest.mark.parametrize(
    ("size_hw", "shape", "box"),
    [((400, 200), (400, 200), (0, 200, 200, 400)), ((200, 400), (200, 400), (0, 0, 200, 200))],
)
def test_the_map_covers_the_square_over_the_longer_side(
    size_hw: tuple[int, int], shape: tuple[int, int], box: tuple[int, int, int, int]
) -> None:
    """The network saw an image padded to the right or below; a cell's heat stays where it was."""
    cells = np.zeros((8, 8), np.float32)
    cells[:4, :4] = 1.0 if size_hw[0] < size_hw[1] else 0.0
    cells[4:, :4] = 1.0 if size_hw[0] > size_hw[1] else 0.0
    heat = map_to_frame(cells, size_hw)
    assert heat.shape == shape
    ((corners, _),) = boxes_from_map(heat, CamBoxRule((127.0,)), (200, 200))
    np.testing.assert_allclose(corners, box, atol=1)


def test_heat_in_the_padding_does_not_count() -> None:
    cells = np.zeros((8, 8), np.float32)
    cells[1, 1] = 0.2
    cells[6, 6] = 5.0  # below the image
    ((box, _),) = boxes_from_map(map_to_frame(cells, (64, 128)), DEEP_MEDIA, (16, 16))
    assert box[0] < 24 < box[2]
    assert box[1] < 24 < box[3]
    assert box[3] <= 32


def test_an_aligned_map_lies_half_a_cell_further_left_and_up() -> None:
    cells = np.zeros((8, 8), np.float32)
    cells[3, 5] = 1.0
    plain, aligned = map_to_frame(cells, (256, 256)), map_to_frame(cells, (256, 256), aligned=True)
    assert np.argwhere(plain == plain.max()).mean(axis=0) == pytest.approx((111.5, 175.5))
    # 15.5 of the 32 px of a cell, in whole pixels of the frame
    assert np.argwhere(aligned == aligned.max()).mean(axis=0) == pytest.approx((95.5, 159.5))
    np.testing.assert_array_equal(plain[16:, 16:], aligned[:-16, :-16])


@pytest.mark.parametrize(
    ("name", "map_stride", "offset"),
    [
        ("resnet18", 32, 0),
        ("resnet18", 16, 0),
        ("efficientnet_b0", 32, 0),
        ("efficientnet_lite0", 32, 31),
        ("densenet121", 32, 14),
        ("simple_cnn", 32, 15.5),
    ],
)
def test_only_a_cell_of_a_resnets_kin_sees_the_surroundings_of_pixel_32_i(
    name: str, map_stride: int, offset: float
) -> None:
    """Why there is an aligned map: the centre of the gradient of a cell is not at 32 i + 15.5."""
    model, _ = build_classifier(name, 1, map_stride=map_stride)
    image = torch.rand(1, 3, 256, 256, generator=torch.manual_seed(0)).requires_grad_()
    cell = 128 // map_stride
    model.eval().backbone(image)[:, :, cell, cell].sum().backward()
    assert image.grad is not None
    seen = image.grad.abs().sum(dim=(0, 1))
    pixels = torch.arange(256, dtype=torch.float32)
    centre_y = (seen.sum(dim=1) * pixels).sum() / seen.sum()
    centre_x = (seen.sum(dim=0) * pixels).sum() / seen.sum()
    assert float(centre_y) == pytest.approx(128 + offset, abs=7)
    assert float(centre_x) == pytest.approx(128 + offset, abs=7)
    assert model.even == (offset == 0)


def test_rules_check_themselves() -> None:
    with pytest.raises(ValueError, match=r"thresholds: expected .* got \(300,\)"):
        CamBoxRule((300,))
    with pytest.raises(ValueError, match=r"thresholds: expected .* got \(\)"):
        CamBoxRule(())
    with pytest.raises(ValueError, match="closest: expected None or at least 1, got 0"):
        CamBoxRule((180,), closest=0)
    with pytest.raises(ValueError, match=r"heat: expected shape \(H, W\), got \(1, 4, 4\)"):
        boxes_from_map(np.zeros((1, 4, 4)))


def test_the_hottest_and_the_largest_are_chosen_whatever_the_mean_size() -> None:
    heat = map_with((0, 0, 8, 8, 0.75), (20, 0, 50, 30, 0.9), (60, 0, 65, 5, 1.0))
    for size_wh in (None, (8.0, 8.0)):
        hottest = CamBoxRule((180.0,), size_rule="hottest")
        assert boxes_from_map(heat, hottest, size_wh) == [((60, 0, 65, 5), 1.0)]
        ((box, score),) = boxes_from_map(heat, CamBoxRule(size_rule="largest"), size_wh)
        assert box == (20.0, 0.0, 50.0, 30.0)
        assert score == pytest.approx(0.9)
    assert boxes_from_map(heat, CamBoxRule(closest=1), (8, 8))[0][0] == (0, 0, 8, 8)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_levels_of_bytes_give_the_regions_of_floats(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scaled = normalise_map(rng.normal(size=(30, 30)))
    assert scaled is not None
    scaled[rng.random(scaled.shape) < 0.2] = np.float32(60)  # on a level: not over it
    levels = (0.0, 10.0, 60.0, 180.0, 254.0)
    assert level_boxes(scaled, levels) == [region_boxes(scaled > level) for level in levels]
    assert level_boxes(scaled, (60.5, 60.0))[0] == region_boxes(scaled > 60.5)


def test_smoothing_spreads_a_cell_and_keeps_the_sum() -> None:
    cells = np.zeros((9, 9), np.float32)
    cells[4, 4] = 1
    assert smooth_map(cells, 0.0) is cells
    smooth = smooth_map(cells, 1.0)
    assert smooth.sum() == pytest.approx(1, abs=1e-3)
    assert smooth[4, 5] / smooth[4, 4] == pytest.approx(np.exp(-0.5), rel=1e-5)
    np.testing.assert_allclose(smooth_map(np.full((4, 4), 2, np.float32), 1.0), 2, rtol=1e-6)


@pytest.mark.parametrize("size", [(1, 1), (3, 7), (12, 9)])
@pytest.mark.parametrize("cells", [0.1, 0.5, 1.5, 20.0])
def test_smoothing_is_scipys_gaussian_filter(size: tuple[int, int], cells: float) -> None:
    heat = np.random.default_rng(0).standard_normal(size).astype(np.float32)
    expected = gaussian_filter(heat, cells, mode="nearest")
    np.testing.assert_allclose(smooth_map(heat, cells), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"size_rule": "widest"}, "size_rule: expected one of closest, hottest, largest, got 'w"),
        ({"closest": None, "size_rule": "largest"}, "closest: None returns every candidate, but"),
        ({"smooth_cells": -1.0}, "smooth_cells: expected at least 0, got -1"),
    ],
)
def test_size_rule_and_smoothing_check_themselves(words: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CamBoxRule(**words)
