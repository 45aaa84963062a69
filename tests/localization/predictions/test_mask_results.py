"""Masks of a results file: encoded as they stand, in their own frame or in that of the image."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as rle

from builders import coco_ground_truth
from cxrloc.localization.predictions.masks import encode_mask
from cxrloc.localization.predictions.results_file import read_boxes, read_mask_results, read_results

COCO = coco_ground_truth(("Mass", "Nodule"), [], images=["a.png", "b.png"], size_wh=(40, 20))
ENTRY = {"image_id": 1, "category_id": 2, "bbox": [1, 2, 3, 4], "score": 0.5}


def _written(folder: Path, *entries: Any) -> Path:
    (folder / "p.json").write_text(json.dumps(entries))
    return folder / "p.json"


def test_a_mask_in_a_smaller_frame_is_kept_in_that_frame(tmp_path: Path) -> None:
    small = np.zeros((5, 10), bool)
    small[1:3, 2:6] = True
    entry = {**ENTRY, "segmentation": encode_mask(small, (5, 10))}

    (mask,) = read_mask_results(_written(tmp_path, entry), COCO)

    assert (mask.image_id, mask.disease, mask.score) == ("b.png", "Nodule", 0.5)
    np.testing.assert_array_equal(rle.decode(mask.rle).astype(bool), small)


def test_polygons_are_in_the_frame_of_the_image(tmp_path: Path) -> None:
    entry = {**ENTRY, "image_id": "a.png", "segmentation": [[3, 5, 30, 5, 30, 15, 3, 15]]}

    (mask,) = read_mask_results(_written(tmp_path, entry), COCO)

    expected = np.zeros((20, 40), bool)
    expected[5:15, 3:30] = True
    assert mask.image_id == "a.png"
    np.testing.assert_array_equal(rle.decode(mask.rle).astype(bool), expected)


def test_entries_without_a_mask_are_left_out_and_the_others_keep_their_order(
    tmp_path: Path,
) -> None:
    mask = {"size": [20, 40], "counts": [100, 5, 695]}
    entries = [
        {**ENTRY, "segmentation": mask, "score": 0.1},
        ENTRY,
        {**ENTRY, "segmentation": []},
        {**ENTRY, "segmentation": mask, "score": 0.2},
    ]

    masks = read_mask_results(_written(tmp_path, *entries), COCO)

    assert [result.score for result in masks] == [0.1, 0.2]
    assert read_mask_results(_written(tmp_path, ENTRY), COCO) == []


def test_boxes_and_masks_read_together_are_those_read_apart(tmp_path: Path) -> None:
    mask = {"size": [20, 40], "counts": [100, 5, 695]}
    path = _written(tmp_path, ENTRY, {**ENTRY, "score": 0.2, "segmentation": mask})

    boxes, masks = read_results(path, COCO)

    apart = read_boxes(path, COCO)
    assert (boxes.image_ids, boxes.diseases) == (apart.image_ids, apart.diseases)
    np.testing.assert_array_equal(boxes.boxes_xyxy, apart.boxes_xyxy)
    assert boxes.scores.tolist() == apart.scores.tolist() == [0.5, 0.2]
    assert masks == read_mask_results(path, COCO)
    assert len(masks) == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"segmentation": {"counts": "11"}}, r"segmentation without a size \[height, width\]"),
        ({"segmentation": {"size": None, "counts": "11"}}, "segmentation without a size"),
        ({"segmentation": [[1, 2, 3]]}, "neither RLE nor polygons"),
        ({"image_id": 7}, "image_id 7 is not in the ground truth"),
        ({"category_id": 7}, "category_id 7 is unknown"),
        ({"score": "high"}, "score 'high', expected a finite number"),
    ],
)
def test_a_bad_mask_is_named_with_its_file_and_number(
    changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    mask = {"segmentation": {"size": [20, 40], "counts": [100, 5, 695]}}
    path = _written(tmp_path, ENTRY, {**ENTRY, **mask, **changes})

    with pytest.raises(ValueError, match=rf"p\.json: entry 1: .*{message}"):
        read_mask_results(path, COCO)
