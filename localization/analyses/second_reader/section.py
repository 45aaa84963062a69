"""A second reader: how well another person agrees, and the localizers on the same boxes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from cxrloc.classification.metrics.bootstrap import LEVEL
from cxrloc.classification.report.tables import Cell, ResultTable, TableRow, Value, estimate_text
from cxrloc.localization.analyses.second_reader.agreement import Agreement, agreements
from cxrloc.localization.analyses.second_reader.scores import (
    ALL,
    BEST,
    BOTH,
    BY_CHANCE,
    MEAN,
    MEASURES,
    Answers,
    Figures,
    Part,
    ReaderScores,
    reader_scores,
)
from cxrloc.localization.evaluation.box_scores import Measure
from cxrloc.localization.evaluation.evaluated import Evaluated
from cxrloc.localization.report.comparison_tables import disease_cells
from cxrloc.localization.report.plots import boxplots
from cxrloc.localization.report.sections import NamedFigure, Section

_TITLE = "A second reader"
_QUESTION = (
    "How well does another person agree with the ground truth, and how do the localizers do on the "
    "same boxes? A second reader is scored as a localizer is, on the images that this reader read "
    "and the diseases that this reader judges: a disease not marked is a miss and counts as 0. "
    "'Disease given' tells a localizer which disease is there; behind a gate it has to find out, "
    "as the reader had to. Means are over all boxes alike, as some diseases have few here; the "
    "tables have every disease and the mean over the diseases, too."
)


def second_reader(evaluated: Evaluated) -> Section | None:
    """Every second reader beside the localizers and controls, and the agreement both ways.

    Left out without a second reader.
    """
    readers = evaluated.once(reader_scores)
    if not readers:
        return None
    agreed = evaluated.once(agreements)
    said = [text for scores in readers for text in _sentences(scores, agreed[scores.name][1])]
    notes = _notes(readers, evaluated)
    tables = (
        _score_table(readers, notes),
        _difference_table(readers, notes),
        _agreement_table(agreed, notes),
    )
    finding = f"{'; '.join(map(finding_of, readers))}."
    figures = tuple(_boxplots(scores, number) for number, scores in enumerate(readers, start=1))
    return Section("second_reader", _TITLE, finding, (_QUESTION, *said), tables, figures)


def finding_of(scores: ReaderScores) -> str:
    """`ChestX-Det agrees with mean IoU .332 [.264, .404]`, and where both marked the disease."""
    texts = [f"{mean_text(scores.parts[ALL])} on {len(scores.parts[ALL].truth)} boxes"]
    if BOTH in scores.parts:
        both = scores.parts[BOTH]
        texts.append(f"{mean_text(both)} on the {len(both.truth)} of diseases that both marked")
    return f"{scores.name} agrees with a mean IoU of {', '.join(texts)}"


def mean_text(part: Part) -> str:
    """The reader's mean IoU over the boxes; by chance, too, where that differs."""
    best, *chance = [part.figures(reader, MEAN).all_boxes for reader in part.readers]
    by_chance = f" ({BY_CHANCE} {estimate_text(chance[0])})" if chance else ""
    return f"{estimate_text(best)}{by_chance}"


def _sentences(scores: ReaderScores, reverse: Agreement) -> Iterator[str]:
    """The notes of a reader, everybody else on the same boxes, and the agreement the other way."""
    part = scores.parts[ALL]
    if scores.reading.notes:
        yield f"{scores.name}: {'; '.join(scores.reading.notes)}."
    yield f"{finding_of(scores)}."
    for answer in part.others:
        differences = (
            f"{estimate_text(part.difference(answer, reader, MEAN).all_boxes)} minus {reader.label}"
            for reader in part.readers
        )
        mean = estimate_text(part.figures(answer, MEAN).all_boxes)
        yield f"{answer.label} on the same boxes: {mean}, {', '.join(differences)}."
    texts = [
        f"{mean_text(answered)} on {len(answered.truth)} boxes{which}"
        for name, which in ((ALL, ""), (BOTH, " of diseases that both marked"))
        if (answered := reverse.parts.get(name)) is not None
    ]
    if texts:
        yield f"The other way round, {scores.name}'s boxes as the truth: {', '.join(texts)}."


def _score_table(readers: Sequence[ReaderScores], notes: tuple[str, ...]) -> ResultTable:
    rows = tuple(
        TableRow(
            f"{scores.name}, {counted}: {measure.key}",
            {
                "measure": measure.key,
                "localizer": answer.name,
                "setting": answer.setting,
                "rule": answer.rule,
                "second reader": scores.name,
                "boxes counted": counted,
            },
            *_columns(part, part.figures(answer, measure)),
        )
        for scores in readers
        for counted, part in scores.parts.items()
        for measure in MEASURES
        for answer in part.answers
    )
    return ResultTable(
        "second_reader", "Second readers, and the others on their boxes", rows, notes
    )


def _difference_table(readers: Sequence[ReaderScores], notes: tuple[str, ...]) -> ResultTable:
    rows = tuple(
        TableRow(
            f"{reader.label}, {counted}: {measure.key}, difference",
            {
                "measure": f"{measure.key} difference",
                "localizer": answer.label,
                "minus": reader.label,
                "boxes counted": counted,
            },
            *_columns(part, part.difference(answer, reader, measure)),
        )
        for scores in readers
        for counted, part in scores.parts.items()
        for reader in part.readers
        for measure in MEASURES
        for answer in part.others
    )
    title = "Localizers and controls minus a second reader"
    paired = "Differences are paired: the same boxes, the same resamples of patients"
    return ResultTable("second_reader_differences", title, rows, (*notes, paired))


def _agreement_table(
    agreed: Mapping[str, tuple[Agreement, Agreement]], notes: tuple[str, ...]
) -> ResultTable:
    rows = tuple(
        TableRow(
            f"{name}, {counted}: {measure.key}",
            {
                "measure": measure.key,
                "boxes of": way.truth,
                "answers of": way.answers,
                "rule": reader.rule,
                "boxes counted": counted,
            },
            *_columns(part, part.figures(reader, measure)),
        )
        for name, ways in agreed.items()
        for counted in (ALL, BOTH)
        for measure in MEASURES
        for way in ways
        for part in filter(None, [way.parts.get(counted)])
        for reader in part.readers
    )
    title = "Agreement of two readers, both ways"
    return ResultTable("second_reader_agreement", title, rows, notes)


def _columns(part: Part, figures: Figures) -> tuple[dict[str, Cell], dict[str, Value]]:
    """Cells and trail of a row."""
    cells = disease_cells(part.truth.disease_names, figures.diseases)
    trail: dict[str, Value] = {
        "all diseases": Cell(figures.all_boxes),
        "boxes": len(part.truth),
        "patients": len(set(part.truth.patient_ids)),
    }
    return cells, trail


def _notes(readers: Sequence[ReaderScores], evaluated: Evaluated) -> tuple[str, ...]:
    facts = [f"{s.name}: {'; '.join(s.reading.notes)}" for s in readers if s.reading.notes]
    return (
        "Only boxes that the reader could have drawn: on images that the reader read, of diseases "
        f"that the reader judges. '{ALL}': all of these; a disease not marked is a miss and counts "
        f"as 0. '{BOTH}': those of diseases that both marked on the image",
        f"Readers give no scores. '{BEST}': of their boxes of a disease the ones that fit best "
        f"count, which favours them; '{BY_CHANCE}': each counts as often as the others. The "
        "localizers' answers are chosen by their scores, as everywhere",
        "Where a disease is labelled without a box, nobody has marked or missed it: left out",
        *facts,
        f"[low, high]: {100 * LEVEL:.0f} % interval, {evaluated.inputs.resamples} resamples of the "
        f"patients (seed {evaluated.inputs.seed})",
    )


def _boxplots(scores: ReaderScores, number: int) -> NamedFigure:
    part = scores.parts[ALL]
    shown = tuple(answer.scored for answer in part.answers if answer.rule != BY_CHANCE)
    means = (_mean_of(part, answer, MEAN) for answer in part.answers)
    return NamedFigure(
        f"second_reader_{number}",
        f"IoU of {scores.name} and of the others on the boxes that {scores.name} could have drawn",
        "Boxplots of the IoU of every such box, one panel per disease, the reader first, then the "
        f"localizers, controls in grey, misses as 0. Mean IoU over the boxes: {'; '.join(means)}.",
        boxplots(part.truth, shown, f"IoU where {scores.name} read, {BEST}"),
    )


def _mean_of(part: Part, answer: Answers, measure: Measure) -> str:
    return f"{answer.label} {estimate_text(part.figures(answer, measure).all_boxes)}"
