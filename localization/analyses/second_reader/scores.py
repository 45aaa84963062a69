"""Score a second reader as a localizer is, with every localizer and control on the same boxes.

Only the boxes count that the reader could have drawn: on images that the reader read, of diseases
that the reader judges. A disease that the reader did not mark there is a miss. Readers give no
scores, so nothing says which of several boxes of a disease is the one they would answer with. They
are scored twice: the box that fits best counts, or each of them as often as the others.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from cxrloc.classification.metrics.bootstrap import ClusterBootstrap, DiseaseEstimates, Estimate
from cxrloc.localization.evaluation.box_scores import (
    TOP_K,
    BoxScores,
    Measure,
    score_boxes,
)
from cxrloc.localization.evaluation.comparison import ScoredLocalizer
from cxrloc.localization.evaluation.detections import (
    CONTROL,
    DISEASE_GIVEN,
    GATED,
    SECOND_READER,
    Detections,
    place,
)
from cxrloc.localization.evaluation.evaluated import Evaluated
from cxrloc.localization.evaluation.ground_truth import (
    BoolArray,
    FloatArray,
    GroundTruth,
)
from cxrloc.localization.predictions.columns import BoxColumns
from cxrloc.localization.predictions.second_reader import SecondReading

BEST, BY_CHANCE = "best of several", "by chance"
ALL, BOTH = "all", "marked by both"
MEASURES = tuple(Measure("iou", t) for t in (None, 0.1, 0.3, 0.5))
MEAN = MEASURES[0]
_MOST_TURNS = 60  # every disease with up to six boxes then has each box first equally often


@dataclass(frozen=True)
class Answers:
    """One row: what somebody answers for the boxes that a reader is scored on.

    Attributes:
        name: the localizer, control or reader.
        setting: `DISEASE_GIVEN`, `GATED`, `CONTROL` or `SECOND_READER`.
        rule: `TOP_K`, `BEST` or `BY_CHANCE`.
        scores: of equally likely answers; one but for `BY_CHANCE`.
    """

    name: str
    setting: str
    rule: str
    scores: tuple[BoxScores, ...] = field(repr=False)

    @property
    def label(self) -> str:
        """How a difference names it."""
        if self.setting == GATED:
            return f"{self.name}, gated"
        return f"{self.name}, {BY_CHANCE}" if self.rule == BY_CHANCE else self.name

    @property
    def scored(self) -> ScoredLocalizer:
        """As the figures of the report take it."""
        return ScoredLocalizer(self.name, self.setting, self.scores[0], {})

    def values(self, measure: Measure) -> FloatArray:
        """(N,) the mean over its answers."""
        values = [measure.of_scores(scores) for scores in self.scores]
        return np.asarray(np.mean(values, axis=0), dtype=np.float64)

    def where(self, keep: BoolArray) -> Answers:
        """The answers to some of the boxes."""
        return replace(self, scores=tuple(_scores_where(each, keep) for each in self.scores))


def _scores_where(scores: BoxScores, keep: BoolArray) -> BoxScores:
    return replace(scores, **{name: column[keep] for name, column in vars(scores).items()})


@dataclass(frozen=True)
class Figures:
    """A figure per disease, averaged over the diseases, and over all boxes alike."""

    diseases: DiseaseEstimates
    all_boxes: Estimate


@dataclass(frozen=True)
class Part:
    """Some boxes of the ground truth, and the answers to them.

    Attributes:
        truth: these boxes; their images are those of the whole ground truth.
        answers: readers first, then localizers, gated ones and controls.
        resamples, seed: of patients.
    """

    truth: GroundTruth
    answers: tuple[Answers, ...]
    resamples: int
    seed: int

    @property
    def readers(self) -> tuple[Answers, ...]:
        return tuple(answer for answer in self.answers if answer.setting == SECOND_READER)

    @property
    def others(self) -> tuple[Answers, ...]:
        """Localizers, gated ones and controls."""
        return tuple(answer for answer in self.answers if answer.setting != SECOND_READER)

    def figures(self, answer: Answers, measure: Measure) -> Figures:
        return self._figures[answer.label, measure.key]

    def difference(self, answer: Answers, reader: Answers, measure: Measure) -> Figures:
        """The first minus the second on the same boxes and resamples."""
        return self._figures[answer.label, reader.label, measure.key]

    @cached_property
    def _figures(self) -> dict[tuple[str, ...], Figures]:
        columns: dict[tuple[str, ...], FloatArray] = {}
        for measure in MEASURES:
            values = {answer.label: answer.values(measure) for answer in self.answers}
            columns |= {(label, measure.key): column for label, column in values.items()}
            for reader, label in itertools.product(self.readers, values):
                key = label, reader.label, measure.key
                columns[key] = values[label] - values[reader.label]
        figures = figures_of(self.truth, list(columns.values()), self.resamples, self.seed)
        return dict(zip(columns, figures, strict=True))


def figures_of(
    truth: GroundTruth, columns: Sequence[FloatArray], resamples: int, seed: int
) -> list[Figures]:
    """The means of columns of values, one for each box."""
    values = np.column_stack(columns)
    per_disease = truth.bootstrap(resamples=resamples, seed=seed).estimates(values)
    together = ClusterBootstrap.of(
        truth.patient_ids, np.zeros_like(truth.disease_index), 1, resamples=resamples, seed=seed
    )
    return list(map(Figures, per_disease, together.macros(values)))


@dataclass(frozen=True)
class ReaderScores:
    """A second reader beside the localizers and controls.

    Attributes:
        name: of the reader.
        reading: what the reader says.
        parts: `ALL`: every box that the reader could have drawn; `BOTH`: those whose disease the
            reader marked on that image; missing without any.
    """

    name: str
    reading: SecondReading = field(repr=False)
    parts: Mapping[str, Part]


def reader_scores(evaluated: Evaluated) -> tuple[ReaderScores, ...]:
    """The scores of every second reader."""
    return tuple(
        ReaderScores(name, reading, dict(_parts(evaluated, name, reading)))
        for name, reading in evaluated.inputs.second_readers.items()
    )


def _parts(evaluated: Evaluated, name: str, reading: SecondReading) -> Iterator[tuple[str, Part]]:
    truth, boxes = evaluated.truth, placed(evaluated.truth, reading)
    judged = could_draw(truth, reading)
    marked = judged & np.isin(truth.key_of_box, boxes.key)
    answers = [*_readers(name, boxes, judged), *_others(evaluated)]
    for part, keep in ((ALL, judged), (BOTH, marked)):
        if keep.any():
            yield part, part_of(evaluated, truth, answers, keep)


def part_of(
    evaluated: Evaluated, truth: GroundTruth, answers: Iterable[Answers], keep: BoolArray
) -> Part:
    """Some boxes of a ground truth, and the answers to them."""
    chosen = tuple(answer.where(keep) for answer in answers)
    return Part(boxes_where(truth, keep), chosen, **evaluated.draws)


def _readers(name: str, boxes: Detections, judged: BoolArray) -> list[Answers]:
    """The reader by the best box; and by chance, where that differs."""
    best = Answers(name, SECOND_READER, BEST, (score_boxes(best_first(boxes)),))
    turns = tuple(score_boxes(turn) for turn in in_turn(boxes))
    chance = Answers(name, SECOND_READER, BY_CHANCE, turns)
    same = np.allclose(best.values(MEAN)[judged], chance.values(MEAN)[judged])
    return [best] if same else [best, chance]


def _others(evaluated: Evaluated) -> Iterator[Answers]:
    """Localizers and controls, as everywhere in the report."""
    passes = evaluated.passes
    settings: list[tuple[str, Mapping[str, BoxScores]]] = [(DISEASE_GIVEN, evaluated.scores)]
    if passes is not None:
        gated = {name: scores.only_where(passes) for name, scores in evaluated.scores.items()}
        settings.append((GATED, gated))
    for setting, scores in (*settings, (CONTROL, evaluated.control_scores)):
        for name, of_boxes in scores.items():
            yield Answers(name, setting, TOP_K, (of_boxes,))


def placed(truth: GroundTruth, reading: SecondReading) -> Detections:
    """The reader's boxes as detections, under each disease that has their common name."""
    diseases: dict[str, list[str]] = {}
    for disease, name in reading.common.items():
        if name is not None:
            diseases.setdefault(name, []).append(disease)
    boxes = reading.boxes
    rows = [(i, d) for i, name in enumerate(boxes.diseases) for d in diseases.get(name, ())]
    index = np.array([i for i, _ in rows], dtype=np.intp)
    columns = BoxColumns(
        [boxes.image_ids[i] for i in index],
        [disease for _, disease in rows],
        boxes.boxes_xyxy[index],
        boxes.scores[index],
    )
    return place(truth, columns)


def could_draw(truth: GroundTruth, reading: SecondReading) -> BoolArray:
    """(N,) boxes on images that the reader read, of diseases that the reader judges.

    Where the reader labels the disease without a box, it is neither marked nor missed.
    """
    pairs = [(i, reading.common[d]) for i, d in zip(truth.image_ids, truth.diseases, strict=True)]
    return np.array(
        [
            image in reading.images
            and name in reading.judged
            and (image, name) not in reading.unboxed
            for image, name in pairs
        ],
        dtype=np.bool_,
    )


def boxes_where(truth: GroundTruth, keep: BoolArray) -> GroundTruth:
    """The ground truth with some of its boxes; its images stay."""
    rows = np.flatnonzero(keep)
    diseases = tuple(truth.diseases[i] for i in rows)
    return replace(
        truth,
        image_ids=tuple(truth.image_ids[i] for i in rows),
        patient_ids=tuple(truth.patient_ids[i] for i in rows),
        diseases=diseases,
        boxes_xyxy=truth.boxes_xyxy[rows],
        disease_names=tuple(name for name in truth.disease_names if name in set(diseases)),
        notes=(),
    )


def best_first(boxes: Detections) -> Detections:
    """Score 1 for the boxes that match one to one for the greatest total IoU, 0 for the others."""
    matched = boxes.matched(np.ones(len(boxes), dtype=np.bool_))
    score = np.zeros(len(boxes))
    score[boxes.overlaps.first[matched]] = 1
    return replace(boxes, score=score)


def in_turn(boxes: Detections) -> Iterator[Detections]:
    """The same boxes, each of a disease on an image with the highest score equally often."""
    _, group, size = np.unique(boxes.key, return_inverse=True, return_counts=True)
    order = np.argsort(group, kind="stable")
    within = np.empty(len(boxes), dtype=np.intp)
    within[order] = np.concatenate([np.arange(n) for n in size]) if len(size) else order
    turns = min(_MOST_TURNS, math.lcm(*size.tolist()))
    for turn in range(turns):
        rank = (within + turn) % size[group]
        yield replace(boxes, score=1 - rank / size[group])
