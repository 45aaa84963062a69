"""Report the comparison itself: means, accuracies, and one localizer against another."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from cxrloc.classification.metrics.bootstrap import DiseaseEstimates, Estimate
from cxrloc.classification.metrics.sampled import ImageBootstrap
from cxrloc.classification.report.tables import ResultTable, estimate_text, value_text
from cxrloc.localization.evaluation.box_scores import TOP_1, Measure
from cxrloc.localization.evaluation.comparison import Comparison, ScoredLocalizer
from cxrloc.localization.evaluation.contest import contest, pair_of, standing
from cxrloc.localization.evaluation.detections import (
    DISEASE_GIVEN,
    EVERY_DISEASE,
    GATED,
    Detections,
)
from cxrloc.localization.evaluation.evaluated import Evaluated
from cxrloc.localization.evaluation.ground_truth import IndexArray
from cxrloc.localization.evaluation.paired_tests import ALPHA, PairTests
from cxrloc.localization.evaluation.pairwise import REFERENCE_CONTROL
from cxrloc.localization.report.comparison_tables import (
    accuracy_table,
    failing_table,
    mean_table,
    top_1_table,
)
from cxrloc.localization.report.glossary import MISS_RULE
from cxrloc.localization.report.pair_tables import (
    difference_table,
    paired_test_table,
    skill_table,
)
from cxrloc.localization.report.plots import accuracy_curves, iou_boxplots, paired_boxplots
from cxrloc.localization.report.sections import NamedFigure, Section


def means(evaluated: Evaluated) -> Section:
    """Mean overlap of every localizer, and its skill over the controls."""
    comparison = evaluated.comparison
    sentences = _macro_sentences(comparison, "mean_iou")
    boxplots = NamedFigure(
        "iou_boxplots",
        "IoU of each localizer, disease by disease",
        "Boxplots of the IoU of every ground-truth box, one panel per disease, localizers next to "
        f"each other, controls in grey, misses as 0. Macro mean IoU: {'; '.join(sentences)}.",
        iou_boxplots(comparison),
    )
    asked = (
        f"How well do the boxes agree with the {len(comparison.truth)} ground-truth boxes of "
        f"{comparison.patients} patients? Mean IoU, 0 to 1; {MISS_RULE}. Skill is the achieved "
        f"share of the gain that {REFERENCE_CONTROL} leaves; this control never sees the image."
    )
    answer = f"Macro mean IoU: {'; '.join(_main_sentences(comparison, 'mean_iou'))}."
    tables = [mean_table(comparison), skill_table(comparison)]
    if comparison.truth.several:
        tables.append(top_1_table(comparison))
        answer = f"{answer} {_top_1_sentence(comparison)}"
    finding = f"Mean IoU: {_standing(evaluated, 'mean_iou')}."
    return Section("means", "Mean overlap", finding, (asked, answer), tuple(tables), (boxplots,))


def _top_1_sentence(comparison: Comparison) -> str:
    """What the ground truth's second boxes would cost if one box per image and disease counted."""
    truth, measure = comparison.truth, Measure("iou", rule=TOP_1)
    rows = [s for s in comparison.localizers if s.setting == DISEASE_GIVEN]
    figures = [f"{s.label} {value_text(s.estimates[measure.key].macro.value)}" for s in rows]
    reached = f"; mean IoU then: {', '.join(figures)}" if figures else ""
    return (
        f"If only the best-scored box counted (top-1), perfect results would find "
        f"{int(truth.first_of_pair.sum()):,} of the {len(truth):,} boxes{reached}."
    )


def _standing(evaluated: Evaluated, measure: str) -> str:
    """The localizers, twins apart, the best first; then the reference control."""
    comparison = evaluated.comparison
    figures = {
        scored.label: value_text(scored.estimates[measure].macro.value)
        for scored in comparison.localizers
    }
    named = [f"{name} {figures[name]}" for name in evaluated.once(standing)]
    blind = f"{REFERENCE_CONTROL}, which never sees the image, {figures[REFERENCE_CONTROL]}"
    return "; ".join(filter(None, [", ".join(named), blind]))


def accuracy(evaluated: Evaluated) -> Section:
    """Shares of the boxes found, at every threshold, next to published figures."""
    comparison, published = evaluated.comparison, evaluated.inputs.published
    asked = (
        "How many of the ground-truth boxes are found? A box is found if its overlap with the "
        "prediction exceeds the threshold: IoU in one table, IoBB in the other."
    )
    measures = [Measure("iou", t).key for t in (0.1, 0.5) if t in comparison.thresholds]
    answers = tuple(
        f"Macro mean of {measure}: {'; '.join(_main_sentences(comparison, measure))}."
        for measure in measures
    )
    tables = tuple(accuracy_table(comparison, o, published=published) for o in ("iou", "iobb"))
    if evaluated.inputs.predictions:
        tables += tuple(failing_boxes(evaluated, overlap) for overlap in ("iou", "iobb"))
    figures = (accuracy_curves(comparison),)
    main = Measure("iou", _main_threshold(comparison))
    finding = (
        f"Share of boxes with IoU over {f'{main.threshold:g}'.removeprefix('0')}: "
        f"{_standing(evaluated, main.key)}."
    )
    return Section("accuracy", "Boxes found", finding, (asked, *answers), tables, figures)


def failing_boxes(evaluated: Evaluated, overlap: str) -> ResultTable:
    """Wang's AFP of every localizer, as it is and behind the gate.

    Includes the controls that box every disease on every image.
    """
    inputs, truth = evaluated.inputs, evaluated.truth
    boxed = np.flatnonzero(truth.images.boxed)
    patients = [truth.images.patient_ids[i] for i in boxed]
    bootstrap = ImageBootstrap.of(patients, resamples=inputs.resamples, seed=inputs.seed)
    gate, passing = inputs.gate, dict(evaluated.passing)
    if gate is not None:
        controls = evaluated.everywhere.keys() - inputs.predictions.keys()
        passing |= {name: evaluated.everywhere[name].passing(gate) for name in controls}
    figures = {
        (name, setting): [
            _failing(of_setting[name], overlap, t, boxed, bootstrap) for t in inputs.thresholds
        ]
        for name in evaluated.everywhere
        for setting, of_setting in ((EVERY_DISEASE, evaluated.everywhere), (GATED, passing))
        if name in of_setting
    }
    return failing_table(evaluated.comparison, figures, overlap, published=inputs.published)


def _failing(
    detections: Detections,
    overlap: str,
    threshold: float,
    boxed: IndexArray,
    bootstrap: ImageBootstrap,
) -> DiseaseEstimates:
    """Boxes that pass with no true box on the images `boxed`, over the number of true boxes."""
    truth, pairs = detections.truth, detections.overlaps
    passed = np.zeros(len(detections), dtype=np.bool_)
    passed[pairs.first[getattr(pairs, overlap) > threshold]] = True
    counts = np.zeros(truth.images.status.shape)
    np.add.at(counts, (detections.image[~passed], detections.disease[~passed]), 1)
    columns = [truth.images.column_of[disease] for disease in truth.disease_names]
    each = counts[boxed][:, columns] * len(boxed) / len(truth)
    values = np.column_stack([each, each.mean(axis=1)])
    *per_disease, macro = bootstrap.means(np.arange(len(boxed)), values)
    return DiseaseEstimates(tuple(per_disease), macro)


def _main_threshold(comparison: Comparison) -> float:
    return 0.5 if 0.5 in comparison.thresholds else comparison.thresholds[0]


def paired(evaluated: Evaluated) -> Section:
    """Every localizer against the others and the controls: differences and tests."""
    comparison = evaluated.comparison
    asked = (
        "Is one localizer better than another, for which diseases, by how much, and how surely? "
        f"Both are scored on the same boxes and resampled together, {comparison.resamples} times, "
        "by patient; tests are corrected over the diseases (Holm)."
    )
    tables = (difference_table(comparison), paired_test_table(comparison))
    boxplots = paired_boxplots(comparison)
    figures = () if boxplots is None else (boxplots,)
    answers = _pair_sentences(comparison)
    finding = _contest_sentence(evaluated)
    return Section("paired", "One against another", finding, (asked, *answers), tables, figures)


def _contest_sentence(evaluated: Evaluated) -> str:
    """The best localizer against its rival; against the reference control where it has none."""
    comparison, names = evaluated.comparison, contest(evaluated)
    if names is None:
        return "No localizer was given, so there is nothing to compare."
    first, second = names[0], names[1] or REFERENCE_CONTROL
    pair = pair_of(comparison, first, second)
    return (
        f"{first} minus {second}: mean IoU {estimate_text(pair.estimates.macro)}; "
        f"{_better_and_worse(pair.sure_diseases(comparison).values(), pair.tests)}."
    )


def _better_and_worse(sure: Collection[Estimate], tests: PairTests) -> str:
    better = sum(estimate.value > 0 for estimate in sure)
    tested = sum(test.tested for test in tests.per_disease)
    return f"better for {better} and worse for {len(sure) - better} of {tested} diseases tested"


def _main_sentences(comparison: Comparison, measure: str) -> list[str]:
    """Sentences on localizers with the disease given and the reference control."""
    rows = [s for s in comparison.localizers if s.setting == DISEASE_GIVEN]
    rows.append(comparison.reference)
    return [_macro_sentence(comparison, scored, measure) for scored in rows]


def _macro_sentences(comparison: Comparison, measure: str) -> list[str]:
    return [_macro_sentence(comparison, scored, measure) for scored in comparison.localizers]


def _macro_sentence(comparison: Comparison, scored: ScoredLocalizer, measure: str) -> str:
    over_reference = (scored.label, measure, REFERENCE_CONTROL)
    skills = (
        f", skill {estimate_text(skill.estimates.macro)}"
        for skill in comparison.skills
        if (skill.localizer, skill.measure, skill.control) == over_reference
    )
    return f"{scored.label} {estimate_text(scored.estimates[measure].macro)}{''.join(skills)}"


def _pair_sentences(comparison: Comparison) -> tuple[str, ...]:
    """Sentences per pair of localizers, and per localizer and reference control."""
    controls = {row.label for row in comparison.localizers if row.is_control}
    tests = {(pair.localizer, pair.minus): pair.tests for pair in comparison.tests}
    return tuple(
        f"{d.localizer} minus {d.minus}: macro mean IoU {estimate_text(d.estimates.macro)}, "
        f"{_verdict(d.estimates.macro)}; {_significant(tests[d.localizer, d.minus])}."
        for d in comparison.differences
        if d.measure == "mean_iou" and (d.minus not in controls or d.minus == REFERENCE_CONTROL)
    )


def _verdict(difference: Estimate) -> str:
    if not difference.excludes_zero:
        return "the interval includes zero, so the choice of patients alone can explain it"
    return "the interval excludes zero"


def _significant(tests: PairTests) -> str:
    made = [test for test in tests.per_disease if test.tested]
    sure = [test for test in made if test.wilcoxon_holm_p < ALPHA]
    better = sum(test.rank_biserial > 0 for test in sure)
    return (
        f"better in {better} and worse in {len(sure) - better} of {len(made)} diseases tested "
        f"(Wilcoxon, Holm p < {ALPHA:g})"
    )
