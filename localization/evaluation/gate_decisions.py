"""Read the gate's predictions for every image and disease of a ground truth."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from cxrloc.classification.inference.gate_table import GateRow
from cxrloc.datasets.files.keys import KnownImages
from cxrloc.localization.evaluation.ground_truth import (
    BoolArray,
    FloatArray,
    GroundTruth,
    ImageTable,
)


@dataclass(frozen=True)
class GateDecisions:
    """Decisions in the order of an image table, (N, D) each.

    Attributes:
        present: whether the disease is predicted present; False without a decision.
        known: whether there is a decision.
        probability: probability of the disease; 0 if unknown.
    """

    present: BoolArray = field(repr=False)
    known: BoolArray = field(repr=False)
    probability: FloatArray = field(repr=False)

    @property
    def complete(self) -> BoolArray:
        """(N,) images with a decision for every disease of the table."""
        return np.asarray(self.known.all(axis=1))

    def on_boxes(self, truth: GroundTruth) -> BoolArray:
        """Whether the gate predicts present, (N,) in the order of the ground truth's boxes.

        Raises:
            ValueError: if the gate lacks a decision; names the first image and disease.
        """
        at = (truth.image_of_box, truth.column_of_box)
        unknown = np.flatnonzero(~self.known[at])
        if len(unknown):
            image_id, disease = truth.image_ids[unknown[0]], truth.diseases[unknown[0]]
            raise ValueError(
                f"the gate has no decision for {disease} on {image_id} (and {len(unknown) - 1} "
                f"more of {len(truth)} ground-truth boxes); expected one per boxed image and "
                "disease: use the gate.csv of a run over all folds (for another data set, the "
                "one that `cxrloc localize` wrote with its boxes), or score without --gate"
            )
        return np.asarray(self.present[at])


def gate_decisions(images: ImageTable, rows: Iterable[GateRow]) -> GateDecisions:
    """Decisions from gate.csv rows for the images of a table; skips rows of other images."""
    present, known = np.zeros((2, *images.status.shape), dtype=np.bool_)
    probability = np.zeros(images.status.shape)
    known_images = KnownImages(images.image_ids)
    for gate_row in rows:
        image = known_images.find(gate_row.image_id)
        row = None if image is None else images.row_of[image]
        column = images.column_of.get(gate_row.disease)
        if row is not None and column is not None:
            present[row, column], known[row, column] = gate_row.present, True
            probability[row, column] = gate_row.probability
    return GateDecisions(present, known, probability)
