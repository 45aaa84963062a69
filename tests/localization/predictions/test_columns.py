"""Boxes as columns: the same as the list of boxes, in its order."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from builders import coco_ground_truth
from cxrloc.localization.localizer import Localization
from cxrloc.localization.predictions.columns import BoxColumns
from cxrloc.localization.predictions.results_file import (
    read_boxes,
    read_predictions,
    write_predictions,
)

COCO = coco_ground_truth(("Mass", "Nodule"), [], images=["a.png", "b.png"])
BOXES = [
    Localization("b.png", "Nodule", (1.5, 2.0, 3.0, 40.0), 0.25),
    Localization("a.png", "Mass", (0.0, 0.0, 64.0, 64.0), -3.0),
    Localization("b.png", "Nodule", (1.5, 2.0, 3.0, 40.0), 0.75),
]


def test_columns_hold_the_boxes_of_a_list_in_its_order() -> None:
    columns = BoxColumns.of(BOXES)

    assert list(columns.image_ids) == ["b.png", "a.png", "b.png"]
    assert list(columns.diseases) == ["Nodule", "Mass", "Nodule"]
    assert columns.boxes_xyxy.tolist() == [list(box.box_xyxy) for box in BOXES]
    assert columns.scores.tolist() == [0.25, -3.0, 0.75]
    assert len(columns) == 3
    assert BoxColumns.of([]).boxes_xyxy.shape == (0, 4)


@pytest.mark.parametrize("boxes", [np.zeros((1, 4)), np.zeros((2, 3)), np.zeros(2)])
def test_columns_of_other_lengths_or_boxes_of_other_shapes_are_refused(boxes: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"expected columns of one length and boxes \(M, 4\)"):
        BoxColumns(["a.png", "b.png"], ["Mass", "Mass"], boxes, np.zeros(2))


def test_a_file_read_as_columns_holds_the_same_boxes(tmp_path: Path) -> None:
    write_predictions(tmp_path / "p.json", BOXES, COCO)

    read, expected = read_boxes(tmp_path / "p.json", COCO), BoxColumns.of(BOXES)

    assert read_predictions(tmp_path / "p.json", COCO) == BOXES
    assert (read.image_ids, read.diseases) == (expected.image_ids, expected.diseases)
    np.testing.assert_array_equal(read.boxes_xyxy, expected.boxes_xyxy)
    np.testing.assert_array_equal(read.scores, expected.scores)


def test_columns_keep_together_when_a_box_is_left_out(tmp_path: Path) -> None:
    entries = [
        {"image_id": 0, "category_id": 1, "bbox": [70, 0, 5, 5], "score": 0.9},  # outside
        {"image_id": 1, "category_id": 2, "bbox": [60, 0, 9, 5], "score": 0.1},
    ]
    (tmp_path / "p.json").write_text(json.dumps(entries))

    with pytest.warns(UserWarning, match="of 2 boxes, 1 were clipped .* and 1 left out"):
        read = read_boxes(tmp_path / "p.json", COCO)

    assert (list(read.image_ids), list(read.diseases)) == (["b.png"], ["Nodule"])
    assert (read.boxes_xyxy.tolist(), read.scores.tolist()) == ([[60, 0, 64, 5]], [0.1])
