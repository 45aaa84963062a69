"""The answer to the report's question, in plain sentences made from the figures alone.

Which localizer is better, for which diseases, by how much, how sure, and what each is losing to.
Words follow from intervals: `better` and `worse` need an interval of the difference that excludes
zero, `equals` one that is zero in three decimals, anything else is `not distinguishable`; no cause
is named.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from cxrloc.classification.metrics.bootstrap import DiseaseEstimates, Estimate
from cxrloc.classification.report.tables import estimate_text
from cxrloc.localization.analyses.taxonomy.taxonomy import ALL_BOXES, BoxOutcome, Taxonomy
from cxrloc.localization.evaluation.comparison import Comparison, ScoredLocalizer
from cxrloc.localization.evaluation.detections import DISEASE_GIVEN, GATED
from cxrloc.localization.evaluation.paired_tests import ALPHA, MIN_PATIENTS, PairTests
from cxrloc.localization.evaluation.pairwise import REFERENCE_CONTROL

_MEASURE = "mean_iou"
_SAME = 0.0005  # the two heads of one network can differ for sure, and by nothing that is printed
# What follows from the interval of a difference, against a localizer and against controls
_VERDICTS = {
    "better": "is better than",
    "equal": "equals, in three decimals,",
    "not distinguishable": "is not distinguishable from",
    "worse": "is worse than",
    "undefined": "cannot be compared, for want of an interval, with",
}
_AGAINST = {**_VERDICTS, "better": "beats", "worse": "loses to"}


@dataclass(frozen=True)
class _Pair:
    """First against second localizer, in this order whatever the order of the comparison."""

    first: ScoredLocalizer
    second: ScoredLocalizer
    estimates: DiseaseEstimates
    tests: PairTests


def conclusion(comparison: Comparison, taxonomies: Sequence[Taxonomy] = ()) -> tuple[str, ...]:
    """Paragraphs: who is better, what each is losing to, the same behind the gate, how sure.

    Args:
        taxonomies: of the error classes; with them, the largest class of loss is named.
    """
    given = _ranked(comparison, DISEASE_GIVEN)
    if not given:
        return (_controls_only(comparison),)
    gated = _ranked(comparison, GATED)
    paragraphs = [
        _who_is_better(comparison, given, f"On {_size(comparison)}, told which disease is there,"),
        _losing_to(comparison, given, taxonomies),
    ]
    if gated:
        passes = f"{comparison.gate_passes} of the {len(comparison.truth)} boxes"
        lead = f"Behind the gate, which lets {passes} pass,"
        paragraphs += [
            _who_is_better(comparison, gated, lead),
            _losing_to(comparison, gated, taxonomies),
        ]
    return (*paragraphs, _how_sure(comparison))


def _ranked(comparison: Comparison, setting: str) -> list[ScoredLocalizer]:
    """Localizers of a setting, the highest macro mean IoU first; of equal ones as they came."""
    rows = [scored for scored in comparison.localizers if scored.setting == setting]
    return sorted(rows, key=lambda scored: -scored.estimates[_MEASURE].macro.value)


def _size(comparison: Comparison) -> str:
    patients = "patient" if comparison.patients == 1 else "patients"
    return f"{len(comparison.truth)} boxes of {comparison.patients} {patients}"


def _controls_only(comparison: Comparison) -> str:
    best = _ranked(comparison, comparison.localizers[0].setting)[0]
    return (
        f"No localizer was given, so nothing is compared. Of the controls, which never look at the "
        f"image, {best.label} comes furthest on {_size(comparison)}: macro mean IoU {_mean(best)}."
    )


def _who_is_better(comparison: Comparison, ranked: Sequence[ScoredLocalizer], lead: str) -> str:
    """The best against each of the others; disease by disease against the next best alone.

    The next best is the next that differs: not the other head of the same network.
    """
    best = ranked[0]
    if len(ranked) == 1:
        return (
            f"{lead} {best.label} has a macro mean IoU of {_mean(best)}. There is no other "
            "localizer to compare it with, only the controls."
        )
    pairs = [_pair(comparison, best, other) for other in ranked[1:]]
    pairs.sort(key=lambda pair: _verdict(pair.estimates.macro) == "equal")  # those last
    sentences = [f"{lead} {_verdict_sentence(pairs[0])}", *_diseases(comparison, pairs[0])]
    sentences += [_verdict_sentence(pair) for pair in pairs[1:]]
    if comparison.noninferiority_margin is not None:
        sentences += [_noninferiority(pair, comparison.noninferiority_margin) for pair in pairs]
    return " ".join(sentences)


def _pair(comparison: Comparison, first: ScoredLocalizer, second: ScoredLocalizer) -> _Pair:
    names = (first.label, second.label)
    figures = {(d.localizer, d.minus): d for d in comparison.differences if d.measure == _MEASURE}
    tests = {(t.localizer, t.minus): t.tests for t in comparison.tests}
    if names in figures:
        return _Pair(first, second, figures[names].estimates, tests[names])
    estimates = figures[names[::-1]].estimates
    turned = DiseaseEstimates(tuple(map(_turned, estimates.per_disease)), _turned(estimates.macro))
    return _Pair(first, second, turned, tests[names[::-1]])


def _turned(estimate: Estimate) -> Estimate:
    return Estimate(-estimate.value, -estimate.high, -estimate.low)


def _verdict_sentence(pair: _Pair) -> str:
    macro = pair.estimates.macro
    return (
        f"{pair.first.label} {_VERDICTS[_verdict(macro)]} {pair.second.label}: macro mean IoU "
        f"{_mean(pair.first)} against {_mean(pair.second)}, a difference of {estimate_text(macro)}."
    )


def _verdict(difference: Estimate) -> str:
    if math.isnan(difference.low):
        return "undefined"
    if max(abs(difference.low), abs(difference.high)) < _SAME:
        return "equal"
    if not difference.excludes_zero:
        return "not distinguishable"
    return "better" if difference.low > 0 else "worse"


def _diseases(comparison: Comparison, pair: _Pair) -> list[str]:
    """For which diseases one is better: interval and Holm-adjusted test must agree."""
    sure = _sure_diseases(comparison, pair)
    tests = zip(comparison.truth.disease_names, pair.tests.per_disease, strict=True)
    untested = [name for name, test in tests if not test.tested]
    open_ones = [n for n in comparison.truth.disease_names if n not in {*sure, *untested}]
    better = [f"{n} ({estimate_text(e)})" for n, e in sure.items() if e.value > 0]
    worse = [f"{n} ({estimate_text(e)})" for n, e in sure.items() if e.value < 0]
    sentences = []
    if better:
        sentences.append(f"It is better for {_listed(better)}.")
    if worse:
        sentences.append(f"It is worse for {_listed(worse)}.")
    if open_ones:
        sentences.append(f"For {_listed(open_ones)} the two are not distinguishable.")
    if untested:
        few = f"fewer than {MIN_PATIENTS} patients"
        sentences.append(f"Not tested, for there are {few}: {_listed(untested)}.")
    return sentences


def _sure_diseases(comparison: Comparison, pair: _Pair) -> dict[str, Estimate]:
    """Diseases whose interval excludes zero and whose Holm-adjusted Wilcoxon p is below .05."""
    rows = zip(
        comparison.truth.disease_names,
        pair.estimates.per_disease,
        pair.tests.per_disease,
        strict=True,
    )
    return {
        name: estimate
        for name, estimate, test in rows
        if test.tested and test.wilcoxon_holm_p < ALPHA and estimate.excludes_zero
    }


def _noninferiority(pair: _Pair, margin: float) -> str:
    shown = "is not" if pair.estimates.macro.high < margin else "is not shown to be not"
    return f"{pair.second.label} {shown} inferior to {pair.first.label} (margin {_short(margin)})."


def _losing_to(
    comparison: Comparison, ranked: Sequence[ScoredLocalizer], taxonomies: Sequence[Taxonomy]
) -> str:
    """What each localizer beats, what it does not beat, and its largest class of loss."""
    sentences = ["Against the controls, which never look at the image:"]
    for scored in ranked:
        sentences.append(_against_controls(comparison, scored))
        sentences += _lost_diseases(comparison, scored)
        sentences += [
            _losses(taxonomy) for taxonomy in taxonomies if taxonomy.label == scored.label
        ]
    return " ".join(sentences)


def _against_controls(comparison: Comparison, scored: ScoredLocalizer) -> str:
    verdicts: dict[str, list[str]] = {}
    for control in comparison.localizers:
        if control.is_control:
            macro = _pair(comparison, scored, control).estimates.macro
            phrase = f"{control.label} ({estimate_text(macro)})"
            verdicts.setdefault(_verdict(macro), []).append(phrase)
    phrases = [f"{_AGAINST[v]} {_listed(verdicts[v])}" for v in _AGAINST if v in verdicts]
    return f"{scored.label} {'; '.join(phrases)}."


def _lost_diseases(comparison: Comparison, scored: ScoredLocalizer) -> list[str]:
    """Diseases for which the reference control is better than a localizer, as a sentence."""
    reference = next(row for row in comparison.localizers if row.name == REFERENCE_CONTROL)
    sure = _sure_diseases(comparison, _pair(comparison, scored, reference))
    lost = [f"{name} ({estimate_text(e)})" for name, e in sure.items() if e.value < 0]
    return [f"It loses to {reference.label} for {_listed(lost)}."] if lost else []


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
        f"p < {_short(ALPHA)}. They hold the draw of patients alone: not the training seed, nor "
        "another hospital."
    )


def _short(number: float) -> str:
    return f"{number:g}".removeprefix("0")


def _mean(scored: ScoredLocalizer) -> str:
    return estimate_text(scored.estimates[_MEASURE].macro)


def _listed(names: Sequence[str]) -> str:
    if len(names) == 1:
        return names[0]
    return f"{', '.join(names[:-1])} and {names[-1]}"
