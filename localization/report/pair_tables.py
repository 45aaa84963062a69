"""The tables of one localizer against another: differences, tests, skill over the controls."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cxrloc.classification.metrics.bootstrap import MACRO_MEAN, Estimate
from cxrloc.classification.report.tables import Cell, ResultTable, TableRow, Value
from cxrloc.localization.evaluation.comparison import Comparison
from cxrloc.localization.evaluation.paired_tests import MIN_PATIENTS, PairedTest
from cxrloc.localization.evaluation.pairwise import Difference, Skill, TestedPair
from cxrloc.localization.report.comparison_tables import comparison_notes, disease_cells

_PAIRED_NOTE = (
    "Differences are paired: both localizers on the same resamples. An interval above zero: "
    "the first is better than the second by more than the draw of patients explains. A control "
    "is told the disease: a gated localizer must beat it despite the boxes that the gate stops"
)
_SKILL_OVER_NOTE = (
    "Skill = (m - c) / (1 - c), m the localizer's figure and c the control's: 1 is perfect, 0 as "
    "good as the control, below 0 worse; undefined where the control is perfect (the interval "
    "leaves such resamples out). The macro mean's skill is computed from the two macro means, not "
    "averaged over the diseases"
)
_TEST_NOTES = (
    "'mean IoU difference' is over boxes, with its bootstrap interval; the tests take the patient "
    "as unit. Wilcoxon's signed-rank test (zeros as Pratt) and the rank-biserial effect use each "
    "patient's mean difference in IoU; McNemar's exact test uses the patients in whom one "
    "localizer hits more boxes than the other",
    "Holm p is corrected over the diseases tested, within the pair and the test; the macro mean is "
    "not one of them, so its Holm p is the plain p",
    f"No test under {MIN_PATIENTS} patients: p and effect are undefined there",
)


def difference_table(comparison: Comparison) -> ResultTable:
    """Paired differences of mean IoU and of acc_iou at every threshold, measure by measure."""
    names, boxes = comparison.truth.disease_names, len(comparison.truth)
    rows = tuple(_difference_row(d, names, boxes) for d in comparison.differences)
    notes = [*comparison_notes(comparison), _PAIRED_NOTE]
    margin = comparison.noninferiority_margin
    if margin is not None:
        notes.append(
            f"'noninferior': the whole interval lies above -{margin:g}, so the first is worse by "
            f"less than {margin:g} (one-sided level {100 * (1 - comparison.level) / 2:g} %); not "
            "corrected for the number of comparisons"
        )
    title = "Differences of mean IoU and acc_iou between localizers"
    return ResultTable("differences", title, rows, tuple(notes))


def paired_test_table(comparison: Comparison) -> ResultTable:
    """Wilcoxon's and McNemar's tests of every pair: one row per disease and one for all."""
    differences = {
        (d.localizer, d.minus): d for d in comparison.differences if d.measure == "mean_iou"
    }
    rows = tuple(
        row
        for pair in comparison.tests
        for row in _test_rows(
            pair, differences[pair.localizer, pair.minus], comparison.truth.disease_names
        )
    )
    thresholds = {f"{pair.tests.threshold:g}" for pair in comparison.tests}
    hit = tuple(f"A box is hit when its IoU is over {t}" for t in sorted(thresholds))
    notes = (*comparison_notes(comparison), *_TEST_NOTES, *hit)
    return ResultTable("paired_tests", "Paired tests between localizers", rows, notes)


def skill_table(comparison: Comparison) -> ResultTable:
    """Skill of every localizer over every control, and of the controls over the reference."""
    names, boxes = comparison.truth.disease_names, len(comparison.truth)
    rows = tuple(_skill_row(s, names, boxes) for s in comparison.skills)
    notes = (*comparison_notes(comparison), _SKILL_OVER_NOTE)
    return ResultTable("skill", "Skill of localizers over controls", rows, notes)


def _difference_row(difference: Difference, names: Sequence[str], boxes: int) -> TableRow:
    trail: dict[str, Value] = {
        "boxes": boxes,
        f"{MACRO_MEAN} excludes zero": _yes(difference.estimates.macro.excludes_zero),
    }
    if difference.margin is not None:
        per_disease = zip(names, difference.noninferior_per_disease, strict=True)
        trail |= {
            "noninferior": _yes(difference.noninferior),
            "noninferior in": ", ".join(n for n, holds in per_disease if holds) or "none",
        }
    return TableRow(
        block=f"{difference.measure}, difference",
        lead={
            "measure": f"{difference.measure} difference",
            "localizer": difference.localizer,
            "minus": difference.minus,
        },
        cells=disease_cells(names, difference.estimates),
        trail=trail,
    )


def _test_rows(
    pair: TestedPair, difference: Difference, names: Sequence[str]
) -> Iterator[TableRow]:
    tests = (*pair.tests.per_disease, pair.tests.macro)
    figures = difference.estimates.columns
    for disease, test, estimate in zip((*names, MACRO_MEAN), tests, figures, strict=True):
        yield TableRow(
            block=f"{pair.localizer} minus {pair.minus}",
            lead={"localizer": pair.localizer, "minus": pair.minus, "disease": disease},
            cells=_test_cells(test, estimate),
        )


def _test_cells(test: PairedTest, difference: Estimate) -> dict[str, Value]:
    return {
        "boxes": test.boxes,
        "patients": test.patients,
        "ties": test.ties,
        "mean IoU difference": Cell(difference),
        "patients' mean difference": test.mean_difference,
        "Wilcoxon p": test.wilcoxon_p,
        "Wilcoxon Holm p": test.wilcoxon_holm_p,
        "rank-biserial": test.rank_biserial,
        "hits first only": test.first_only,
        "hits second only": test.second_only,
        "McNemar p": test.mcnemar_p,
        "McNemar Holm p": test.mcnemar_holm_p,
        "tested": _yes(test.tested),
    }


def _skill_row(skill: Skill, names: Sequence[str], boxes: int) -> TableRow:
    return TableRow(
        block=f"{skill.measure}, skill",
        lead={
            "measure": f"{skill.measure} skill",
            "localizer": skill.localizer,
            "control": skill.control,
        },
        cells=disease_cells(names, skill.estimates),
        trail={"boxes": boxes},
    )


def _yes(holds: bool | None) -> str:
    return "yes" if holds else "no"
