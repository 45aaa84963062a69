"""Parse the ground truth of a comparison once: images, patients, boxes and labels.

    truth = ground_truth_from_coco(load_coco(path))

The COCO dict ends here: all scoring, drawing and printing takes a `GroundTruth`. Boxes alone do not
tell where a prediction is wrong. For each image and disease, `ImageTable.status` tells whether the
disease is boxed, labelled present without a box (a prediction is then neither right nor wrong), or
absent.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cxrloc.classification.metrics.bootstrap import ClusterBootstrap
from cxrloc.datasets.files.coco.read import NOT_ON_DISK, NOTES
from cxrloc.datasets.provenance.image_lists import patients_of_images
from cxrloc.localization.boxes import xywh_to_xyxy

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
IndexArray = npt.NDArray[np.intp]

ABSENT, BOXED, UNBOXED = 0, 1, 2


@dataclass(frozen=True)
class ImageTable:
    """Images as parallel columns, sorted by image id: file order does not matter.

    Attributes:
        image_ids, patient_ids: one entry per image (N).
        diseases: columns of `status`, in category-id order (D).
        status: (N, D) int8: `ABSENT`, `BOXED` or `UNBOXED` (labelled present, no box).
        labels: per image, all diseases labelled present, boxed or not; None if the ground truth
            does not give them (foreign files without the key `labels`).
        sizes_hw: the original frames.
        views, sexes: empty string if unknown.
        ages_years: NaN if unknown.
        folds: patient fold of each image; None if the ground truth has none.
        numbers: the images' numbers in the COCO file; average precision breaks ties by them.
    """

    image_ids: tuple[str, ...]
    patient_ids: tuple[str, ...]
    diseases: tuple[str, ...]
    status: npt.NDArray[np.int8] = field(repr=False)
    labels: tuple[tuple[str, ...] | None, ...] = field(repr=False)
    sizes_hw: tuple[tuple[int, int], ...] = field(repr=False)
    views: tuple[str, ...] = field(repr=False)
    sexes: tuple[str, ...] = field(repr=False)
    ages_years: npt.NDArray[np.float64] = field(repr=False)
    folds: tuple[int, ...] | None = field(repr=False, default=None)
    numbers: tuple[int, ...] = field(repr=False, default=())

    def __len__(self) -> int:
        return len(self.image_ids)

    @cached_property
    def row_of(self) -> dict[str, int]:
        """Image id -> row."""
        return {image: row for row, image in enumerate(self.image_ids)}

    @cached_property
    def column_of(self) -> dict[str, int]:
        """Disease -> column."""
        return {disease: column for column, disease in enumerate(self.diseases)}

    @cached_property
    def patient_of(self) -> dict[str, str]:
        """Image id -> patient."""
        return dict(zip(self.image_ids, self.patient_ids, strict=True))

    @cached_property
    def boxed(self) -> npt.NDArray[np.bool_]:
        """(N,) images with a ground-truth box."""
        return np.asarray((self.status == BOXED).any(axis=1))

    @cached_property
    def without_finding(self) -> npt.NDArray[np.bool_]:
        """(N,) images without any label.

        Without full labels in the ground truth: images with none of its own diseases.
        """
        clear = (self.status == ABSENT).all(axis=1)
        empty = [names is None or not names for names in self.labels]
        return np.asarray(clear & np.array(empty, dtype=np.bool_), dtype=np.bool_)


@dataclass(frozen=True)
class GroundTruth:
    """Ground-truth boxes as parallel columns, sorted: file order does not matter.

    Attributes:
        images: every image of the ground truth, boxed or not.
        image_ids, patient_ids, diseases: one entry per box.
        boxes_xyxy: (N, 4) absolute pixels of the original image.
        disease_names: diseases with at least one box, in category-id order.
        notes: facts that a reader of the figures must know about these boxes.
    """

    images: ImageTable = field(repr=False)
    image_ids: tuple[str, ...]
    patient_ids: tuple[str, ...]
    diseases: tuple[str, ...]
    boxes_xyxy: FloatArray
    disease_names: tuple[str, ...]
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.image_ids)

    @cached_property
    def disease_index(self) -> IndexArray:
        """(N,) column of each box's disease in `disease_names`."""
        column = {name: i for i, name in enumerate(self.disease_names)}
        return np.array([column[d] for d in self.diseases], dtype=np.intp)

    @cached_property
    def image_of_box(self) -> IndexArray:
        """(N,) row of each box's image in `images`."""
        row_of = self.images.row_of
        return np.array([row_of[image] for image in self.image_ids], dtype=np.intp)

    @cached_property
    def column_of_box(self) -> IndexArray:
        """(N,) column of each box's disease in `images`."""
        column_of = self.images.column_of
        return np.array([column_of[disease] for disease in self.diseases], dtype=np.intp)

    @cached_property
    def key_of_box(self) -> IndexArray:
        """(N,) one number per image and disease, as `Detections.key`."""
        return self.image_of_box * len(self.images.diseases) + self.column_of_box

    @cached_property
    def boxes_of_pair(self) -> npt.NDArray[np.intp]:
        """(images, diseases) number of boxes of each disease on each image."""
        count = np.zeros(self.images.status.shape, dtype=np.intp)
        np.add.at(count, (self.image_of_box, self.column_of_box), 1)
        return count

    @cached_property
    def several(self) -> bool:
        """Whether any image has several boxes of one disease."""
        return bool((self.boxes_of_pair > 1).any())

    @cached_property
    def first_of_pair(self) -> BoolArray:
        """(N,) whether it is the first box of its image and disease: as many as top-1 can find."""
        first = np.zeros(len(self), dtype=np.bool_)
        first[np.unique(self.key_of_box, return_index=True)[1]] = True
        return first

    @cached_property
    def sizes_hw(self) -> npt.NDArray[np.intp]:
        """(N, 2) height and width of each box's image."""
        return np.array(self.images.sizes_hw, dtype=np.intp)[self.image_of_box]

    def bootstrap(self, *, resamples: int, seed: int) -> ClusterBootstrap:
        """Resample the patients; one seed draws the same ones for every analysis."""
        return ClusterBootstrap.of(
            self.patient_ids,
            self.disease_index,
            len(self.disease_names),
            resamples=resamples,
            seed=seed,
        )

    @property
    def boxes_per_disease(self) -> dict[str, int]:
        return {name: self.diseases.count(name) for name in self.disease_names}


def ground_truth_from_coco(
    coco: Mapping[str, Any], where: Path | str = "the ground truth"
) -> GroundTruth:
    """Convert a COCO ground truth (`datasets.prepared.coco.load_coco`) to a `GroundTruth`.

    Images without `patient_id` (foreign COCO files) each form their own cluster; crowd annotations
    are left out. `notes` count both.

    Args:
        where: the file that it was read from, for the message.

    Raises:
        ValueError: if there is no box to score.
    """
    annotations = [a for a in coco["annotations"] if not a.get("iscrowd", 0)]
    if not annotations:
        raise ValueError(
            f"{where} has no box to score; expected at least one annotation. For images "
            "without boxes, cxrloc check-shortcuts shows where heat maps point"
        )
    patient_of = patients_of_images(coco["images"])
    images = _image_table(coco, patient_of)
    names = {c["id"]: str(c["name"]) for c in coco["categories"]}
    file_names = {image["id"]: str(image["file_name"]) for image in coco["images"]}
    boxes = xywh_to_xyxy([a["bbox"] for a in annotations]).tolist()
    columns = (
        (file_names[a["image_id"]], images.column_of[names[a["category_id"]]], box)
        for a, box in zip(annotations, boxes, strict=True)
    )
    image_ids, column_of_box, corners = zip(*sorted(columns), strict=True)
    diseases = tuple(images.diseases[column] for column in column_of_box)
    present = tuple(name for name in images.diseases if name in set(diseases))
    empty = [name for name in images.diseases if name not in present]
    return GroundTruth(
        images,
        image_ids,
        tuple(images.patient_of[image] for image in image_ids),
        diseases,
        np.array(corners, dtype=np.float64),
        present,
        _notes(coco, patient_of, set(image_ids), empty),
    )


def _notes(
    coco: Mapping[str, Any], patient_of: Mapping[str, str], scored: set[str], empty: Sequence[str]
) -> tuple[str, ...]:
    anonymous = sum(not patient_of[image] for image in scored)
    crowds = sum(bool(a.get("iscrowd", 0)) for a in coco["annotations"])
    info = coco.get("info", {})
    missing = info.get(NOT_ON_DISK, {})
    notes = list(info.get(NOTES, ()))
    if anonymous:
        notes.append(
            f"{anonymous} of {len(scored)} images have no patient id in the ground truth: each "
            "counts as a patient here, so intervals are too narrow if patients have several images"
        )
    if crowds:
        notes.append(f"crowd annotations, not scored: {crowds}")
    if empty:
        notes.append(f"no ground-truth box, so not scored: {', '.join(empty)}")
    if missing.get("boxes"):
        notes.append(
            f"not on disk, so not scored: {missing['images']} boxed images "
            f"with {missing['boxes']} boxes"
        )
    return tuple(notes)


def _image_table(coco: Mapping[str, Any], patient_of: Mapping[str, str]) -> ImageTable:
    """Build the image table of a COCO ground truth (`datasets.prepared.coco.load_coco`).

    Extra image keys that are used if present: `patient_id` (else the name's patient, else each
    image is its own), `not_exhaustive_category_ids`, `labels`, `view`, `sex`, `age_years`, `fold`.
    """
    categories = sorted(coco["categories"], key=lambda c: c["id"])
    images = sorted(coco["images"], key=lambda image: str(image["file_name"]))
    ages = [image.get("age_years") for image in images]
    folds = [image.get("fold") for image in images]
    return ImageTable(
        image_ids=tuple(str(image["file_name"]) for image in images),
        patient_ids=tuple(patient_of[str(i["file_name"])] or str(i["file_name"]) for i in images),
        diseases=tuple(str(c["name"]) for c in categories),
        status=_status(coco, images, categories),
        labels=tuple(_labels(image) for image in images),
        sizes_hw=tuple((int(image["height"]), int(image["width"])) for image in images),
        views=tuple(str(image.get("view") or "") for image in images),
        sexes=tuple(str(image.get("sex") or "") for image in images),
        ages_years=np.array([math.nan if a is None else float(a) for a in ages], dtype=np.float64),
        folds=None if not folds or None in folds else tuple(int(f) for f in folds),
        numbers=tuple(image["id"] for image in images),
    )


def _status(
    coco: Mapping[str, Any], images: Sequence[Any], categories: Sequence[Any]
) -> npt.NDArray[np.int8]:
    column = {c["id"]: j for j, c in enumerate(categories)}
    row = {image["id"]: i for i, image in enumerate(images)}
    status = np.full((len(images), len(categories)), ABSENT, dtype=np.int8)
    for i, image in enumerate(images):
        for number in image.get("not_exhaustive_category_ids", ()):
            if number in column:
                status[i, column[number]] = UNBOXED
    for annotation in coco["annotations"]:
        if not annotation.get("iscrowd", 0):
            status[row[annotation["image_id"]], column[annotation["category_id"]]] = BOXED
    return status


def _labels(image: Mapping[str, Any]) -> tuple[str, ...] | None:
    labels = image.get("labels")
    return None if labels is None else tuple(str(name) for name in labels)
