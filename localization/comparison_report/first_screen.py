"""The first screen of a comparison: its sentence, forest plot, scoreboard, and all in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cxrloc.classification.metrics.bootstrap import Estimate
from cxrloc.classification.report.tables import Cell, cell_parts, estimate_text
from cxrloc.datasets.provenance.leakage import LEAKED
from cxrloc.localization.analyses.end_to_end.false_boxes import OperatingPoint
from cxrloc.localization.analyses.end_to_end.looks import MAIN, main_points
from cxrloc.localization.analyses.leakage import LocalizerAudit
from cxrloc.localization.comparison_report.answer import listed
from cxrloc.localization.comparison_report.headline import Headline
from cxrloc.localization.comparison_report.second_reader import reader_boards, reader_lines
from cxrloc.localization.evaluation.comparison import Comparison, ScoredLocalizer
from cxrloc.localization.evaluation.contest import Pair, pair_of, ranked, twins
from cxrloc.localization.evaluation.detections import (
    CONTROL,
    DISEASE_GIVEN,
    END_TO_END,
    EVERY_DISEASE,
    GATED,
)
from cxrloc.localization.evaluation.evaluated import Evaluated
from cxrloc.localization.evaluation.paired_tests import ALPHA
from cxrloc.localization.evaluation.pairwise import REFERENCE_CONTROL
from cxrloc.localization.report.first_screen import (
    Answer,
    Forest,
    ForestRow,
    Scoreboard,
    ScoreCell,
    ScoreColumn,
    ScoreRow,
    swatches,
)

_NONE = ScoreCell("–")
_FALSE_BOXES = {
    END_TO_END: "per image, at the gate's point",
    GATED: "per boxed image, at the gate's point",
    EVERY_DISEASE: "per image, every disease asked",
}


def first_screen(
    evaluated: Evaluated,
    said: Headline,
    audits: Sequence[LocalizerAudit],
    words: tuple[str, ...],
) -> Answer:
    """All that stands before the images.

    Args:
        words: the answer at length.
    """
    return Answer(
        headline=said.sentence,
        basis=" ".join([_basis(evaluated.comparison, said), *reader_lines(evaluated)]),
        forest=_forest(evaluated.comparison, said),
        scoreboard=scoreboard(evaluated, audits),
        readers=reader_boards(evaluated),
        words=words,
        swatches=swatches(list(evaluated.inputs.predictions)),
    )


_TOLD = {  # by whether any image has several boxes of a disease
    False: "the disease to box is given",
    True: "the disease and the number of its boxes are given, boxes are matched one to one",
}


def _basis(comparison: Comparison, said: Headline) -> str:
    """What was scored, and whether the gate changes the order."""
    truth = comparison.truth
    text = (
        f"{len(truth):,} boxes of {len(truth.disease_names)} diseases on {comparison.images:,} "
        f"images of {comparison.patients:,} {'patient' if comparison.patients == 1 else 'patients'}"
        f"; {_TOLD[truth.several]}, and mean IoU is averaged over the diseases."
    )
    text = " ".join([text, *(f"{note[:1].upper()}{note[1:]}." for note in truth.notes)])
    if comparison.gate_passes is None or said.best is None or said.rival is None:
        return text
    gated = pair_of(comparison, f"{said.best}, gated", f"{said.rival}, gated").estimates.macro
    return (
        f"{text} Behind the gate, which lets {comparison.gate_passes:,} of the boxes pass, the "
        f"difference is {estimate_text(gated)}."
    )


def _forest(comparison: Comparison, said: Headline) -> Forest | None:
    """The best localizer against its rival; where it has none, against the control."""
    other = said.rival or said.control
    if said.best is None or other is None:
        return None
    pair = pair_of(comparison, said.best, other)
    sure, counts = pair.sure_diseases(comparison), comparison.truth.boxes_per_disease
    rows = tuple(
        ForestRow(name, counts[name], estimate, name in sure)
        for name, estimate in zip(
            comparison.truth.disease_names, pair.estimates.per_disease, strict=True
        )
    )
    macro = pair.estimates.macro
    total = ForestRow("All diseases", len(comparison.truth), macro, macro.excludes_zero)
    level = f"{100 * comparison.level:.0f} %"
    note = (
        f"Line: {level} interval over resampled patients. Filled: the interval excludes zero and, "
        f"disease by disease, the corrected test agrees (Holm p < {_short(ALPHA)})."
    )
    finding = _forest_finding(pair, comparison.truth.disease_names, sure)
    return Forest(said.best, other, finding, note, rows, total)


def _forest_finding(pair: Pair, names: Sequence[str], sure: Mapping[str, Estimate]) -> str:
    tested = dict(zip(names, (test.tested for test in pair.tests.per_disease), strict=True))
    better = [name for name, estimate in sure.items() if estimate.value > 0]
    worse = [name for name, estimate in sure.items() if estimate.value < 0]
    untested = [name for name in names if name not in sure and not tested[name]]
    total, first, second = len(names), pair.first.name, pair.second.name
    if len(better) == total:
        return f"{first} is better than {second} for every disease."
    sides = ((first, better), (second, worse))
    parts = [f"{name} is better for {_count(won, total)}" for name, won in sides if won]
    open_ones = total - len(better) - len(worse) - len(untested)
    if open_ones == total:
        return f"For no disease can {first} and {second} be told apart."
    if open_ones:
        parts.append(f"{open_ones} cannot be told apart")
    if untested:
        has = "has" if len(untested) == 1 else "have"
        parts.append(f"{_count(untested, total)} {has} too few patients to test")
    return f"{'; '.join(parts)}."


def _count(names: Sequence[str], total: int) -> str:
    if 0 < len(names) <= 2:
        return listed([name.replace("_", " ") for name in names])
    return f"{len(names)} of {total} diseases"


def scoreboard(evaluated: Evaluated, audits: Sequence[LocalizerAudit]) -> Scoreboard:
    """One row per localizer, twins as one, the best first; then the controls."""
    comparison, groups = evaluated.comparison, evaluated.once(twins)
    points, status = evaluated.once(main_points), {a.localizer: a.status for a in audits}
    rows = [
        _row(comparison, scored, points, status.get(scored.name, ""), groups[scored.name])
        for scored in ranked(comparison, DISEASE_GIVEN)
        if scored.name in groups
    ]
    controls = ranked(comparison, CONTROL)
    rows += [_row(comparison, scored, points, "blind", ()) for scored in controls]
    setting = next((_FALSE_BOXES[point.setting] for point in points.values()), "per image")
    columns = (
        ScoreColumn("Localizer", number=False),
        ScoreColumn("Mean IoU", "0 to 1", "mean_iou"),
        ScoreColumn(f"Hits at {_short(MAIN)}", f"share with IoU over {_short(MAIN)}", "acc_iou"),
        ScoreColumn("Skill", f"over {REFERENCE_CONTROL}", "skill"),
        ScoreColumn("False boxes", setting, "false boxes per image"),
        ScoreColumn("Leakage", "trained on these?", "status", number=False),
    )
    note = f"Means over the diseases, with {100 * comparison.level:.0f} % intervals."
    return Scoreboard("Scoreboard", note, columns, tuple(rows))


def _row(
    comparison: Comparison,
    scored: ScoredLocalizer,
    points: Mapping[str, OperatingPoint],
    status: str,
    same: tuple[str, ...],
) -> ScoreRow:
    hits = scored.estimates.get(f"acc_iou@{MAIN:g}")
    skill = [
        s.estimates.macro
        for s in comparison.skills
        if (s.localizer, s.measure, s.control) == (scored.label, "mean_iou", REFERENCE_CONTROL)
    ]
    false = points.get(scored.name)
    cells = [
        _cell(scored.estimates["mean_iou"].macro),
        _NONE if hits is None else _cell(hits.macro),
    ]
    cells.append(_cell(skill[0]) if skill else _NONE)
    cells.append(_NONE if false is None else _cell(false.false_boxes().per_image))
    cells.append(ScoreCell(status.upper() if status == LEAKED else status))
    note = f"{listed(same)}: the same boxes to the eye" if same else ""
    return ScoreRow(scored.name, tuple(cells), scored.is_control, note)


def _cell(estimate: Estimate) -> ScoreCell:
    parts = cell_parts(Cell(estimate))
    return ScoreCell(parts.figure, parts.interval)


def _short(number: float) -> str:
    return f"{number:g}".removeprefix("0")
