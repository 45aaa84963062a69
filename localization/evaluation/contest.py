"""Who is compared with whom where one sentence must do: the best localizer and its rival.

Two predictions of one network can differ in nothing that a reader could see: a Mask R-CNN taught
rectangles learns rectangles, so its box head and its mask head draw the same boxes. A contest
between such twins would be decided by noise, and two rows for them would say the same twice. The
report opens with one row for both; the tables of its sections keep them all.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from cxrloc.classification.metrics.bootstrap import DiseaseEstimates, Estimate
from cxrloc.localization.evaluation.comparison import Comparison, ScoredLocalizer
from cxrloc.localization.evaluation.detections import DISEASE_GIVEN, Detections
from cxrloc.localization.evaluation.evaluated import Evaluated
from cxrloc.localization.evaluation.paired_tests import ALPHA, PairTests
from cxrloc.localization.matching import SAME_BOX, one_to_one, overlapping

SAME_SHARE = 0.9  # of the images and diseases that either boxes
SAME_MEAN = 0.005  # bound of the whole interval of the difference in macro mean IoU
_MEASURE = "mean_iou"


def twins(evaluated: Evaluated) -> dict[str, tuple[str, ...]]:
    """Localizer -> its twins, in the order of the predictions; a twin has no entry of its own.

    Two localizers are twins when both hold:

    - What they draw looks the same: of all images and diseases that either boxes, whether or not
      there is a ground-truth box, at least `SAME_SHARE` have top-1 boxes of both with an IoU of
      `SAME_BOX` or more. Where they answer with several boxes, those are paired one to one.
    - What they score is the same: the interval of the paired difference of macro mean IoU lies
      within +-`SAME_MEAN`.

    The first alone would join localizers that differ in the few boxes that count; the second alone
    would join two that are equally good, or equally bad, in different places.
    """
    groups: dict[str, tuple[str, ...]] = {}
    for name in evaluated.inputs.predictions:
        leader = next((other for other in groups if _are_twins(evaluated, other, name)), None)
        if leader is None:
            groups[name] = ()
        else:
            groups[leader] = (*groups[leader], name)
    return groups


def _are_twins(evaluated: Evaluated, first: str, second: str) -> bool:
    macro = pair_of(evaluated.comparison, first, second).estimates.macro
    if not max(abs(macro.low), abs(macro.high)) <= SAME_MEAN:  # NaN: no interval, no twins
        return False
    predictions = evaluated.inputs.predictions
    return shared_boxes(predictions[first], predictions[second]) >= SAME_SHARE


def shared_boxes(first: Detections, second: Detections) -> float:
    """Share of the answers of either, on all images and diseases, that both have alike."""
    a, b = first.where(first.answers), second.where(second.answers)
    pairs = overlapping(a.key, a.boxes_xyxy, b.key, b.boxes_xyxy)
    tie_break = np.column_stack([a.boxes_xyxy, a.score])
    chosen = one_to_one(pairs.first, pairs.second, pairs.iou, tie_break)
    keys = first.truth.images.status.size
    counts = [np.bincount(answers.key, minlength=keys) for answers in (a, b)]
    either = int(np.maximum(*counts).sum())
    same = pairs.iou[chosen] >= SAME_BOX
    return float(same.sum() / either) if either else 1.0


def ranked(comparison: Comparison, setting: str = DISEASE_GIVEN) -> list[ScoredLocalizer]:
    """The rows of a setting, the highest macro mean IoU first; equal ones in their own order."""
    rows = [scored for scored in comparison.localizers if scored.setting == setting]
    return sorted(rows, key=lambda scored: -scored.estimates[_MEASURE].macro.value)


def standing(evaluated: Evaluated) -> tuple[str, ...]:
    """The localizers, twins apart, the best first."""
    leaders = evaluated.once(twins)
    return tuple(s.name for s in ranked(evaluated.comparison) if s.name in leaders)


def contest(evaluated: Evaluated) -> tuple[str, str | None] | None:
    """The best localizer and the one that it is compared with, twins apart.

    The rival is the next best of another network; where all are variants of one network, the next
    best of these. None where there is no localizer, no rival where there is only one.
    """
    if not evaluated.once(standing):
        return None
    best, *others = evaluated.once(standing)
    strangers = [name for name in others if not same_network(evaluated, best, name)]
    return best, next(iter([*strangers, *others]), None)


def same_network(evaluated: Evaluated, first: str, second: str) -> bool:
    """Whether the sidecars of both say that the same trained weights made them.

    Such localizers are variants of one network: its two heads, or two ways to box one heat map.
    """
    weights = [_weights(evaluated, name) for name in (first, second)]
    return bool(weights[0]) and weights[0] == weights[1]


def _weights(evaluated: Evaluated, name: str) -> frozenset[str]:
    provenance = evaluated.inputs.provenances.get(name)
    models = {} if provenance is None else provenance.models
    return frozenset(str(m["sha256"]) for m in models.values() if m.get("sha256"))


@dataclass(frozen=True)
class Pair:
    """Mean IoU of the first localizer minus that of the second, in this order."""

    first: ScoredLocalizer
    second: ScoredLocalizer
    estimates: DiseaseEstimates
    tests: PairTests

    def sure_diseases(self, comparison: Comparison) -> dict[str, Estimate]:
        """Diseases whose interval excludes zero and whose Holm-corrected Wilcoxon p is small."""
        rows = zip(
            comparison.truth.disease_names,
            self.estimates.per_disease,
            self.tests.per_disease,
            strict=True,
        )
        return {
            name: estimate
            for name, estimate, test in rows
            if test.tested and test.wilcoxon_holm_p < ALPHA and estimate.excludes_zero
        }


def pair_of(comparison: Comparison, first: str, second: str) -> Pair:
    """Two rows of the comparison by their labels, in whichever order it has compared them."""
    rows = {scored.label: scored for scored in comparison.localizers}
    figures = {(d.localizer, d.minus): d for d in comparison.differences if d.measure == _MEASURE}
    tests = {(t.localizer, t.minus): t.tests for t in comparison.tests}
    names = first, second
    if names in figures:
        return Pair(rows[first], rows[second], figures[names].estimates, tests[names])
    estimates = figures[names[::-1]].estimates
    turned = DiseaseEstimates(tuple(map(flipped, estimates.per_disease)), flipped(estimates.macro))
    return Pair(rows[first], rows[second], turned, tests[names[::-1]])


def flipped(estimate: Estimate) -> Estimate:
    """The difference in the other direction."""
    return Estimate(-estimate.value, -estimate.high, -estimate.low)


_EQUAL = 0.0005  # an interval within this prints as zero in three decimals


def verdict(difference: Estimate) -> str:
    """`better`, `worse`, `equal` (in three decimals), `not distinguishable`, or `undefined`."""
    if math.isnan(difference.low):
        return "undefined"
    if max(abs(difference.low), abs(difference.high)) < _EQUAL:
        return "equal"
    if not difference.excludes_zero:
        return "not distinguishable"
    return "better" if difference.low > 0 else "worse"
