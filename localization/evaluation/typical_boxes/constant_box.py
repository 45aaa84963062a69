"""Find the box that agrees best with many: the limit for a localizer that knows only the class."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from cxrloc.localization.boxes import FloatArray, as_boxes, box_iou_matrix

_STARTS = 3  # on NIH's boxes, one start ends .006 lower for Infiltration; 8 gain under .0001
_STEPS = (64 / 1024, 16 / 1024, 4 / 1024, 1 / 1024)  # of the frame's side
_SIDES = np.concatenate([np.eye(4), -np.eye(4)])  # each of the four sides, in both directions
_GAIN = 1e-12  # less is rounding error
_DECIMALS = 12  # equal up to rounding: the first counts
_ROWS = 256  # places compared with all boxes at a time

IndexArray = npt.NDArray[np.intp]


def best_constant_box(boxes_xyxy: FloatArray) -> FloatArray:
    """Find the box with the highest mean IoU with all `boxes_xyxy`, to 1/1024 of the frame: (4,).

    Climbs from the best boxes and from their median: always the best move of one side, until no
    move of any step helps. So the result is at least as good as each start, but may miss a higher
    optimum elsewhere.

    Args:
        boxes_xyxy: (N, 4) left, top, right, bottom as fractions of the frame, N >= 1.
    """
    boxes = as_boxes(boxes_xyxy, "boxes_xyxy")
    if not len(boxes):
        raise ValueError("boxes_xyxy: expected at least one box, got none")
    nobody = np.full(len(boxes), -1)
    return np.asarray(constant_boxes_without(boxes, nobody)[-1])


def climbed(place: FloatArray, boxes_xyxy: FloatArray) -> FloatArray:
    """The place that is reached from this one, as `best_constant_box` climbs: (4,).

    Args:
        place: (4,) fractions of the frame.
        boxes_xyxy: (N, 4) fractions of the frame, N >= 1.
    """
    score = float(box_iou_matrix(place[None], boxes_xyxy).mean())
    for step in _STEPS:
        while True:
            moved = place + step * _SIDES
            means = box_iou_matrix(moved, boxes_xyxy).mean(axis=1)
            chosen = int(means.round(_DECIMALS).argmax())
            if means[chosen] <= score + _GAIN:
                break
            place, score = moved[chosen], float(means[chosen])
    return place


def constant_boxes_without(boxes_xyxy: FloatArray, owner: IndexArray) -> FloatArray:
    """`best_constant_box` of all boxes except one owner's, for each owner: (P + 1, 4).

    The searches nearly coincide, so they climb together: the IoU of a place with all boxes is
    computed once for all searches that reach it.

    Args:
        boxes_xyxy: (N, 4) fractions of the frame.
        owner: (N,) 0..P-1, -1 for none.

    Returns:
        A box for each owner and, last, the one for all boxes; NaN if no box is left.
    """
    # among equally good boxes, the choice must not depend on the file order
    order = np.lexsort(np.asarray(boxes_xyxy).T)
    searches = _Searches(np.asarray(boxes_xyxy)[order], np.asarray(owner)[order])
    best = np.full((searches.number, 4), np.nan)
    best_score = np.full(searches.number, -np.inf)
    for start in range(_STARTS):
        for places, members, scores in searches.climb(start):
            better = np.round(scores, _DECIMALS) > np.round(best_score[members], _DECIMALS)
            best[members[better]], best_score[members[better]] = places, scores[better]
    return best


class _Searches:
    """P + 1 searches over the same boxes, each without its owner's boxes."""

    def __init__(self, boxes: FloatArray, owner: IndexArray) -> None:
        self.boxes, self.number = boxes, int(owner.max(initial=-1)) + 2
        by_owner = np.argsort(owner, kind="stable")
        first = np.searchsorted(owner[by_owner], np.arange(self.number))
        self.own = [by_owner[a:b] for a, b in zip(first, [*first[1:], len(owner)], strict=True)]
        self.own[-1] = np.zeros(0, dtype=np.intp)  # the last search uses all boxes
        self.left = len(boxes) - np.array([len(rows) for rows in self.own])
        self.starts, self.scores = self._best_starts()

    def means(self, places: FloatArray, members: IndexArray) -> FloatArray:
        """Mean IoU of C places with the boxes of each of M searches: (C, M)."""
        overlaps = box_iou_matrix(places, self.boxes)
        of_owners = np.zeros((len(places), len(members)))
        counts = np.array([len(self.own[m]) for m in members])
        if counts.any():
            rows = np.concatenate([self.own[m] for m in members])
            first = (np.cumsum(counts) - counts)[counts > 0]
            of_owners[:, counts > 0] = np.add.reduceat(overlaps[:, rows], first, axis=1)
        return np.asarray((overlaps.sum(axis=1)[:, None] - of_owners) / self.left[members])

    def climb(self, start: int) -> Iterator[tuple[FloatArray, IndexArray, FloatArray]]:
        """End points of the searches from their start of this rank: place, searches, scores."""
        places, group = np.unique(self.starts[start], axis=0, return_inverse=True)
        alive = np.flatnonzero(np.isfinite(self.scores[start]))
        waiting = [
            (place, members, self.scores[start, members], 0)
            for i, place in enumerate(places)
            if len(members := alive[group.ravel()[alive] == i])
        ]
        while waiting:
            place, members, scores, step = waiting.pop()
            if step == len(_STEPS):
                yield place, members, scores
                continue
            moved = place + _STEPS[step] * _SIDES
            means = self.means(moved, members)
            chosen = np.round(means, _DECIMALS).argmax(axis=0)
            reached = means[chosen, np.arange(len(members))]
            better = reached > scores + _GAIN
            if not better.all():
                waiting.append((place, members[~better], scores[~better], step + 1))
            for move in np.unique(chosen[better]):
                go = better & (chosen == move)
                waiting.append((moved[move], members[go], reached[go], step))

    def _best_starts(self) -> tuple[FloatArray, FloatArray]:
        """(3, P + 1, 4) places and (3, P + 1) scores; -inf if a search has fewer starts."""
        starts = np.full((_STARTS, self.number, 4), np.nan)
        scores = np.full((_STARTS, self.number), -np.inf)
        every = np.flatnonzero(self.left > 0)
        of_boxes = self._box_scores(every)
        for column, m in enumerate(every):
            seen = np.ones(len(self.boxes), dtype=np.bool_)
            seen[self.own[m]] = False
            median = np.median(self.boxes[seen], axis=0)
            places = np.vstack([median, self.boxes[seen]])
            of_median = self.means(median[None], np.array([m]))[0]
            means = np.concatenate([of_median, of_boxes[seen, column]])
            first = np.argsort(-np.round(means, _DECIMALS), kind="stable")[:_STARTS]
            starts[: len(first), m], scores[: len(first), m] = places[first], means[first]
        return starts, scores

    def _box_scores(self, members: IndexArray) -> FloatArray:
        """(N, M) mean IoU of each box with the boxes of each search."""
        parts = [
            self.means(self.boxes[i : i + _ROWS], members) for i in range(0, len(self.boxes), _ROWS)
        ]
        return np.concatenate(parts)
