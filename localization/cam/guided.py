"""Localize with the cells of a gate that learnt from boxes where diseases are: `guided_cam`.

Grad-CAM is weakly supervised: its gate saw image labels alone. A gate with a box loss
(`train.box_loss_weight`) also saw the boxes of its training images, so its maps are another kind of
localizer and go under another name. A map holds the probability of each cell: the sigmoid of the
linear head applied to the cell, to which half the log odds are added that a training box of the
disease covers it. It is absolute, so a rule may cut it at a probability, where
Grad-CAM's map can only be cut at a share of its own range.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from cxrloc.localization.cam.boxes import CamBoxRule, Corners
from cxrloc.localization.cam.localizer import GradCamLocalizer, network_of
from cxrloc.localization.cam.rules import SizedRule
from cxrloc.localization.localizer import Cells

if TYPE_CHECKING:
    import torch

    from cxrloc.classification.inference.exported_gate import ExportedGate
    from cxrloc.classification.inference.gate import Gate
    from cxrloc.classification.network.classifier import ChestClassifier

NAME = "guided_cam"
# chosen on fold 0 of NIH's boxes; `cxrloc tune-cam` finds better ones for each disease
GUIDED = CamBoxRule(thresholds=(153.0,), size_rule="largest", smooth_cells=0.5)


class GuidedCamLocalizer(GradCamLocalizer):
    """Extract boxes from the probabilities of the gate's cells.

    A box's score is the mean probability of its cells, so that it also ranks boxes of different
    images, as average precision needs.

    Args:
        gate: classifier that was trained with boxes.
        rule, number, rules: as for `GradCamLocalizer`.

    Raises:
        ValueError: if the gate was trained without boxes.
    """

    def __init__(
        self,
        gate: Gate | ExportedGate,
        rule: CamBoxRule = GUIDED,
        *,
        number: int = 1,
        rules: Mapping[str, SizedRule] | None = None,
    ) -> None:
        super().__init__(gate, rule, NAME, number=number, rules=rules)

    def _check(self, gate: Gate | ExportedGate) -> None:
        if not gate.bundle.trained_with_boxes:
            raise ValueError(
                f"{NAME} needs a gate that was trained with boxes (train.box_loss_weight above 0), "
                "but this one was not: its maps are grad_cam's"
            )

    def _score(self, heat: Cells, box: Corners, mean_heat: float, probability: float) -> float:
        x1, y1, x2, y2 = map(int, box)
        return float(heat[y1:y2, x1:x2].mean(dtype=np.float64))

    def _maps(self, features: torch.Tensor, columns: Sequence[int]) -> torch.Tensor:
        return guided_maps(network_of(self.gate), features, columns)


def guided_maps(
    model: ChestClassifier, features: torch.Tensor, columns: Sequence[int]
) -> torch.Tensor:
    """(N, K, h, w) probabilities of the cells of features (N, C, h, w)."""
    import torch

    with torch.no_grad():
        return torch.sigmoid(model.cell_logits(features)[:, list(columns)])


def map_localizer(gate: Gate | ExportedGate) -> GradCamLocalizer:
    """The localizer of a gate's maps: guided_cam if it was trained with boxes, else grad_cam."""
    kind = GuidedCamLocalizer if gate.bundle.trained_with_boxes else GradCamLocalizer
    return kind(gate)
