"""Compute free-response ROC: localized sensitivity against false boxes per image over all scores.

Bunch et al. 1978, Chakraborty 1989. All boxes of a localizer count as detections, not only the
top-1. At a score s a ground-truth box is found if any detection of its image and disease with score
>= s has IoU > t; further detections on a found box are not false. Detections with equal scores
enter together. The curve is a step function: its value at x is the best sensitivity with at most x
false boxes per image. The table's five points and their mean follow LUNA16 (Setio et al. 2017),
without its 4 and 8.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from cxrloc.classification.metrics.bootstrap import (
    Estimate,
    percentiles,
    tail_of,
)
from cxrloc.classification.metrics.sampled import ImageBootstrap
from cxrloc.classification.report.tables import Cell, ResultTable, TableRow, Value
from cxrloc.localization.analyses.end_to_end.false_boxes import COUNTED
from cxrloc.localization.evaluation.detections import Detections, Setting
from cxrloc.localization.evaluation.ground_truth import FloatArray, IndexArray

POINTS = (0.125, 0.25, 0.5, 1.0, 2.0)  # false boxes per image in the table
GRID = np.geomspace(0.01, 8.0, 60)  # false boxes per image in the figure
_LADDER = 200  # most scores at which resamples are swept
_ROUNDING = 1e-9  # 3 false boxes on 10 images are not more than 10 x 0.3


@dataclass(frozen=True)
class Sweep:
    """Data of a sweep over the score; patients are indices 0..P-1.

    Attributes:
        hit_score, hit_patient: for each ground-truth box with a hit: the highest score of a
            detection that hits it, and its patient.
        false_score, false_patient: for each false detection.
        boxes: (P,) ground-truth boxes of each patient, hit or not.
        images: (P,) images of each patient.
    """

    hit_score: FloatArray
    hit_patient: IndexArray
    false_score: FloatArray
    false_patient: IndexArray
    boxes: FloatArray
    images: FloatArray

    @property
    def scores(self) -> FloatArray:
        """Distinct scores at which a ground-truth box is found, descending.

        Sensitivity rises only there, so a sweep over them is the whole curve.
        """
        return np.asarray(np.unique(self.hit_score)[::-1])


@dataclass(frozen=True)
class Froc:
    """A curve with its band.

    Attributes:
        localizer, setting, threshold, bound: parameters of the sweep (`bound`: see `false_boxes`).
        disease: None for all diseases together.
        images, boxes: number of images, and of ground-truth boxes on them.
        at_points: sensitivity at `POINTS`.
        mean: mean of the sensitivities at `POINTS`.
        curve: sensitivity at `GRID`; rows are value, low and high: (3, 60).
    """

    localizer: str
    setting: str
    threshold: float
    bound: str
    disease: str | None
    images: int
    boxes: int
    at_points: tuple[Estimate, ...]
    mean: Estimate
    curve: FloatArray = field(repr=False)


def froc(
    name: str,
    detections: Detections,
    setting: Setting,
    threshold: float,
    bound: str,
    bootstrap: ImageBootstrap,
    disease: tuple[int, str] | None = None,
) -> Froc:
    """Sweep one localizer's detections in one setting; bands by resampling all patients.

    Args:
        name: name of the localizer.
        threshold: IoU threshold of a hit; strict.
        bound: `IGNORED` or `COUNTED`.
        disease: column and name; None pools all diseases.
    """
    found = sweep(detections, setting, threshold, bound, bootstrap, disease and disease[0])
    at = np.concatenate([POINTS, GRID])
    value = sensitivity_at(found, at)
    samples = resampled_sensitivity(found, at, bootstrap.counts)
    n = len(POINTS)
    means = samples[:, :n].mean(axis=1, keepdims=True)
    tail = tail_of(float(np.count_nonzero(found.boxes)))
    low, high = percentiles(samples.T, tail)
    mean_low, mean_high = percentiles(means.T, tail)
    return Froc(
        name,
        setting.name,
        threshold,
        bound,
        disease and disease[1],
        int(found.images.sum()),
        int(found.boxes.sum()),
        tuple(map(Estimate, value[:n].tolist(), low[:n].tolist(), high[:n].tolist())),
        Estimate(float(value[:n].mean()), float(mean_low[0]), float(mean_high[0])),
        np.stack([value, low, high])[:, n:],
    )


def sweep(
    detections: Detections,
    setting: Setting,
    threshold: float,
    bound: str,
    bootstrap: ImageBootstrap,
    disease: int | None = None,
) -> Sweep:
    """Collect a `Sweep`; `disease` is a column of the image table, None for all."""
    patient_of, patients = bootstrap.patient_of, bootstrap.counts.shape[1]
    keep = detections.in_setting(setting)
    mine = setting.images[detections.truth.image_of_box]
    if disease is not None:
        keep, mine = (
            keep & (detections.disease == disease),
            mine & (detections.truth.column_of_box == disease),
        )
    best = detections.best_score_of_hits(keep, threshold)
    hit = np.flatnonzero(mine & np.isfinite(best))
    false = np.flatnonzero(keep & detections.false(threshold, counted=bound == COUNTED))
    boxes = np.bincount(patient_of[detections.truth.image_of_box[mine]], minlength=patients)
    images = np.bincount(patient_of[setting.images], minlength=patients)
    return Sweep(
        best[hit],
        patient_of[detections.truth.image_of_box[hit]],
        detections.score[false],
        patient_of[detections.image[false]],
        boxes.astype(np.float64),
        images.astype(np.float64),
    )


def sensitivity_at(found: Sweep, at: Sequence[float] | FloatArray) -> FloatArray:
    """The curve at `at` (K,) false boxes per image: (K,) in 0..1; NaN without boxes."""
    scores = found.scores
    hits, false = (_above(v, scores)[None] for v in (found.hit_score, found.false_score))
    images, boxes = found.images.sum(keepdims=True), found.boxes.sum(keepdims=True)
    return np.asarray(_swept(hits, false, images, boxes, np.asarray(at))[0])


def resampled_sensitivity(
    found: Sweep, at: Sequence[float] | FloatArray, counts: FloatArray
) -> FloatArray:
    """The curve at `at` (K,) for each resample (B, P): (B, K), NaN if no box was drawn.

    Swept at no more than 200 of the scores at which boxes are found, evenly spaced in rank; with
    more scores, a resample is too low by up to 1/200 of the found boxes.
    """
    scores = found.scores
    if len(scores) > _LADDER:
        scores = scores[np.linspace(0, len(scores) - 1, _LADDER).round().astype(np.intp)]
    hits = _drawn(found.hit_score, found.hit_patient, scores, counts)
    false = _drawn(found.false_score, found.false_patient, scores, counts)
    return _swept(hits, false, counts @ found.images, counts @ found.boxes, np.asarray(at))


def _swept(
    hits: FloatArray, false: FloatArray, images: FloatArray, boxes: FloatArray, at: FloatArray
) -> FloatArray:
    """Best sensitivity with at most `at` (K,) false boxes per image: (B, K).

    Args:
        hits, false: (B, L) boxes found, and false boxes, at or above each descending score.
        images, boxes: (B,) for each resample.
    """
    hits = np.pad(hits, ((0, 0), (1, 0)))  # nothing is found before the first score
    rows = zip(hits, false, images[:, None] * at + _ROUNDING, strict=True)
    reached = np.stack([h[np.searchsorted(f, x, side="right")] for h, f, x in rows])
    whole = np.broadcast_to(boxes[:, None], reached.shape)
    undefined = np.full(reached.shape, np.nan)
    return np.asarray(np.divide(reached, whole, out=undefined, where=whole > 0))


def _above(values: FloatArray, scores: FloatArray) -> FloatArray:
    """Number of values at or above each of the descending scores: (L,)."""
    first = np.searchsorted(-scores, -values)  # the first score not above the value
    return np.bincount(first, minlength=len(scores) + 1)[:-1].cumsum().astype(np.float64)


def _drawn(
    values: FloatArray, patient: IndexArray, scores: FloatArray, counts: FloatArray
) -> FloatArray:
    """Number of values at or above each of the descending scores, per resample: (B, L)."""
    first = np.searchsorted(-scores, -values)
    present, row = np.unique(patient, return_inverse=True)
    if 2 * len(present) > counts.shape[1]:  # copying most columns costs more than using all
        present, row = np.arange(counts.shape[1]), patient
    width = len(scores) + 1
    table = np.bincount(row * width + first, minlength=len(present) * width).reshape(-1, width)
    drawn = counts if len(present) == counts.shape[1] else counts[:, present]
    # whole numbers far below 2^24: single precision is exact, and twice as fast
    above = table[:, :-1].cumsum(axis=1).astype(np.float32)
    return np.asarray(drawn.astype(np.float32, copy=False) @ above)


def froc_table(curves: Sequence[Froc], notes: tuple[str, ...]) -> ResultTable:
    """Sensitivity at `POINTS` over all diseases; one block per hit threshold."""
    pooled = sorted((c for c in curves if c.disease is None), key=lambda curve: curve.threshold)
    return ResultTable(
        "froc",
        "FROC: localized sensitivity at 0.125 to 2 false boxes per image",
        tuple(map(_row, pooled)),
        (
            "The localizer's own score is swept over all its boxes and all diseases. A "
            "ground-truth box is found if any box of its image and disease has IoU over the "
            "threshold; a second box on a found one is not false. Equal scores enter together; "
            "the value at x is the "
            "best sensitivity with at most x false boxes per image",
            "A localizer that never reaches x false boxes per image keeps its last sensitivity",
            *notes,
        ),
    )


def _row(curve: Froc) -> TableRow:
    lead: dict[str, str | float] = {"threshold": curve.threshold, "localizer": curve.localizer}
    lead |= {"setting": curve.setting, "unboxed positives": curve.bound}
    cells: dict[str, Value] = {
        f"sensitivity@{x:g}": Cell(estimate)
        for x, estimate in zip(POINTS, curve.at_points, strict=True)
    }
    trail: dict[str, Value] = {"images": curve.images, "boxes": curve.boxes}
    cells |= {"mean sensitivity": Cell(curve.mean)}
    return TableRow(f"hit: IoU > {curve.threshold:g}", lead, cells, trail)
