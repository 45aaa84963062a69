"""A ground truth that is made of nothing but the patient and the disease of each box."""

from __future__ import annotations

from collections.abc import Sequence

from builders import coco_ground_truth
from cxrloc.localization.evaluation.ground_truth import GroundTruth, ground_truth_from_coco


def boxes_of_patients(patients: Sequence[object], diseases: Sequence[str]) -> GroundTruth:
    """One box on each of as many images as there are patients given, in this order."""
    boxes = [(f"{i:04}", disease, (0, 0, 10, 10)) for i, disease in enumerate(diseases)]
    patient_of = dict(zip((name for name, *_ in boxes), patients, strict=True))
    coco = coco_ground_truth(sorted(set(diseases)), boxes, patient_of=patient_of.__getitem__)
    return ground_truth_from_coco(coco)
