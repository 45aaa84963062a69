"""A localizer's boxes on all images: what each fell on, and in which setting it counts.

A mark is one predicted box. On a disease that the image does not have it is false; on a boxed
disease it is a hit or false; on a disease that is labelled without a box it is neither
(`images.UNBOXED`): many positive labels of NIH have no box, so they are not false positives.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from cxrloc.localization.boxes import iou
from cxrloc.localization.evaluation.comparison import DISEASE_GIVEN, GATED, Gate
from cxrloc.localization.evaluation.ground_truth import BoolArray, FloatArray, GroundTruth
from cxrloc.localization.evaluation.image_table import ABSENT, BOXED, UNBOXED, ImageTable
from cxrloc.localization.localizer import Localization

END_TO_END, EVERY_DISEASE = "end to end", "every disease asked"

IndexArray = npt.NDArray[np.intp]


@dataclass(frozen=True)
class Setting:
    """Which images are looked at and which diseases a localizer is asked for on each.

    Attributes:
        name: `DISEASE_GIVEN`, `GATED`, `END_TO_END` or `EVERY_DISEASE`.
        images: (N,) bool.
        asked: (N, D) bool; a mark on anything else does not exist in this setting.
    """

    name: str
    images: BoolArray = field(repr=False)
    asked: BoolArray = field(repr=False)

    @property
    def pairs(self) -> BoolArray:
        """(N, D) images and diseases that are asked for."""
        return self.asked & self.images[:, None]


@dataclass(frozen=True)
class Marks:
    """One localizer's boxes as parallel columns (M,), and what they do to N images and G boxes.

    Attributes:
        image, disease: row and column in the image table.
        score: of the localizer.
        status: of the image and disease: `ABSENT`, `BOXED` or `UNBOXED`.
        best_iou: with the ground-truth boxes of that image and disease; 0 without any.
        top: whether the mark is the top-1 of its image and disease (the first of equal scores).
        met_mark, met_box, met_iou: the pairs of a mark and a ground-truth box of the same image and
            disease, all (K,); indices into the marks and into the ground truth.
        box_image, box_disease: of the ground-truth boxes, (G,).
    """

    image: IndexArray
    disease: IndexArray
    score: FloatArray
    status: npt.NDArray[np.int8]
    best_iou: FloatArray
    top: BoolArray
    met_mark: IndexArray
    met_box: IndexArray
    met_iou: FloatArray
    box_image: IndexArray
    box_disease: IndexArray

    def in_setting(self, setting: Setting) -> BoolArray:
        """(M,) marks on what the setting asks for."""
        return np.asarray(setting.pairs[self.image, self.disease])

    def false(self, threshold: float, *, counted: bool) -> BoolArray:
        """(M,) marks that are wrong: absent disease, or IoU <= threshold with every box.

        Args:
            threshold: of the hit; strict.
            counted: whether a mark on a disease that is labelled without a box is wrong too.
        """
        missed = (self.status == BOXED) & (self.best_iou <= threshold)
        unboxed = (self.status == UNBOXED) if counted else np.zeros(len(self.image), np.bool_)
        return np.asarray((self.status == ABSENT) | missed | unboxed)

    def best_score_of_hits(self, keep: BoolArray, threshold: float) -> FloatArray:
        """(G,) highest score of the marks in `keep` (M,) that hit each box; -inf where none does.

        Further marks that hit the same box change nothing: they are neither hits nor false.
        """
        best = np.full(len(self.box_image), -np.inf)
        hit = keep[self.met_mark] & (self.met_iou > threshold)
        np.maximum.at(best, self.met_box[hit], self.score[self.met_mark[hit]])
        return best


def marks_of(images: ImageTable, truth: GroundTruth, boxes: Sequence[Localization]) -> Marks:
    """Place every predicted box on its image and disease.

    Raises:
        ValueError: for an image or disease that the image table lacks.
    """
    image, disease = _places(images, [(b.image_id, b.disease) for b in boxes])
    truth_pairs = list(zip(truth.image_ids, truth.diseases, strict=True))
    box_image, box_disease = _places(images, truth_pairs)
    met_mark, met_box = _meetings(
        image * len(images.diseases) + disease, box_image * len(images.diseases) + box_disease
    )
    corners = np.array([b.box_xyxy for b in boxes], dtype=np.float64).reshape(-1, 4)
    met_iou = iou(corners[met_mark], truth.boxes_xyxy[met_box])
    best_iou = np.zeros(len(boxes))
    np.maximum.at(best_iou, met_mark, met_iou)
    score = np.array([b.score for b in boxes], dtype=np.float64)
    return Marks(
        image, disease, score, images.status[image, disease], best_iou, _top(image, disease, score),
        met_mark, met_box, met_iou, box_image, box_disease,
    )  # fmt: skip


def _places(images: ImageTable, pairs: Sequence[tuple[str, str]]) -> tuple[IndexArray, IndexArray]:
    row_of = images.row_of
    column_of = {name: column for column, name in enumerate(images.diseases)}
    for image_id, disease in pairs:
        if image_id not in row_of or disease not in column_of:
            raise ValueError(
                f"a box of {disease} on {image_id}: the ground truth has no such image or disease; "
                "was the file made for another ground truth?"
            )
    found = [(row_of[image_id], column_of[disease]) for image_id, disease in pairs]
    rows, columns = np.array(found, dtype=np.intp).reshape(-1, 2).T
    return rows, columns


def _meetings(mark_key: IndexArray, box_key: IndexArray) -> tuple[IndexArray, IndexArray]:
    """Every pair of a mark and a box with the same key."""
    boxes_of: dict[int, list[int]] = {}
    for box, key in enumerate(box_key.tolist()):
        boxes_of.setdefault(key, []).append(box)
    pairs = [(m, b) for m, key in enumerate(mark_key.tolist()) for b in boxes_of.get(key, ())]
    marks, boxes = np.array(pairs, dtype=np.intp).reshape(-1, 2).T
    return marks, boxes


def _top(image: IndexArray, disease: IndexArray, score: FloatArray) -> BoolArray:
    order = np.lexsort((np.arange(len(score)), -score, disease, image))
    first = np.ones(len(order), dtype=np.bool_)
    first[1:] = (np.diff(image[order]) != 0) | (np.diff(disease[order]) != 0)
    top = np.zeros(len(order), dtype=np.bool_)
    top[order[first]] = True
    return top


@dataclass(frozen=True)
class Decisions:
    """The gate on the images of a table.

    Attributes:
        present: (N, D) bool; False where the gate has no decision.
        complete: (N,) bool; images with a decision for every disease of the table.
    """

    present: BoolArray = field(repr=False)
    complete: BoolArray = field(repr=False)


def decisions_of(images: ImageTable, gate: Gate) -> Decisions:
    """A gate's decisions in the order of the image table."""
    found = [[gate.get((image, d)) for d in images.diseases] for image in images.image_ids]
    present = np.array([[bool(yes) for yes in row] for row in found], dtype=np.bool_)
    complete = np.array([None not in row for row in found], dtype=np.bool_)
    return Decisions(present.reshape(images.status.shape), complete)


def looked_at(images: ImageTable, coverage: Set[str]) -> BoolArray:
    """(N,) images of the table that are in `coverage`."""
    return np.array([image in coverage for image in images.image_ids], dtype=np.bool_)


def settings_of(
    images: ImageTable, looked: BoolArray, decisions: Decisions | None
) -> dict[str, Setting]:
    """The settings that can be computed for a localizer, by name.

    `DISEASE_GIVEN` and `GATED` are on the boxed images that it looked at; `END_TO_END` and
    `EVERY_DISEASE` on all that it looked at, and left out where it looked at boxed images alone.
    What needs the gate is on the images on which the gate has decided everything.
    """
    boxed = (images.status == BOXED).any(axis=1)
    everything = np.ones_like(images.status, dtype=np.bool_)
    found = [Setting(DISEASE_GIVEN, looked & boxed, images.status != ABSENT)]
    if decisions is not None:
        gated = looked & decisions.complete
        found.append(Setting(GATED, gated & boxed, decisions.present))
        if (gated & ~boxed).any():
            found.append(Setting(END_TO_END, gated, decisions.present))
    if (looked & ~boxed).any():
        found.append(Setting(EVERY_DISEASE, looked, everything))
    return {setting.name: setting for setting in found if setting.images.any()}


def check_coverage(
    predictions: Mapping[str, Sequence[Localization]], coverage: Mapping[str, Set[str]]
) -> None:
    """Refuse a localizer of unknown coverage, or with a box on an image that it did not look at.

    Raises:
        ValueError: naming the localizer, and the image.
    """
    for name, boxes in predictions.items():
        if name not in coverage:
            raise ValueError(
                f"which images did {name!r} look at? coverage has "
                f"{', '.join(coverage) or 'nobody'}; without it an image without a box cannot be "
                "told from an image never shown"
            )
        outside = next((b.image_id for b in boxes if b.image_id not in coverage[name]), None)
        if outside is not None:
            raise ValueError(
                f"{name!r} has a box on {outside}, an image that it is said not to have looked at; "
                "expected every image with a box in its coverage"
            )
