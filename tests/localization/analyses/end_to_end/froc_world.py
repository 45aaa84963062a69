"""Images, boxes and curves for the tests of FROC: four images by hand, and random ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from cxrloc.classification.metrics.sampled import ImageBootstrap
from cxrloc.localization.analyses.end_to_end.false_boxes import IGNORED
from cxrloc.localization.analyses.end_to_end.froc import Froc, Sweep, froc, sweep
from cxrloc.localization.evaluation.detections import EVERY_DISEASE, Setting, place, settings_of
from cxrloc.localization.evaluation.ground_truth import (
    GroundTruth,
    ImageTable,
    ground_truth_from_coco,
)
from cxrloc.localization.localizer import Localization

RIGHT, ELSEWHERE = (10.0, 10.0, 30.0, 30.0), (40.0, 40.0, 60.0, 60.0)


def truth_of(status: Sequence[str]) -> GroundTruth:
    """Images 0, 1, ... of patients 0, 0, 1, 1, ...: per disease `B`oxed, `U`nboxed or `-`."""
    coco: dict[str, Any] = {
        "categories": [{"id": 1, "name": "Mass"}, {"id": 2, "name": "Nodule"}],
        "images": [
            {
                "id": i,
                "file_name": f"{i:02d}",
                "width": 64,
                "height": 64,
                "patient_id": f"p{i // 2}",
                "not_exhaustive_category_ids": [c for c, s in enumerate(row, start=1) if s == "U"],
            }
            for i, row in enumerate(status)
        ],
        "annotations": [
            {"id": 10 * i + c, "image_id": i, "category_id": c, "bbox": [10, 10, 20, 20]}
            for i, row in enumerate(status)
            for c, s in enumerate(row, start=1)
            if s == "B"
        ],
    }
    return ground_truth_from_coco(coco)


FOUR = truth_of(["B-", "UB", "--", "--"])
BOXES = [
    Localization("00", "Mass", RIGHT, 0.9),  # hit
    Localization("00", "Nodule", RIGHT, 0.8),  # false: absent
    Localization("01", "Mass", RIGHT, 0.7),  # neither: labelled, not boxed
    Localization("01", "Nodule", ELSEWHERE, 0.6),  # false: wrong place
    Localization("01", "Nodule", RIGHT, 0.5),  # hit, though not the top-1
    Localization("01", "Nodule", (11, 10, 30, 30), 0.45),  # the same box again: nothing
    Localization("02", "Mass", RIGHT, 0.4),  # false: absent
]


def _everything(images: ImageTable) -> Setting:
    return settings_of(images, np.ones(len(images), np.bool_), None)[EVERY_DISEASE]


def swept(
    truth: GroundTruth,
    boxes: Sequence[Localization],
    bound: str = IGNORED,
    disease: int | None = None,
) -> tuple[Sweep, ImageBootstrap]:
    bootstrap = ImageBootstrap.of(truth.images.patient_ids, resamples=50, seed=2)
    setting = _everything(truth.images)
    return sweep(place(truth, boxes), setting, 0.5, bound, bootstrap, disease), bootstrap


def curve_of(
    truth: GroundTruth, boxes: Sequence[Localization], bound: str = IGNORED, resamples: int = 50
) -> Froc:
    bootstrap = ImageBootstrap.of(truth.images.patient_ids, resamples=resamples, seed=2)
    setting = _everything(truth.images)
    return froc("mine", place(truth, boxes), setting, 0.5, bound, bootstrap)


def random_world(seed: int) -> tuple[GroundTruth, list[Localization]]:
    """30 images; scores in steps of .1, so that many are equal."""
    rng = np.random.default_rng(seed)
    truth = truth_of(["".join(rng.choice(list("B-U"), 2)) for _ in range(30)])
    boxes = []
    for _ in range(90):
        x, y = rng.uniform(6, 18, 2)
        disease = ("Mass", "Nodule")[rng.integers(2)]
        score = float(rng.integers(1, 10)) / 10
        boxes.append(
            Localization(f"{rng.integers(30):02d}", disease, (x, y, x + 20, y + 20), score)
        )
    return truth, boxes
