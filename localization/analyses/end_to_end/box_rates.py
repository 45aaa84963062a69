"""Count all boxes over a localizer's operating point: recall, precision, F1 and false boxes.

All boxes over the threshold are matched one to one with the ground-truth boxes of their image and
disease, for the greatest total IoU. A pair with IoU > t is a hit; a ground-truth box without one is
missed, and any other box is false, also a second one on a box that is hit. Boxes of a disease that
is labelled but not boxed are ignored, or counted as false in the other bound.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from cxrloc.classification.metrics.bootstrap import FloatArray
from cxrloc.classification.metrics.sampled import ImageBootstrap, Sampled
from cxrloc.localization.analyses.end_to_end.false_boxes import BOUNDS, COUNTED, IGNORED
from cxrloc.localization.evaluation.detections import Detections, Setting
from cxrloc.localization.evaluation.ground_truth import UNBOXED, BoolArray, IndexArray

RECALL, PRECISION, F1, FALSE = "recall", "precision", "F1", "false boxes per image"


@dataclass(frozen=True)
class BoxRates:
    """One localizer in one setting at a hit threshold.

    Attributes:
        bound: `IGNORED` or `COUNTED`: treatment of boxes on unboxed positives.
        images, boxes, predicted, hits: images of the setting, ground-truth boxes on them, boxes
            over the operating point, and those of them that hit.
        per_disease: recall, precision, F1, false boxes per image -> figures of the diseases that
            have a ground-truth box, in the order of `GroundTruth.disease_names`.
        false: false boxes per image, over all diseases.
    """

    localizer: str
    setting: str
    threshold: float
    bound: str
    images: int
    boxes: int
    predicted: int
    hits: int
    per_disease: Mapping[str, Sampled] = field(repr=False)
    false: Sampled = field(repr=False)


def box_rates(
    name: str,
    detections: Detections,
    setting: Setting,
    thresholds: Sequence[float],
    bootstrap: ImageBootstrap,
) -> list[BoxRates]:
    """One localizer in one setting at each hit threshold (strict).

    Args:
        detections: the boxes over the operating point.
    """
    counted = detections.in_setting(setting)
    right = [detections.hit(detections.matched(counted), t)[1] for t in thresholds]
    unboxed = detections.status == UNBOXED
    bounds = BOUNDS if (setting.pairs & (detections.truth.images.status == UNBOXED)).any() else ()
    return [
        _rates(name, detections, setting, (t, bound), (kept, hits), bootstrap)
        for t, hits in zip(thresholds, right, strict=True)
        for bound in bounds or (IGNORED,)
        for kept in [counted if bound == COUNTED else counted & ~unboxed]
    ]


def _rates(
    name: str,
    detections: Detections,
    setting: Setting,
    at: tuple[float, str],
    chosen: tuple[BoolArray, BoolArray],
    bootstrap: ImageBootstrap,
) -> BoxRates:
    truth, (counted, right) = detections.truth, chosen
    on_these = setting.images[truth.image_of_box]
    totals = _Totals(bootstrap, len(truth.images.diseases))
    boxes = totals.of(truth.image_of_box[on_these], truth.column_of_box[on_these])
    predicted = totals.of(detections.image[counted], detections.disease[counted])
    hits = totals.of(detections.image[right], detections.disease[right])
    images = np.bincount(bootstrap.patient_of[setting.images], minlength=len(boxes))[:, None]
    scored = [truth.images.column_of[disease] for disease in truth.disease_names]
    every = tuple(each.sum(axis=1, keepdims=True) for each in (predicted, hits))
    ratio = totals.ratio
    return BoxRates(
        name,
        setting.name,
        *at,
        images=int(images.sum()),
        boxes=int(boxes.sum()),
        predicted=int(predicted.sum()),
        hits=int(hits.sum()),
        per_disease={
            RECALL: ratio(hits[:, scored], boxes[:, scored]),
            PRECISION: ratio(hits[:, scored], predicted[:, scored]),
            F1: ratio(2 * hits[:, scored], (boxes + predicted)[:, scored]),
            FALSE: ratio((predicted - hits)[:, scored], np.repeat(images, len(scored), axis=1)),
        },
        false=ratio(every[0] - every[1], images),
    )


class _Totals:
    """Sums over the images of each patient, and their ratios in every resample of patients."""

    def __init__(self, bootstrap: ImageBootstrap, diseases: int) -> None:
        self.bootstrap, self.diseases = bootstrap, diseases

    def of(self, image: IndexArray, disease: IndexArray) -> npt.NDArray[np.intp]:
        """(P, D) number of items of each patient and disease."""
        shape = self.bootstrap.counts.shape[1], self.diseases
        key = self.bootstrap.patient_of[image] * self.diseases + disease
        return np.bincount(key, minlength=shape[0] * shape[1]).reshape(shape)

    def ratio(self, above: npt.NDArray[np.intp], below: npt.NDArray[np.intp]) -> Sampled:
        """Sum of each column of `above` (P, C) divided by that of `below`, NaN over 0."""
        points, samples = _divided(above, below), np.full((0, above.shape[1]), np.nan)
        if len(below) > 1:  # one patient cannot vary
            drawn = self.bootstrap.counts
            samples = _ratio(drawn @ above, drawn @ below)
        return Sampled(points, samples, np.count_nonzero(below, axis=0))


def _divided(above: npt.NDArray[np.intp], below: npt.NDArray[np.intp]) -> FloatArray:
    return _ratio(above.sum(axis=0).astype(np.float64), below.sum(axis=0).astype(np.float64))


def _ratio(above: FloatArray, below: FloatArray) -> FloatArray:
    ratio = np.full(above.shape, np.nan)
    np.divide(above, below, out=ratio, where=below > 0)
    return ratio
