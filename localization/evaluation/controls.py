"""Make the controls: localizers that never see the image, as a baseline for the others.

For an image of patient p, the class's typical box comes from the ground-truth boxes of all OTHER
patients, so no control has seen the patient it is scored on.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter

from cxrloc.datasets.radiograph import LoadedImage
from cxrloc.localization.boxes import FloatArray
from cxrloc.localization.cam.boxes import (
    DEEP_MEDIA,
    CamBoxRule,
    ScoredBox,
    boxes_from_map,
    map_to_frame,
)
from cxrloc.localization.evaluation.constant_box import constant_boxes_without
from cxrloc.localization.evaluation.detections import Detections, place
from cxrloc.localization.evaluation.gate_decisions import GateDecisions
from cxrloc.localization.evaluation.ground_truth import GroundTruth, IndexArray
from cxrloc.localization.localizer import Localization, LocalizerOutput

_GRID = 32  # cells a side: the last map of a ResNet at 1024 px
_SMOOTH_CELLS = 4.0  # standard deviation of the blur: blobs as large as in a CAM


@dataclass(frozen=True)
class _Class:
    """The boxes of one disease, and their typical box without each patient's own.

    Attributes:
        rows: (N, 6) left, top, right, bottom as fractions of the frame's width and height, then
            width and height as fractions of the frame's longer side.
        owner: (N,) index into `patients`.
        patients: P patients with a box.
    """

    rows: FloatArray = field(repr=False)
    owner: IndexArray = field(repr=False)
    patients: tuple[str, ...] = field(repr=False)

    @cached_property
    def index_of(self) -> dict[str, int]:
        """Patient -> row of `medians`, `means` and `constants`; other patients use the last."""
        return {patient: i for i, patient in enumerate(self.patients)}

    def index(self, patient_id: str) -> int:
        return self.index_of.get(patient_id, len(self.patients))

    @cached_property
    def medians(self) -> FloatArray:
        """(P + 1, 6) medians; NaN if no other patient has a box."""
        return np.stack([self._of_others(np.median, i) for i in range(len(self.patients) + 1)])

    @cached_property
    def means(self) -> FloatArray:
        """(P + 1, 6) means; NaN if no other patient has a box."""
        return np.stack([self._of_others(np.mean, i) for i in range(len(self.patients) + 1)])

    @cached_property
    def constants(self) -> FloatArray:
        """(P + 1, 4) boxes with the best mean IoU; NaN if no other patient has a box."""
        return constant_boxes_without(self.rows[:, :4], self.owner)

    def _of_others(self, statistic: Any, i: int) -> FloatArray:
        rows = self.rows[self.owner != i]
        return np.asarray(statistic(rows, axis=0) if len(rows) else np.full(6, np.nan))


class OtherPatients:
    """Ground-truth boxes of each class, without one patient's on request."""

    def __init__(self, truth: GroundTruth) -> None:
        self.truth, self.patient_of = truth, truth.images.patient_of
        rows, of_box = _fractions(truth), np.array(truth.patient_ids, dtype=object)
        self._classes: dict[str, _Class] = {}
        for column, disease in enumerate(truth.images.diseases):
            members = truth.column_of_box == column
            patients, owner = np.unique(of_box[members].astype(str), return_inverse=True)
            self._classes[disease] = _Class(rows[members], owner, tuple(patients.tolist()))

    def of(self, disease: str) -> _Class:
        """Boxes of a disease.

        Raises:
            ValueError: if the ground truth lacks the disease.
        """
        if disease not in self._classes:
            known = ", ".join(self._classes)
            raise ValueError(f"unknown disease {disease!r}; the ground truth has {known}")
        return self._classes[disease]

    def have_boxes(self, disease: str, patient_id: str) -> bool:
        """Whether any other patient has a box of the disease; warns if none does."""
        boxes = self.of(disease)
        if len(boxes.patients) > (patient_id in boxes.index_of):
            return True
        others = f"no patient except {patient_id!r}" if boxes.patients else "no patient"
        warnings.warn(f"{disease}: {others} has a box, so the controls predict none")  # noqa: B028
        return False


class _Control:
    """Shared by the controls: goes from an image to its frame, from a frame to at most one box."""

    name = "control"

    def __init__(self, ground_truth: GroundTruth | OtherPatients) -> None:
        if not isinstance(ground_truth, OtherPatients):
            ground_truth = OtherPatients(ground_truth)
        self._others = ground_truth

    def localize(self, images: Sequence[LoadedImage], diseases: Sequence[str]) -> LocalizerOutput:
        """At most one box per image and disease; patients come from the ground truth or image."""
        boxes = (
            self.box(
                image.image_id,
                disease,
                self._others.patient_of.get(image.image_id, image.patient_id),
                image.size_hw,
            )
            for image in images
            for disease in diseases
        )
        return LocalizerOutput(tuple(box for box in boxes if box is not None))

    def box(
        self, image_id: str, disease: str, patient_id: str, size_hw: tuple[int, int]
    ) -> Localization | None:
        """Box of one disease on an image of one patient; None without other patients' boxes."""
        if not self._others.have_boxes(disease, patient_id):
            return None
        boxes = self._others.of(disease)
        scored = self._scored_box(image_id, disease, boxes, boxes.index(patient_id), size_hw)
        return None if scored is None else Localization(image_id, disease, *scored)

    def _scored_box(
        self, image_id: str, disease: str, boxes: _Class, i: int, size_hw: tuple[int, int]
    ) -> ScoredBox | None:
        raise NotImplementedError


class PriorBox(_Control):
    """The class's median box: each side's median over the other patients' boxes. Score 1."""

    name = "prior_box"

    def _scored_box(
        self, image_id: str, disease: str, boxes: _Class, i: int, size_hw: tuple[int, int]
    ) -> ScoredBox | None:
        return _in_frame(boxes.medians[i, :4], size_hw), 1.0


class ConstantBox(_Control):
    """The box with the best mean IoU with the class's boxes of all other patients. Score 1.

    If a class occurs in several places, the median box lies between them, this one on the most
    frequent. IoU is computed in fractions of the frame. It can still lose to the median on the
    left-out patients: of two equally frequent places, leaving a patient out favours the other.
    """

    name = "constant_box"

    def _scored_box(
        self, image_id: str, disease: str, boxes: _Class, i: int, size_hw: tuple[int, int]
    ) -> ScoredBox | None:
        return _in_frame(boxes.constants[i], size_hw), 1.0


class CenterBox(_Control):
    """A box with the class's median width and height at the centre of the image. Score 1."""

    name = "center_box"

    def _scored_box(
        self, image_id: str, disease: str, boxes: _Class, i: int, size_hw: tuple[int, int]
    ) -> ScoredBox | None:
        height, width = size_hw
        half_w = min(boxes.medians[i, 4] * max(height, width), width) / 2
        half_h = min(boxes.medians[i, 5] * max(height, width), height) / 2
        x, y = width / 2, height / 2
        return (float(x - half_w), float(y - half_h), float(x + half_w), float(y + half_h)), 1.0


class RandomMap(_Control):
    """A smooth random map, extracted to boxes like a CAM; scored by its mean in the box.

    The map depends only on (seed, image, disease), not on the order of images.
    """

    name = "random_map"

    def __init__(
        self,
        seed: int,
        ground_truth: GroundTruth | OtherPatients,
        rule: CamBoxRule = DEEP_MEDIA,
    ) -> None:
        super().__init__(ground_truth)
        self.seed, self.rule = seed, rule

    def _scored_box(
        self, image_id: str, disease: str, boxes: _Class, i: int, size_hw: tuple[int, int]
    ) -> ScoredBox | None:
        heat = map_to_frame(random_map(self.seed, image_id, disease), size_hw)
        side, (width, height) = max(size_hw), boxes.means[i, 4:].tolist()
        mean_size = (width * side, height * side)
        scored = boxes_from_map(heat, self.rule, mean_size, overwrite=True)
        return scored[0] if scored else None


def random_map(seed: int, image_id: str, disease: str) -> npt.NDArray[np.float32]:
    """Blurred white noise of shape (32, 32); depends only on the arguments, on any machine."""
    digest = hashlib.sha256(f"{seed}\n{image_id}\n{disease}".encode()).digest()
    noise = np.random.default_rng(int.from_bytes(digest[:16], "big")).normal(size=(_GRID, _GRID))
    # "wrap": with any other border the blobs gather at the edges, where there is no disease
    return np.asarray(gaussian_filter(noise, _SMOOTH_CELLS, mode="wrap"), dtype=np.float32)


CONTROL_NAMES = (PriorBox.name, ConstantBox.name, CenterBox.name, RandomMap.name)


def boxed_controls(others: OtherPatients, seed: int) -> dict[str, Detections]:
    """Box every image and disease with a ground-truth box, for all controls; reads no image."""
    truth = others.truth
    controls = (PriorBox(others), ConstantBox(others), CenterBox(others), RandomMap(seed, others))
    rows = zip(truth.image_ids, truth.diseases, truth.patient_ids, truth.image_of_box, strict=True)
    pairs = {(image, disease): (patient, row) for image, disease, patient, row in rows}
    boxes: dict[str, list[Localization]] = {control.name: [] for control in controls}
    for (image, disease), (patient, row) in pairs.items():
        for control in controls:
            box = control.box(image, disease, patient, truth.images.sizes_hw[row])
            if box is not None:
                boxes[control.name].append(box)
    return {name: place(truth, found) for name, found in boxes.items()}


def controls_everywhere(
    others: OtherPatients, gate: GateDecisions | None = None
) -> dict[str, Detections]:
    """Prior box and constant box of EVERY disease on every image: a baseline for precision.

    Args:
        gate: its probability is the score of the box (0 if unknown), so that only the place is
            blind; None: every score is 1.
    """
    truth, images = others.truth, others.truth.images
    frames = np.array(images.sizes_hw, dtype=np.float64).reshape(-1, 2)[:, [1, 0, 1, 0]]
    rows, columns, prior, constant = [], [], [], []
    for disease in truth.disease_names:
        boxes = others.of(disease)
        index = np.array([boxes.index(patient) for patient in images.patient_ids], dtype=np.intp)
        seen = np.flatnonzero(np.isfinite(boxes.medians[index, 0]))
        rows.append(seen)
        columns.append(np.full(len(seen), images.column_of[disease]))
        prior.append(boxes.medians[index[seen], :4] * frames[seen])
        constant.append(boxes.constants[index[seen]] * frames[seen])
    image, disease_of = np.concatenate(rows), np.concatenate(columns)
    score = np.ones(len(image)) if gate is None else gate.probability[image, disease_of]
    return {
        name: Detections(truth, image, disease_of, np.concatenate(boxes), score)
        for name, boxes in ((PriorBox.name, prior), (ConstantBox.name, constant))
    }


def _fractions(truth: GroundTruth) -> FloatArray:
    """(N, 6) values of all boxes, see `_Class.rows`."""
    height, width = truth.sizes_hw.T
    x1, y1, x2, y2 = truth.boxes_xyxy.T
    side = np.maximum(height, width)
    columns = (x1 / width, y1 / height, x2 / width, y2 / height, (x2 - x1) / side, (y2 - y1) / side)
    return np.column_stack(columns)


def _in_frame(fractions: FloatArray, size_hw: tuple[int, int]) -> tuple[float, float, float, float]:
    height, width = size_hw
    x1, y1, x2, y2 = fractions.tolist()
    return x1 * width, y1 * height, x2 * width, y2 * height
