"""The boxes that are typical of one disease, each without the boxes of one patient."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from cxrloc.localization.boxes import FloatArray
from cxrloc.localization.evaluation.typical_boxes.constant_box import constant_boxes_without
from cxrloc.localization.evaluation.typical_boxes.constant_set import best_constant_set

IndexArray = npt.NDArray[np.intp]
GROUPS = 5  # of patients; a constant set is found once for each, without the boxes of all of it


@dataclass(frozen=True, eq=False)
class TypicalBoxes:
    """The boxes of one disease, and their typical box without each patient's own.

    Attributes:
        rows: (N, 6) left, top, right, bottom as fractions of the frame's width and height, then
            width and height as fractions of the frame's longer side.
        owner: (N,) index into `patients`.
        image: (N,) number of the box's image.
        patients: P patients with a box, sorted.
    """

    rows: FloatArray = field(repr=False)
    owner: IndexArray = field(repr=False)
    image: IndexArray = field(repr=False)
    patients: tuple[str, ...] = field(repr=False)
    _sets: dict[tuple[int, int], FloatArray] = field(init=False, repr=False, default_factory=dict)

    @cached_property
    def index_of(self) -> dict[str, int]:
        """Patient -> row of `medians`, `means` and `constants`; other patients use the last."""
        return {patient: i for i, patient in enumerate(self.patients)}

    def index(self, patient_id: str) -> int:
        return self.index_of.get(patient_id, len(self.patients))

    @cached_property
    def medians(self) -> FloatArray:
        """(P + 1, 6) medians; NaN if no other patient has a box."""
        return np.stack([self._of_others(np.median, i) for i in range(len(self.patients) + 1)])

    @cached_property
    def means(self) -> FloatArray:
        """(P + 1, 6) means; NaN if no other patient has a box."""
        return np.stack([self._of_others(np.mean, i) for i in range(len(self.patients) + 1)])

    @cached_property
    def constants(self) -> FloatArray:
        """(P + 1, 4) boxes with the best mean IoU; NaN if no other patient has a box."""
        return constant_boxes_without(self.rows[:, :4], self.owner)

    def median_set(self, i: int, number: int) -> FloatArray:
        """Several typical boxes for patient `i`: (at most `number`, 4).

        The other patients' boxes, from left to right, fall into so many equal parts; the median of
        each. With one part it is that of `medians`.
        """
        if number == 1:
            return self.medians[i : i + 1, :4]
        from_left = self._from_left
        others = self.rows[from_left[self.owner[from_left] != i], :4]
        parts = np.array_split(others, number)
        return np.stack([np.median(part, axis=0) for part in parts if len(part)])

    def constant_set(self, i: int, number: int) -> FloatArray:
        """The best set of constant boxes for patient `i`: (at most `number`, 4).

        A single one leaves out that patient's boxes alone; a set those of the patient's group of
        patients, so that it is not searched for every patient anew.
        """
        if number == 1:
            return self.constants[i : i + 1]
        group = i % GROUPS if i < len(self.patients) else -1
        if (group, number) not in self._sets:
            self._sets[group, number] = self._set_without(group, number)
        return self._sets[group, number]

    def _set_without(self, group: int, number: int) -> FloatArray:
        others = np.flatnonzero(self.owner % GROUPS != group)
        by_image = others[np.argsort(self.image[others], kind="stable")]
        starts = np.flatnonzero(np.diff(self.image[by_image])) + 1
        return best_constant_set(np.split(self.rows[by_image, :4], starts), number)

    @cached_property
    def _from_left(self) -> IndexArray:
        """The boxes by their middle from left to right, whatever their order in the file."""
        x1, y1, x2, y2 = self.rows[:, :4].T
        return np.lexsort((y2, y1, x2, x1, (x1 + x2).round(12)))

    def _of_others(self, statistic: Any, i: int) -> FloatArray:
        rows = self.rows[self.owner != i]
        return np.asarray(statistic(rows, axis=0) if len(rows) else np.full(6, np.nan))
