"""COCO AP on cases that can be computed by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cxrloc.datasets.coco import to_coco
from cxrloc.datasets.radiograph import Box, Radiograph
from cxrloc.localization.coco_ap import ap_markdown, coco_ap, scaled_coco
from cxrloc.localization.predictions import encode_mask

DISEASES = ("Effusion", "Mass", "Nodule")


def _truth() -> dict[str, Any]:
    films = [
        ("a", (Box("Mass", (100, 100, 300, 300)),), {"Mass": 1.0}),
        ("b", (Box("Mass", (0, 0, 100, 100)), Box("Effusion", (0, 500, 200, 700))), {}),
        ("c", (), {"Effusion": 1.0}),  # labelled, not boxed
    ]
    return to_coco([Radiograph(n, None, n, "", lab, box) for n, box, lab in films], DISEASES)


def _found(image: int, category: int, xywh: list[float], score: float) -> dict[str, Any]:
    return {"image_id": image, "category_id": category, "bbox": xywh, "score": score}


PERFECT = [
    _found(1, 2, [100, 100, 200, 200], 0.9),
    _found(2, 2, [0, 0, 100, 100], 0.8),
    _found(2, 1, [0, 500, 200, 200], 0.7),
]


def test_perfect_boxes_have_ap_one_and_a_disease_without_truth_is_undefined() -> None:
    table = coco_ap(_truth(), PERFECT)
    assert table.per_disease["Mass"] == {"ap_10_70": 1.0, "ap_50_95": 1.0}
    assert table.per_disease["Nodule"] == {"ap_10_70": None, "ap_50_95": None}
    assert table.undefined == ("Nodule",)
    assert table.mean == pytest.approx({"ap_10_70": 1.0, "ap_50_95": 1.0})


def test_a_box_of_iou_one_half_counts_up_to_its_own_threshold() -> None:
    # 200 x 100 in 200 x 200: IoU .5, so right at .1 .2 .3 .4 .5 of seven and at .5 alone of ten
    half = [_found(2, 1, [0, 500, 200, 100], 0.7)]
    table = coco_ap(_truth(), half)
    assert table.per_disease["Effusion"]["ap_10_70"] == pytest.approx(5 / 7)
    assert table.per_disease["Effusion"]["ap_50_95"] == pytest.approx(1 / 10)


def test_one_of_two_boxes_has_the_precision_of_51_of_101_recalls() -> None:
    table = coco_ap(_truth(), PERFECT[:1])
    assert table.per_disease["Mass"]["ap_10_70"] == pytest.approx(51 / 101)


def test_a_stronger_wrong_box_halves_the_precision() -> None:
    wrong = _found(1, 1, [500, 500, 50, 50], 0.95)
    table = coco_ap(_truth(), [*PERFECT, wrong])
    assert table.per_disease["Effusion"]["ap_10_70"] == pytest.approx(0.5)


def test_a_label_without_a_box_is_not_judged() -> None:
    unjudged = _found(3, 1, [500, 500, 50, 50], 0.95)
    table = coco_ap(_truth(), [*PERFECT, unjudged])
    assert table.per_disease["Effusion"]["ap_10_70"] == pytest.approx(1.0)


def test_no_prediction_is_zero_and_not_undefined() -> None:
    table = coco_ap(_truth(), [])
    assert table.mean == {"ap_10_70": 0.0, "ap_50_95": 0.0}


def test_no_ground_truth_at_all_is_undefined_everywhere() -> None:
    empty = {**_truth(), "annotations": []}
    assert coco_ap(empty, PERFECT).mean == {"ap_10_70": None, "ap_50_95": None}


def test_mask_ap_is_computed_in_the_small_frame() -> None:
    small = scaled_coco(_truth(), [1, 2], 256)
    assert [image["height"] for image in small["images"]] == [256, 256]
    assert small["annotations"][0]["bbox"] == [25, 25, 50, 50]
    mask = np.zeros((256, 256), bool)
    mask[25:75, 25:75] = True
    found = [
        {
            "image_id": 1,
            "category_id": 2,
            "score": 0.5,
            "segmentation": encode_mask(mask, (256, 256)),
        }
    ]
    table = coco_ap(small, found, "segm")
    assert table.per_disease["Mass"]["ap_50_95"] == pytest.approx(51 / 101)


def test_the_page_names_what_is_undefined_and_the_use() -> None:
    page = ap_markdown([coco_ap(_truth(), PERFECT)])
    assert "| Mass | 1.000 | 1.000 |" in page
    assert "| Nodule | undefined | undefined |" in page
    assert "Without ground truth, not in the mean: Nodule." in page
    assert "never a diagnosis" in page
