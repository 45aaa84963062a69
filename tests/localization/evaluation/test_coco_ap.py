"""COCO AP on cases that can be computed by hand."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from cxrloc.datasets.prepared.coco import to_coco
from cxrloc.datasets.radiograph import Box, Radiograph
from cxrloc.localization.evaluation.coco_ap import ap_markdown, coco_ap, scaled_coco
from cxrloc.localization.predictions.masks import encode_mask

DISEASES = ("Effusion", "Mass", "Nodule")


def _truth() -> dict[str, Any]:
    images = [
        ("a", (Box("Mass", (100, 100, 300, 300)),), {"Mass": 1.0}),
        ("b", (Box("Mass", (0, 0, 100, 100)), Box("Effusion", (0, 500, 200, 700))), {}),
        ("c", (), {"Effusion": 1.0}),  # labelled, not boxed
    ]
    return to_coco([Radiograph(n, None, n, "", lab, box) for n, box, lab in images], DISEASES)


def _found(image: int, category: int, xywh: list[float], score: float) -> dict[str, Any]:
    return {"image_id": image, "category_id": category, "bbox": xywh, "score": score}


PERFECT = [
    _found(1, 2, [100, 100, 200, 200], 0.9),
    _found(2, 2, [0, 0, 100, 100], 0.8),
    _found(2, 1, [0, 500, 200, 200], 0.7),
]


def test_perfect_boxes_have_ap_one_and_a_disease_without_truth_is_undefined() -> None:
    table = coco_ap(_truth(), PERFECT)
    assert table.per_disease["Mass"] == {"ap_10_70": 1.0, "ap_50": 1.0, "ap_50_95": 1.0}
    assert table.per_disease["Nodule"] == {"ap_10_70": None, "ap_50": None, "ap_50_95": None}
    assert table.undefined == ("Nodule",)
    assert table.mean == pytest.approx({"ap_10_70": 1.0, "ap_50": 1.0, "ap_50_95": 1.0})


def test_a_box_of_iou_one_half_counts_up_to_its_own_threshold() -> None:
    # 200 x 100 in 200 x 200: IoU .5, so right at .1 .2 .3 .4 .5 of seven and at .5 alone of ten
    half = [_found(2, 1, [0, 500, 200, 100], 0.7)]
    table = coco_ap(_truth(), half)
    assert table.per_disease["Effusion"]["ap_10_70"] == pytest.approx(5 / 7)
    assert table.per_disease["Effusion"]["ap_50"] == pytest.approx(1.0)
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


def test_a_label_without_a_box_counts_as_false_when_asked() -> None:
    unjudged = _found(3, 1, [500, 500, 50, 50], 0.95)
    table = coco_ap(_truth(), [*PERFECT, unjudged], unboxed="counted")
    assert table.per_disease["Effusion"]["ap_10_70"] == pytest.approx(0.5)


def test_random_boxes_and_masks_have_the_ap_of_a_plain_run_of_pycocotools() -> None:
    rng = np.random.default_rng(5)
    truth = _random_truth(rng)
    results = _random_results(rng, truth)
    for kind in ("bbox", "segm"):
        evaluation = _plain_pycocotools(truth, results, kind)
        table = coco_ap(truth, results, kind)
        assert 0.05 < evaluation.stats[0] < 0.95
        assert table.mean["ap_50_95"] == pytest.approx(evaluation.stats[0], abs=1e-9)
        assert table.mean["ap_50"] == pytest.approx(evaluation.stats[1], abs=1e-9)
        for place, disease in enumerate(DISEASES):  # catIds, sorted: 1, 2, 3
            reference = evaluation.eval["precision"][:, :, place, 0, -1].mean()
            assert table.per_disease[disease]["ap_50_95"] == pytest.approx(reference, abs=1e-9)


def _random_truth(rng: np.random.Generator) -> dict[str, Any]:
    images = []
    for number in range(60):
        corners = rng.integers(0, 60, 2)
        box = (*corners, *(corners + rng.integers(12, 60, 2)))
        disease = DISEASES[number % 3]
        boxes = (Box(disease, tuple(map(float, box))),)  # type: ignore[arg-type]
        name = f"f{number}"
        images.append(Radiograph(name, None, name, "", {disease: 1.0}, boxes, size_hw=(128, 128)))
    return to_coco(images, DISEASES)


def _random_results(rng: np.random.Generator, truth: dict[str, Any]) -> list[dict[str, Any]]:
    """Boxes near and far from the true ones, with rectangles for masks that are a bit smaller."""
    results = []
    for annotation in truth["annotations"]:
        for _ in range(3):
            x, y, w, h = np.array(annotation["bbox"]) + rng.integers(-6, 7, 4)
            x, y, w, h = max(x, 0), max(y, 0), max(w, 4), max(h, 4)
            mask = np.zeros((128, 128), bool)
            mask[int(y + 1) : int(y + h), int(x + 1) : int(x + w)] = True
            result = _found(annotation["image_id"], int(rng.integers(1, 4)), [x, y, w, h], 0.0)
            result["score"] = float(rng.random())
            results.append({**result, "segmentation": encode_mask(mask, (128, 128))})
    return results


def _plain_pycocotools(truth: dict[str, Any], entries: list[dict[str, Any]], kind: str) -> Any:
    reference = COCO()
    reference.dataset = json.loads(json.dumps(truth))
    reference.createIndex()
    drop = "bbox" if kind == "segm" else "segmentation"
    results = [{k: v for k, v in result.items() if k != drop} for result in entries]
    evaluation = COCOeval(reference, reference.loadRes(results), kind)
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return evaluation


def test_no_prediction_is_zero_and_not_undefined() -> None:
    table = coco_ap(_truth(), [])
    assert table.mean == {"ap_10_70": 0.0, "ap_50": 0.0, "ap_50_95": 0.0}


def test_no_ground_truth_at_all_is_undefined_everywhere() -> None:
    empty = {**_truth(), "annotations": []}
    assert coco_ap(empty, PERFECT).mean == {"ap_10_70": None, "ap_50": None, "ap_50_95": None}


def test_mask_ap_is_computed_in_the_small_frame() -> None:
    small = scaled_coco(_truth(), [1, 2], 256)
    assert [image["height"] for image in small["images"]] == [256, 256]
    assert small["annotations"][0]["bbox"] == [25, 25, 50, 50]
    mask = np.zeros((256, 256), bool)
    mask[25:75, 25:75] = True
    results = [
        {
            "image_id": 1,
            "category_id": 2,
            "score": 0.5,
            "segmentation": encode_mask(mask, (256, 256)),
        }
    ]
    table = coco_ap(small, results, "segm")
    assert table.per_disease["Mass"]["ap_50_95"] == pytest.approx(51 / 101)


def test_the_page_names_what_is_undefined_and_the_use() -> None:
    page = ap_markdown([coco_ap(_truth(), PERFECT)])
    assert "| Mass | 1.000 | 1.000 | 1.000 |" in page
    assert "| Nodule | undefined | undefined | undefined |" in page
    assert "- Box AP: without ground truth, not in the mean: Nodule." in page
    assert "never a diagnosis" in page
