"""The best set of constant boxes: against all sets of the boxes at hand, and with one box."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from cxrloc.localization.boxes import FloatArray, box_iou_matrix
from cxrloc.localization.evaluation.typical_boxes.constant_set import MOST_BOXES, best_constant_set
from cxrloc.localization.evaluation.typical_boxes.typical_boxes import GROUPS, TypicalBoxes


def matched_mean(places: FloatArray, images: list[FloatArray]) -> float:
    """Mean over the images of the total matched IoU, image by image."""
    totals = []
    for boxes in images:
        table = box_iou_matrix(places, boxes)
        totals.append(table[linear_sum_assignment(table, maximize=True)].sum())
    return float(np.mean(totals))


def lungs(rng: np.random.Generator, images: int, number: int) -> list[FloatArray]:
    """So many boxes an image, left and right in turn."""
    found = []
    for _ in range(images):
        middle = np.array([[0.3 + 0.4 * (k % 2), 0.3 + 0.2 * (k // 2)] for k in range(number)])
        corner = middle + rng.normal(0, 0.05, (number, 2)) - 0.1
        found.append(np.hstack([corner, corner + rng.uniform(0.1, 0.3, (number, 2))]))
    return found


@pytest.mark.parametrize("number", [2, 3])
@pytest.mark.parametrize("images", [3, 6, 12])
def test_no_set_of_the_boxes_at_hand_is_better(images: int, number: int) -> None:
    for seed in range(3):
        given = lungs(np.random.default_rng(seed), images, number)
        boxes = np.concatenate(given)
        rivals = [boxes[list(chosen)] for chosen in combinations(range(len(boxes)), number)]
        rivals = rivals[:: max(1, len(rivals) // 300)] + given
        best = best_constant_set(given, number)
        highest = max(matched_mean(rival, given) for rival in rivals)
        assert best.shape == (number, 4)
        assert matched_mean(best, given) >= highest - 1e-9


def test_each_box_of_the_set_is_at_its_own_place() -> None:
    left, right = [0.1, 0.2, 0.3, 0.6], [0.6, 0.2, 0.8, 0.6]
    given = [np.array([right, left])] * 12

    best = best_constant_set(given, 2)

    np.testing.assert_allclose(best[np.argsort(best[:, 0])], [left, right], atol=1 / 1024)
    np.testing.assert_allclose(sorted(best_constant_set(given[:1], 2)[:, 0]), [0.1, 0.6])


def test_few_images_of_so_many_boxes_let_all_images_count() -> None:
    """Nobody has three boxes: the third place is one that single boxes show."""
    below = [0.3, 0.7, 0.5, 0.9]
    left, right = [0.1, 0.2, 0.3, 0.6], [0.6, 0.2, 0.8, 0.6]
    given = [np.array([left, right])] * 8 + [np.array([below])] * 8

    best = best_constant_set(given, 3)

    np.testing.assert_allclose(best[np.lexsort(best.T)], np.array([left, right, below]), atol=2e-3)


def test_the_order_of_images_and_boxes_changes_nothing() -> None:
    given = lungs(np.random.default_rng(7), 14, 2)
    turned = [boxes[::-1] for boxes in given[::-1]]

    assert best_constant_set(given, 2).tolist() == best_constant_set(turned, 2).tolist()


def test_hundreds_of_boxes_are_chosen_one_by_one() -> None:
    rng = np.random.default_rng(0)
    given = [lungs(rng, 1, 300)[0] for _ in range(3)]

    best = best_constant_set(given, 300)

    assert MOST_BOXES < len(best) <= 300


def typical(own: list[float]) -> TypicalBoxes:
    """24 patients with two boxes each; the first box of patient 3 is `own`."""
    rng = np.random.default_rng(1)
    rows = np.concatenate(lungs(rng, 24, 2))
    rows[6] = own
    image = np.repeat(np.arange(24), 2)
    sizes = rows[:, 2:] - rows[:, :2]
    return TypicalBoxes(np.hstack([rows, sizes]), image, image, tuple(map(str, range(24))))


def test_a_set_is_made_without_the_patient_that_it_answers_for() -> None:
    first, second = typical([0.0, 0.0, 0.9, 0.9]), typical([0.4, 0.4, 0.6, 0.6])

    for kind in (TypicalBoxes.constant_set, TypicalBoxes.median_set):
        assert kind(first, 3, 2).tolist() == kind(second, 3, 2).tolist()
        assert kind(first, 4, 2).shape == (2, 4)
    assert (
        first.constant_set(3, 2).tolist() == first.constant_set(3 + GROUPS, 2).tolist()
    )  # of one group


def test_one_box_is_the_constant_box_and_the_median_without_that_patient_alone() -> None:
    boxes = typical([0.1, 0.1, 0.4, 0.4])

    for i in (0, 3, 24):
        assert boxes.constant_set(i, 1).tolist() == boxes.constants[i : i + 1].tolist()
        assert boxes.median_set(i, 1).tolist() == boxes.medians[i : i + 1, :4].tolist()


def test_medians_of_two_parts_lie_left_and_right() -> None:
    left, right = typical([0.2, 0.2, 0.4, 0.4]).median_set(24, 2)

    assert left[0] < 0.35
    assert right[0] > 0.45
