"""Place a localizer's detections on all images: what each matches, and in which setting it counts.

A detection of an absent disease is false. On a boxed disease it is a hit or false. On a disease
labelled without a box it is neither (`ground_truth.UNBOXED`): many positive labels of NIH have no
box, so these detections are not false positives.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from cxrloc.localization.evaluation.gate_decisions import GateDecisions
from cxrloc.localization.evaluation.ground_truth import (
    ABSENT,
    BOXED,
    UNBOXED,
    BoolArray,
    FloatArray,
    GroundTruth,
    ImageTable,
)
from cxrloc.localization.localizer import Localization
from cxrloc.localization.matching import IndexArray, Overlaps, one_to_one, overlapping, repeats
from cxrloc.localization.predictions.columns import BoxColumns

DISEASE_GIVEN, GATED, CONTROL = "disease given", "gated", "control"
SECOND_READER = "second reader"  # another person, on the images that this person read
END_TO_END, EVERY_DISEASE = "end to end", "every disease asked"


@dataclass(frozen=True)
class Detections:
    """One localizer's boxes on the images of a ground truth, as parallel columns (M,).

    Attributes:
        truth: ground truth of the images.
        image, disease: row and column in `truth.images`.
        boxes_xyxy: (M, 4) absolute pixels of the original image.
        score: score from the localizer.
    """

    truth: GroundTruth = field(repr=False)
    image: IndexArray
    disease: IndexArray
    boxes_xyxy: FloatArray
    score: FloatArray

    def __len__(self) -> int:
        return len(self.score)

    @cached_property
    def key(self) -> IndexArray:
        """(M,) one number per image and disease."""
        return self.image * len(self.truth.images.diseases) + self.disease

    @cached_property
    def status(self) -> npt.NDArray[np.int8]:
        """(M,) `ABSENT`, `BOXED` or `UNBOXED` for the detection's image and disease."""
        return np.asarray(self.truth.images.status[self.image, self.disease])

    @cached_property
    def rank(self) -> IndexArray:
        """(M,) place by score among its image and disease, 0 first; equal scores in file order."""
        order = np.lexsort((np.arange(len(self)), -self.score, self.key))
        starts = np.flatnonzero(np.diff(self.key[order], prepend=-1))
        sizes = np.diff(starts, append=len(order))
        rank = np.empty(len(order), dtype=np.intp)
        rank[order] = np.arange(len(order)) - np.repeat(starts, sizes)
        return rank

    @property
    def top(self) -> BoolArray:
        """(M,) whether it is the top-1 of its image and disease."""
        return np.asarray(self.rank == 0)

    @cached_property
    def answers(self) -> BoolArray:
        """(M,) whether it answers for its image and disease.

        An image with k ground-truth boxes of a disease is answered by the k highest-scored boxes;
        one without, if a setting asks for the disease there, by one.
        """
        asked = np.maximum(self.truth.boxes_of_pair[self.image, self.disease], 1)
        return np.asarray(self.rank < asked)

    @cached_property
    def overlaps(self) -> Overlaps:
        """Pairs (detection, ground-truth box) of one image and disease that overlap."""
        truth = self.truth
        return overlapping(self.key, self.boxes_xyxy, truth.key_of_box, truth.boxes_xyxy)

    def matched(self, keep: BoolArray) -> IndexArray:
        """Match the detections in `keep` (M,) with the ground-truth boxes, one to one.

        Of all ways to do so, that with the greatest total IoU for each image and disease. A
        detection that only repeats a better matched one (see `repeats`) is left without a partner.

        Returns:
            Indices of the matched pairs in `overlaps`.
        """
        pairs = np.flatnonzero(keep[self.overlaps.first])
        first, second = self.overlaps.first[pairs], self.overlaps.second[pairs]
        overlap = self.overlaps.iou[pairs]
        tie_break = np.column_stack([self.boxes_xyxy, self.score])
        chosen = one_to_one(first, second, overlap, tie_break)
        first, second, overlap = first[chosen], second[chosen], overlap[chosen]
        boxes, others = self.boxes_xyxy[first], self.truth.boxes_xyxy[second]
        return np.asarray(pairs[chosen[~repeats(self.key[first], boxes, others, overlap)]])

    @cached_property
    def best_iou(self) -> FloatArray:
        """(M,) best IoU with the ground-truth boxes of its image and disease; 0 without any."""
        best = np.zeros(len(self))
        np.maximum.at(best, self.overlaps.first, self.overlaps.iou)
        return best

    def where(self, keep: BoolArray | IndexArray) -> Detections:
        """Select `keep`: (M,) bool, or indices in the order wanted."""
        return replace(
            self,
            image=self.image[keep],
            disease=self.disease[keep],
            boxes_xyxy=self.boxes_xyxy[keep],
            score=self.score[keep],
        )

    def passing(self, gate: GateDecisions) -> Detections:
        """Select those whose image and disease the gate predicts present."""
        return self.where(gate.present[self.image, self.disease])

    def in_setting(self, setting: Setting) -> BoolArray:
        """(M,) whether the setting requests the detection's image and disease."""
        return np.asarray(setting.pairs[self.image, self.disease])

    def false(self, threshold: float, *, counted: bool) -> BoolArray:
        """(M,) false detections: absent disease, or IoU <= threshold with every box.

        Args:
            threshold: hit threshold, strict.
            counted: whether a detection of a disease labelled without a box is false too.
        """
        return self.wrong(self.best_iou > threshold, counted=counted)

    def hit(self, matched: IndexArray, threshold: float) -> tuple[BoolArray, BoolArray]:
        """Ground-truth boxes (G,) that are hit, and the detections (M,) that hit them.

        Args:
            matched: from `matched`: no box and no detection is in two hits.
            threshold: hit threshold, strict.
        """
        pairs = matched[self.overlaps.iou[matched] > threshold]
        found, right = np.zeros(len(self.truth), np.bool_), np.zeros(len(self), np.bool_)
        found[self.overlaps.second[pairs]] = True
        right[self.overlaps.first[pairs]] = True
        return found, right

    def wrong(self, right: BoolArray, *, counted: bool) -> BoolArray:
        """(M,) false detections: absent disease, or a boxed one and not in `right` (M,).

        Args:
            counted: whether a detection of a disease labelled without a box is false too.
        """
        missed = (self.status == BOXED) & ~right
        unboxed = (self.status == UNBOXED) if counted else np.zeros(len(self), np.bool_)
        return np.asarray((self.status == ABSENT) | missed | unboxed)

    def best_score_of_hits(self, keep: BoolArray, threshold: float) -> FloatArray:
        """(G,) highest score of the detections in `keep` (M,) that hit each box; -inf without any.

        More detections that hit the same box change nothing: they are neither hits nor false.
        """
        best, pairs = np.full(len(self.truth), -np.inf), self.overlaps
        hit = keep[pairs.first] & (pairs.iou > threshold)
        np.maximum.at(best, pairs.second[hit], self.score[pairs.first[hit]])
        return best


def place(truth: GroundTruth, boxes: BoxColumns | Sequence[Localization]) -> Detections:
    """Place every predicted box on its image and disease.

    Raises:
        ValueError: if the ground truth lacks an image or disease.
    """
    if not isinstance(boxes, BoxColumns):
        boxes = BoxColumns.of(boxes)
    row_of, column_of = truth.images.row_of, truth.images.column_of
    rows = [row_of.get(image, -1) for image in boxes.image_ids]
    columns = [column_of.get(disease, -1) for disease in boxes.diseases]
    image, disease = np.array(rows, dtype=np.intp), np.array(columns, dtype=np.intp)
    unknown = np.flatnonzero((image < 0) | (disease < 0))
    if len(unknown):
        first = int(unknown[0])
        raise ValueError(
            f"a box of {boxes.diseases[first]} on {boxes.image_ids[first]}: the ground truth lacks "
            "this image or disease; was the file made for another ground truth?"
        )
    return Detections(truth, image, disease, boxes.boxes_xyxy, boxes.scores)


@dataclass(frozen=True)
class Setting:
    """The images predicted by a localizer, and the diseases requested on each.

    Attributes:
        name: `DISEASE_GIVEN`, `GATED`, `END_TO_END` or `EVERY_DISEASE`.
        images: (N,) bool.
        asked: (N, D) bool; other detections do not exist in this setting.
    """

    name: str
    images: BoolArray = field(repr=False)
    asked: BoolArray = field(repr=False)

    @cached_property
    def pairs(self) -> BoolArray:
        """(N, D) requested images and diseases."""
        return self.asked & self.images[:, None]


def settings_of(
    images: ImageTable, looked: BoolArray, gate: GateDecisions | None
) -> dict[str, Setting]:
    """Build the settings that can be computed for a localizer, by name.

    `DISEASE_GIVEN` and `GATED` use the boxed images that it predicted; `END_TO_END` and
    `EVERY_DISEASE` use all that it predicted, and are left out if it predicted only boxed images.
    Settings with the gate use the images with a complete gate decision.

    Args:
        looked: (N,) images that the localizer predicted.
    """
    boxed = images.boxed
    everything = np.ones_like(images.status, dtype=np.bool_)
    settings = [Setting(DISEASE_GIVEN, looked & boxed, images.status != ABSENT)]
    if gate is not None:
        gated = looked & gate.complete
        settings.append(Setting(GATED, gated & boxed, gate.present))
        if (gated & ~boxed).any():
            settings.append(Setting(END_TO_END, gated, gate.present))
    if (looked & ~boxed).any():
        settings.append(Setting(EVERY_DISEASE, looked, everything))
    return {setting.name: setting for setting in settings if setting.images.any()}


def check_coverage(name: str, detections: Detections, looked: BoolArray) -> None:
    """Raise if a localizer has a box on an image outside its coverage.

    Raises:
        ValueError: naming the localizer and the image.
    """
    outside = np.flatnonzero(~looked[detections.image])
    if len(outside):
        image = detections.truth.images.image_ids[detections.image[outside[0]]]
        raise ValueError(
            f"{name!r} has a box on {image}, which is outside its coverage; "
            "expected every image with a box there"
        )
