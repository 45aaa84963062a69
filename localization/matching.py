"""Pair two sets of boxes: which overlap, and which belong together one to one.

    overlaps = overlapping(key, boxes_xyxy, other_key, other_boxes_xyxy)
    chosen = one_to_one(overlaps.first, overlaps.second, overlaps.iou, tie_break)

Boxes meet only under the same key, a number for an image and disease.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from cxrloc.localization.boxes import FloatArray, iobb, iogt, iou

IndexArray = npt.NDArray[np.intp]

SAME_BOX = 0.9  # IoU of two boxes that look like one on the image
_PAIRS_AT_ONCE = 1_000_000  # thousands of boxes on both sides of one image are millions of pairs


@dataclass(frozen=True)
class Overlaps:
    """All pairs of a first and a second box of one key that overlap, (K,) each.

    Attributes:
        first, second: indices into the two sets, sorted by second, then by first.
        iou, iobb, iogt: overlaps of the pair, the first box in the role of the predicted one.
    """

    first: IndexArray
    second: IndexArray
    iou: FloatArray = field(repr=False)
    iobb: FloatArray = field(repr=False)
    iogt: FloatArray = field(repr=False)


def overlapping(
    key: IndexArray, boxes_xyxy: FloatArray, other_key: IndexArray, other_boxes_xyxy: FloatArray
) -> Overlaps:
    """Find the pairs that overlap; the memory needed does not grow with those that do not."""
    parts = []
    for start, stop in _parts(key, other_key):
        first, second = meetings(key, other_key[start:stop])
        second += start
        for side in (0, 1):  # most boxes of a crowded image miss each other in one direction
            low, high = boxes_xyxy[:, side], boxes_xyxy[:, side + 2]
            others = other_boxes_xyxy[:, side], other_boxes_xyxy[:, side + 2]
            meet = (low[first] < others[1][second]) & (others[0][second] < high[first])
            first, second = first[meet], second[meet]
        pair = boxes_xyxy[first], other_boxes_xyxy[second]
        parts.append((first, second, iou(*pair), iobb(*pair), iogt(*pair)))
    columns = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Overlaps(*columns)


def _parts(key: IndexArray, other_key: IndexArray) -> Iterator[tuple[int, int]]:
    """Ranges of the second boxes that meet at most `_PAIRS_AT_ONCE` first ones, or are one box."""
    there = np.sort(key)
    count = np.searchsorted(there, other_key, "right") - np.searchsorted(there, other_key, "left")
    total, start = np.cumsum(count), 0
    while start < len(total):
        before = int(total[start] - count[start])
        stop = int(np.searchsorted(total, before + _PAIRS_AT_ONCE, "right"))
        yield start, max(stop, start + 1)
        start = max(stop, start + 1)
    if not len(total):
        yield 0, 0


def meetings(key: IndexArray, other_key: IndexArray) -> tuple[IndexArray, IndexArray]:
    """Pair every first box with every second of the same key, by second, then in their order."""
    order = np.argsort(key, kind="stable")
    first = np.searchsorted(key[order], other_key, side="left")
    count = np.searchsorted(key[order], other_key, side="right") - first
    second = np.repeat(np.arange(len(other_key)), count)
    within = np.arange(len(second)) - np.repeat(np.cumsum(count) - count, count)
    return order[np.repeat(first, count) + within], second


def one_to_one(
    first: IndexArray, second: IndexArray, weight: FloatArray, tie_break: FloatArray
) -> IndexArray:
    """Choose pairs so that no box is in two of them and their total weight is the greatest.

    Pairs that share no box with another are chosen at once; the others fall apart into groups that
    share none with each other, and each is an assignment problem of its own.

    Args:
        first, second: (K,) boxes of each pair.
        weight: (K,) above 0.
        tie_break: (N, C) numbers of the first boxes; of several choices with the greatest total,
            the one made depends on these, never on the order of the file.

    Returns:
        Indices of the chosen pairs, ascending.
    """
    alone = (_uses(first) == 1) & (_uses(second) == 1)
    rest = np.flatnonzero(~alone)
    if not len(rest):
        return np.flatnonzero(alone)
    row, column = _renumbered(first[rest], tie_break), np.unique(second[rest], return_inverse=True)
    chosen = [rest[group] for group in _assigned(row, column[1], weight[rest])]
    return np.sort(np.concatenate([np.flatnonzero(alone), *chosen]))


def repeats(
    key: IndexArray, boxes_xyxy: FloatArray, other_boxes_xyxy: FloatArray, weight: FloatArray
) -> npt.NDArray[np.bool_]:
    """Which of M pairs, matched one to one, only repeat the box of a better pair, (M,).

    Two first boxes with an IoU of `SAME_BOX` or more are one box given twice, so the worse pair
    counts for nothing, unless the second boxes of the pairs are one box given twice too.

    Args:
        key: (M,) key of each pair.
        boxes_xyxy, other_boxes_xyxy: (M, 4) first and second box of each pair.
        weight: (M,) how good the pair is; of equally good ones the first is the better.
    """
    better = np.argsort(-weight, kind="stable")
    key, boxes, others = key[better], boxes_xyxy[better], other_boxes_xyxy[better]
    again = np.zeros(len(key), dtype=np.bool_)
    alike = overlapping(key, boxes, key, boxes)
    twice = (alike.first < alike.second) & (alike.iou >= SAME_BOX)
    first, second = alike.first[twice], alike.second[twice]
    twice = iou(others[first], others[second]) < SAME_BOX
    for one, other in zip(first[twice].tolist(), second[twice].tolist(), strict=True):
        again[other] |= not again[one]  # pairs come by their second box: `one` is settled
    repeated = np.empty_like(again)
    repeated[better] = again
    return repeated


def _uses(boxes: IndexArray) -> IndexArray:
    """(K,) number of pairs that each pair's box is in."""
    return np.asarray(np.bincount(boxes)[boxes] if len(boxes) else boxes, dtype=np.intp)


def _renumbered(boxes: IndexArray, tie_break: FloatArray) -> IndexArray:
    """(K,) numbers from 0 in the order of `tie_break`."""
    used, inverse = np.unique(boxes, return_inverse=True)
    number = np.empty(len(used), dtype=np.intp)
    number[np.lexsort(tie_break[used].T[::-1])] = np.arange(len(used))
    return number[inverse]


def _assigned(row: IndexArray, column: IndexArray, weight: FloatArray) -> Iterator[IndexArray]:
    """The chosen pairs of each group of boxes that are connected by pairs."""
    # half a second that `--help` does not need
    from scipy.optimize import linear_sum_assignment
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    rows = int(row.max()) + 1
    nodes = rows + int(column.max()) + 1
    graph = coo_array((np.ones(len(row)), (row, column + rows)), shape=(nodes, nodes))
    group = connected_components(graph, directed=False)[1][row]
    order = np.argsort(group, kind="stable")
    for pairs in np.split(order, np.flatnonzero(np.diff(group[order])) + 1):
        above, r = np.unique(row[pairs], return_inverse=True)
        across, c = np.unique(column[pairs], return_inverse=True)
        table = np.zeros((len(above), len(across)))
        table[r, c] = weight[pairs]
        at, across_at = linear_sum_assignment(table, maximize=True)
        wide = len(across)
        _, mine, _ = np.intersect1d(r * wide + c, at * wide + across_at, return_indices=True)
        yield pairs[mine]
