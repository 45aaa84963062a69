"""The gate on the images of a ground truth: what it knows, and what it says of every box."""

from __future__ import annotations

import numpy as np
import pytest

from builders import coco_ground_truth
from cxrloc.classification.inference.gate_table import GateRow
from cxrloc.localization.evaluation.gate_decisions import GateDecisions, gate_decisions
from cxrloc.localization.evaluation.ground_truth import ground_truth_from_coco

TRUTH = ground_truth_from_coco(
    coco_ground_truth(
        ("Mass", "Nodule"),
        [
            ("b", "Nodule", (1, 1, 5, 5)),
            ("b", "Mass", (1, 1, 5, 5)),
            ("a", "Mass", (1, 1, 5, 5)),
            ("b", "Nodule", (9, 9, 5, 5)),
        ],
        images=["c"],
    )
)


def _decisions(*rows: tuple[str, str, float]) -> GateDecisions:
    """Present is what has a probability over one half."""
    return gate_decisions(
        TRUTH.images,
        (GateRow(i, "", d, probability, 0.5, probability > 0.5) for i, d, probability in rows),
    )


def test_decisions_stand_in_the_order_of_the_images_and_diseases() -> None:
    gate = _decisions(("c", "Nodule", 0.9), ("a", "Nodule", 0.25), ("a", "Mass", 0.75))

    assert gate.present.tolist() == [[True, False], [False, False], [False, True]]
    assert gate.known.tolist() == [[True, True], [False, False], [False, True]]
    assert gate.probability.tolist() == [[0.75, 0.25], [0, 0], [0, 0.9]]
    assert gate.complete.tolist() == [True, False, False]


def test_rows_of_other_images_and_diseases_are_left_out() -> None:
    gate = _decisions(("of another fold", "Mass", 0.9), ("a", "Hernia", 0.9), ("b", "Mass", 0.9))

    assert np.argwhere(gate.known).tolist() == [[1, 0]]
    assert np.argwhere(gate.present).tolist() == [[1, 0]]


def test_every_box_has_the_decision_of_its_image_and_disease() -> None:
    gate = _decisions(("a", "Mass", 0.1), ("b", "Mass", 0.2), ("b", "Nodule", 0.8))

    assert list(zip(TRUTH.image_ids, TRUTH.diseases, strict=True)) == [
        ("a", "Mass"),
        ("b", "Mass"),
        ("b", "Nodule"),
        ("b", "Nodule"),
    ]
    assert gate.on_boxes(TRUTH).tolist() == [False, False, True, True]


def test_the_first_box_without_a_decision_is_named_with_how_many_more() -> None:
    with pytest.raises(ValueError, match=r"no decision for Nodule on b \(and 1 more of 4 ground-"):
        _decisions(("a", "Mass", 0.1), ("b", "Mass", 0.2)).on_boxes(TRUTH)


def test_images_without_a_box_need_no_decision() -> None:
    gate = _decisions(("a", "Mass", 0.1), ("b", "Mass", 0.2), ("b", "Nodule", 0.8))

    assert not gate.known[TRUTH.images.row_of["c"]].any()
    assert len(gate.on_boxes(TRUTH)) == 4


def test_a_gate_table_may_write_an_image_in_another_form() -> None:
    gate = _decisions(("images/a.JPG", "Mass", 0.9), ("b", "Mass", 0.2))
    assert np.argwhere(gate.known).tolist() == [[0, 0], [1, 0]]
