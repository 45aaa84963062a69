"""Error taxonomy: the outcome of every ground-truth box, in classes that sum to all boxes.

After Hoiem et al. (ECCV 2012) and TIDE (Bolya et al., ECCV 2020), but reversed: they sort a
detector's wrong predictions, this sorts the ground-truth boxes. So every localizer's shares are
over the same boxes. Tables and figure: `section.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from cxrloc.localization.evaluation.box_scores import BoxScores
from cxrloc.localization.evaluation.detections import (
    CONTROL,
    DISEASE_GIVEN,
    GATED,
    Detections,
)
from cxrloc.localization.evaluation.evaluated import Evaluated
from cxrloc.localization.evaluation.ground_truth import BoolArray, FloatArray, GroundTruth
from cxrloc.localization.matching import overlapping

RIGHT_PLACE = 0.1  # IoU above which a box counts as in the right place
HIT_THRESHOLD = 0.5  # IoU above which a box is a hit

ALL_BOXES = "all boxes"


class BoxOutcome(StrEnum):
    """Outcome of a ground-truth box; the values are printed."""

    HIT = "hit"
    LOOSE = "loose"
    TIGHT = "tight"
    OTHER_NAME = "other disease's name"
    WRONG_PLACE = "wrong place"
    GATE_MISS = "gate miss"
    NO_BOX = "no box"


Counts = dict[BoxOutcome, int]


@dataclass(frozen=True)
class Taxonomy:
    """One localizer in one setting.

    Attributes:
        name, setting: as in `comparison.ScoredLocalizer`.
        counts: disease (and `ALL_BOXES`) -> outcome -> number of ground-truth boxes.
        diseases_per_image: mean number of distinct diseases that the localizer boxes on an image
            with a ground-truth box.
    """

    name: str
    setting: str
    counts: Mapping[str, Counts] = field(repr=False)
    diseases_per_image: float

    def __post_init__(self) -> None:
        parts = [c for name, c in self.counts.items() if name != ALL_BOXES]
        summed = {o: sum(part[o] for part in parts) for o in BoxOutcome}
        assert summed == self.counts[ALL_BOXES], "every box is of exactly one disease and outcome"

    @property
    def label(self) -> str:
        return f"{self.name}, gated" if self.setting == GATED else self.name

    def share(self, disease: str, outcome: BoxOutcome) -> float:
        """Percentage of the disease's boxes with an outcome."""
        counts = self.counts[disease]
        return 100 * counts[outcome] / sum(counts.values())


def classify_boxes(
    detections: Detections,
    scores: BoxScores,
    passes: BoolArray | None = None,
    *,
    threshold: float = HIT_THRESHOLD,
) -> npt.NDArray[np.intp]:
    """Outcome of every ground-truth box, (N,), as its index in the list of `BoxOutcome`.

    First match counts: gate miss; hit; loose or tight; other disease's name; wrong place; no box.
    Only the boxes that answer for their disease count (`Detections.answers`).

    Args:
        detections: boxes of the localizer that pass the gate.
        scores: their scores.
        passes: (N,) boxes whose disease the gate predicts present; None without a gate.
        threshold: IoU above which a box is a hit.

    Raises:
        ValueError: for a threshold outside `RIGHT_PLACE` to 1.
    """
    if not RIGHT_PLACE <= threshold < 1:
        raise ValueError(f"threshold: expected {RIGHT_PLACE:g} <= t < 1, got {threshold:g}")
    placed = scores.iou > RIGHT_PLACE
    conditions = {
        BoxOutcome.GATE_MISS: np.zeros(len(placed), np.bool_) if passes is None else ~passes,
        BoxOutcome.HIT: scores.iou > threshold,
        BoxOutcome.LOOSE: placed & (scores.iobb < scores.iogt),  # |P and G| / |P| < |P and G| / |G|
        BoxOutcome.TIGHT: placed,
        BoxOutcome.OTHER_NAME: _best_under_other_names(detections) > threshold,
        BoxOutcome.WRONG_PLACE: scores.predicted,
    }
    outcomes = list(BoxOutcome)
    order = [outcomes.index(outcome) for outcome in conditions]
    chosen = np.select(list(conditions.values()), order, outcomes.index(BoxOutcome.NO_BOX))
    return np.asarray(chosen, dtype=np.intp)


def _best_under_other_names(detections: Detections) -> FloatArray:
    """Best IoU of each box with a box of any OTHER disease on the image, (N,).

    Of each other disease, as many of the highest-scored boxes count as there are ground-truth boxes
    of this disease on the image.
    """
    truth = detections.truth
    most = truth.boxes_of_pair.max(axis=1, initial=1)
    first = detections.where(detections.rank < most[detections.image])
    pairs = overlapping(first.image, first.boxes_xyxy, truth.image_of_box, truth.boxes_xyxy)
    named_otherwise = first.disease[pairs.first] != truth.column_of_box[pairs.second]
    asked = truth.boxes_of_pair[truth.image_of_box, truth.column_of_box]
    counts = named_otherwise & (first.rank[pairs.first] < asked[pairs.second])
    best = np.zeros(len(truth))
    np.maximum.at(best, pairs.second[counts], pairs.iou[counts])
    return best


def taxonomies(evaluated: Evaluated) -> tuple[Taxonomy, ...]:
    """Every localizer with the disease given, then gated (with a gate), then the controls.

    Raises:
        ValueError: for a gate without a decision for a ground-truth box.
    """
    passes = evaluated.passes
    rows = [
        _taxonomy(name, DISEASE_GIVEN, boxes, evaluated.scores[name])
        for name, boxes in evaluated.inputs.predictions.items()
    ]
    if passes is not None:
        rows += [
            _taxonomy(name, GATED, boxes, evaluated.scores[name].only_where(passes), passes)
            for name, boxes in evaluated.passing.items()
        ]
    rows += [
        _taxonomy(name, CONTROL, boxes, evaluated.control_scores[name])
        for name, boxes in evaluated.controls.items()
    ]
    return tuple(rows)


def _taxonomy(
    name: str,
    setting: str,
    detections: Detections,
    scores: BoxScores,
    passes: BoolArray | None = None,
) -> Taxonomy:
    classes = classify_boxes(detections, scores, passes)
    counts = _counts(detections.truth, classes)
    return Taxonomy(name, setting, counts, _diseases_per_image(detections))


def _counts(truth: GroundTruth, classes: npt.NDArray[np.intp]) -> dict[str, Counts]:
    table = np.zeros((len(truth.disease_names), len(BoxOutcome)), dtype=np.int64)
    np.add.at(table, (truth.disease_index, classes), 1)
    rows = zip((*truth.disease_names, ALL_BOXES), [*table, table.sum(axis=0)], strict=True)
    return {name: dict(zip(BoxOutcome, row.tolist(), strict=True)) for name, row in rows}


def _diseases_per_image(detections: Detections) -> float:
    boxed = np.unique(detections.truth.image_of_box)
    on_boxed = np.isin(detections.image, boxed)
    return len(np.unique(detections.key[on_boxed])) / len(boxed)
