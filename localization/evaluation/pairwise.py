"""Compare one localizer with another: paired differences, and skill over a control.

The two means are subtracted resample by resample, which equals resampling the paired differences of
the boxes. Skill is the share of a control's possible gain that the localizer achieves:

    skill = (m - c) / (1 - c)      m: the localizer's mean of a measure, c: the control's

1 is perfect, 0 is as good as a box that never sees the image, below 0 is worse. The same mean is
worth more if the control finds little, so an easy disease (Cardiomegaly) and a hard one (Nodule)
can be compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cxrloc.classification.metrics.bootstrap import (
    ClusterBootstrap,
    DiseaseEstimates,
    Draws,
    Estimate,
    FloatArray,
)
from cxrloc.localization.evaluation.box_scores import Measure
from cxrloc.localization.evaluation.paired_tests import PairTests


@dataclass(frozen=True)
class Difference:
    """A measure (`mean_iou`, `acc_iou@0.5`) of one localizer minus another's.

    `margin` is the largest loss that counts as none; None: non-inferiority is not tested.
    """

    measure: str
    localizer: str
    minus: str
    estimates: DiseaseEstimates
    margin: float | None = None

    @property
    def noninferior(self) -> bool | None:
        """Whether the macro mean's interval is above -margin; None without a margin."""
        return self._is_above(self.estimates.macro)

    @property
    def noninferior_per_disease(self) -> tuple[bool | None, ...]:
        """The same per disease; an undefined interval is not above."""
        return tuple(map(self._is_above, self.estimates.per_disease))

    def _is_above(self, estimate: Estimate) -> bool | None:
        return None if self.margin is None else estimate.low > -self.margin


@dataclass(frozen=True)
class TestedPair:
    """Wilcoxon's and McNemar's tests of one localizer against another."""

    __test__ = False  # a record; pytest would collect a class of this name

    localizer: str
    minus: str
    tests: PairTests


def check_margin(margin: float | None) -> None:
    """Raise unless a non-inferiority margin is valid.

    Raises:
        ValueError: if the margin is outside (0, 1).
    """
    if margin is not None and not 0 < margin < 1:
        raise ValueError(
            f"non-inferiority margin {margin}: expected a loss that is too small to matter, "
            "0 < margin < 1, for example 0.05"
        )


def differences(
    labels: Sequence[str],
    pairs: Sequence[tuple[int, int]],
    draws: Sequence[Draws],
    measures: Sequence[Measure],
    bootstrap: ClusterBootstrap,
    margin: float | None = None,
) -> tuple[Difference, ...]:
    """First minus second for each of `pairs` in each measure, measure by measure.

    Args:
        labels, draws: one per row; the draws' measures are `measures`.
        pairs: indices of rows.
        bootstrap: source of the draws.
        margin: non-inferiority margin.
    """
    figures_of_pairs = [bootstrap.intervals(draws[a] - draws[b]) for a, b in pairs]
    return tuple(
        Difference(measure.key, labels[a], labels[b], figures[k], margin)
        for k, measure in enumerate(measures)
        for (a, b), figures in zip(pairs, figures_of_pairs, strict=True)
    )


REFERENCE_CONTROL = "constant_box"  # maximizes mean IoU, so it is the hardest to beat
SKILL_MEASURES = tuple(Measure("iou", t) for t in (None, 0.1, 0.3, 0.5))
_NO_ROOM = 1e-9  # a control below 1 only by rounding leaves nothing to gain


@dataclass(frozen=True)
class Skill:
    """Skill of one localizer over one control; NaN if the control is perfect."""

    localizer: str
    control: str
    measure: str
    estimates: DiseaseEstimates


def skill_over(mean: FloatArray | float, control: FloatArray | float) -> FloatArray:
    """(mean - control) / (1 - control), NaN if the control is perfect or either is NaN."""
    mean, control = np.broadcast_arrays(np.float64(mean), np.float64(control))
    room = 1 - control
    result = np.full(mean.shape, np.nan)
    np.divide(mean - control, room, out=result, where=room > _NO_ROOM)
    return result


def skill_draws(localizer: Draws, control: Draws) -> Draws:
    """Skill for each disease and, in the last column, for the two macro means.

    The macro skill is (macro m - macro c) / (1 - macro c), not the mean of the diseases' skills,
    which the disease whose control is nearest to 1 would dominate.
    """
    return Draws(
        skill_over(localizer.values, control.values),
        skill_over(localizer.samples, control.samples),
    )


def skills(
    labels: Sequence[str],
    pairs: Sequence[tuple[int, int]],
    draws: Sequence[Draws],
    measures: Sequence[Measure],
    bootstrap: ClusterBootstrap,
) -> tuple[Skill, ...]:
    """Skill for `pairs` (localizer, control) in those `measures` that are in `SKILL_MEASURES`.

    Args:
        labels, draws: one per row; the draws' measures are `measures`.
        pairs: indices of rows.
        bootstrap: source of the draws.
    """
    columns = [k for k, measure in enumerate(measures) if measure in SKILL_MEASURES]
    skill_inputs = [d.select(columns) for d in draws]
    figures_of_pairs = [
        bootstrap.intervals(skill_draws(skill_inputs[a], skill_inputs[c])) for a, c in pairs
    ]
    return tuple(
        Skill(labels[a], labels[c], measures[k].key, figures[i])
        for i, k in enumerate(columns)
        for (a, c), figures in zip(pairs, figures_of_pairs, strict=True)
    )
