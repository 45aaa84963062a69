"""Twins: which localizers differ in nothing that a reader could see."""

from __future__ import annotations

import pytest

from builders import coco_ground_truth, evaluated
from cxrloc.localization.evaluation.contest import pair_of, shared_boxes, standing, twins
from cxrloc.localization.evaluation.detections import place
from cxrloc.localization.evaluation.evaluated import Evaluated
from cxrloc.localization.localizer import Localization

PATIENTS = 20
UNBOXED = tuple(f"clear{i}.png" for i in range(PATIENTS))


def _boxes(shift: float, unboxed_shift: float | None = None) -> list[Localization]:
    """A box of 20 x 20 pixels on every image, moved right by so many pixels."""
    names = [*((f"{i}.png", shift) for i in range(PATIENTS))]
    if unboxed_shift is not None:
        names += [(name, unboxed_shift) for name in UNBOXED]
    return [Localization(name, "Mass", (8 + x, 8, 28 + x, 28), 0.5) for name, x in names]


def _evaluated(**boxes: list[Localization]) -> Evaluated:
    squares = [(f"{i}.png", "Mass", (8, 8, 20, 20)) for i in range(PATIENTS)]
    return evaluated(coco_ground_truth(("Mass",), squares, images=UNBOXED), boxes)


def test_boxes_that_look_alike_and_score_alike_are_twins_and_the_first_leads() -> None:
    compared = _evaluated(a=_boxes(10), b=_boxes(0), c=_boxes(0.05))

    assert twins(compared) == {"a": (), "b": ("c",)}
    assert standing(compared) == ("b", "a")


def test_equally_bad_in_different_places_are_no_twins() -> None:
    compared = _evaluated(left=_boxes(30), right=_boxes(-30))

    assert pair_of(compared.comparison, "left", "right").estimates.macro.value == 0
    assert twins(compared) == {"left": (), "right": ()}


def test_the_same_but_for_a_difference_that_counts_are_no_twins() -> None:
    # IoU of the two boxes is .905: alike to the eye, but one is better by .095
    compared = _evaluated(a=_boxes(0), b=_boxes(1))

    detections = compared.inputs.predictions
    assert shared_boxes(detections["a"], detections["b"]) == 1
    assert twins(compared) == {"a": (), "b": ()}


def test_boxes_on_images_without_ground_truth_count_too() -> None:
    compared = _evaluated(a=_boxes(0, 0), b=_boxes(0, 20), c=_boxes(0))

    assert twins(compared) == {"a": (), "b": (), "c": ()}


@pytest.mark.parametrize(
    ("first", "second", "share"),
    [([], [], 1), (_boxes(0), [], 0), (_boxes(0), _boxes(0)[:5], 0.25)],
)
def test_a_box_that_only_one_has_is_not_shared(
    first: list[Localization], second: list[Localization], share: float
) -> None:
    truth = _evaluated().truth

    assert shared_boxes(place(truth, first), place(truth, second)) == share


def test_a_pair_can_be_asked_for_in_either_order() -> None:
    comparison = _evaluated(a=_boxes(0), b=_boxes(10)).comparison

    forwards, backwards = (pair_of(comparison, *names) for names in (("a", "b"), ("b", "a")))

    assert backwards.estimates.macro.value == -forwards.estimates.macro.value
    assert backwards.estimates.macro.low == -forwards.estimates.macro.high
    assert list(backwards.sure_diseases(comparison)) == ["Mass"]
