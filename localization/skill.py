"""Skill over a control: how much of what a control leaves to be gained a localizer gains.

    skill = (m - c) / (1 - c)      m: the localizer's mean of a measure, c: the control's

1 is perfect, 0 is as good as a box that never looks at the image, below 0 is worse than that. The
same mean is worth more where the control finds little: an easy disease (Cardiomegaly) and a hard
one (Nodule) can be read side by side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cxrloc.localization.statistics import ClusterBootstrap, DiseaseEstimates, Draws, FloatArray

REFERENCE_CONTROL = "constant_box"  # chosen for its mean IoU: the hardest to beat in it
SKILL_MEASURES = ("mean_iou", "acc_iou@0.1", "acc_iou@0.3", "acc_iou@0.5")
_NO_ROOM = 1e-9  # a control that misses 1 by rounding alone leaves nothing to gain


@dataclass(frozen=True)
class Skill:
    """Skill of one localizer over one control; NaN where the control is perfect."""

    localizer: str
    control: str
    measure: str
    estimates: DiseaseEstimates


def skill_over(mean: FloatArray | float, control: FloatArray | float) -> FloatArray:
    """(mean - control) / (1 - control), NaN where the control is perfect or either is NaN."""
    mean, control = np.broadcast_arrays(np.float64(mean), np.float64(control))
    room = 1 - control
    result = np.full(mean.shape, np.nan)
    np.divide(mean - control, room, out=result, where=room > _NO_ROOM)
    return result


def skill_draws(localizer: Draws, control: Draws) -> Draws:
    """Skill of each disease and, in the last column, that of the two macro means.

    The macro skill is (macro m - macro c) / (1 - macro c), not the mean of the diseases' skills:
    that would be ruled by the disease whose control is nearest to 1.
    """
    return Draws(
        skill_over(localizer.values, control.values),
        skill_over(localizer.samples, control.samples),
    )


def skills(
    labels: Sequence[str],
    pairs: Sequence[tuple[int, int]],
    draws: Sequence[Draws],
    measures: Sequence[str],
    bootstrap: ClusterBootstrap,
) -> tuple[Skill, ...]:
    """Skill of `pairs` (localizer, control) in those `measures` that are in `SKILL_MEASURES`.

    Args:
        labels, draws: of each row; the draws' measures are `measures`.
        pairs: indices of rows.
        bootstrap: from which the draws are.
    """
    wanted = [k for k, measure in enumerate(measures) if measure in SKILL_MEASURES]
    ours = [d.select(wanted) for d in draws]
    found = [bootstrap.intervals(skill_draws(ours[a], ours[c])) for a, c in pairs]
    return tuple(
        Skill(labels[a], labels[c], measures[k], figures[i])
        for i, k in enumerate(wanted)
        for (a, c), figures in zip(pairs, found, strict=True)
    )
