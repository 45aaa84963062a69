"""Controls: localizers that never look at the image, for the others to beat.

For an image of patient p the class's typical box comes from the ground-truth boxes of all OTHER
patients, so that no control has seen the patient it is scored on.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter

from cxrloc.datasets.radiograph import LoadedImage
from cxrloc.localization.boxes import FloatArray, xywh_to_xyxy
from cxrloc.localization.cam.boxes import (
    DEEP_MEDIA,
    CamBoxRule,
    ScoredBox,
    boxes_from_map,
    map_to_frame,
)
from cxrloc.localization.evaluation.constant_box import best_constant_box
from cxrloc.localization.localizer import Localization, LocalizerOutput

_GRID = 32  # cells a side: the last map of a ResNet at 1024 px
_SMOOTH_CELLS = 4.0  # standard deviation of the blur: blobs of the size that CAMs have


@dataclass(frozen=True)
class _Place:
    """An image as a control sees it: without pixels."""

    image_id: str
    patient_id: str
    size_hw: tuple[int, int]


class OtherPatients:
    """The ground truth's boxes of each class, with one patient's left out on request."""

    def __init__(self, coco: Mapping[str, Any]) -> None:
        self._places = {image["id"]: _place(image) for image in coco["images"]}
        names = {category["id"]: str(category["name"]) for category in coco["categories"]}
        rows: dict[str, list[list[float]]] = {name: [] for name in names.values()}
        patients: dict[str, list[str]] = {name: [] for name in names.values()}
        pairs: dict[tuple[str, str], tuple[_Place, str]] = {}
        for annotation in coco["annotations"]:
            place, disease = self._places[annotation["image_id"]], names[annotation["category_id"]]
            rows[disease].append(_fractions(annotation["bbox"], place.size_hw))
            patients[disease].append(place.patient_id)
            pairs[place.image_id, disease] = (place, disease)
        self.pairs = list(pairs.values())
        self.patient_of = {place.image_id: place.patient_id for place in self._places.values()}
        self._rows = {name: np.array(found).reshape(-1, 6) for name, found in rows.items()}
        self._patients = {name: np.array(found, dtype=str) for name, found in patients.items()}
        self._typical: dict[tuple[str, str], tuple[FloatArray, FloatArray] | None] = {}
        self._constant: dict[tuple[str, str], FloatArray] = {}

    @property
    def places(self) -> list[_Place]:
        """All images of the ground truth."""
        return list(self._places.values())

    def has_boxes(self, disease: str) -> bool:
        return len(self._rows[disease]) > 0

    def typical(self, disease: str, patient_id: str) -> tuple[FloatArray, FloatArray] | None:
        """Median and mean over the other patients' boxes, or None (and a warning) without any.

        Each is left, top, right, bottom as fractions of the frame's width and height, then width
        and height as fractions of the frame's longer side.
        """
        if disease not in self._rows:
            known = ", ".join(self._rows)
            raise ValueError(f"unknown disease {disease!r}; the ground truth has {known}")
        key = (disease, patient_id)
        if key not in self._typical:
            rows = self._rows[disease][self._patients[disease] != patient_id]
            self._typical[key] = (np.median(rows, axis=0), rows.mean(axis=0)) if len(rows) else None
            if not len(rows):
                others = f"no patient but {patient_id!r}" if len(self._rows[disease]) else "nobody"
                warnings.warn(f"{disease}: {others} has a box, so the controls give none")  # noqa: B028
        return self._typical[key]

    def constant(self, disease: str, patient_id: str) -> FloatArray:
        """The box of best mean IoU with the other patients' boxes, (4,) fractions of the frame.

        Raises:
            ValueError: where `typical` is None: there is no other patient's box.
        """
        own = self._patients[disease] == patient_id
        # the many patients without a box of the disease share one box: the search is not free
        key = (disease, patient_id if own.any() else "")
        if key not in self._constant:
            self._constant[key] = best_constant_box(self._rows[disease][~own, :4])
        return self._constant[key]


class _Control:
    """What the controls share: from an image to its place, from a place to at most one box."""

    name = "control"

    def __init__(self, ground_truth: Mapping[str, Any] | OtherPatients) -> None:
        if not isinstance(ground_truth, OtherPatients):
            ground_truth = OtherPatients(ground_truth)
        self._others = ground_truth

    def localize(self, images: Sequence[LoadedImage], diseases: Sequence[str]) -> LocalizerOutput:
        """At most one box per image and disease; patients are the ground truth's or the image's."""
        places = [
            _Place(f.image_id, self._others.patient_of.get(f.image_id, f.patient_id), f.size_hw)
            for f in images
        ]
        boxes = self.localize_places((place, d) for place in places for d in diseases)
        return LocalizerOutput(tuple(boxes))

    def localize_places(self, pairs: Iterable[tuple[_Place, str]]) -> list[Localization]:
        """As `localize`, for (place, disease) pairs such as `OtherPatients.pairs`."""
        found = []
        for place, disease in pairs:
            typical = self._others.typical(disease, place.patient_id)
            scored = None if typical is None else self._box(place, disease, *typical)
            if scored is not None:
                found.append(Localization(place.image_id, disease, *scored))
        return found

    def _box(
        self, place: _Place, disease: str, median: FloatArray, mean: FloatArray
    ) -> ScoredBox | None:
        raise NotImplementedError


class PriorBox(_Control):
    """The class's median box: each side's median over the other patients' boxes. Score 1."""

    name = "prior_box"

    def _box(
        self, place: _Place, disease: str, median: FloatArray, mean: FloatArray
    ) -> ScoredBox | None:
        return _in_frame(median[:4], place.size_hw), 1.0


class ConstantBox(_Control):
    """The box of best mean IoU with the class's boxes of all other patients. Score 1.

    Where a class has several places the median box lies between them, this one on the most
    frequent. IoU is that of fractions of the frame. On the patients left out it can still lose to
    the median: of two places as frequent, leaving a patient out tips the choice to the other.
    """

    name = "constant_box"

    def _box(
        self, place: _Place, disease: str, median: FloatArray, mean: FloatArray
    ) -> ScoredBox | None:
        return _in_frame(self._others.constant(disease, place.patient_id), place.size_hw), 1.0


class CenterBox(_Control):
    """A box of the class's median width and height at the centre of the image. Score 1."""

    name = "center_box"

    def _box(
        self, place: _Place, disease: str, median: FloatArray, mean: FloatArray
    ) -> ScoredBox | None:
        height, width = place.size_hw
        half_w = min(median[4] * max(height, width), width) / 2
        half_h = min(median[5] * max(height, width), height) / 2
        x, y = width / 2, height / 2
        return (float(x - half_w), float(y - half_h), float(x + half_w), float(y + half_h)), 1.0


class RandomMap(_Control):
    """A smooth random map through the box extraction of a CAM; scored by its mean in the box.

    The map depends on (seed, image, disease) alone, not on the order in which images come.
    """

    name = "random_map"

    def __init__(
        self,
        seed: int,
        ground_truth: Mapping[str, Any] | OtherPatients,
        rule: CamBoxRule = DEEP_MEDIA,
    ) -> None:
        super().__init__(ground_truth)
        self.seed, self.rule = seed, rule

    def _box(
        self, place: _Place, disease: str, median: FloatArray, mean: FloatArray
    ) -> ScoredBox | None:
        heat = map_to_frame(random_map(self.seed, place.image_id, disease), place.size_hw)
        side = max(place.size_hw)
        boxes = boxes_from_map(heat, self.rule, (float(mean[4] * side), float(mean[5] * side)))
        return boxes[0] if boxes else None


def random_map(seed: int, image_id: str, disease: str) -> npt.NDArray[np.float32]:
    """Blurred white noise of shape (32, 32); the arguments alone decide it, on any machine."""
    digest = hashlib.sha256(f"{seed}\n{image_id}\n{disease}".encode()).digest()
    noise = np.random.default_rng(int.from_bytes(digest[:16], "big")).normal(size=(_GRID, _GRID))
    # "wrap": with any other border the blobs gather at the edges, where no disease is
    return np.asarray(gaussian_filter(noise, _SMOOTH_CELLS, mode="wrap"), dtype=np.float32)


def control_localizations(coco: Mapping[str, Any], seed: int) -> dict[str, list[Localization]]:
    """All controls' boxes for each (image, disease) that has a ground-truth box; reads no image."""
    others = OtherPatients(coco)
    controls: tuple[_Control, ...] = (
        PriorBox(others),
        ConstantBox(others),
        CenterBox(others),
        RandomMap(seed, others),
    )
    return {control.name: control.localize_places(others.pairs) for control in controls}


def controls_everywhere(
    coco: Mapping[str, Any], probability: Mapping[tuple[str, str], float] | None = None
) -> dict[str, list[Localization]]:
    """Prior box and constant box of EVERY disease on every image: what precision has to beat.

    Args:
        probability: (image_id, disease) -> the gate's probability, the score of the box there (0
            where it is not known), so that only the place is blind; None: every score is 1.
    """
    others = OtherPatients(coco)
    names = [str(category["name"]) for category in coco["categories"]]
    pairs = [(place, d) for place in others.places for d in names if others.has_boxes(d)]
    found = {c.name: c.localize_places(pairs) for c in (PriorBox(others), ConstantBox(others))}
    if probability is None:
        return found
    return {
        name: [replace(b, score=probability.get((b.image_id, b.disease), 0.0)) for b in boxes]
        for name, boxes in found.items()
    }


def _place(image: Mapping[str, Any]) -> _Place:
    if image.get("patient_id") in (None, ""):
        raise ValueError(
            f"ground truth: image {image['file_name']!r} has no patient_id, which controls need "
            f"to leave its patient out; tools/prepare_data.py writes it, or add the key"
        )
    size_hw = (int(image["height"]), int(image["width"]))
    return _Place(image["file_name"], str(image["patient_id"]), size_hw)


def _fractions(box_xywh: Sequence[float], size_hw: tuple[int, int]) -> list[float]:
    height, width = size_hw
    x1, y1, x2, y2 = xywh_to_xyxy([box_xywh])[0]
    side = max(height, width)
    return [x1 / width, y1 / height, x2 / width, y2 / height, (x2 - x1) / side, (y2 - y1) / side]


def _in_frame(fractions: FloatArray, size_hw: tuple[int, int]) -> tuple[float, float, float, float]:
    height, width = size_hw
    x1, y1, x2, y2 = fractions.tolist()
    return x1 * width, y1 * height, x2 * width, y2 * height
