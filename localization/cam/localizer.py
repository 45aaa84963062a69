"""Grad-CAM as a localizer: the gate's forward pass, maps in closed form, boxes by a rule."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from cxrloc.classification.inference.gate import Gate, GateOutput
from cxrloc.datasets.images.markers import remove_markers
from cxrloc.datasets.radiograph import LoadedImage
from cxrloc.localization.cam.activation_maps import class_activation_maps
from cxrloc.localization.cam.boxes import (
    DEEP_MEDIA,
    CamBoxRule,
    boxes_from_map,
    map_to_frame,
    smooth_map,
)
from cxrloc.localization.cam.heat_maps import FrameMaps
from cxrloc.localization.cam.rules import SizedRule
from cxrloc.localization.localizer import Localization

GateFacts = dict[tuple[str, str], dict[str, Any]]
CamCells = npt.NDArray[np.float32]


class GradCamLocalizer:
    """Boxes of Grad-CAM maps (Selvaraju et al. 2017), extracted as in Deep MedIA by default.

    It boxes every disease that is asked for, whatever the gate says: whether a disease is present
    is the caller's decision, so that boxes can also be scored with the true disease given.

    The score of a box is the gate's probability of the disease times the mean of the 0..1 map
    within the box. The first is the same for all boxes of an image and disease, so the second alone
    ranks these; across images the product lets the gate's confidence decide, as COCO's average
    precision needs.

    Args:
        gate: classifier, from `Gate(load_classifier(path))`.
        rule: how a map becomes boxes.
        name: name in tables.
        aligned: undo the half-cell shift of plain scaling (see `map_to_frame`).
        rules: disease -> rule and mean box size that stand in the place of `rule` and of the
            bundle's mean box size (see `cam_tuning`); a disease that is not in it keeps those.
        keep_maps: (image_id, disease) pairs whose maps, as the network gives them, are kept in
            `kept_maps`.
    """

    def __init__(
        self,
        gate: Gate,
        rule: CamBoxRule = DEEP_MEDIA,
        name: str = "grad_cam",
        *,
        aligned: bool = False,
        rules: Mapping[str, SizedRule] | None = None,
        keep_maps: Collection[tuple[str, str]] = (),
    ) -> None:
        self.gate, self.rule, self._name, self.aligned = gate, rule, name, aligned
        self.rules = dict(rules or {})
        self.keep_maps = frozenset(keep_maps)
        self.kept_maps: dict[tuple[str, str], CamCells] = {}

    @property
    def name(self) -> str:
        return self._name

    def localize(
        self, images: Sequence[LoadedImage], diseases: Sequence[str]
    ) -> list[Localization]:
        """Boxes of the asked diseases; one forward pass for each image.

        Raises:
            ValueError: for a disease that the classifier does not know.
        """
        return self.localize_gated(images, diseases)[0]

    def localize_gated(
        self, images: Sequence[LoadedImage], diseases: Sequence[str]
    ) -> tuple[list[Localization], GateFacts]:
        """As `localize`, and what the gate says of each (image, disease) in the same pass."""
        found: list[Localization] = []
        facts: GateFacts = {}
        for (
            image
        ) in images:  # image by image: no slower on a CPU, and no batch of large maps in memory
            output = self.gate([image])
            found += self.localize_output([image], output, diseases)
            facts |= gate_facts(output, diseases)
        return found, facts

    def localize_output(
        self, images: Sequence[LoadedImage], output: GateOutput, diseases: Sequence[str]
    ) -> list[Localization]:
        """Boxes from a forward pass already made; `output` must be of the same images, in order."""
        columns = self._columns(diseases)
        cells = self._cells(images, output, columns)
        found = []
        for row, image in enumerate(images):
            for k, (disease, column) in enumerate(zip(diseases, columns, strict=True)):
                if (image.image_id, disease) in self.keep_maps:
                    self.kept_maps[image.image_id, disease] = cells[row, k].copy()
                chosen = self._rule(disease)
                heat = self._frame_map(cells[row, k], image, chosen.rule)
                size_wh = chosen.mean_size_wh(image.size_hw)
                for box, mean_heat in boxes_from_map(heat, chosen.rule, size_wh):
                    score = float(output.probabilities[row, column]) * mean_heat
                    found.append(Localization(image.image_id, disease, box, score))
        return found

    def image_maps(
        self, image: LoadedImage, diseases: Sequence[str], markers: str = "keep"
    ) -> dict[tuple[str, str], CamCells]:
        """(image_id, disease) -> (h, w) map as the network gives it, by one forward pass.

        Args:
            markers: what becomes of the image's burnt-in letters first, see `remove_markers`.
        """
        shown = replace(image, pixels=remove_markers(image.pixels, markers))
        cells = self._cells([shown], self.gate([shown]), self._columns(diseases))
        return {(image.image_id, d): cells[0, k] for k, d in enumerate(diseases)}

    def heat_maps(
        self, output: GateOutput, images: Sequence[LoadedImage], diseases: Sequence[str]
    ) -> list[FrameMaps]:
        """For each image: disease -> (H, W) map in 0..1 in the original frame, as the boxes saw it.

        A map that shows nothing (all zero, constant, not finite) is all zero.
        """
        cells = self._cells(images, output, self._columns(diseases))
        return [
            FrameMaps(
                {d: smooth_map(map_, self._rule(d).rule.smooth_cells)
                 for d, map_ in zip(diseases, cells[row], strict=True)},
                image.size_hw,
                aligned=self.aligned,
            )
            for row, image in enumerate(images)
        ]  # fmt: skip

    def _cells(
        self, images: Sequence[LoadedImage], output: GateOutput, columns: Sequence[int]
    ) -> npt.NDArray[np.float32]:
        image_ids = tuple(image.image_id for image in images)
        if image_ids != tuple(output.image_ids):
            raise ValueError(f"gate output of {output.image_ids}, expected of {image_ids}")
        maps = class_activation_maps(self.gate.bundle.model, output.features, columns)
        return np.asarray(maps.cpu().numpy(), dtype=np.float32)

    def _columns(self, diseases: Sequence[str]) -> list[int]:
        known = list(self.gate.bundle.diseases)
        for disease in diseases:
            if disease not in known:
                raise ValueError(f"unknown disease {disease!r}; the classifier knows {known}")
        return [known.index(disease) for disease in diseases]

    def _rule(self, disease: str) -> SizedRule:
        own = SizedRule(self.rule, self.gate.bundle.mean_box_sizes.get(disease))
        return self.rules.get(disease, own)

    def _frame_map(
        self, cells: npt.NDArray[np.float32], image: LoadedImage, rule: CamBoxRule
    ) -> npt.NDArray[np.float32]:
        smooth = smooth_map(cells, rule.smooth_cells)
        return map_to_frame(smooth, image.size_hw, aligned=self.aligned)


def gate_facts(output: GateOutput, diseases: Sequence[str]) -> GateFacts:
    """(image_id, disease) -> gate_probability, gate_threshold (None: undecidable), gate_present."""
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
