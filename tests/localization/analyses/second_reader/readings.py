"""A ground truth of four patients, and what a second reader may say about it."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from builders import coco_ground_truth, evaluated
from cxrloc.localization.evaluation.evaluated import Evaluated
from cxrloc.localization.localizer import Localization
from cxrloc.localization.predictions.columns import BoxColumns
from cxrloc.localization.predictions.second_reader import SecondReading

DISEASES = ("Infiltration", "Mass", "Pneumonia")
PATIENTS = ("a", "b", "c", "d")
EVERY_BOX = tuple(itertools.product(PATIENTS, DISEASES))
WHOLE = (20.0, 20.0, 40.0, 40.0)  # the box of every disease on every image
HALF = (20.0, 20.0, 40.0, 30.0)  # IoU .5
FAR = (0.0, 50.0, 10.0, 60.0)  # IoU 0
Box = tuple[float, float, float, float]
OPACITY = {"Infiltration": "Opacity", "Mass": "Mass", "Pneumonia": "Opacity"}


def reading(
    boxes: Sequence[tuple[str, str, Box]],
    images: str = "abcd",
    judged: tuple[str, ...] = ("Opacity", "Mass"),
    common: Mapping[str, str | None] = OPACITY,
    **fields: Any,
) -> SecondReading:
    columns = BoxColumns(
        [image for image, _, _ in boxes],
        [disease for _, disease, _ in boxes],
        np.array([box for _, _, box in boxes], dtype=np.float64).reshape(-1, 4),
        np.ones(len(boxes)),
    )
    return SecondReading(columns, frozenset(images), judged, common, **fields)


def compared(
    readers: Mapping[str, SecondReading],
    boxed: Sequence[tuple[str, str]] = EVERY_BOX,
    localizer: Box = HALF,
    **inputs: Any,
) -> Evaluated:
    """The localizer `net` gives one box for every ground-truth box."""
    coco = coco_ground_truth(
        DISEASES, [(image, disease, (20, 20, 20, 20)) for image, disease in boxed], images=["e"]
    )
    gate, unboxed = inputs.pop("gate", None), inputs.pop("unboxed", {})
    for image in coco["images"]:
        image["not_exhaustive_category_ids"] = unboxed.get(image["file_name"], [])
    net = [Localization(image, disease, localizer, 0.5) for image, disease in boxed]
    return evaluated(coco, {"net": net}, gate, second_readers=dict(readers), **inputs)
