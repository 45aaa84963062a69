"""Localize with Grad-CAM: the gate's forward pass, maps in closed form, boxes from a rule."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from cxrloc.classification.inference.gate_output import GateOutput
from cxrloc.datasets.radiograph import LoadedImage
from cxrloc.localization.cam.boxes import (
    DEEP_MEDIA,
    CamBoxRule,
    Corners,
    boxes_from_map,
    map_to_frame,
    smooth_map,
)
from cxrloc.localization.cam.heat_maps import FrameMaps
from cxrloc.localization.cam.rules import SizedRule
from cxrloc.localization.localizer import Cells, Localization, LocalizerOutput, Pair

# torch is imported where maps are computed: an exported gate brings its own
if TYPE_CHECKING:
    import torch

    from cxrloc.classification.inference.exported_gate import ExportedGate
    from cxrloc.classification.inference.gate import Gate
    from cxrloc.classification.network.classifier import ChestClassifier

GateFacts = dict[Pair, Mapping[str, Any]]


class GradCamLocalizer:
    """Extract boxes from Grad-CAM maps (Selvaraju et al. 2017), by default as in Deep MedIA.

    Boxes every requested disease, whatever the gate predicts. The caller decides whether a disease
    is present, so boxes can also be scored with the true disease given.

    A box's score is the gate's probability of the disease times the mean of the 0..1 map within the
    box. The probability is the same for all boxes of an image and disease, so the mean alone ranks
    these; across images, the product ranks by the gate's confidence, as COCO's average precision
    needs.

    Args:
        gate: classifier, from `Gate(load_classifier(path))`, or an exported one.
        rule: how to turn a map into boxes.
        name: name in tables.
        aligned: undo the half-cell shift of plain scaling (see `map_to_frame`).
        number: boxes of a disease on an image at most; a rule that returns every candidate ignores
            it.
        rules: disease -> rule and mean box size that replace `rule` and the bundle's mean box size
            (see `cam_tuning`); other diseases keep the defaults.

    Raises:
        ValueError: if the gate was trained with boxes (see `guided`), or for aligned maps of a
            network whose cells look elsewhere than a ResNet's.
    """

    def __init__(
        self,
        gate: Gate | ExportedGate,
        rule: CamBoxRule = DEEP_MEDIA,
        name: str = "grad_cam",
        *,
        aligned: bool = False,
        number: int = 1,
        rules: Mapping[str, SizedRule] | None = None,
    ) -> None:
        self._check(gate)
        if aligned:
            _check_even(gate)
        self.gate, self.rule, self._name, self.aligned = gate, rule, name, aligned
        self.number = number
        self.rules = dict(rules or {})

    def _check(self, gate: Gate | ExportedGate) -> None:
        """Refuse a gate whose maps are another localizer's."""
        if gate.bundle.trained_with_boxes:
            raise ValueError(
                "this gate was trained with boxes, so its maps are not Grad-CAM's, which learn "
                "from labels alone: use the localizer guided_cam"
            )

    @property
    def name(self) -> str:
        return self._name

    def localize(self, images: Sequence[LoadedImage], diseases: Sequence[str]) -> LocalizerOutput:
        """Boxes and maps of the requested diseases and the gate's results; one pass per image.

        Raises:
            ValueError: if the classifier lacks a disease.
        """
        boxes: list[Localization] = []
        maps: dict[Pair, Cells] = {}
        facts: GateFacts = {}
        # image by image: no slower on a CPU, and no batch of large maps in memory
        for image in images:
            output = self.localize_output([image], self.gate([image]), diseases)
            boxes += output.boxes
            maps |= output.maps or {}
            facts |= output.facts
        return LocalizerOutput(tuple(boxes), maps, facts)

    def localize_output(
        self, images: Sequence[LoadedImage], output: GateOutput, diseases: Sequence[str]
    ) -> LocalizerOutput:
        """Like `localize`, from an earlier forward pass of the same images, in order."""
        columns = self._columns(diseases)
        cells = self._cells(images, output, columns)
        boxes: list[Localization] = []
        maps: dict[Pair, Cells] = {}
        for row, image in enumerate(images):
            for k, (disease, column) in enumerate(zip(diseases, columns, strict=True)):
                maps[image.image_id, disease] = cells[row, k]
                probability = float(output.probabilities[row, column])
                boxes += self._boxes(image, disease, cells[row, k], probability)
        return LocalizerOutput(tuple(boxes), maps, gate_facts(output, diseases))

    def _boxes(
        self, image: LoadedImage, disease: str, cells: Cells, probability: float
    ) -> Iterator[Localization]:
        chosen = self._rule(disease)
        heat = self._frame_map(cells, image, chosen.rule)
        size = chosen.mean_size_wh(image.size_hw)
        for box, mean_heat in boxes_from_map(heat, chosen.rule, size, number=self.number):
            score = self._score(heat, box, mean_heat, probability)
            yield Localization(image.image_id, disease, box, score)

    def _score(self, heat: Cells, box: Corners, mean_heat: float, probability: float) -> float:
        return probability * mean_heat

    def heat_maps(self, image: LoadedImage, output: LocalizerOutput) -> FrameMaps:
        """Disease -> (H, W) map in 0..1 in the image's original frame, as used for the boxes.

        A blank map (all zero, constant, not finite) is all zero.

        Args:
            output: this localizer's output for the image, possibly among others.
        """
        smooth = {
            disease: smooth_map(cells, self._rule(disease).rule.smooth_cells)
            for (image_id, disease), cells in (output.maps or {}).items()
            if image_id == image.image_id
        }
        return FrameMaps(smooth, image.size_hw, aligned=self.aligned)

    def _cells(
        self, images: Sequence[LoadedImage], output: GateOutput, columns: Sequence[int]
    ) -> npt.NDArray[np.float32]:
        check_output(images, output)
        if output.heat_maps is not None:
            return output.heat_maps[:, list(columns)]
        assert output.features is not None
        return np.asarray(self._maps(output.features, columns).cpu().numpy(), dtype=np.float32)

    def _maps(self, features: torch.Tensor, columns: Sequence[int]) -> torch.Tensor:
        """(N, K, h, w) from the features of the gate's network."""
        from cxrloc.localization.cam.activation_maps import class_activation_maps

        return class_activation_maps(network_of(self.gate), features, columns)

    def _columns(self, diseases: Sequence[str]) -> list[int]:
        names = list(self.gate.bundle.diseases)
        for disease in diseases:
            if disease not in names:
                raise ValueError(f"unknown disease {disease!r}; the classifier has {names}")
        return [names.index(disease) for disease in diseases]

    def _rule(self, disease: str) -> SizedRule:
        default = SizedRule(self.rule, self.gate.bundle.mean_box_sizes.get(disease))
        return self.rules.get(disease, default)

    def _frame_map(
        self, cells: npt.NDArray[np.float32], image: LoadedImage, rule: CamBoxRule
    ) -> npt.NDArray[np.float32]:
        smooth = smooth_map(cells, rule.smooth_cells)
        return map_to_frame(smooth, image.size_hw, aligned=self.aligned)


def check_output(images: Sequence[LoadedImage], output: GateOutput) -> None:
    """Raise ValueError unless the output is of these images, in order."""
    image_ids = tuple(image.image_id for image in images)
    if image_ids != tuple(output.image_ids):
        raise ValueError(f"expected the gate output of {image_ids}, got {output.image_ids}")


def network_of(gate: Gate | ExportedGate) -> ChestClassifier:
    """The gate's network in torch.

    Raises:
        ValueError: for an exported gate.
    """
    model: ChestClassifier | None = getattr(gate.bundle, "model", None)
    if model is None:
        raise ValueError("an exported gate has no network in torch: give the bundle it is made of")
    return model


def _check_even(gate: Gate | ExportedGate) -> None:
    """The shift of aligned maps is that of a ResNet; elsewhere it would misplace them."""
    model = network_of(gate)
    if not model.even:
        raise ValueError(
            f"grad_cam_aligned: the gate is a {model.architecture}, expected a ResNet "
            "or EfficientNet-B0 to B7, whose cells lie half a cell further left and up than plain "
            "scaling puts them; use grad_cam"
        )


def gate_facts(output: GateOutput, diseases: Sequence[str]) -> GateFacts:
    """(image_id, disease) -> gate_probability, gate_threshold (None if undecided), gate_present."""
    thresholds: Mapping[str, float | None] = output.thresholds
    columns = [(d, output.diseases.index(d)) for d in diseases]
    return {
        (image_id, d): {
            "gate_probability": float(output.probabilities[row, column]),
            "gate_threshold": thresholds[d],
            "gate_present": bool(output.present[row, column]),
        }
        for row, image_id in enumerate(output.image_ids)
        for d, column in columns
    }
