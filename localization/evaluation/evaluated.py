"""Hold the inputs of a comparison and results shared by the analyses: each is scored only once.

evaluated = Evaluated(ComparisonInputs(truth, {"mask_rcnn": place(truth, boxes)}))
evaluated.comparison.localizers
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np

from cxrloc.classification.metrics.bootstrap import RESAMPLES, ClusterBootstrap
from cxrloc.datasets.files.keys import KnownImages
from cxrloc.datasets.prepared.protocols.check import ProtocolCheck
from cxrloc.datasets.provenance.sidecar import Provenance
from cxrloc.localization.cam.heat_maps import HeatMaps
from cxrloc.localization.evaluation.box_scores import BoxScores, score_boxes
from cxrloc.localization.evaluation.comparison import THRESHOLDS, Comparison, compare
from cxrloc.localization.evaluation.controls import (
    CONTROL_NAMES,
    OtherPatients,
    boxed_controls,
    controls_everywhere,
    with_answers,
)
from cxrloc.localization.evaluation.detections import Detections
from cxrloc.localization.evaluation.gate_decisions import GateDecisions
from cxrloc.localization.evaluation.ground_truth import BoolArray, GroundTruth, ImageTable
from cxrloc.localization.evaluation.pairwise import check_margin
from cxrloc.localization.predictions.masks import MaskResult
from cxrloc.localization.predictions.second_reader import SecondReading

Result = TypeVar("Result")


@dataclass(frozen=True)
class ComparisonInputs:
    """Inputs of a comparison.

    Attributes:
        truth: the ground truth.
        predictions: localizer -> its boxes of every requested disease.
        gate: the gate's decisions; None leaves out everything gated.
        provenances: localizer (and `gate`) -> the sidecar of its file; missing or None if there is
            none (other tools' files).
        maps: localizer -> its heat maps, if any.
        masks: localizer -> its masks, if any.
        image_paths: image id -> file, for the gallery and the shortcut check.
        second_readers: name -> another person's boxes on some of the images.
        segmentations: cheXlocalize's image -> task -> mask; None if not requested.
        resamples, seed: resamples of patients; the seed is also used for random_map.
        thresholds: of acc_iou, acc_iobb and acc_iogt.
        noninferiority_margin: see `comparison.compare`.
        protocol: the protocol that the ground truth follows; None if none was asked for.
        published: print the published figures of NIH's diseases next to ours.
        score_by_gate: also score the boxes with the gate's probability as a factor of their score.

    Raises:
        ValueError: if a name is empty or a control's, if maps or masks have no predictions, or if a
            margin is out of range.
    """

    truth: GroundTruth = field(repr=False)
    predictions: Mapping[str, Detections] = field(repr=False)
    gate: GateDecisions | None = field(repr=False, default=None)
    provenances: Mapping[str, Provenance | None] = field(repr=False, default_factory=dict)
    maps: Mapping[str, HeatMaps] = field(repr=False, default_factory=dict)
    masks: Mapping[str, Sequence[MaskResult]] = field(repr=False, default_factory=dict)
    image_paths: Mapping[str, Path] = field(repr=False, default_factory=dict)
    second_readers: Mapping[str, SecondReading] = field(repr=False, default_factory=dict)
    segmentations: Mapping[str, Mapping[str, Any]] | None = field(repr=False, default=None)
    resamples: int = RESAMPLES
    seed: int = 0
    thresholds: tuple[float, ...] = THRESHOLDS
    noninferiority_margin: float | None = None
    protocol: ProtocolCheck | None = None
    published: bool = True
    score_by_gate: bool = False

    def __post_init__(self) -> None:
        check_margin(self.noninferiority_margin)
        for name in (*self.predictions, *self.second_readers):
            check_name(name)
        for name in self.second_readers:
            if name in self.predictions:
                raise ValueError(f"{name!r} names a localizer and a second reader; rename one")
        for kind in ("maps", "masks"):
            for name in getattr(self, kind):
                if name not in self.predictions:
                    names = ", ".join(self.predictions) or "none"
                    raise ValueError(
                        f"{kind} of {name!r}: expected a name with predictions ({names})"
                    )


def check_name(name: str) -> None:
    if not name.strip():
        raise ValueError("a name must not be empty; expected NAME=FILE")
    if name in CONTROL_NAMES:
        raise ValueError(
            f"the name {name!r} belongs to a control; {', '.join(CONTROL_NAMES)} are computed from "
            "the ground truth and always added, so leave the file out or choose another name"
        )


class Evaluated:
    """The inputs, and results computed once for all analyses."""

    def __init__(self, inputs: ComparisonInputs) -> None:
        self.inputs = inputs
        self._results: dict[Callable[[Evaluated], Any], Any] = {}

    def once(self, analyse: Callable[[Evaluated], Result]) -> Result:
        """Result of `analyse(evaluated)`, computed on first use and kept."""
        if analyse not in self._results:
            self._results[analyse] = analyse(self)
        return cast(Result, self._results[analyse])

    @property
    def truth(self) -> GroundTruth:
        return self.inputs.truth

    @property
    def images(self) -> ImageTable:
        """All images of the ground truth, boxed or not."""
        return self.inputs.truth.images

    @property
    def draws(self) -> dict[str, int]:
        """`resamples` and `seed`, for bootstraps over units other than the boxes."""
        return {"resamples": self.inputs.resamples, "seed": self.inputs.seed}

    @cached_property
    def bootstrap(self) -> ClusterBootstrap:
        """Resample the patients with boxes."""
        return self.truth.bootstrap(**self.draws)

    @cached_property
    def scores(self) -> dict[str, BoxScores]:
        """Localizer with the disease given -> its scores for every ground-truth box."""
        return {name: score_boxes(boxes) for name, boxes in self.inputs.predictions.items()}

    @cached_property
    def passes(self) -> BoolArray | None:
        """(N,) boxes whose disease the gate predicts present; None without a gate.

        Raises:
            ValueError: if the gate lacks a boxed image and disease.
        """
        return None if self.inputs.gate is None else self.inputs.gate.on_boxes(self.truth)

    @cached_property
    def passing(self) -> dict[str, Detections]:
        """Localizer -> its boxes of diseases predicted present; empty without a gate."""
        gate = self.inputs.gate
        if gate is None:
            return {}
        return {name: boxes.passing(gate) for name, boxes in self.inputs.predictions.items()}

    @cached_property
    def _others(self) -> OtherPatients:
        return OtherPatients(self.truth)

    @cached_property
    def controls(self) -> dict[str, Detections]:
        """Control -> its boxes on the boxed images and diseases."""
        return boxed_controls(self._others, self.inputs.seed)

    @cached_property
    def everywhere(self) -> dict[str, Detections]:
        """The localizers, and the controls that box every disease on every image."""
        return {**self.inputs.predictions, **controls_everywhere(self._others, self.inputs.gate)}

    @cached_property
    def answering(self) -> dict[str, Detections]:
        """`everywhere`, for settings that tell the number of boxes: controls have as many."""
        return {
            name: with_answers(boxes, self.controls[name]) if name in self.controls else boxes
            for name, boxes in self.everywhere.items()
        }

    @cached_property
    def control_scores(self) -> dict[str, BoxScores]:
        """Control -> its scores for every ground-truth box."""
        return {name: score_boxes(boxes) for name, boxes in self.controls.items()}

    @cached_property
    def looked_at(self) -> dict[str, BoolArray]:
        """For each of `everywhere`, (N,) images that it predicted, with or without a detection.

        Taken from the sidecar. Without one (other tools' files), all images count as predicted if
        there is a box on an image without a ground-truth box, else only the boxed images.
        """
        return {name: self._looked_at(name, boxes) for name, boxes in self.everywhere.items()}

    def _looked_at(self, name: str, boxes: Detections) -> BoolArray:
        every, boxed = np.ones(len(self.images), dtype=np.bool_), self.images.boxed
        if name not in self.inputs.predictions:
            return every
        provenance = self.inputs.provenances.get(name)
        if provenance is not None and provenance.images:
            looked_at = KnownImages(provenance.images)
            images = self.images.image_ids
            return np.array([looked_at.find(image) is not None for image in images], dtype=np.bool_)
        return boxed if boxed[boxes.image].all() else every

    @cached_property
    def comparison(self) -> Comparison:
        """Compare every localizer with the others and the controls."""
        inputs = self.inputs
        return compare(
            self.truth,
            self.scores,
            self.control_scores,
            self.passes,
            bootstrap=self.bootstrap,
            seed=inputs.seed,
            thresholds=inputs.thresholds,
            noninferiority_margin=inputs.noninferiority_margin,
        )
