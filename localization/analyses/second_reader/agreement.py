"""How far two readers agree, both ways: whose boxes are right is not known.

Each reader's boxes are once the ground truth and once the answers to the other's. The two figures
differ where one of them draws two boxes and the other one, and where only one marks a disease.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from cxrloc.localization.analyses.second_reader.scores import (
    ALL,
    BEST,
    BOTH,
    MEAN,
    Answers,
    Figures,
    Part,
    ReaderScores,
    best_first,
    part_of,
    reader_scores,
)
from cxrloc.localization.evaluation.box_scores import Measure, score_boxes
from cxrloc.localization.evaluation.detections import SECOND_READER, Detections, place
from cxrloc.localization.evaluation.evaluated import Evaluated
from cxrloc.localization.evaluation.ground_truth import (
    ABSENT,
    BOXED,
    UNBOXED,
    BoolArray,
    GroundTruth,
)
from cxrloc.localization.predictions.columns import BoxColumns
from cxrloc.localization.predictions.second_reader import SecondReading

FIRST = "ground truth"


@dataclass(frozen=True)
class Agreement:
    """The boxes of one reader, answered by those of the other.

    Attributes:
        truth, answers: who drew the boxes and who answers: `FIRST` or the second reader's name.
        parts: as in `ReaderScores`.
    """

    truth: str
    answers: str
    parts: Mapping[str, Part] = field(repr=False)

    def figures(self, part: str, measure: Measure = MEAN) -> Figures:
        """The best of several boxes counts."""
        chosen = self.parts[part]
        return chosen.figures(chosen.readers[0], measure)


def agreements(evaluated: Evaluated) -> dict[str, tuple[Agreement, Agreement]]:
    """Second reader -> the agreement with the ground truth as it is, and the other way round."""
    return {
        scores.name: (
            Agreement(FIRST, scores.name, scores.parts),
            Agreement(scores.name, FIRST, _reversed(evaluated, scores)),
        )
        for scores in evaluated.once(reader_scores)
    }


def _reversed(evaluated: Evaluated, scores: ReaderScores) -> dict[str, Part]:
    """The second reader's boxes as ground truth, those of the first as the answers."""
    truth = _truth_of(evaluated.truth, scores.reading)
    if not len(truth):
        return {}
    first = _first_as_answers(evaluated.truth, scores.reading, truth)
    judged = _could_be_answered(evaluated.truth, scores.reading, truth)
    marked = judged & np.isin(truth.key_of_box, first.key)
    answers = Answers(FIRST, SECOND_READER, BEST, (score_boxes(best_first(first)),))
    return {
        part: part_of(evaluated, truth, [answers], keep)
        for part, keep in ((ALL, judged), (BOTH, marked))
        if keep.any()
    }


def _truth_of(first: GroundTruth, reading: SecondReading) -> GroundTruth:
    """The second reader's boxes on the images of the first, of diseases that the first has too."""
    diseases = tuple(name for name in reading.judged if name in set(reading.common.values()))
    column_of = {name: column for column, name in enumerate(diseases)}
    boxes = reading.boxes
    rows = sorted(
        (image, column_of[name], tuple(box))
        for image, name, box in zip(
            boxes.image_ids, boxes.diseases, boxes.boxes_xyxy.tolist(), strict=True
        )
        if name in column_of
    )
    status = np.full((len(first.images), len(diseases)), ABSENT, dtype=np.int8)
    for image, column, _ in rows:
        status[first.images.row_of[image], column] = BOXED
    drawn = {column for _, column, _ in rows}
    return GroundTruth(
        replace(first.images, diseases=diseases, status=status),
        tuple(image for image, _, _ in rows),
        tuple(first.images.patient_of[image] for image, _, _ in rows),
        tuple(diseases[column] for _, column, _ in rows),
        np.array([box for _, _, box in rows], dtype=np.float64).reshape(-1, 4),
        tuple(name for name in diseases if column_of[name] in drawn),
    )


def _first_as_answers(
    first: GroundTruth, reading: SecondReading, second: GroundTruth
) -> Detections:
    """The boxes of the first ground truth under the common names."""
    names = [reading.common[disease] for disease in first.diseases]
    kept = [i for i, name in enumerate(names) if name in second.images.column_of]
    columns = BoxColumns(
        [first.image_ids[i] for i in kept],
        [str(names[i]) for i in kept],
        first.boxes_xyxy[kept],
        np.ones(len(kept)),
    )
    return place(second, columns)


def _could_be_answered(
    first: GroundTruth, reading: SecondReading, second: GroundTruth
) -> BoolArray:
    """(N,) the second's boxes, but those of diseases that the first labels without a box."""
    images = first.images
    columns = {
        name: [images.column_of[d] for d, common in reading.common.items() if common == name]
        for name in second.disease_names
    }
    said = [
        images.status[row, columns[name]]
        for row, name in zip(second.image_of_box, second.diseases, strict=True)
    ]
    return np.array([BOXED in here or UNBOXED not in here for here in said], dtype=np.bool_)
