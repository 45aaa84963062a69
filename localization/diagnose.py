"""What is found on one film, as pure data: the gate's findings, boxes and maps of those that pass.

Schema of the JSON that `to_json` makes and `tools/predict.py` writes; `images`, `categories` and
`annotations` are COCO's, so the file opens in any COCO tool, which ignores the other keys:

    research_use   one sentence
    message        one sentence: which diseases are boxed, or that no disease passed the gate
    images         [{id: 1, file_name, width, height}]: the original frame, pixels
    categories     [{id, name}]: the classifier's diseases, ids from 1 in its order
    findings       [{category_id, disease, probability 0..1, threshold 0..1 or null (the gate cannot
                   decide), present: bool}] for every disease of the classifier
    annotations    boxes of present diseases only: [{id, image_id: 1, category_id, bbox [x, y,
                   width, height] in pixels of the original frame, area, iscrowd: 0, score,
                   localizer, rank: 1 for the strongest box of a localizer and disease, which is the
                   one that is drawn, segmentation (RLE) where the localizer gives a mask}]
    localizers     names of the localizers that were run
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from cxrloc.classification.gate import GateOutput
from cxrloc.datasets.radiograph import Film
from cxrloc.localization.boxes import xyxy_to_xywh
from cxrloc.localization.localizer import Localization, Localizer
from cxrloc.localization.predictions import encode_mask
from cxrloc.localization.words import RESEARCH_USE

HeatMap = npt.NDArray[np.float32]


class FilmGate(Protocol):
    """What `diagnose` needs of a `classification.gate.Gate`."""

    def __call__(self, films: Sequence[Film]) -> GateOutput: ...


class MapLocalizer(Protocol):
    """What `diagnose` needs of a `localization.grad_cam.GradCamLocalizer`."""

    @property
    def name(self) -> str: ...

    def localize_output(
        self, films: Sequence[Film], output: GateOutput, diseases: Sequence[str]
    ) -> list[Localization]: ...

    def heat_maps(
        self, output: GateOutput, films: Sequence[Film], diseases: Sequence[str]
    ) -> list[dict[str, HeatMap]]: ...


@dataclass(frozen=True)
class Finding:
    """The gate's word on one disease. Without a threshold it cannot decide: never present."""

    disease: str
    probability: float
    threshold: float | None
    present: bool

    def __post_init__(self) -> None:
        if not 0 <= self.probability <= 1:
            raise ValueError(f"{self.disease}: probability {self.probability}, expected 0 to 1")
        if self.present and self.threshold is None:
            raise ValueError(f"{self.disease}: present without a threshold")


@dataclass(frozen=True)
class Diagnosis:
    """One film's findings and boxes. For research, whatever its name says.

    Attributes:
        image_id: the film.
        size_hw: the original frame, which all boxes are in.
        findings: every disease of the classifier, in its order.
        boxes: localizer -> its boxes of present diseases, each disease's strongest first.
        heat_maps: present disease -> (H, W) map in 0..1.
    """

    image_id: str
    size_hw: tuple[int, int]
    findings: tuple[Finding, ...]
    boxes: Mapping[str, tuple[Localization, ...]]
    heat_maps: Mapping[str, HeatMap] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        for name, found in self.boxes.items():
            absent = [box.disease for box in found if box.disease not in self.present]
            if absent:
                raise ValueError(f"{self.image_id}: {name} boxed {absent[0]}, which is not present")

    @property
    def present(self) -> tuple[str, ...]:
        """Diseases that pass the gate."""
        return tuple(finding.disease for finding in self.findings if finding.present)

    @property
    def message(self) -> str:
        """One sentence on what is boxed."""
        if not self.present:
            return "No disease passed the gate: no boxes."
        return f"Passed the gate: {', '.join(self.present)}."

    def best(self, localizer: str) -> dict[str, Localization]:
        """Disease -> the localizer's strongest box; diseases that it did not box are absent."""
        first: dict[str, Localization] = {}
        for box in self.boxes[localizer]:
            first.setdefault(box.disease, box)
        return first


def diagnose(
    film: Film, gate: FilmGate, cam: MapLocalizer, detector: Localizer | None = None
) -> Diagnosis:
    """Judge one film and box what passes: ONE backbone pass for the gate and the maps.

    Args:
        film: the film.
        gate: `Gate(load_classifier(path))`.
        cam: `GradCamLocalizer(gate)`, of the same gate.
        detector: a second localizer; it is not run on a film where nothing passes.
    """
    output = gate([film])
    present = output.present_diseases(0)
    found: dict[str, Sequence[Localization]] = {cam.name: []}
    heat_maps: Mapping[str, HeatMap] = {}
    if present:
        found[cam.name] = cam.localize_output([film], output, present)
        heat_maps = cam.heat_maps(output, [film], present)[0]
    if detector is not None:
        found[detector.name] = detector.localize([film], present) if present else []
    boxes = {name: _sorted(localizations, present) for name, localizations in found.items()}
    return Diagnosis(film.image_id, film.size_hw, _findings(output), boxes, heat_maps)


def to_json(diagnosis: Diagnosis) -> dict[str, Any]:
    """The diagnosis as JSON-ready values (schema: this module's docstring)."""
    height, width = diagnosis.size_hw
    category = {finding.disease: i for i, finding in enumerate(diagnosis.findings, start=1)}
    annotations: list[dict[str, Any]] = []
    for name, found in diagnosis.boxes.items():
        for k, box in enumerate(found):
            rank = 1 + sum(other.disease == box.disease for other in found[:k])
            entry = {"id": len(annotations) + 1, "image_id": 1, "localizer": name, "rank": rank}
            annotations.append(entry | _annotation(box, category[box.disease], diagnosis.size_hw))
    return {
        "research_use": f"{RESEARCH_USE}.",
        "message": diagnosis.message,
        "images": [{"id": 1, "file_name": diagnosis.image_id, "width": width, "height": height}],
        "categories": [{"id": number, "name": name} for name, number in category.items()],
        "findings": [{"category_id": category[f.disease], **vars(f)} for f in diagnosis.findings],
        "annotations": annotations,
        "localizers": list(diagnosis.boxes),
    }


def _findings(output: GateOutput) -> tuple[Finding, ...]:
    return tuple(
        Finding(d, float(probability), output.thresholds[d], bool(present))
        for d, probability, present in zip(
            output.diseases, output.probabilities[0], output.present[0], strict=True
        )
    )


def _sorted(
    localizations: Sequence[Localization], diseases: Sequence[str]
) -> tuple[Localization, ...]:
    order = {disease: i for i, disease in enumerate(diseases)}
    return tuple(sorted(localizations, key=lambda box: (order[box.disease], -box.score)))


def _annotation(box: Localization, category: int, size_hw: tuple[int, int]) -> dict[str, Any]:
    xywh = [float(value) for value in xyxy_to_xywh([box.box_xyxy])[0]]
    entry = {"category_id": category, "bbox": xywh, "area": xywh[2] * xywh[3], "iscrowd": 0}
    if box.mask is not None:
        entry["segmentation"] = encode_mask(box.mask, size_hw)
    return {**entry, "score": box.score}
