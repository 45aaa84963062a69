"""Rules on a heat map with several boxes: as many regions are matched with them one to one."""

from __future__ import annotations

import numpy as np

from cxrloc.localization.analyses.ladder.rule_scores import SIZE_RULES, THRESHOLDS, level_scores

LEFT, RIGHT = [0.0, 0.0, 20.0, 20.0], [40.0, 40.0, 60.0, 60.0]


def _heat(
    spots: list[tuple[list[float], float]],
) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    heat = np.zeros((64, 64), np.float32)
    for (x1, y1, x2, y2), value in spots:
        heat[int(y1) : int(y2), int(x1) : int(x2)] = value
    return heat


def test_two_boxes_are_answered_by_the_two_regions_that_each_rule_prefers() -> None:
    heat = _heat([(LEFT, 1.0), (RIGHT, 0.9), ([30.0, 0.0, 34.0, 4.0], 0.8)])

    iou, best = level_scores(heat, np.array([LEFT, RIGHT]), [(20.0, 20.0)])

    low = THRESHOLDS.index(100.0)
    np.testing.assert_array_equal(iou[:, 0, :, low], np.ones((2, len(SIZE_RULES))))
    np.testing.assert_array_equal(iou[:, 0, :, THRESHOLDS.index(240.0)], [[1] * 3, [0] * 3])
    np.testing.assert_array_equal(best, [1, 1])


def test_one_box_is_answered_by_one_region() -> None:
    heat = _heat([(LEFT, 1.0), (RIGHT, 0.9)])

    iou, _ = level_scores(heat, np.array([RIGHT]), [None])

    hottest = iou[0, 0, SIZE_RULES.index("hottest")]
    assert hottest[THRESHOLDS.index(100.0)] == 0  # the left one is hotter
