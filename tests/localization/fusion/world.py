"""Ground truths of thirty images in three folds, and localizers that are right where told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from builders import coco_ground_truth
from cxrloc.localization.evaluation.ground_truth import GroundTruth, ground_truth_from_coco
from cxrloc.localization.localizer import Localization

IMAGES, FOLDS = 30, 3
SIDE = 100.0  # of the boxes, whose left side is at 200


def image(number: int) -> str:
    return f"{number:02}.png"


def coco(folds: int | None = FOLDS) -> dict[str, Any]:
    """Two of three images have a mass; image i is of fold i % folds and of a patient of its own."""
    boxes = [(image(i), "Mass", (200.0, 200.0, SIDE, SIDE)) for i in range(IMAGES) if i % 10 < 7]
    document = coco_ground_truth(
        ("Mass",),
        boxes,
        images=[image(i) for i in range(IMAGES)],
        size_wh=(400, 400),
        patient_of=lambda name: f"P{name[:2]}",
    )
    for row in document["images"]:
        row |= {} if folds is None else {"fold": int(row["file_name"][:2]) % folds}
    return document


def truth(folds: int | None = FOLDS) -> GroundTruth:
    return ground_truth_from_coco(coco(folds))


def shifted(
    shift: Callable[[int], float], score: Callable[[int], float] = lambda i: 0.5 + i / 100
) -> list[Localization]:
    """A box on every image, to the right of the true one by a share of its width."""
    boxes = ((i, 200 + SIDE * shift(i)) for i in range(IMAGES))
    return [
        Localization(image(i), "Mass", (x, 200, x + SIDE, 200 + SIDE), score(i)) for i, x in boxes
    ]
