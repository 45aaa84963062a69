"""The answer at length, in plain sentences made from the figures alone.

Which localizer is better, for which diseases, by how much, how sure, and what each is losing to.
Words follow from intervals: `better` and `worse` need an interval of the difference that excludes
zero, `equals` one that is zero to three decimals; anything else is `not distinguishable`. No cause
is named.
"""

from __future__ import annotations

from collections.abc import Sequence

from cxrloc.classification.report.tables import estimate_text
from cxrloc.localization.analyses.taxonomy.taxonomy import (
    ALL_BOXES,
    BoxOutcome,
    Taxonomy,
    taxonomies,
)
from cxrloc.localization.comparison_report.second_reader import reader_words
from cxrloc.localization.evaluation.comparison import Comparison, ScoredLocalizer
from cxrloc.localization.evaluation.contest import (
    Pair,
    contest,
    pair_of,
    ranked,
    twins,
    verdict,
)
from cxrloc.localization.evaluation.detections import CONTROL, DISEASE_GIVEN, GATED
from cxrloc.localization.evaluation.evaluated import Evaluated
from cxrloc.localization.evaluation.paired_tests import ALPHA, MIN_PATIENTS
from cxrloc.localization.evaluation.pairwise import REFERENCE_CONTROL

_MEASURE = "mean_iou"
# What follows from the interval of a difference, against a localizer and against controls
_VERDICTS = {
    "better": "is better than",
    "equal": "equals (to three decimals)",
    "not distinguishable": "is not distinguishable from",
    "worse": "is worse than",
    "undefined": "cannot be compared (too few patients for an interval) with",
}
_AGAINST = {**_VERDICTS, "better": "beats", "worse": "loses to"}


def conclusion(evaluated: Evaluated) -> tuple[str, ...]:
    """Paragraphs: who is better, what each is losing to, the same behind the gate, how sure."""
    comparison = evaluated.comparison
    names = evaluated.once(contest)
    if names is None:
        return (_controls_only(comparison), *reader_words(evaluated))
    size = f"{len(comparison.truth)} boxes of {_patients(comparison)}"
    paragraphs = _setting(evaluated, names, DISEASE_GIVEN, f"On {size}, told which disease to box,")
    if comparison.gate_passes is not None:
        passes = f"{comparison.gate_passes} of the {len(comparison.truth)} boxes"
        lead = f"Behind the gate, which lets {passes} pass,"
        paragraphs += _setting(evaluated, names, GATED, lead)
    return (*paragraphs, *reader_words(evaluated), _how_sure(comparison))


def _setting(
    evaluated: Evaluated, names: tuple[str, str | None], setting: str, lead: str
) -> list[str]:
    """A paragraph on who is better and one for each localizer, twins apart."""
    comparison, groups = evaluated.comparison, evaluated.once(twins)
    rows = [scored for scored in ranked(comparison, setting) if scored.name in groups]
    rows.sort(key=lambda scored: names.index(scored.name) if scored.name in names else 2)
    same = [_same_boxes(name, others) for name, others in groups.items() if others]
    first = [_who_is_better(comparison, rows, lead), *(same if setting == DISEASE_GIVEN else ())]
    return [" ".join(first), *(_losing_to(evaluated, scored) for scored in rows)]


def _same_boxes(name: str, others: tuple[str, ...]) -> str:
    draw = "draws" if len(others) == 1 else "draw"
    return f"{listed(others)} {draw} the same boxes as {name}, to the eye and in the figures."


def _patients(comparison: Comparison) -> str:
    return "1 patient" if comparison.patients == 1 else f"{comparison.patients} patients"


def _controls_only(comparison: Comparison) -> str:
    best = ranked(comparison, CONTROL)[0]
    return (
        "No localizer was given, so nothing is compared. Of the controls, which never look at the "
        f"image, {best.label} comes furthest on {len(comparison.truth)} boxes of "
        f"{_patients(comparison)}: macro mean IoU {_mean(best)}."
    )


def _who_is_better(comparison: Comparison, rows: Sequence[ScoredLocalizer], lead: str) -> str:
    """The first row against each of the others; disease by disease against the second alone."""
    first, *others = rows
    if not others:
        return (
            f"{lead} {_name(first)} has a macro mean IoU of {_mean(first)}. There is no other "
            "localizer to compare it with, only the controls."
        )
    pairs = [pair_of(comparison, first.label, other.label) for other in others]
    sentences = [f"{lead} {_verdict_sentence(pairs[0])}", *_diseases(comparison, pairs[0])]
    sentences += [_verdict_sentence(pair) for pair in pairs[1:]]
    if comparison.noninferiority_margin is not None:
        sentences += [_noninferiority(pair, comparison.noninferiority_margin) for pair in pairs]
    return " ".join(sentences)


def _verdict_sentence(pair: Pair) -> str:
    macro = pair.estimates.macro
    return (
        f"{_name(pair.first)} {_VERDICTS[verdict(macro)]} {_name(pair.second)}: macro mean IoU "
        f"{_mean(pair.first)} against {_mean(pair.second)}, a difference of {estimate_text(macro)}."
    )


def _diseases(comparison: Comparison, pair: Pair) -> list[str]:
    """For which diseases one is better: interval and Holm-adjusted test must agree."""
    sure = pair.sure_diseases(comparison)
    tests = zip(comparison.truth.disease_names, pair.tests.per_disease, strict=True)
    untested = [name for name, test in tests if not test.tested]
    open_ones = [n for n in comparison.truth.disease_names if n not in {*sure, *untested}]
    better = [f"{n} ({estimate_text(e)})" for n, e in sure.items() if e.value > 0]
    worse = [f"{n} ({estimate_text(e)})" for n, e in sure.items() if e.value < 0]
    sentences = []
    if better:
        sentences.append(f"It is better for {listed(better)}.")
    if worse:
        sentences.append(f"It is worse for {listed(worse)}.")
    if open_ones:
        sentences.append(f"For {listed(open_ones)} the two are not distinguishable.")
    if untested:
        sentences.append(f"Too few patients to test (under {MIN_PATIENTS}): {listed(untested)}.")
    return sentences


def _noninferiority(pair: Pair, margin: float) -> str:
    shown = "is" if pair.estimates.macro.high < margin else "is not shown to be"
    first, second = _name(pair.first), _name(pair.second)
    return f"{second} {shown} non-inferior to {first} (margin {_short(margin)})."


def _losing_to(evaluated: Evaluated, scored: ScoredLocalizer) -> str:
    """Which controls a localizer beats, where it does not, and its largest class of loss."""
    comparison = evaluated.comparison
    losses = [_losses(t) for t in evaluated.once(taxonomies) if t.label == scored.label]
    against = _against_controls(comparison, scored)
    return " ".join([against, *_lost_diseases(comparison, scored), *losses])


def _against_controls(comparison: Comparison, scored: ScoredLocalizer) -> str:
    verdicts: dict[str, list[str]] = {}
    for control in comparison.localizers:
        if control.is_control:
            macro = pair_of(comparison, scored.label, control.label).estimates.macro
            phrase = f"{control.label} ({estimate_text(macro)})"
            verdicts.setdefault(verdict(macro), []).append(phrase)
    phrases = [f"{_AGAINST[v]} {listed(verdicts[v])}" for v in _AGAINST if v in verdicts]
    if not phrases:
        return f"{_name(scored)} has no control to be held against."
    return f"{_name(scored)} {'; '.join(phrases)}."


def _lost_diseases(comparison: Comparison, scored: ScoredLocalizer) -> list[str]:
    """Diseases for which the reference control is better than a localizer, as a sentence."""
    if not any(row.name == REFERENCE_CONTROL for row in comparison.localizers):
        return []
    sure = pair_of(comparison, scored.label, REFERENCE_CONTROL).sure_diseases(comparison)
    lost = [f"{name} ({estimate_text(e)})" for name, e in sure.items() if e.value < 0]
    return [f"It loses to {REFERENCE_CONTROL} for {listed(lost)}."] if lost else []


def _losses(taxonomy: Taxonomy) -> str:
    shares = {name: taxonomy.share(ALL_BOXES, name) for name in BoxOutcome}
    hits = shares.pop(BoxOutcome.HIT)
    largest = max(shares, key=lambda name: shares[name])
    if shares[largest] == 0:
        return "It hits every box."
    return (
        f"It hits {hits:.0f} % of the boxes; the largest class of loss is '{largest}', "
        f"{shares[largest]:.0f} %."
    )


def _how_sure(comparison: Comparison) -> str:
    return (
        f"In brackets: {100 * comparison.level:.0f} % intervals over {comparison.resamples:,} "
        "resamples of patients, the same for all. A disease is named as better or worse where its "
        "interval excludes zero and Wilcoxon's test, corrected over the diseases (Holm), has "
        f"p < {_short(ALPHA)}. The intervals cover the draw of patients alone: not the training "
        "seed, nor another hospital."
    )


def _short(number: float) -> str:
    return f"{number:g}".removeprefix("0")


def _name(scored: ScoredLocalizer) -> str:
    return f"gated {scored.name}" if scored.setting == GATED else scored.name


def _mean(scored: ScoredLocalizer) -> str:
    return estimate_text(scored.estimates[_MEASURE].macro)


def listed(names: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    if len(names) == 1:
        return names[0]
    return f"{', '.join(names[:-1])} and {names[-1]}"
