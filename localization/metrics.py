"""Scores of predicted boxes: one row per ground-truth box, a miss is 0 (see `words.py`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from cxrloc.localization.boxes import iobb, iogt, iou
from cxrloc.localization.localizer import Localization
from cxrloc.localization.statistics import ClusterBootstrap

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
            "the ground truth has no box to score; expected at least one annotation. Of films "
            "without boxes tools/check_shortcuts.py tells where heat maps look"
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


@dataclass(frozen=True)
class BoxScores:
    """One localizer's scores on every ground-truth box, all (N,) in the order of the ground truth.

    Attributes:
        iou, iobb, iogt, score: of the top-1 box; 0 where there is none.
        any_iou, any_iobb: best over all boxes of that image and disease (Wang's rule).
        any_iogt: IoGT of the box with the best IoBB (of equal ones the best IoGT).
        predicted: whether there was a box at all.
    """

    iou: FloatArray
    iobb: FloatArray
    iogt: FloatArray
    score: FloatArray
    any_iou: FloatArray
    any_iobb: FloatArray
    any_iogt: FloatArray
    predicted: BoolArray

    def only_where(self, keep: BoolArray) -> BoxScores:
        """The same scores with a miss wherever `keep` (N,) is False."""
        masked = {name: np.where(keep, values, 0) for name, values in vars(self).items()}
        return replace(self, **masked | {"predicted": self.predicted & keep})


def score_boxes(truth: GroundTruth, localizations: Sequence[Localization]) -> BoxScores:
    """Score one localizer's boxes against every ground-truth box.

    Predictions for images or diseases without a ground-truth box are ignored: many positive labels
    of NIH have no box, so they are not false positives.
    """
    candidates: dict[tuple[str, str], list[int]] = {}
    for j, found in enumerate(localizations):
        candidates.setdefault((found.image_id, found.disease), []).append(j)
    keys = list(zip(truth.image_ids, truth.diseases, strict=True))
    pairs = [(i, j) for i, key in enumerate(keys) for j in candidates.get(key, ())]
    box_of, prediction_of = np.array(pairs, dtype=np.intp).reshape(-1, 2).T
    boxes = np.array([p.box_xyxy for p in localizations], dtype=np.float64).reshape(-1, 4)
    scores = np.array([p.score for p in localizations], dtype=np.float64)[prediction_of]
    overlaps = [f(boxes[prediction_of], truth.boxes_xyxy[box_of]) for f in (iou, iobb, iogt)]
    return _reduce(len(truth), box_of, scores, *overlaps)


def _reduce(
    n: int,
    box_of: npt.NDArray[np.intp],
    score: FloatArray,
    pair_iou: FloatArray,
    pair_iobb: FloatArray,
    pair_iogt: FloatArray,
) -> BoxScores:
    in_order = np.zeros(len(score))
    top, best_iou = _best_pair(box_of, score, in_order), _best_pair(box_of, pair_iou, in_order)
    best_iobb = _best_pair(box_of, pair_iobb, pair_iogt)

    def pick(values: FloatArray, chosen: npt.NDArray[np.intp]) -> FloatArray:
        picked = np.zeros(n)
        picked[box_of[chosen]] = values[chosen]
        return picked

    predicted = np.zeros(n, dtype=np.bool_)
    predicted[box_of] = True
    return BoxScores(
        iou=pick(pair_iou, top),
        iobb=pick(pair_iobb, top),
        iogt=pick(pair_iogt, top),
        score=pick(score, top),
        any_iou=pick(pair_iou, best_iou),
        any_iobb=pick(pair_iobb, best_iobb),
        any_iogt=pick(pair_iogt, best_iobb),
        predicted=predicted,
    )


def _best_pair(
    box_of: npt.NDArray[np.intp], key: FloatArray, tie: FloatArray
) -> npt.NDArray[np.intp]:
    """Index of each box's pair with the highest key, then tie; of equal ones the first."""
    order = np.lexsort((np.arange(len(key)), -tie, -key, box_of))
    first = np.ones(len(order), dtype=np.bool_)
    first[1:] = np.diff(box_of[order]) != 0
    return np.asarray(order[first], dtype=np.intp)
