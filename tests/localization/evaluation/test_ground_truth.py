"""The ground truth: its boxes and patients, what is said of them, and the status of every image."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from builders import coco_ground_truth
from cxrloc.localization.evaluation.ground_truth import (
    ABSENT,
    BOXED,
    UNBOXED,
    ground_truth_from_coco,
)

COCO: dict[str, Any] = {
    "categories": [{"id": 2, "name": "Nodule"}, {"id": 1, "name": "Mass"}],
    "images": [
        {
            "id": 7,
            "file_name": "b.png",
            "width": 20,
            "height": 10,
            "patient_id": "p1",
            "not_exhaustive_category_ids": [2],
            "labels": ["Mass", "Nodule"],
            "view": "AP",
            "sex": "F",
            "age_years": 61.0,
            "fold": 3,
        },
        {
            "id": 8,
            "file_name": "a.png",
            "width": 20,
            "height": 10,
            "patient_id": "p2",
            "labels": ["Hernia"],
            "age_years": None,
            "fold": 0,
        },
        {
            "id": 9,
            "file_name": "c.png",
            "width": 20,
            "height": 10,
            "patient_id": "p3",
            "labels": [],
            "fold": 1,
        },
    ],
    "annotations": [
        {"id": 1, "image_id": 7, "category_id": 1, "bbox": [1, 1, 5, 5], "iscrowd": 0},
        {"id": 2, "image_id": 9, "category_id": 1, "bbox": [1, 1, 5, 5], "iscrowd": 1},
    ],
}


def test_each_image_and_disease_is_boxed_unboxed_or_absent_in_the_order_of_names_and_ids() -> None:
    table = ground_truth_from_coco(COCO).images

    assert table.image_ids == ("a.png", "b.png", "c.png")
    assert table.diseases == ("Mass", "Nodule")
    assert table.status.tolist() == [[ABSENT, ABSENT], [BOXED, UNBOXED], [ABSENT, ABSENT]]
    assert table.boxed.tolist() == [False, True, False]
    assert table.folds == (0, 3, 1)
    assert table.numbers == (8, 7, 9)
    assert (table.views[1], table.sexes[1], table.ages_years[1]) == ("AP", "F", 61.0)
    assert math.isnan(table.ages_years[0])


def test_a_image_with_a_finding_that_nobody_boxes_is_not_without_finding() -> None:
    assert ground_truth_from_coco(COCO).images.without_finding.tolist() == [False, False, True]


def test_a_foreign_file_without_labels_counts_its_own_diseases_and_has_no_folds() -> None:
    bare = ("id", "file_name", "width", "height")
    images = [{k: i[k] for k in bare} for i in COCO["images"]]

    table = ground_truth_from_coco({**COCO, "images": images}).images

    assert table.without_finding.tolist() == [True, False, True]
    assert table.labels == (None, None, None)
    assert table.folds is None
    assert table.patient_ids == table.image_ids


def test_each_box_knows_the_row_column_and_frame_of_its_image() -> None:
    coco = coco_ground_truth(
        ("Hernia", "Mass", "Nodule"),
        [("c", "Nodule", (1, 2, 3, 4)), ("a", "Mass", (5, 6, 7, 8)), ("c", "Mass", (0, 0, 9, 9))],
        images=["b"],
    )
    coco["images"][0] |= {"width": 30, "height": 20}  # that of c

    truth = ground_truth_from_coco(coco)

    assert list(zip(truth.image_ids, truth.diseases, strict=True)) == [
        ("a", "Mass"),
        ("c", "Mass"),
        ("c", "Nodule"),
    ]
    np.testing.assert_array_equal(truth.boxes_xyxy, [[5, 6, 12, 14], [0, 0, 9, 9], [1, 2, 4, 6]])
    assert truth.disease_names == ("Mass", "Nodule")  # nobody has a box of a hernia
    assert truth.disease_index.tolist() == [0, 0, 1]
    assert truth.column_of_box.tolist() == [1, 1, 2]
    assert truth.image_of_box.tolist() == [0, 2, 2]
    assert truth.sizes_hw.tolist() == [[64, 64], [20, 30], [20, 30]]
    assert truth.boxes_per_disease == {"Mass": 2, "Nodule": 1}


def _four_boxes(**image_keys: Any) -> dict[str, Any]:
    """Two boxes of each of two diseases, on four images."""
    boxes = [(f"{i}_0", "Mass" if i < 3 else "Nodule", (0, 0, 10, 10)) for i in (1, 2, 3, 4)]
    coco = coco_ground_truth(("Mass", "Nodule"), boxes)
    return {**coco, "images": [image | image_keys for image in coco["images"]]}


def test_images_without_patients_are_their_own_clusters_and_it_is_said() -> None:
    truth = ground_truth_from_coco(_four_boxes(patient_id=""))

    assert truth.patient_ids == truth.image_ids
    assert truth.notes[0].startswith("4 of 4 images have no patient id")


def test_a_patient_is_one_cluster_however_images_and_lists_write_the_number() -> None:
    patients = {"a.png": 13, "b.png": "00000013", "c.png": 13.0, "00000013_004_png.rf.1a.jpg": None}
    boxes = [(name, "Mass", (1, 1, 2, 2)) for name in patients]
    truth = ground_truth_from_coco(coco_ground_truth(["Mass"], boxes, patient_of=patients.get))
    assert set(truth.patient_ids) == {"13"}
    assert truth.bootstrap(resamples=10, seed=0).counts.shape == (10, 1)
    assert truth.notes == ()  # NIH's name tells the patient


def test_an_nih_image_of_another_patient_is_refused() -> None:
    boxes = [("00000013_004.png", "Mass", (1, 1, 2, 2))]
    with pytest.raises(ValueError, match=r"ground truth, row 1: image 00000013_004.png has .*'14'"):
        ground_truth_from_coco(coco_ground_truth(["Mass"], boxes, patient_of=lambda _: 14))


def test_crowds_and_diseases_without_a_box_are_left_out_and_it_is_said() -> None:
    coco = _four_boxes()
    del coco["annotations"][3]
    coco["annotations"][2]["iscrowd"] = 1

    truth = ground_truth_from_coco(coco)

    assert (len(truth), truth.disease_names) == (2, ("Mass",))
    assert "crowd annotations, not scored: 1" in truth.notes
    assert "no ground-truth box, so not scored: Nodule" in truth.notes


def test_boxes_that_are_not_on_disk_are_said() -> None:
    coco = _four_boxes() | {"info": {"not_on_disk": {"images": 189, "boxes": 210}}}

    notes = ground_truth_from_coco(coco).notes

    assert notes == ("not on disk, so not scored: 189 boxed images with 210 boxes",)


def test_a_ground_truth_without_boxes_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"^truth\.json has no box to score"):
        ground_truth_from_coco(coco_ground_truth(("Mass",), [], images=["a"]), "truth.json")


def test_patient_number_0_is_a_patient() -> None:
    truth = ground_truth_from_coco(_four_boxes(patient_id=0))

    assert set(truth.patient_ids) == {"0"}
    assert truth.notes == ()
