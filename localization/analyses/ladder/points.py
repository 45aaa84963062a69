"""Score points as the pointing game does: does a point lie in a ground-truth box of its disease?

    pairs = Pairs.of(truth)
    hits = pairs.hits_of_cells(maps.cells, (0, 15), aligned=maps.aligned)

The unit is an image and disease with ground-truth boxes; a point hits if it lies in any of them. A
heat map points at its peak in the image's frame. Where several pixels share the peak, the hit is
the share of them in the box: what a draw among them gives on average. A map that is blank
(constant, not finite) points nowhere and misses, as does a missing one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np

from cxrloc.localization.boxes import box_areas
from cxrloc.localization.cam.boxes import map_to_frame, span
from cxrloc.localization.cam.heat_maps import FloatMaps
from cxrloc.localization.evaluation.detections import Detections
from cxrloc.localization.evaluation.ground_truth import FloatArray, GroundTruth, IndexArray


class Hits(NamedTuple):
    """Share of each pair that is a hit, (P, tolerances); number of pairs without a point."""

    shares: FloatArray
    pointless: int


@dataclass(frozen=True)
class Pairs:
    """The images and diseases with a ground-truth box, (P,) each.

    Attributes:
        truth: their ground truth.
        pair_of_box: (N,) pair of each ground-truth box.
        first: (P,) first box of each pair.
    """

    truth: GroundTruth = field(repr=False)
    pair_of_box: IndexArray
    first: IndexArray

    @classmethod
    def of(cls, truth: GroundTruth) -> Pairs:
        _, first, pair = np.unique(truth.key_of_box, return_index=True, return_inverse=True)
        return cls(truth, pair, first)

    def __len__(self) -> int:
        return len(self.first)

    @cached_property
    def names(self) -> list[tuple[str, str, tuple[int, int]]]:
        """Image, disease and (height, width) of each pair."""
        truth, sizes = self.truth, self.truth.images.sizes_hw
        return [
            (truth.image_ids[box], truth.diseases[box], sizes[truth.image_of_box[box]])
            for box in self.first.tolist()
        ]

    @property
    def disease_of(self) -> IndexArray:
        """(P,) index into the ground truth's `disease_names`."""
        return np.asarray(self.truth.disease_index[self.first])

    @property
    def patient_ids(self) -> list[str]:
        return [self.truth.patient_ids[box] for box in self.first.tolist()]

    @property
    def chance(self) -> FloatArray:
        """(P,) share of the image that the boxes cover, if they lie apart: a blind point's hit."""
        areas = box_areas(self.truth.boxes_xyxy)
        covered = np.bincount(self.pair_of_box, weights=areas, minlength=len(self))
        areas_of_images = np.array([h * w for _, _, (h, w) in self.names], dtype=np.float64)
        return np.asarray(np.minimum(1.0, covered / areas_of_images), dtype=np.float64)

    def hits_of_points(self, points_xy: FloatArray, tolerances_px: Sequence[float]) -> Hits:
        """Whether the point of each pair (P, 2) hits at each tolerance; NaN is no point."""
        inside = [
            _inside(points_xy[self.pair_of_box], self.truth.boxes_xyxy, t) for t in tolerances_px
        ]
        shares = np.zeros((len(self), len(tolerances_px)))
        np.maximum.at(shares, self.pair_of_box, np.column_stack(inside))
        return Hits(shares, int(np.isnan(points_xy[:, 0]).sum()))

    def hits_of_cells(
        self,
        cells_of: Callable[[str, str], FloatMaps | None],
        tolerances_px: Sequence[float],
        *,
        aligned: bool = False,
    ) -> Hits:
        """Share of each map's peak that hits; `cells_of(image_id, disease)` gives its cells."""
        shares, pointless = np.zeros((len(self), len(tolerances_px))), 0
        boxes_of = np.split(
            np.argsort(self.pair_of_box, kind="stable"), np.cumsum(np.bincount(self.pair_of_box))
        )
        for pair, (image_id, disease, size_hw) in enumerate(self.names):
            points = peaks(cells_of(image_id, disease), size_hw, aligned=aligned)
            pointless += not len(points)
            for t, tolerance in enumerate(tolerances_px if len(points) else ()):
                boxes = self.truth.boxes_xyxy[boxes_of[pair]]
                inside = [_inside(points, box[None], tolerance) for box in boxes]
                shares[pair, t] = np.max(inside, axis=0).mean()
        return Hits(shares, pointless)

    def centres_of_best(self, detections: Detections) -> FloatArray:
        """(P, 2) centre of the highest-scored box of each pair; NaN where there is none."""
        centres = np.full((len(self), 2), np.nan)
        top = detections.where(detections.top)
        keys = self.truth.key_of_box[self.first]  # ascending
        place = np.minimum(np.searchsorted(keys, top.key), len(keys) - 1)
        mine = keys[place] == top.key
        boxes = top.boxes_xyxy[mine]
        centres[place[mine]] = (boxes[:, :2] + boxes[:, 2:]) / 2
        return centres

    def hottest_cells(self, cells_of: Callable[[str, str], FloatMaps]) -> FloatArray:
        """(P, 2) centre of the hottest cell of each map that has one: no frame is filled."""
        points = np.empty((len(self), 2))
        for pair, (image_id, disease, (height, width)) in enumerate(self.names):
            cells, side = cells_of(image_id, disease), max(height, width)
            sizes = np.array([side / cells.shape[1], side / cells.shape[0]])
            columns, rows = np.ceil([width, height] / sizes).astype(int).tolist()
            row, column = divmod(int(cells[:rows, :columns].argmax()), columns)
            points[pair] = np.minimum((np.array([column, row]) + 0.5) * sizes, [width, height])
        return points

    @property
    def image_centres(self) -> FloatArray:
        """(P, 2) centre of each pair's image."""
        return np.array([(w / 2, h / 2) for _, _, (h, w) in self.names])


def peaks(
    cells: FloatMaps | None, size_hw: tuple[int, int], *, aligned: bool = False
) -> FloatArray:
    """(K, 2) centres x, y of all pixels of the image that share the map's peak; none if blank."""
    if cells is None or not np.isfinite(cells).all():
        return np.zeros((0, 2))
    heat = map_to_frame(cells, size_hw, aligned=aligned)
    if span(heat) is None:
        return np.zeros((0, 2))
    rows, columns = np.nonzero(heat == heat.max())
    return np.column_stack([columns, rows]).astype(np.float64) + 0.5


def _inside(points_xy: FloatArray, boxes_xyxy: FloatArray, tolerance_px: float) -> FloatArray:
    """1 where point i is in box i or at most `tolerance_px` away from it; 0 for NaN."""
    beyond = np.maximum(boxes_xyxy[:, :2] - points_xy, points_xy - boxes_xyxy[:, 2:])
    return np.asarray(np.hypot(*np.maximum(beyond, 0).T) <= tolerance_px, dtype=np.float64)
