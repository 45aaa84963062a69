"""Overlap measures against hand-computed values, the identities of design.md and pycocotools."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as rle

from cxrloc.localization.boxes import (
    FloatArray,
    box_areas,
    box_iou_matrix,
    clip_boxes_xyxy,
    iobb,
    iogt,
    iou,
    xywh_to_xyxy,
    xyxy_to_xywh,
)

CORNERS = st.floats(0, 1000, allow_nan=False)
SIDES = st.floats(0.01, 1000, allow_nan=False)
BOXES = st.builds(lambda x, y, w, h: [x, y, x + w, y + h], CORNERS, CORNERS, SIDES, SIDES)
PAIRS = st.lists(st.tuples(BOXES, BOXES), min_size=1, max_size=8)


def arrays(pairs: list[tuple[list[float], list[float]]]) -> tuple[FloatArray, FloatArray]:
    return np.array([p for p, _ in pairs]), np.array([g for _, g in pairs])


@pytest.mark.parametrize(
    ("predicted", "truth", "expected"),  # expected: IoU, IoBB, IoGT
    [
        ([0, 0, 10, 10], [0, 0, 10, 10], (1, 1, 1)),
        ([0, 0, 10, 10], [5, 0, 15, 10], (1 / 3, 1 / 2, 1 / 2)),
        ([4, 4, 5, 5], [0, 0, 10, 10], (1 / 100, 1, 1 / 100)),  # one pixel inside: IoBB 1
        ([0, 0, 10, 10], [2, 2, 4, 4], (4 / 100, 4 / 100, 1)),
        ([0, 0, 10, 10], [10, 0, 20, 10], (0, 0, 0)),  # they share an edge only
        ([3, 3, 3, 9], [0, 0, 10, 10], (0, 0, 0)),  # no width
        ([9, 9, 3, 3], [0, 0, 10, 10], (0, 0, 0)),  # corners swapped
        ([5, 5, 5, 5], [5, 5, 5, 5], (0, 0, 0)),
    ],
)
def test_overlaps_have_their_hand_computed_values(
    predicted: list[float], truth: list[float], expected: tuple[float, float, float]
) -> None:
    overlaps = [measure([predicted], [truth])[0] for measure in (iou, iobb, iogt)]
    assert overlaps == pytest.approx(expected)


@given(PAIRS)
def test_iou_is_between_zero_and_iobb_and_both_at_most_one(
    pairs: list[tuple[list[float], list[float]]],
) -> None:
    predicted, truth = arrays(pairs)
    assert (iou(predicted, truth) >= 0).all()
    assert (iou(predicted, truth) <= iobb(predicted, truth)).all()
    assert (iou(predicted, truth) <= iogt(predicted, truth)).all()
    assert (iobb(predicted, truth) <= 1).all()


@given(PAIRS)
def test_the_inverses_of_the_three_measures_obey_the_identity(
    pairs: list[tuple[list[float], list[float]]],
) -> None:
    predicted, truth = arrays(pairs)
    some = iou(predicted, truth) > 1e-9
    by_hand = 1 / iobb(predicted, truth)[some] + 1 / iogt(predicted, truth)[some] - 1
    np.testing.assert_allclose(1 / iou(predicted, truth)[some], by_hand, rtol=1e-9)


@given(PAIRS)
def test_matrix_equals_pycocotools_and_its_crowd_overlap_is_iobb(
    pairs: list[tuple[list[float], list[float]]],
) -> None:
    predicted, truth = arrays(pairs)
    detections, targets = xyxy_to_xywh(predicted), xyxy_to_xywh(truth)
    plain = rle.iou(detections, targets, [0] * len(targets))
    crowd = rle.iou(detections, targets, [1] * len(targets))
    np.testing.assert_allclose(box_iou_matrix(predicted, truth), plain, atol=1e-9)
    np.testing.assert_allclose(iobb(predicted, truth), np.diag(crowd), atol=1e-9)


@given(st.lists(BOXES, max_size=8))
def test_xywh_and_back_is_the_same_box(boxes: list[list[float]]) -> None:
    there_and_back = xywh_to_xyxy(xyxy_to_xywh(boxes))
    np.testing.assert_allclose(there_and_back, np.reshape(boxes, (-1, 4)), rtol=1e-12)


def test_width_and_height_come_after_the_corner() -> None:
    assert xyxy_to_xywh([[1, 2, 11, 32]]).tolist() == [[1, 2, 10, 30]]
    assert xywh_to_xyxy([[1, 2, 10, 30]]).tolist() == [[1, 2, 11, 32]]


def test_clipping_knows_height_from_width() -> None:
    clipped = clip_boxes_xyxy([[-5, -5, 250, 250], [300, 10, 400, 20]], size_hw=(100, 200))
    assert clipped.tolist() == [[0, 0, 200, 100], [200, 10, 200, 20]]
    assert box_areas(clipped).tolist() == [20000, 0]


def test_no_boxes_give_no_overlaps() -> None:
    assert iou([], []).tolist() == []
    assert box_iou_matrix([], [[0, 0, 1, 1]]).shape == (0, 1)
    assert xywh_to_xyxy(np.zeros((0, 4))).shape == (0, 4)


def test_a_wrong_shape_is_named() -> None:
    with pytest.raises(ValueError, match=r"boxes_xyxy: expected shape \(N, 4\), got \(2, 5\)"):
        xyxy_to_xywh(np.zeros((2, 5)))
    with pytest.raises(ValueError, match=r"predicted_xyxy: expected shape \(N, 4\), got \(4,\)"):
        iou([0, 0, 1, 1], [[0, 0, 1, 1]])
    with pytest.raises(ValueError, match="got 1 and 2; for all pairs use box_iou_matrix"):
        iou([[0, 0, 1, 1]], [[0, 0, 1, 1]] * 2)
    with pytest.raises(ValueError, match=r"size_hw: expected positive .* got \(0, 5\)"):
        clip_boxes_xyxy([[0, 0, 1, 1]], (0, 5))


def test_a_number_that_is_not_finite_is_an_error_with_its_row() -> None:
    with pytest.raises(ValueError, match="expected finite numbers, row 1 is"):
        iobb([[0.0, 0.0, 1.0, 1.0], [0.0, 0.0, float("nan"), 1.0]], [[0, 0, 1, 1]] * 2)
