"""The images of a ground truth: what is known of each, boxed or not.

Boxes alone do not say where a prediction is wrong. Of each image and disease this says whether the
disease is boxed, labelled present without a box (a prediction is then neither right nor wrong), or
absent.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from cxrloc.localization.evaluation.ground_truth import scorable

ABSENT, BOXED, UNBOXED = 0, 1, 2


@dataclass(frozen=True)
class ImageTable:
    """Images as parallel columns, sorted by image id: the order in the file changes nothing.

    Attributes:
        image_ids, patient_ids: one entry per image (N).
        diseases: columns of `status`, in the order of the category ids (D).
        status: (N, D) int8: `ABSENT`, `BOXED` or `UNBOXED` (labelled present, no box).
        labels: per image all diseases labelled present, also those that nobody boxes; None where
            the ground truth does not say (foreign files without the key `labels`).
        sizes_hw: the original frames.
        views, sexes: empty string where unknown.
        ages_years: NaN where unknown.
        folds: patient fold of each image; None where the ground truth has none.
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

    def __len__(self) -> int:
        return len(self.image_ids)

    @property
    def row_of(self) -> dict[str, int]:
        """Image id -> row."""
        return {image: row for row, image in enumerate(self.image_ids)}

    @property
    def without_finding(self) -> npt.NDArray[np.bool_]:
        """(N,) images that are labelled with nothing at all.

        Where the ground truth does not list all labels: images with none of its own diseases.
        """
        clear = (self.status == ABSENT).all(axis=1)
        empty = [names is None or not names for names in self.labels]
        return np.asarray(clear & np.array(empty, dtype=np.bool_), dtype=np.bool_)

    def select(self, keep: npt.NDArray[np.bool_]) -> ImageTable:
        """The images where `keep` (N,) is true."""
        rows = np.flatnonzero(keep).tolist()

        def some(values: Sequence[Any]) -> tuple[Any, ...]:
            return tuple(values[row] for row in rows)

        return ImageTable(
            some(self.image_ids), some(self.patient_ids), self.diseases, self.status[rows],
            some(self.labels), some(self.sizes_hw), some(self.views), some(self.sexes),
            self.ages_years[rows], None if self.folds is None else some(self.folds),
        )  # fmt: skip


def image_table(coco: Mapping[str, Any]) -> ImageTable:
    """Images of a COCO ground truth (`datasets.coco.load_coco`).

    Extra image keys that are used where present: `patient_id` (else each image is a patient of its
    own), `not_exhaustive_category_ids`, `labels`, `view`, `sex`, `age_years`, `fold`.
    """
    cleaned = scorable(coco)
    categories = sorted(cleaned["categories"], key=lambda c: c["id"])
    column = {c["id"]: j for j, c in enumerate(categories)}
    images = sorted(cleaned["images"], key=lambda image: str(image["file_name"]))
    row = {image["id"]: i for i, image in enumerate(images)}
    status = np.full((len(images), len(categories)), ABSENT, dtype=np.int8)
    for i, image in enumerate(images):
        for number in image.get("not_exhaustive_category_ids", ()):
            if number in column:
                status[i, column[number]] = UNBOXED
    for annotation in cleaned["annotations"]:
        status[row[annotation["image_id"]], column[annotation["category_id"]]] = BOXED
    ages = [image.get("age_years") for image in images]
    folds = [image.get("fold") for image in images]
    return ImageTable(
        image_ids=tuple(str(image["file_name"]) for image in images),
        patient_ids=tuple(str(image["patient_id"]) for image in images),
        diseases=tuple(str(c["name"]) for c in categories),
        status=status,
        labels=tuple(_labels(image) for image in images),
        sizes_hw=tuple((int(image["height"]), int(image["width"])) for image in images),
        views=tuple(str(image.get("view") or "") for image in images),
        sexes=tuple(str(image.get("sex") or "") for image in images),
        ages_years=np.array([math.nan if a is None else float(a) for a in ages], dtype=np.float64),
        folds=None if not folds or None in folds else tuple(int(f) for f in folds),
    )


def _labels(image: Mapping[str, Any]) -> tuple[str, ...] | None:
    labels = image.get("labels")
    return None if labels is None else tuple(str(name) for name in labels)
