"""cheXlocalize's metrics, image by image and task by task: IoU of masks and hits of points."""

from __future__ import annotations

import numpy as np

from cxrloc.localization.analyses.chexlocalize.format import (
    TASKS,
    Points,
    Segmentations,
    is_hit,
    mask_iou,
)

Values = dict[tuple[str, str], float]


def mask_ious(truth: Segmentations, masks: Segmentations) -> Values:
    """(image, task) -> IoU, where either has a mask.

    Images missing from the ground truth have no masks there: as in cheXlocalize's own code, a mask
    on them has an IoU of 0.
    """
    images = dict.fromkeys([*truth, *masks])
    ious = {
        (image, task): mask_iou(
            masks.get(image, {}).get(task),
            truth.get(image, {}).get(task),
            true_positives_only=False,
        )
        for image in images
        for task in TASKS
    }
    return {pair: iou for pair, iou in ious.items() if np.isfinite(iou)}


def true_positives(ious: Values, truth: Segmentations, masks: Segmentations) -> Values:
    """Those of `mask_ious` where both have a mask: an IoU above 0 proves it, 0 does not."""

    def apart(image: str, task: str) -> float:
        pair = masks.get(image, {}).get(task), truth.get(image, {}).get(task)
        return mask_iou(*pair, true_positives_only=True)

    return {pair: iou for pair, iou in ious.items() if iou > 0 or np.isfinite(apart(*pair))}


def hits(truth: Segmentations, points: Points) -> Values:
    """(image, task) -> 1 for a hit, 0 for a miss or no point, for those with a mask."""
    hits_of = {
        (image, task): is_hit(points.get(image, {}).get(task, []), truth[image][task])
        for image in truth
        for task in TASKS
    }
    return {pair: hit for pair, hit in hits_of.items() if np.isfinite(hit)}
