"""The images of a ground truth: boxed, labelled without a box, absent; and what strata need."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from cxrloc.localization.evaluation.image_table import ABSENT, BOXED, UNBOXED, image_table

COCO: dict[str, Any] = {
    "categories": [{"id": 2, "name": "Nodule"}, {"id": 1, "name": "Mass"}],
    "images": [
        {"id": 7, "file_name": "b.png", "width": 20, "height": 10, "patient_id": "p1",
         "not_exhaustive_category_ids": [2], "labels": ["Mass", "Nodule"], "view": "AP",
         "sex": "F", "age_years": 61.0, "fold": 3},
        {"id": 8, "file_name": "a.png", "width": 20, "height": 10, "patient_id": "p2",
         "labels": ["Hernia"], "age_years": None, "fold": 0},
        {"id": 9, "file_name": "c.png", "width": 20, "height": 10, "patient_id": "p3",
         "labels": [], "fold": 1},
    ],
    "annotations": [
        {"id": 1, "image_id": 7, "category_id": 1, "bbox": [1, 1, 5, 5], "iscrowd": 0},
        {"id": 2, "image_id": 9, "category_id": 1, "bbox": [1, 1, 5, 5], "iscrowd": 1},
    ],
}  # fmt: skip


def test_each_image_and_disease_is_boxed_unboxed_or_absent_in_the_order_of_names_and_ids() -> None:
    table = image_table(COCO)

    assert table.image_ids == ("a.png", "b.png", "c.png")
    assert table.diseases == ("Mass", "Nodule")
    assert table.status.tolist() == [[ABSENT, ABSENT], [BOXED, UNBOXED], [ABSENT, ABSENT]]
    assert table.folds == (0, 3, 1)
    assert (table.views[1], table.sexes[1], table.ages_years[1]) == ("AP", "F", 61.0)
    assert math.isnan(table.ages_years[0])


def test_a_image_with_a_finding_that_nobody_boxes_is_not_without_finding() -> None:
    assert image_table(COCO).without_finding.tolist() == [False, False, True]


def test_a_foreign_file_without_labels_counts_its_own_diseases_and_has_no_folds() -> None:
    bare = ("id", "file_name", "width", "height")
    images = [{k: i[k] for k in bare} for i in COCO["images"]]

    table = image_table({**COCO, "images": images})

    assert table.without_finding.tolist() == [True, False, True]
    assert table.labels == (None, None, None)
    assert table.folds is None
    assert table.patient_ids == table.image_ids


def test_selecting_images_keeps_their_columns_together() -> None:
    chosen = image_table(COCO).select(np.array([False, True, True]))

    assert chosen.image_ids == ("b.png", "c.png")
    assert chosen.status.tolist() == [[BOXED, UNBOXED], [ABSENT, ABSENT]]
    assert chosen.folds == (3, 1)
