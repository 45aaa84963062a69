"""The ground truth of a comparison: the scored boxes, their images, patients and diseases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cxrloc.classification.metrics.bootstrap import ClusterBootstrap

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class GroundTruth:
    """Ground-truth boxes as parallel columns, sorted: the order in the file changes nothing.

    Attributes:
        image_ids, patient_ids, diseases: one entry per box.
        boxes_xyxy: (N, 4) absolute pixels of the original image.
        disease_names: the diseases with at least one box, in the order of the category ids.
        notes: what a reader of the figures must know about these boxes.
    """

    image_ids: tuple[str, ...]
    patient_ids: tuple[str, ...]
    diseases: tuple[str, ...]
    boxes_xyxy: FloatArray
    disease_names: tuple[str, ...]
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.image_ids)

    @property
    def disease_index(self) -> npt.NDArray[np.intp]:
        """Column of each box's disease in `disease_names`, (N,)."""
        column = {name: i for i, name in enumerate(self.disease_names)}
        return np.array([column[d] for d in self.diseases], dtype=np.intp)

    def bootstrap(self, *, resamples: int, seed: int) -> ClusterBootstrap:
        """Resamples of the patients; one seed draws the same ones for every analysis."""
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


def ground_truth_from_coco(coco: Mapping[str, Any]) -> GroundTruth:
    """Boxes of a COCO ground truth (`datasets.coco.load_coco`) as a `GroundTruth`.

    Images without `patient_id` (foreign COCO files) are each a cluster of their own; crowd
    annotations are left out. Both are said in `notes`.

    Raises:
        ValueError: when there is no box to score.
    """
    names = {c["id"]: c["name"] for c in sorted(coco["categories"], key=lambda c: c["id"])}
    order = {name: i for i, name in enumerate(names.values())}
    cleaned = scorable(coco)
    if not cleaned["annotations"]:
        raise ValueError(
            "the ground truth has no box to score; expected at least one annotation. Of images "
            "without boxes tools/experiments/check_shortcuts.py tells where heat maps look"
        )
    images = {image["id"]: image for image in cleaned["images"]}
    found = [_row(annotation, images, names) for annotation in cleaned["annotations"]]
    rows = sorted(found, key=lambda row: (row[0], order[row[2]], row[3]))
    image_ids, patients, diseases, boxes = zip(*rows, strict=True)
    present = tuple(name for name in names.values() if name in set(diseases))
    notes = _notes(coco, set(image_ids), [n for n in names.values() if n not in present])
    return GroundTruth(image_ids, patients, diseases, np.array(boxes, float), present, notes)


def scorable(coco: Mapping[str, Any]) -> dict[str, Any]:
    """The ground truth as it is scored: no crowd annotations, every image with a `patient_id`.

    An image without one (foreign COCO files) becomes a patient of its own, named as the image is.
    """
    images = [
        {**i, "patient_id": i["file_name"]} if _is_anonymous(i) else i for i in coco["images"]
    ]
    kept = [a for a in coco["annotations"] if not a.get("iscrowd", 0)]
    return {**coco, "images": images, "annotations": kept}


def _is_anonymous(image: Mapping[str, Any]) -> bool:
    return image.get("patient_id") in (None, "")  # patient 0 is a patient


_BoxRow = tuple[str, str, str, tuple[float, float, float, float]]


def _row(
    annotation: Mapping[str, Any], images: Mapping[int, Any], names: Mapping[int, str]
) -> _BoxRow:
    image = images[annotation["image_id"]]
    x, y, w, h = map(float, annotation["bbox"])
    box_xyxy = (x, y, x + w, y + h)
    disease = str(names[annotation["category_id"]])
    return str(image["file_name"]), str(image["patient_id"]), disease, box_xyxy


def _notes(coco: Mapping[str, Any], scored: set[str], empty: Sequence[str]) -> tuple[str, ...]:
    anonymous = sum(i["file_name"] in scored and _is_anonymous(i) for i in coco["images"])
    crowds = sum(bool(a.get("iscrowd", 0)) for a in coco["annotations"])
    missing = coco.get("info", {}).get("not_on_disk", {})
    notes = []
    if anonymous:
        notes.append(
            f"{anonymous} of {len(scored)} images have no patient id in the ground truth: each is "
            "a patient of its own here, so intervals are too narrow if patients have several images"
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
