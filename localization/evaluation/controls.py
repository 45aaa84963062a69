"""Make the controls: localizers that never see the image, as a baseline for the others.

For an image of patient p, the class's typical box comes from the ground-truth boxes of all OTHER
patients, so no control has seen the patient it is scored on.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter

from cxrloc.datasets.radiograph import LoadedImage
from cxrloc.localization.boxes import FloatArray
from cxrloc.localization.cam.boxes import (
    DEEP_MEDIA,
    CamBoxRule,
    Corners,
    ScoredBox,
    boxes_from_map,
    map_to_frame,
)
from cxrloc.localization.evaluation.detections import Detections, place
from cxrloc.localization.evaluation.gate_decisions import GateDecisions
from cxrloc.localization.evaluation.ground_truth import GroundTruth
from cxrloc.localization.evaluation.typical_boxes.typical_boxes import TypicalBoxes
from cxrloc.localization.localizer import Localization, LocalizerOutput

_GRID = 32  # cells a side: the last map of a ResNet at 1024 px
_MAPS = 8  # of an image and disease, after the first
_SMOOTH_CELLS = 4.0  # standard deviation of the blur: blobs as large as in a CAM


class OtherPatients:
    """Ground-truth boxes of each class, without one patient's on request."""

    def __init__(self, truth: GroundTruth) -> None:
        self.truth, self.patient_of = truth, truth.images.patient_of
        rows, of_box = _fractions(truth), np.array(truth.patient_ids, dtype=object)
        self._classes: dict[str, TypicalBoxes] = {}
        for column, disease in enumerate(truth.images.diseases):
            members = truth.column_of_box == column
            patients, owner = np.unique(of_box[members].astype(str), return_inverse=True)
            self._classes[disease] = TypicalBoxes(
                rows[members], owner, truth.image_of_box[members], tuple(patients.tolist())
            )

    def of(self, disease: str) -> TypicalBoxes:
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

    def asked(self, image_id: str, disease: str) -> int:
        """Number of boxes to answer with: that of the ground truth, one where it has none."""
        row, images = self.truth.images.row_of.get(image_id), self.truth.images
        boxes = self.truth.boxes_of_pair
        return 1 if row is None else max(1, int(boxes[row, images.column_of[disease]]))


class _Asked(NamedTuple):
    image_id: str
    disease: str
    size_hw: tuple[int, int]
    number: int


class _Control:
    """Shared by the controls: goes from an image to its frame, from a frame to its boxes."""

    name = "control"

    def __init__(self, ground_truth: GroundTruth | OtherPatients) -> None:
        if not isinstance(ground_truth, OtherPatients):
            ground_truth = OtherPatients(ground_truth)
        self._others = ground_truth

    def localize(self, images: Sequence[LoadedImage], diseases: Sequence[str]) -> LocalizerOutput:
        """Answer with as many boxes as the ground truth has, with one where it has none.

        Patients come from the ground truth or the image.
        """
        boxes = (
            box
            for image in images
            for disease in diseases
            for box in self.boxes(
                image.image_id,
                disease,
                self._others.patient_of.get(image.image_id, image.patient_id),
                image.size_hw,
            )
        )
        return LocalizerOutput(tuple(boxes))

    def boxes(
        self, image_id: str, disease: str, patient_id: str, size_hw: tuple[int, int]
    ) -> list[Localization]:
        """Boxes of one disease on an image of one patient; none without other patients' boxes."""
        if not self._others.have_boxes(disease, patient_id):
            return []
        boxes, number = self._others.of(disease), self._others.asked(image_id, disease)
        asked = _Asked(image_id, disease, size_hw, number)
        scored = self._scored_boxes(asked, boxes, boxes.index(patient_id))
        return [Localization(image_id, disease, *each) for each in scored]

    def _scored_boxes(self, asked: _Asked, boxes: TypicalBoxes, i: int) -> list[ScoredBox]:
        raise NotImplementedError


class PriorBox(_Control):
    """The class's median box: each side's median over the other patients' boxes. Score 1.

    Several: the others' boxes, from left to right, in equal parts; the median of each part.
    """

    name = "prior_box"

    def _scored_boxes(self, asked: _Asked, boxes: TypicalBoxes, i: int) -> list[ScoredBox]:
        return _in_frame(boxes.median_set(i, asked.number), asked.size_hw)


class ConstantBox(_Control):
    """The box with the best mean IoU with the class's boxes of all other patients. Score 1.

    If a class occurs in several places, the median box lies between them, this one on the most
    frequent. IoU is computed in fractions of the frame. It can still lose to the median on the
    left-out patients: of two equally frequent places, leaving a patient out favours the other.

    Several: the set with the best mean matched IoU with the boxes of the images that have so many.
    """

    name = "constant_box"

    def _scored_boxes(self, asked: _Asked, boxes: TypicalBoxes, i: int) -> list[ScoredBox]:
        return _in_frame(boxes.constant_set(i, asked.number), asked.size_hw)


class CenterBox(_Control):
    """A box with the class's median width and height at the centre of the image. Score 1.

    Several: side by side, each in the middle of one of as many strips of the image.
    """

    name = "center_box"

    def _scored_boxes(self, asked: _Asked, boxes: TypicalBoxes, i: int) -> list[ScoredBox]:
        height, width = asked.size_hw
        half_w = min(boxes.medians[i, 4] * max(height, width), width) / 2
        half_h = min(boxes.medians[i, 5] * max(height, width), height) / 2
        strip, y, found = width / asked.number, height / 2, list[ScoredBox]()
        for x in (strip * (k + 0.5) for k in range(asked.number)):
            box = np.clip([x - half_w, y - half_h, x + half_w, y + half_h], 0, [width, height] * 2)
            found.append((_corners(box), 1.0))
        return found


class RandomMap(_Control):
    """A smooth random map, extracted to boxes like a CAM; scored by its mean in the box.

    The map depends only on (seed, image, disease), not on the order of images. Several: the rule's
    best boxes of the map and, where it gives too few, of up to `_MAPS` further ones.
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

    def _scored_boxes(self, asked: _Asked, boxes: TypicalBoxes, i: int) -> list[ScoredBox]:
        side, (width, height) = max(asked.size_hw), boxes.means[i, 4:].tolist()
        mean_size, found = (width * side, height * side), list[ScoredBox]()
        for further in range(1 + _MAPS):
            cells = random_map(self.seed, asked.image_id, asked.disease, further)
            heat, left = map_to_frame(cells, asked.size_hw), asked.number - len(found)
            boxes_of_map = boxes_from_map(heat, self.rule, mean_size, number=left, overwrite=True)
            found += boxes_of_map[:left]
            if len(found) == asked.number:
                break
        return found


def random_map(seed: int, image_id: str, disease: str, further: int = 0) -> npt.NDArray[np.float32]:
    """Blurred white noise of shape (32, 32); depends only on the arguments, on any machine."""
    names = [str(seed), image_id, disease, *([str(further)] if further else [])]
    digest = hashlib.sha256("\n".join(names).encode()).digest()
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
            boxes[control.name] += control.boxes(
                image, disease, patient, truth.images.sizes_hw[row]
            )
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


def with_answers(everywhere: Detections, answers: Detections) -> Detections:
    """A control everywhere, with its several answers where the ground truth has several boxes.

    Args:
        everywhere: one box of every disease on every image; its scores are kept.
        answers: as many boxes as the ground truth has, on the boxed images and diseases.
    """
    truth = everywhere.truth
    if not truth.several:
        return everywhere
    score, several = np.zeros(truth.boxes_of_pair.shape), truth.boxes_of_pair > 1
    score[everywhere.image, everywhere.disease] = everywhere.score
    one = everywhere.where(~several[everywhere.image, everywhere.disease])
    more = answers.where(several[answers.image, answers.disease])
    image, disease = np.append(one.image, more.image), np.append(one.disease, more.disease)
    boxes = np.concatenate([one.boxes_xyxy, more.boxes_xyxy])
    return Detections(truth, image, disease, boxes, score[image, disease])


def _fractions(truth: GroundTruth) -> FloatArray:
    """(N, 6) values of all boxes, see `TypicalBoxes.rows`."""
    height, width = truth.sizes_hw.T
    x1, y1, x2, y2 = truth.boxes_xyxy.T
    side = np.maximum(height, width)
    columns = (x1 / width, y1 / height, x2 / width, y2 / height, (x2 - x1) / side, (y2 - y1) / side)
    return np.column_stack(columns)


def _in_frame(fractions: FloatArray, size_hw: tuple[int, int]) -> list[ScoredBox]:
    height, width = size_hw
    return [(_corners(box), 1.0) for box in fractions * [width, height, width, height]]


def _corners(box: FloatArray) -> Corners:
    x1, y1, x2, y2 = box.tolist()
    return x1, y1, x2, y2
