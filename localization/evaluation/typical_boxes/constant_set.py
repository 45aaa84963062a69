"""Find the k boxes that agree best with the k boxes of many images: `constant_box` for several.

A set is as good as the mean over the images of the total IoU with the image's boxes, matched one to
one. The search alternates: match the set with every image, then move each of its boxes to where it
agrees best with those matched with it. Neither step makes the set worse.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations
from math import perm

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from cxrloc.localization.boxes import FloatArray, box_iou_matrix
from cxrloc.localization.evaluation.typical_boxes.constant_box import climbed

FEWEST_IMAGES = 10  # with exactly k boxes; with fewer, images with any number count
MOST_BOXES = 8  # larger sets are those of the greedy start
_MOST_IMAGES = 500  # evenly spaced ones stand for more: their boxes are alike
_CANDIDATES = 256  # boxes to choose the greedy set from
_BEST_STARTS = 3  # single images whose boxes are a start
_ORDERS = 24  # up to so many ways to match are compared for all images at once
_GAIN, _DECIMALS = 1e-9, 12
_ROUNDS = 50  # never needed: each round gains

IndexArray = npt.NDArray[np.intp]
Images = Sequence[FloatArray]


def best_constant_set(images: Images, number: int) -> FloatArray:
    """Find the set of `number` boxes with the highest mean matched IoU: (at most `number`, 4).

    Uses the images with exactly so many boxes or, if there are fewer than `FEWEST_IMAGES`, those
    with any number. The order of images and of boxes changes nothing. Like `best_constant_box`,
    it may miss a higher optimum elsewhere; it is at least as good as each of its starts: boxes
    chosen one by one, and the boxes of single images.

    Args:
        images: (n, 4) boxes of each image as fractions of the frame, n >= 1.
        number: k, at least 1.
    """
    chosen = _chosen(images, number)
    greedy = _greedy(np.concatenate(chosen), number)
    if number > MOST_BOXES:
        return greedy
    pool = _Pool(chosen)
    alike = [boxes for boxes in chosen if len(boxes) == number]
    starts = [greedy, *sorted(alike, key=lambda boxes: -round(pool.score(boxes), _DECIMALS))]
    ends = [pool.improved(start) for start in starts[: 1 + _BEST_STARTS]]
    return max(ends, key=lambda boxes: round(pool.score(boxes), _DECIMALS))


def _chosen(images: Images, number: int) -> list[FloatArray]:
    """The images to learn from, in an order that does not depend on that of the file."""
    ordered = [boxes[np.lexsort(boxes.T[::-1])] for boxes in images]
    ordered.sort(key=lambda boxes: boxes.ravel().tolist())
    alike = [boxes for boxes in ordered if len(boxes) == number]
    pool = alike if len(alike) >= FEWEST_IMAGES else ordered
    return [pool[i] for i in _spaced(len(pool), _MOST_IMAGES)]


def _spaced(count: int, most: int) -> IndexArray:
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.intp))


def _greedy(boxes: FloatArray, number: int) -> FloatArray:
    """Boxes chosen one by one, each the one that adds most; fewer where no other adds anything."""
    candidates = boxes[_spaced(len(boxes), _CANDIDATES)]
    overlaps = box_iou_matrix(candidates, boxes[_spaced(len(boxes), 8 * _CANDIDATES)])
    reached, picked = np.zeros(overlaps.shape[1]), list[int]()
    for _ in range(number):
        gains = np.maximum(overlaps - reached, 0).sum(axis=1).round(_DECIMALS)
        best = int(gains.argmax())
        if gains[best] <= 0:
            break
        picked.append(best)
        reached = np.maximum(reached, overlaps[best])
    return np.asarray(candidates[picked])


class _Pool:
    """Images whose boxes a set is to match."""

    def __init__(self, images: Images) -> None:
        self.boxes, self.images = np.concatenate(images), len(images)
        counts = np.array([len(boxes) for boxes in images])
        first = np.cumsum(counts) - counts
        # images with equally many boxes are matched together: the rows of their boxes, (n, count)
        self.rows = [
            first[counts == count][:, None] + np.arange(count) for count in np.unique(counts)
        ]

    def score(self, places: FloatArray) -> float:
        """Mean over the images of the total matched IoU."""
        overlaps = box_iou_matrix(self.boxes, places)
        slot = self._matched(overlaps)
        return float(overlaps[slot >= 0, slot[slot >= 0]].sum() / self.images)

    def improved(self, places: FloatArray) -> FloatArray:
        """Alternate between matching and moving until the score no longer rises.

        Moves to the medians first, which is quick, and climbs from there.
        """
        for move in (_median, climbed):
            score = self.score(places)
            for _ in range(_ROUNDS):
                slot = self._matched(box_iou_matrix(self.boxes, places))
                moved = places.copy()
                for k in np.unique(slot[slot >= 0]):
                    moved[k] = move(places[k], self.boxes[slot == k])
                reached = self.score(moved)
                if reached <= score + _GAIN:
                    break
                places, score = moved, reached
        return places

    def _matched(self, overlaps: FloatArray) -> IndexArray:
        """(N,) box of the set matched with each of the images' boxes, -1 for none."""
        slot = np.full(len(self.boxes), -1, dtype=np.intp)
        for rows in self.rows:
            slot[rows] = _assigned(overlaps[rows])
        return slot


def _median(_: FloatArray, boxes: FloatArray) -> FloatArray:
    return np.asarray(np.median(boxes, axis=0))


def _assigned(overlaps: FloatArray) -> IndexArray:
    """(n, count) box of the set for each box of n images, from their IoU (n, count, k)."""
    images, count, k = overlaps.shape
    slot = np.full((images, count), -1, dtype=np.intp)
    if perm(max(count, k), min(count, k)) > _ORDERS:
        for image, table in enumerate(overlaps):
            row, column = linear_sum_assignment(table, maximize=True)
            slot[image, row] = column
        return slot
    fixed = np.arange(min(count, k))
    ways = np.array(list(permutations(range(max(count, k)), len(fixed))), dtype=np.intp)
    box, column = (fixed, ways) if count <= k else (ways, fixed)
    best = overlaps[:, box, column].sum(axis=2).round(_DECIMALS).argmax(axis=1)
    box, column = (np.broadcast_to(side, ways.shape)[best] for side in (box, column))
    np.put_along_axis(slot, box, column, axis=1)
    return slot
