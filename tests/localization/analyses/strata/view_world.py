"""Images, boxes and a comparison for the tests of the strata."""

from __future__ import annotations

from typing import Any

from builders import evaluated
from cxrloc.localization.evaluation.evaluated import Evaluated
from cxrloc.localization.localizer import Localization


def image_of(i: int, patient: str = "", **extra: Any) -> dict[str, Any]:
    image = {"id": i, "file_name": f"{i}.png", "width": 100, "height": 100}
    return image | {"patient_id": patient or f"p{i}"} | extra


def coco_of(
    images: list[dict[str, Any]], boxes: list[tuple[int, int, float]], size: int = 3
) -> dict[str, Any]:
    """`boxes`: (image id, category id, side of the square at (10, 10))."""
    return {
        "images": images,
        "categories": [{"id": c, "name": n} for c, n in enumerate("ABC"[:size], start=1)],
        "annotations": [
            {"id": k, "image_id": i, "category_id": c, "bbox": [10, 10, side, side]}
            for k, (i, c, side) in enumerate(boxes)
        ],
    }


def view_world(gated: bool = False) -> Evaluated:
    """24 patients: AP images are found with IoU .5, PA images with IoU 1, unknown views not at all.

    Half of the images have A, the other half B; all but the four unknown have age and sex.
    """
    views = ["AP"] * 10 + ["PA"] * 10 + [""] * 4
    images = [image_of(i, view=v, sex="F", age_years=50) for i, v in enumerate(views)]
    coco = coco_of(images, [(i, 1 + i % 2, 10 + i) for i in range(24)])
    boxes = [
        Localization(f"{i}.png", "AB"[i % 2], (10, 10, 20 + i, 10 + (10 + i) / (1 + (i < 10))), 0.5)
        for i in range(20)
    ]
    gate = {(f"{i}.png", "AB"[i % 2]): i >= 5 for i in range(24)} if gated else None
    return evaluated(coco, {"mine": boxes}, gate, resamples=100, seed=3)
