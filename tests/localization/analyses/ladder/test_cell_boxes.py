"""The best box of whole cells, against every box of whole cells."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxrloc.localization.analyses.ladder.cell_boxes import best_cell_iou, cell_lines
from cxrloc.localization.boxes import box_iou_matrix
from cxrloc.localization.cam.boxes import CamBoxRule, boxes_from_map, map_to_frame


def every_cell_box(size_hw: tuple[int, int], grid_hw: tuple[int, int], aligned: bool) -> np.ndarray:
    side = max(size_hw)
    ys = cell_lines(grid_hw[0], side, size_hw[0], aligned=aligned)
    xs = cell_lines(grid_hw[1], side, size_hw[1], aligned=aligned)
    return np.array([(l, t, r, b) for l, r in combinations(xs, 2) for t, b in combinations(ys, 2)])  # noqa: E741


@settings(max_examples=300, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([(64, 64), (64, 48), (40, 64)]),
    st.sampled_from([(2, 2), (7, 7), (5, 8), (1, 1)]),
    st.booleans(),
)
def test_sixteen_boxes_hold_the_best_of_all(
    seed: int, size_hw: tuple[int, int], grid_hw: tuple[int, int], aligned: bool
) -> None:
    rng = np.random.default_rng(seed)
    x1, x2 = np.sort(rng.uniform(0, size_hw[1], 2))
    y1, y2 = np.sort(rng.uniform(0, size_hw[0], 2))
    box = np.array([x1, y1, x2, y2])
    if seed % 3 == 0:  # on whole pixels, where sides meet lines
        box = np.round(box) + np.array([0, 0, 1, 1])
    every = box_iou_matrix([box], every_cell_box(size_hw, grid_hw, aligned))
    best = best_cell_iou(box, size_hw, grid_hw, aligned=aligned)
    assert best == pytest.approx(every.max(), abs=1e-12)


def test_hand_computed_limits() -> None:
    frame, grid = (64, 64), (4, 4)  # cells of 16 px
    on_the_grid = np.array([16.0, 0.0, 48.0, 64.0])
    assert best_cell_iou(on_the_grid, frame, grid, aligned=False) == 1
    within_one_cell = np.array([20.0, 20.0, 24.0, 28.0])
    assert best_cell_iou(within_one_cell, frame, grid, aligned=False) == 4 * 8 / 256
    over_a_line = np.array([12.0, 0.0, 32.0, 16.0])  # 20 wide: 16 of it beats 32
    assert best_cell_iou(over_a_line, frame, grid, aligned=False) == 16 / 20


def test_lines_lie_where_the_map_is_laid() -> None:
    assert cell_lines(4, 64, 64, aligned=False).tolist() == [0, 16, 32, 48, 64]
    assert cell_lines(4, 64, 40, aligned=False).tolist() == [0, 16, 32, 40]
    # 15.5 of 32 px of a cell's input are 8 of its 16 px here; the last cell goes on to the border
    assert cell_lines(4, 64, 64, aligned=True).tolist() == [0, 8, 24, 40, 64]


@pytest.mark.parametrize("aligned", [False, True])
def test_a_hot_cell_is_centred_between_its_lines(aligned: bool) -> None:
    cells = np.zeros((8, 8), np.float32)
    cells[3, 5] = 1
    heat = map_to_frame(cells, (256, 256), aligned=aligned)
    ((box, _),) = boxes_from_map(heat, CamBoxRule((127.0,)))
    lines = cell_lines(8, 256, 256, aligned=aligned)
    middle = ((lines[5] + lines[6]) / 2, (lines[3] + lines[4]) / 2)
    assert ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2) == pytest.approx(middle, abs=1)
