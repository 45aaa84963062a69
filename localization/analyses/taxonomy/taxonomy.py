"""Error taxonomy: what became of every ground-truth box, in classes that sum to the boxes.

After Hoiem et al. (ECCV 2012) and TIDE (Bolya et al., ECCV 2020), turned round: those sort the
wrong predictions of a detector, this sorts the ground-truth boxes, so that the shares of every
localizer are over the same boxes. Tables and figure: `taxonomy_section.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from cxrloc.localization.evaluation.box_scores import score_boxes
from cxrloc.localization.evaluation.comparison import CONTROL, DISEASE_GIVEN, GATED, Gate, gate_mask
from cxrloc.localization.evaluation.ground_truth import FloatArray, GroundTruth
from cxrloc.localization.localizer import Localization

HIT, LOOSE, TIGHT = "hit", "loose", "tight"
OTHER_NAME = "other disease's name"
WRONG_PLACE, GATE_MISS, NO_BOX = "wrong place", "gate miss", "no box"
CLASSES = (HIT, LOOSE, TIGHT, OTHER_NAME, WRONG_PLACE, GATE_MISS, NO_BOX)
RIGHT_PLACE = 0.1  # IoU above which a box counts as in the right place

ALL_BOXES = "all boxes"
Counts = dict[str, int]


@dataclass(frozen=True)
class Taxonomy:
    """One localizer in one setting.

    Attributes:
        name, setting: as in `comparison.ScoredLocalizer`.
        counts: disease (and `ALL_BOXES`) -> class -> number of ground-truth boxes.
        diseases_per_image: distinct diseases that the localizer boxes on an image with a
            ground-truth box, on average.
    """

    name: str
    setting: str
    counts: Mapping[str, Counts] = field(repr=False)
    diseases_per_image: float

    def __post_init__(self) -> None:
        parts = [c for name, c in self.counts.items() if name != ALL_BOXES]
        summed = {c: sum(part[c] for part in parts) for c in CLASSES}
        assert summed == self.counts[ALL_BOXES], "every box is of exactly one disease and class"

    @property
    def label(self) -> str:
        return f"{self.name}, gated" if self.setting == GATED else self.name

    def share(self, disease: str, error: str) -> float:
        """Percentage of the disease's boxes in a class."""
        counts = self.counts[disease]
        return 100 * counts[error] / sum(counts.values())


def classify_boxes(
    truth: GroundTruth,
    localizations: Sequence[Localization],
    gate: Gate | None = None,
    *,
    threshold: float = 0.5,
) -> npt.NDArray[np.intp]:
    """Class of every ground-truth box as an index into `CLASSES`, (N,); the first that fits.

    Gate miss; hit; loose or tight; other disease's name; wrong place; no box. Only top-1 boxes.

    Args:
        gate: with it, only boxes count whose image and disease it says present; a pair without a
            ground-truth box that it has no decision for does not count.
        threshold: IoU above which a box is a hit.

    Raises:
        ValueError: for a threshold outside `RIGHT_PLACE` to 1 and for a gate without a decision
            for a ground-truth box.
    """
    if not RIGHT_PLACE <= threshold < 1:
        raise ValueError(f"threshold: expected {RIGHT_PLACE:g} <= t < 1, got {threshold:g}")
    passes = np.ones(len(truth), dtype=np.bool_)
    if gate is not None:
        passes = gate_mask(truth, gate)
        localizations = [p for p in localizations if gate.get((p.image_id, p.disease), False)]
    own = score_boxes(truth, localizations)
    placed = own.iou > RIGHT_PLACE
    conditions = {
        GATE_MISS: ~passes,
        HIT: own.iou > threshold,
        LOOSE: placed & (own.iobb < own.iogt),  # |P and G| / |P| < |P and G| / |G|: P is larger
        TIGHT: placed,
        OTHER_NAME: _best_under_other_names(truth, localizations) > threshold,
        WRONG_PLACE: own.predicted,
    }
    order = [CLASSES.index(name) for name in conditions]
    chosen = np.select(list(conditions.values()), order, CLASSES.index(NO_BOX))
    return np.asarray(chosen, dtype=np.intp)


def _best_under_other_names(
    truth: GroundTruth, localizations: Sequence[Localization]
) -> FloatArray:
    """Best IoU that a top-1 box of any OTHER disease on the image has with each box, (N,)."""
    boxes_of: dict[str, list[Localization]] = {}
    for found in localizations:
        boxes_of.setdefault(found.disease, []).append(found)
    best = np.zeros(len(truth))
    for name, boxes in boxes_of.items():
        asked = replace(truth, diseases=(name,) * len(truth), disease_names=(name,))
        mine = np.array([disease == name for disease in truth.diseases], dtype=np.bool_)
        best = np.maximum(best, np.where(mine, 0.0, score_boxes(asked, boxes).iou))
    return best


def taxonomies(
    truth: GroundTruth,
    predictions: Mapping[str, Sequence[Localization]],
    gate: Gate | None = None,
    controls: Mapping[str, Sequence[Localization]] | None = None,
    *,
    threshold: float = 0.5,
) -> tuple[Taxonomy, ...]:
    """Every localizer with the disease given, then gated (with a gate), then the controls."""
    rows = [(name, DISEASE_GIVEN, found, None) for name, found in predictions.items()]
    gated = [(name, GATED, found, gate) for name, found in predictions.items() if gate is not None]
    blind = [(name, CONTROL, found, None) for name, found in (controls or {}).items()]
    return tuple(
        Taxonomy(
            name,
            setting,
            _counts(truth, classify_boxes(truth, found, mask, threshold=threshold)),
            _diseases_per_image(truth, found, mask),
        )
        for name, setting, found, mask in (*rows, *gated, *blind)
    )


def _counts(truth: GroundTruth, classes: npt.NDArray[np.intp]) -> dict[str, Counts]:
    table = np.zeros((len(truth.disease_names), len(CLASSES)), dtype=np.int64)
    np.add.at(table, (truth.disease_index, classes), 1)
    rows = zip((*truth.disease_names, ALL_BOXES), [*table, table.sum(axis=0)], strict=True)
    return {name: dict(zip(CLASSES, row.tolist(), strict=True)) for name, row in rows}


def _diseases_per_image(
    truth: GroundTruth, localizations: Sequence[Localization], gate: Gate | None
) -> float:
    images = set(truth.image_ids)
    pairs = {(p.image_id, p.disease) for p in localizations if p.image_id in images}
    return sum(gate is None or gate.get(pair, False) for pair in pairs) / len(images)
