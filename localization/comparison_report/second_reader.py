"""A second reader on the first screen: a line, a small scoreboard, and a paragraph in words."""

from __future__ import annotations

from collections.abc import Iterator

from cxrloc.classification.metrics.bootstrap import Estimate
from cxrloc.classification.report.tables import Cell, cell_parts, estimate_text
from cxrloc.localization.analyses.second_reader.agreement import Agreement, agreements
from cxrloc.localization.analyses.second_reader.scores import (
    ALL,
    BOTH,
    BY_CHANCE,
    MEAN,
    Answers,
    Part,
    ReaderScores,
    reader_scores,
)
from cxrloc.localization.evaluation.contest import standing, verdict
from cxrloc.localization.evaluation.detections import CONTROL, DISEASE_GIVEN, GATED
from cxrloc.localization.evaluation.evaluated import Evaluated
from cxrloc.localization.evaluation.pairwise import REFERENCE_CONTROL
from cxrloc.localization.report.first_screen import Scoreboard, ScoreCell, ScoreColumn, ScoreRow

_NONE = ScoreCell("–")
_VERDICTS = {
    "better": "is better than",
    "equal": "equals (to three decimals)",
    "not distinguishable": "is not distinguishable from",
    "worse": "is worse than",
    "undefined": "cannot be compared (too few patients for an interval) with",
}


def reader_lines(evaluated: Evaluated) -> Iterator[str]:
    """A sentence for each reader: what it reaches, and the best localizer there."""
    for scores in evaluated.once(reader_scores):
        part = scores.parts[ALL]
        best, *chance = [_figure(_mean(part, reader)) for reader in part.readers]
        by_chance = f" ({chance[0]} if one of several boxes counts by chance)" if chance else ""
        others = [f"{a.name} {_figure(_mean(part, a))}" for a in _shown(evaluated, part)[:1]]
        there = f"; {others[0]} there" if others else ""
        yield (
            f"A second reader, {scores.name}, has a mean IoU of {best}{by_chance} over the "
            f"{len(part.truth):,} boxes that it could have drawn{there}."
        )


def reader_boards(evaluated: Evaluated) -> tuple[Scoreboard, ...]:
    """A scoreboard for each reader: the reader, the localizers and the reference control."""
    return tuple(_board(evaluated, scores) for scores in evaluated.once(reader_scores))


def _board(evaluated: Evaluated, scores: ReaderScores) -> Scoreboard:
    part, both = scores.parts[ALL], scores.parts.get(BOTH)
    rules = [reader.rule if len(part.readers) > 1 else "" for reader in part.readers]
    columns = (
        ScoreColumn("Localizer", number=False),
        ScoreColumn("Mean IoU", f"{len(part.truth):,} boxes", "mean_iou"),
        ScoreColumn(
            "Marked", f"mean IoU, {len(both.truth) if both else 0:,} boxes", "boxes counted"
        ),
        *(ScoreColumn("Minus reader", rule, "second reader") for rule in rules),
    )
    answers = (*part.readers, *_shown(evaluated, part))
    rows = tuple(_row(part, both, answer) for answer in answers)
    note = (
        f"On {len(set(part.truth.image_ids)):,} images that {scores.name} read, for diseases that "
        f"{scores.name} judges; a disease not marked counts as 0. 'Marked': boxes of diseases that "
        "both marked. Means over the boxes, not over the diseases."
    )
    return Scoreboard(f"A second reader: {scores.name}", note, columns, rows)


def _shown(evaluated: Evaluated, part: Part) -> list[Answers]:
    """Localizers, twins apart, with the disease given and gated, the best first; the control."""
    names = evaluated.once(standing)
    rows = [a for a in part.others if a.setting != CONTROL and a.name in names]
    rows.sort(key=lambda a: (a.setting == GATED, -_mean(part, a).value))
    return rows + [a for a in part.others if (a.setting, a.name) == (CONTROL, REFERENCE_CONTROL)]


def _row(part: Part, both: Part | None, answer: Answers) -> ScoreRow:
    is_reader = answer in part.readers
    marked = None if both is None else next(a for a in both.answers if _same(a, answer))
    cells = (
        _cell(_mean(part, answer)),
        _NONE if both is None or marked is None else _cell(_mean(both, marked)),
        *(
            _NONE if is_reader else _cell(part.difference(answer, reader, MEAN).all_boxes)
            for reader in part.readers
        ),
    )
    note = {GATED: "behind the gate", DISEASE_GIVEN: "told the disease"}.get(answer.setting, "")
    if is_reader:
        note = f"second reader, {answer.rule}" if len(part.readers) > 1 else "second reader"
    return ScoreRow(answer.name, cells, answer.setting == CONTROL, note)


def _same(first: Answers, second: Answers) -> bool:
    return (first.label, first.setting) == (second.label, second.setting)


def reader_words(evaluated: Evaluated) -> Iterator[str]:
    """A paragraph for each reader."""
    for scores in evaluated.once(reader_scores):
        _, reverse = evaluated.once(agreements)[scores.name]
        part = scores.parts[ALL]
        notes = [f"In its file: {'; '.join(scores.reading.notes)}."] * bool(scores.reading.notes)
        yield " ".join([*_agrees(scores), *_reversed(scores, reverse), *notes])
        against = " ".join(_against(part, answer) for answer in _shown(evaluated, part))
        yield f"On the same {len(part.truth):,} boxes: {against}"


def _agrees(scores: ReaderScores) -> Iterator[str]:
    part, name = scores.parts[ALL], scores.name
    truth = part.truth
    yield (
        f"{name}, a second reader, agrees with the ground truth by a mean IoU of "
        f"{estimate_text(_mean(part, part.readers[0]))} over the {len(truth):,} boxes "
        f"that {name} could have drawn, on {len(set(truth.image_ids)):,} images of "
        f"{len(set(truth.patient_ids)):,} patients; a disease not marked counts as 0."
    )
    if len(part.readers) > 1:
        chance = estimate_text(_mean(part, part.readers[1]))
        yield f"Of several boxes the best counts; one of them by chance gives {chance}."
    if BOTH in scores.parts:
        both = scores.parts[BOTH]
        means = [estimate_text(_mean(both, reader)) for reader in both.readers]
        beside = f" ({BY_CHANCE} {means[1]})" if len(means) > 1 else ""
        yield f"On the {len(both.truth):,} boxes of diseases that both marked: {means[0]}{beside}."


def _against(part: Part, answer: Answers) -> str:
    """`mask_rcnn, told the disease, is worse than ChestX-Det: .281 against .332, ...`."""
    told = {DISEASE_GIVEN: ", told the disease,", GATED: ", behind the gate,"}
    first, *chance = part.readers
    differences = [part.difference(answer, r, MEAN).all_boxes for r in part.readers]
    by_chance = f"; {BY_CHANCE} {estimate_text(differences[1])}" if chance else ""
    return (
        f"{answer.name}{told.get(answer.setting, '')} {_VERDICTS[verdict(differences[0])]} "
        f"{first.name}: {_figure(_mean(part, answer))} against {_figure(_mean(part, first))}, "
        f"a difference of {estimate_text(differences[0])}{by_chance}."
    )


def _reversed(scores: ReaderScores, reverse: Agreement) -> Iterator[str]:
    if ALL in reverse.parts:
        part = reverse.parts[ALL]
        boxes, mean = len(part.truth), estimate_text(_mean(part, part.readers[0]))
        yield f"The other way round, the ground truth agrees with its {boxes:,} boxes by {mean}."


def _mean(part: Part, answer: Answers) -> Estimate:
    return part.figures(answer, MEAN).all_boxes


def _cell(estimate: Estimate) -> ScoreCell:
    parts = cell_parts(Cell(estimate))
    return ScoreCell(parts.figure, parts.interval)


def _figure(estimate: Estimate) -> str:
    return cell_parts(Cell(estimate)).figure
