"""Count false boxes per image and localized sensitivity of a localizer, setting by setting.

The operating point is the gate's: if the setting asks for the disease, the boxes that answer for it
count (`Detections.answers`: one per image and disease, k where there are k ground-truth boxes). A
box on a disease labelled without a box is ignored, as in LVIS (Gupta et al. 2019); the other bound,
next to it, counts such boxes as false.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cxrloc.classification.metrics.bootstrap import Estimate
from cxrloc.classification.metrics.sampled import ImageBootstrap
from cxrloc.classification.report.tables import Cell, ResultTable, TableRow, Value
from cxrloc.localization.evaluation.detections import Detections, Setting
from cxrloc.localization.evaluation.ground_truth import (
    BoolArray,
    FloatArray,
    ImageTable,
    IndexArray,
)

ALL_IMAGES, BOXED_IMAGES, IMAGES_WITHOUT_FINDING = (
    "all images looked at",
    "boxed images",
    "images with no finding",
)
IGNORED, COUNTED = "ignored", "counted"
BOUNDS = (IGNORED, COUNTED)


@dataclass(frozen=True)
class FalseBoxes:
    """False boxes of a localizer in a setting, on a set of its images.

    Attributes:
        image_set: `ALL_IMAGES`, `BOXED_IMAGES` or `IMAGES_WITHOUT_FINDING`.
        bound: `IGNORED` or `COUNTED`: treatment of boxes on unboxed positives.
        images, patients, boxes: number of images, of their patients, and of false boxes on them.
        per_image: false boxes per image, over all diseases.
        per_disease: the same for each disease, in the order of the image table.
    """

    image_set: str
    bound: str
    images: int
    patients: int
    boxes: int
    per_image: Estimate
    per_disease: tuple[Estimate, ...]


@dataclass(frozen=True)
class OperatingPoint:
    """A localizer in a setting at a hit threshold.

    Attributes:
        images: number of images in the setting.
        hits, boxes: ground-truth boxes on these images that are hit, and all of them.
        sensitivity: hits / boxes.
        per_disease: the same for each disease, in the order of the image table; NaN without boxes.
        false: one entry per image set and bound.
    """

    localizer: str
    setting: str
    threshold: float
    images: int
    hits: int
    boxes: int
    sensitivity: Estimate
    per_disease: tuple[float, ...]
    false: tuple[FalseBoxes, ...]

    def false_boxes(self, image_set: str = ALL_IMAGES, bound: str = IGNORED) -> FalseBoxes:
        """The entry for an image set and bound."""
        return next(f for f in self.false if (f.image_set, f.bound) == (image_set, bound))

    @property
    def boxed_images_only(self) -> bool:
        """Whether all images of the setting have a box."""
        return self.images == self.false_boxes(BOXED_IMAGES).images


def operating_points(
    name: str,
    detections: Detections,
    setting: Setting,
    images: ImageTable,
    thresholds: Sequence[float],
    bootstrap: ImageBootstrap,
) -> list[OperatingPoint]:
    """One localizer in one setting at each hit threshold (strict), by the rule top-k."""
    counted = detections.answers & detections.in_setting(setting)
    matched = detections.matched(counted)
    boxes = np.flatnonzero(setting.images[detections.truth.image_of_box])
    hits = [detections.hit(matched, t) for t in thresholds]
    hit = np.column_stack([found[boxes].astype(np.float64) for found, _ in hits])
    sensitivities = bootstrap.means(detections.truth.image_of_box[boxes], hit)
    diseases = detections.truth.column_of_box[boxes]
    wrong = {
        bound: [counted & detections.wrong(right, counted=bound == COUNTED) for _, right in hits]
        for bound in BOUNDS
    }
    false = _false_boxes(detections, wrong, setting, images, bootstrap)
    return [
        OperatingPoint(
            name,
            setting.name,
            t,
            int(setting.images.sum()),
            int(hit[:, i].sum()),
            len(boxes),
            sensitivities[i],
            _by_disease(hit[:, i], diseases, len(images.diseases)),
            false[i],
        )
        for i, t in enumerate(thresholds)
    ]


def _by_disease(hit: FloatArray, diseases: IndexArray, number: int) -> tuple[float, ...]:
    boxes = np.bincount(diseases, minlength=number)
    hits = np.bincount(diseases, weights=hit, minlength=number)
    return tuple(h / n if n else np.nan for h, n in zip(hits.tolist(), boxes.tolist(), strict=True))


def _false_boxes(
    detections: Detections,
    wrong: Mapping[str, Sequence[BoolArray]],
    setting: Setting,
    images: ImageTable,
    bootstrap: ImageBootstrap,
) -> list[tuple[FalseBoxes, ...]]:
    """For each threshold, an entry per image set and bound.

    Args:
        wrong: bound -> (M,) false detections at each threshold.
    """
    counts = [
        [_per_image(detections, false, images) for false in of_bounds]
        for of_bounds in zip(*(wrong[bound] for bound in BOUNDS), strict=True)
    ]
    entries_at: list[list[FalseBoxes]] = [[] for _ in counts]
    for image_set, members in image_sets(images).items():
        rows = np.flatnonzero(setting.images & members)
        columns = np.concatenate([c[rows] for pair in counts for c in pair], axis=1)
        figures = iter(bootstrap.means(rows, columns))
        patients = len(set(bootstrap.patient_of[rows].tolist()))
        for i in range(len(counts)):
            for bound, values in zip(BOUNDS, counts[i], strict=True):
                total, *each = (next(figures) for _ in range(values.shape[1]))
                boxes = int(values[rows, 0].sum())
                entry = (image_set, bound, len(rows), patients, boxes, total, tuple(each))
                entries_at[i].append(FalseBoxes(*entry))
    return [tuple(entries) for entries in entries_at]


def _per_image(detections: Detections, wrong: BoolArray, images: ImageTable) -> FloatArray:
    """Detections in `wrong` per image: (N, 1 + D), for all diseases and for each disease."""
    each = np.zeros(images.status.shape)
    np.add.at(each, (detections.image[wrong], detections.disease[wrong]), 1)
    return np.column_stack([each.sum(axis=1), each])


def image_sets(images: ImageTable) -> dict[str, BoolArray]:
    """Sets of images over which false boxes are averaged, (N,) each."""
    return {
        ALL_IMAGES: np.ones(len(images), dtype=np.bool_),
        BOXED_IMAGES: images.boxed,
        IMAGES_WITHOUT_FINDING: images.without_finding,
    }


_ANSWERS = {
    False: "One box per image and disease (top-1)",
    True: "As many boxes per image and disease as the ground truth has, one where it has none, "
    "matched one to one (top-k)",
}


def end_to_end_table(
    points: Sequence[OperatingPoint], notes: tuple[str, ...], *, several: bool = False
) -> ResultTable:
    """Rows localizer x setting, a block per hit threshold."""
    ordered = sorted(points, key=lambda point: point.threshold)
    return ResultTable(
        "end_to_end",
        "Disease given, gated, end to end: hits and false boxes per image",
        tuple(map(_end_to_end_row, ordered)),
        (
            f"{_ANSWERS[several]}. 'disease given': boxed images, for their "
            "diseases. 'gated': boxed images, for the diseases that the gate predicts present. "
            "'end to end': the same on all predicted images. 'every disease asked': all "
            "predicted images, no gate",
            "A box on a disease that is labelled but not boxed is ignored, or counted as false "
            "in the columns that say so",
            *notes,
        ),
    )


def _end_to_end_row(point: OperatingPoint) -> TableRow:
    lead = _lead(point)
    cells: dict[str, Value] = {"images": point.images, "hits": point.hits, "boxes": point.boxes}
    cells |= {
        "localized sensitivity": Cell(point.sensitivity),
        "false boxes per image": Cell(point.false_boxes().per_image),
        "false boxes per image (unboxed positives counted)": Cell(
            point.false_boxes(bound=COUNTED).per_image
        ),
        "false boxes per image without finding": "none looked at",
    }
    clear = point.false_boxes(IMAGES_WITHOUT_FINDING)
    if clear.images:
        cells["false boxes per image without finding"] = Cell(clear.per_image)
    return TableRow(_block(point), lead, cells)


def false_box_table(
    points: Sequence[OperatingPoint],
    diseases: Sequence[str],
    notes: tuple[str, ...],
    *,
    several: bool = False,
) -> ResultTable:
    """False boxes per image for each disease: rows localizer x setting x image set x bound."""
    rows = []
    for point in sorted(points, key=lambda point: point.threshold):
        for false in point.false:
            same_as_all = point.boxed_images_only and false.image_set == ALL_IMAGES
            if false.images and not same_as_all:
                rows.append(_false_box_row(point, false, diseases))
    return ResultTable(
        "false_boxes",
        "False boxes per image, by disease and by kind of image",
        tuple(rows),
        (
            f"{_ANSWERS[several]}, if the setting asks for the disease. False: on an absent "
            "disease, or on a boxed one with IoU <= the threshold",
            *notes,
        ),
    )


def _false_box_row(point: OperatingPoint, false: FalseBoxes, diseases: Sequence[str]) -> TableRow:
    lead = _lead(point) | {"image set": false.image_set, "unboxed positives": false.bound}
    cells = {name: Cell(e) for name, e in zip(diseases, false.per_disease, strict=True)}
    trail: dict[str, Value] = {"all diseases": Cell(false.per_image), "false boxes": false.boxes}
    trail |= {"images": false.images, "patients": false.patients}
    return TableRow(_block(point), lead, cells, trail)


def _lead(point: OperatingPoint) -> dict[str, str | float]:
    return {"threshold": point.threshold, "localizer": point.localizer, "setting": point.setting}


def _block(point: OperatingPoint) -> str:
    return f"hit: IoU > {point.threshold:g}"
