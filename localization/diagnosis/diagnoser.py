"""Diagnose images, as pure data: the gate's findings, the boxes and the heat maps."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from cxrloc.classification.inference.gate_output import GateOutput
from cxrloc.classification.network.demographics import missing_demographics
from cxrloc.datasets.images.doubts.chest import ChestDoubt, chest_doubt, judges_chests
from cxrloc.datasets.radiograph import LoadedImage, PixelSpacing
from cxrloc.localization.localizer import Localization, Localizer, LocalizerOutput, best_by_score

HeatMap = npt.NDArray[np.float32]
Key = TypeVar("Key")

_NOTHING = LocalizerOutput(())
_LEAST_SIDE = 32  # pixels; a smaller image gets a warning


class ImageGate(Protocol):
    """The part of `classification.gate.Gate` that `Diagnoser` needs."""

    @property
    def batch_size(self) -> int: ...

    @property
    def runtime(self) -> str: ...

    @property
    def demographics(self) -> tuple[str, ...]: ...

    @property
    def examination_thresholds(self) -> Mapping[str, float | None]: ...

    def __call__(self, images: Sequence[LoadedImage]) -> GateOutput: ...


class MapLocalizer(Protocol):
    """The part of `localization.grad_cam.GradCamLocalizer` that `Diagnoser` needs."""

    @property
    def name(self) -> str: ...

    def localize_output(
        self, images: Sequence[LoadedImage], output: GateOutput, diseases: Sequence[str]
    ) -> LocalizerOutput: ...

    def heat_maps(self, image: LoadedImage, output: LocalizerOutput) -> Mapping[str, HeatMap]: ...


class Detector(Localizer, Protocol):
    """The part of `detection.mask_rcnn.MaskRCNNLocalizer` that `Diagnoser` needs."""

    @property
    def runtime(self) -> str: ...


@dataclass(frozen=True)
class Finding:
    """The gate's prediction for one disease. Without a threshold it is never present."""

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
    """Findings and boxes of one image. For research, despite its name.

    Attributes:
        image_id: the image.
        size_hw: original frame, which all boxes refer to.
        findings: every disease of the classifier, in its order.
        boxes: localizer -> its boxes of present diseases, each disease's strongest first.
        heat_maps: present disease -> (H, W) map in 0..1; scaled to the frame on request.
        runtime: runtime of the networks.
        spacing: pixel spacing of the image.
        warnings: warnings about the image, about a tiny size, and about patient data that the gate
            needs and lacks.
        refusal: why the image is no chest radiograph, which the gate expects: not to be shown as a
            diagnosis. Empty for all others.
    """

    image_id: str
    size_hw: tuple[int, int]
    findings: tuple[Finding, ...]
    boxes: Mapping[str, tuple[Localization, ...]]
    heat_maps: Mapping[str, HeatMap] = field(default_factory=dict, repr=False)
    runtime: str = ""
    spacing: PixelSpacing | None = None
    warnings: tuple[str, ...] = ()
    refusal: str = ""

    def __post_init__(self) -> None:
        for name, boxes in self.boxes.items():
            absent = [box.disease for box in boxes if box.disease not in self.present]
            if absent:
                raise ValueError(f"{self.image_id}: {name} boxed {absent[0]}, which is not present")

    @property
    def present(self) -> tuple[str, ...]:
        """Diseases that pass the gate."""
        return tuple(finding.disease for finding in self.findings if finding.present)

    @property
    def message(self) -> str:
        """One sentence about the boxed diseases."""
        if not self.present:
            return "No disease passed the gate: no boxes."
        return f"Passed the gate: {', '.join(self.present)}."

    def best(self, localizer: str) -> dict[str, Localization]:
        """Disease -> the localizer's strongest box; without the diseases it did not box."""
        return {box.disease: box for box in best_by_score(self.boxes[localizer]).values()}


class Diagnoser:
    """Classify images and box the positives, for the tools, the HTTP API and the page.

    One backbone pass per batch serves the gate and the class activation maps; the detectors run
    only on images with a positive disease. Safe to call from several threads: calls wait for each
    other, since one already uses all cores or the GPU.

    Args:
        gate: `classification.gate.Gate`.
        cam: `map_localizer(gate)`, with the same gate.
        detectors: further localizers, each with its own pass.

    Attributes:
        labels: disease of the gate -> name in the diagnoses, or None if it is left out; None where
            the names are the gate's own.
        any_image: warn of images that do not look like a chest instead of refusing them.
    """

    labels: Mapping[str, str | None] | None = None
    any_image = False

    def __init__(
        self, gate: ImageGate, cam: MapLocalizer, detectors: Sequence[Detector] = ()
    ) -> None:
        names = [cam.name, *(detector.name for detector in detectors)]
        if len(set(names)) < len(names):
            raise ValueError(f"localizers {names}: expected different names")
        self.gate, self.cam, self.detectors = gate, cam, tuple(detectors)
        self._lock = threading.Lock()

    @property
    def runtime(self) -> str:
        """Runtime of the networks, for the records."""
        return self._runtime(self.detectors)

    @property
    def examination_thresholds(self) -> Mapping[str, float | None]:
        """Disease -> operating point for the mean over a study's images."""
        return self.gate.examination_thresholds

    def _runtime(self, detectors: Sequence[Detector]) -> str:
        return ", ".join([self.gate.runtime, *(f"{d.name} {d.runtime}" for d in detectors)])

    def __call__(
        self, images: Sequence[LoadedImage], *, heat_maps: bool = True, detectors: bool = True
    ) -> list[Diagnosis]:
        """Return one diagnosis per image, in order.

        Args:
            images: of any size. All are in memory at once: see `stream` for many.
            heat_maps: keep the maps of the diseases that pass.
            detectors: False skips the detectors.
        """
        with self._lock:
            output = self.gate(images)
            chosen = self.detectors if detectors else ()
            return [
                self._diagnosis(image, output.of_image(row), heat_maps, chosen)
                for row, image in enumerate(images)
            ]

    def _diagnosis(
        self, image: LoadedImage, output: GateOutput, heat_maps: bool, detectors: Sequence[Detector]
    ) -> Diagnosis:
        present = output.present_diseases(0)
        outputs = dict.fromkeys([self.cam.name, *(d.name for d in detectors)], _NOTHING)
        maps: Mapping[str, HeatMap] = {}
        if present:
            outputs[self.cam.name] = self.cam.localize_output([image], output, present)
            outputs |= {d.name: d.localize([image], present) for d in detectors}
            maps = self.cam.heat_maps(image, outputs[self.cam.name]) if heat_maps else {}
        boxes = {name: _sorted(localized.boxes, present) for name, localized in outputs.items()}
        doubt = chest_doubt(image.pixels) if judges_chests(output.diseases) else None
        return Diagnosis(
            image.image_id,
            image.size_hw,
            _findings(output),
            boxes,
            maps,
            self._runtime(detectors),
            image.spacing,
            (
                *image.warnings,
                *([] if doubt is None else [doubt.sentence]),
                *_small(image),
                *_missing_demographics(image, self.gate.demographics),
            ),
            "" if doubt is None or self.any_image else _refusal(image, doubt),
        )


def _refusal(image: LoadedImage, doubt: ChestDoubt) -> str:
    """Why the image is refused; empty if not. A lateral image that says so is only warned of."""
    lateral = image.view == "LATERAL" or image.image_id.rpartition(".")[0].endswith("_lateral")
    if lateral or not doubt.refused:
        return ""
    return " ".join([doubt.sentence, *image.warnings, "With --any-image it is predicted."])


def _small(image: LoadedImage) -> list[str]:
    height, width = image.pixels.shape
    if min(height, width) >= _LEAST_SIDE:
        return []
    return [
        f"Small: {width} x {height} pixels, images usually have hundreds: is this a whole image?"
    ]


def stream(
    diagnoser: Diagnoser, images: Iterable[tuple[Key, LoadedImage]]
) -> Iterator[tuple[Key, LoadedImage, Diagnosis]]:
    """Yield each image with its diagnosis, in order; holds at most one batch of images.

    Args:
        diagnoser: its gate gives the batch size.
        images: (any key of the caller, image); may be a generator with more images than fit into
            memory.
    """
    waiting = iter(images)
    while batch := list(islice(waiting, diagnoser.gate.batch_size)):
        diagnoses = diagnoser([image for _, image in batch])
        while batch:  # yielded and dropped one by one
            yield (*batch.pop(0), diagnoses.pop(0))


def _findings(output: GateOutput) -> tuple[Finding, ...]:
    return tuple(
        Finding(d, float(probability), output.thresholds[d], bool(present))
        for d, probability, present in zip(
            output.diseases, output.probabilities[0], output.present[0], strict=True
        )
    )


def _missing_demographics(image: LoadedImage, asked: Sequence[str]) -> Iterator[str]:
    """Yield one sentence if the gate predicts without an input from its training."""
    if missing := missing_demographics(asked, image):
        yield (
            f"The gate was trained with {', '.join(asked)} in addition to the image; the file does "
            f"not give {', '.join(missing)}: predicted without."
        )


def _sorted(
    localizations: Sequence[Localization], diseases: Sequence[str]
) -> tuple[Localization, ...]:
    order = {disease: i for i, disease in enumerate(diseases)}
    return tuple(sorted(localizations, key=lambda box: (order[box.disease], -box.score)))
