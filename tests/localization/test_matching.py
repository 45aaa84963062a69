"""Pairing boxes: which overlap, and the one-to-one pairs with the greatest total."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from cxrloc.localization import matching
from cxrloc.localization.boxes import FloatArray, box_iou_matrix
from cxrloc.localization.matching import meetings, one_to_one, overlapping

Keyed = tuple[matching.IndexArray, FloatArray]


def _keyed(rng: np.random.Generator, most: int) -> Keyed:
    """Up to so many boxes on three images, on a coarse grid: equal boxes and ties are frequent."""
    count = int(rng.integers(0, most))
    corner, size = rng.integers(0, 6, (count, 2)), rng.integers(1, 5, (count, 2))
    return rng.integers(0, 3, count), np.hstack([corner, corner + size]).astype(float)


@pytest.mark.parametrize("at_once", [1, 7, 1_000_000])
def test_overlapping_pairs_are_those_of_all_pairs_of_one_key_however_many_at_once(
    at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(matching, "_PAIRS_AT_ONCE", at_once)
    for seed in range(20):
        rng = np.random.default_rng(seed)
        (key, boxes), (other_key, others) = _keyed(rng, 15), _keyed(rng, 10)

        found = overlapping(key, boxes, other_key, others)

        table = box_iou_matrix(boxes, others) * (key[:, None] == other_key)
        first, second = meetings(key, other_key)
        expected = [
            (i, j) for i, j in zip(first.tolist(), second.tolist(), strict=True) if table[i, j] > 0
        ]
        assert list(zip(found.first.tolist(), found.second.tolist(), strict=True)) == expected
        np.testing.assert_array_equal(found.iou, [table[pair] for pair in expected])


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_the_chosen_pairs_have_the_greatest_total_and_share_no_box(seed: int) -> None:
    rng = np.random.default_rng(seed)
    (key, boxes), (other_key, others) = _keyed(rng, 12), _keyed(rng, 12)
    pairs = overlapping(key, boxes, other_key, others)

    chosen = one_to_one(pairs.first, pairs.second, pairs.iou, boxes)

    assert len(set(pairs.first[chosen].tolist())) == len(chosen)
    assert len(set(pairs.second[chosen].tolist())) == len(chosen)
    table = box_iou_matrix(boxes, others) * (key[:, None] == other_key)
    best = table[linear_sum_assignment(table, maximize=True)].sum()
    assert pairs.iou[chosen].sum() == pytest.approx(best, abs=1e-12)


def test_a_pair_that_is_better_by_itself_gives_way_to_the_greater_total() -> None:
    """The first box fits both; the second fits only the one that the first fits best."""
    first, second = np.array([0, 0, 1]), np.array([0, 1, 0])
    chosen = one_to_one(first, second, np.array([0.9, 0.6, 0.5]), np.array([[0.0], [1.0]]))

    assert chosen.tolist() == [1, 2]  # .6 + .5, not .9 alone


def test_equal_totals_are_decided_by_the_boxes_and_not_by_their_order() -> None:
    """Both ways have a total of .7, with different IoUs."""
    weight, tie_break = np.array([0.5, 0.3, 0.4, 0.2]), np.array([[3.0], [1.0]])
    first, second = np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1])

    forward = one_to_one(first, second, weight, tie_break)
    backward = one_to_one(1 - first[::-1], second[::-1], weight[::-1], tie_break[::-1])

    assert sorted(weight[forward]) == sorted(weight[::-1][backward])


def test_thousands_of_boxes_on_one_image_are_paired_within_seconds() -> None:
    rng = np.random.default_rng(0)
    corner = rng.uniform(0, 1000, (2000, 2))
    boxes = np.hstack([corner, corner + 30])
    key = np.zeros(len(boxes), dtype=np.intp)

    pairs = overlapping(key, boxes, key, boxes[::-1])
    chosen = one_to_one(pairs.first, pairs.second, pairs.iou, boxes)

    assert pairs.iou[chosen].sum() == pytest.approx(len(boxes))  # each finds itself
