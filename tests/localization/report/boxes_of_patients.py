"""Ground truths for their numbers alone: boxes of patients, and several boxes of a disease."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from builders import coco_ground_truth
from cxrloc.localization.evaluation.ground_truth import GroundTruth, ground_truth_from_coco
from cxrloc.localization.localizer import Localization

DISEASES = ("Nodule", "Opacity")
Row = tuple[str, str, tuple[float, float, float, float]]


def boxes_of_patients(patients: Sequence[object], diseases: Sequence[str]) -> GroundTruth:
    """One box on each of as many images as there are patients given, in this order."""
    boxes = [(f"{i:04}", disease, (0, 0, 10, 10)) for i, disease in enumerate(diseases)]
    patient_of = dict(zip((name for name, *_ in boxes), patients, strict=True))
    coco = coco_ground_truth(sorted(set(diseases)), boxes, patient_of=patient_of.__getitem__)
    return ground_truth_from_coco(coco)


def rows(seed: int = 0, images: int = 50, boxes: int = 283) -> list[Row]:
    """(image, disease, xywh): as of an annotation tool, spread evenly over the images."""
    rng = np.random.default_rng(seed)
    found: list[Row] = []
    for i in range(boxes):
        x, y = rng.uniform(0, 180, 2).round(1).tolist()
        w, h = rng.uniform(10, 70, 2).round(1).tolist()
        found.append((f"{i % images:03}", DISEASES[int(rng.integers(2))], (x, y, w, h)))
    return found


def coco_of(truth: list[Row], images: tuple[str, ...] = ()) -> dict[str, Any]:
    """Two images of each patient."""
    return coco_ground_truth(
        DISEASES,
        truth,
        images=images,
        size_wh=(256, 256),
        patient_of=lambda image: f"P{int(image) // 2}",
    )


def perfect(truth: list[Row]) -> list[Localization]:
    """Results equal to the ground truth, all with the same score."""
    return [Localization(i, d, (x, y, x + w, y + h), 1.0) for i, d, (x, y, w, h) in truth]
