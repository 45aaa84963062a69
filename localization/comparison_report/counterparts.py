"""Leave out what an external model cannot be asked: diseases without a counterpart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cxrloc.datasets.provenance.sidecar import Provenance
from cxrloc.localization.evaluation.ground_truth import GroundTruth
from cxrloc.localization.predictions.columns import BoxColumns
from cxrloc.localization.predictions.masks import MaskResult

Provenances = Mapping[str, Provenance | None]


def without_counterpart(coco: dict[str, Any], provenances: Provenances) -> dict[str, Any]:
    """The ground truth without the diseases that a localizer of another data set does not know.

    A disease that a model was never taught is no miss; it is left out for every localizer.
    """
    alone = _unknown_to(provenances)
    categories = [c for c in coco["categories"] if str(c["name"]) not in alone]
    numbers = {category["id"] for category in categories}
    annotations = [a for a in coco["annotations"] if a["category_id"] in numbers]
    return {**coco, "categories": categories, "annotations": annotations} if alone else coco


def external_notes(coco: Mapping[str, Any], provenances: Provenances) -> tuple[str, ...]:
    """What was trained on another data set, and what `without_counterpart` left out."""
    trained_on: dict[str, list[str]] = {}
    for name, provenance in provenances.items():
        if provenance is not None and provenance.external is not None:
            folders = ", ".join(provenance.external["trained_on"])
            trained_on.setdefault(folders, []).append(name)
    external = (
        f"external validation: {', '.join(names)} learned from another data set ({folders})"
        for folders, names in trained_on.items()
    )
    return (*external, *_not_scored(coco, provenances))


def _not_scored(coco: Mapping[str, Any], provenances: Provenances) -> tuple[str, ...]:
    name_of = {c["id"]: str(c["name"]) for c in coco["categories"]}
    boxes = [name_of[a["category_id"]] for a in coco["annotations"]]
    return tuple(
        f"not scored, since {', '.join(names)} (trained on another data set) cannot predict it: "
        f"{disease} ({boxes.count(disease)} boxes)"
        for disease, names in _unknown_to(provenances).items()
    )


def scored_boxes(boxes: BoxColumns, truth: GroundTruth) -> BoxColumns:
    """The boxes of diseases that are scored."""
    scored = truth.images.column_of
    if scored.keys() >= set(boxes.diseases):
        return boxes
    rows = [row for row, disease in enumerate(boxes.diseases) if disease in scored]
    return BoxColumns(
        [boxes.image_ids[row] for row in rows],
        [boxes.diseases[row] for row in rows],
        boxes.boxes_xyxy[rows],
        boxes.scores[rows],
    )


def scored_masks(masks: Sequence[MaskResult], truth: GroundTruth) -> list[MaskResult]:
    """The masks of diseases that are scored."""
    return [mask for mask in masks if mask.disease in truth.images.column_of]


def _unknown_to(provenances: Provenances) -> dict[str, list[str]]:
    """Disease of the ground truth -> the localizers of another data set that lack it."""
    unknown: dict[str, list[str]] = {}
    for name, provenance in provenances.items():
        if provenance is not None and provenance.external is not None:
            for disease in provenance.external["no_counterpart"]["ground_truth"]:
                unknown.setdefault(disease, []).append(name)
    return unknown
