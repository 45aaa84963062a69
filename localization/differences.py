"""One localizer against another: paired differences with intervals, and tests.

Means of the two are subtracted resample by resample, which equals resampling the paired differences
of the boxes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cxrloc.localization.paired_tests import PairTests
from cxrloc.localization.statistics import ClusterBootstrap, DiseaseEstimates, Draws, Estimate


@dataclass(frozen=True)
class Difference:
    """A measure (`mean_iou`, `acc_iou@0.5`) of one localizer minus that of another.

    `margin` is the largest loss that still counts as none; None: non-inferiority was not asked.
    """

    measure: str
    localizer: str
    minus: str
    estimates: DiseaseEstimates
    margin: float | None = None

    @property
    def noninferior(self) -> bool | None:
        """Whether the macro mean's interval lies above -margin; None without a margin."""
        return self._is_above(self.estimates.macro)

    @property
    def noninferior_per_disease(self) -> tuple[bool | None, ...]:
        """The same of each disease; an undefined interval is not above."""
        return tuple(map(self._is_above, self.estimates.per_disease))

    def _is_above(self, estimate: Estimate) -> bool | None:
        return None if self.margin is None else estimate.low > -self.margin


@dataclass(frozen=True)
class TestedPair:
    """Wilcoxon's and McNemar's tests of one localizer against another."""

    __test__ = False  # a record; pytest collects classes by such names

    localizer: str
    minus: str
    tests: PairTests


def check_margin(margin: float | None) -> None:
    """Refuse a margin of non-inferiority that cannot be one.

    Raises:
        ValueError: for a margin out of (0, 1).
    """
    if margin is not None and not 0 < margin < 1:
        raise ValueError(
            f"non-inferiority margin {margin}: expected a loss that is too small to matter, "
            "0 < margin < 1, such as 0.05"
        )


def differences(
    labels: Sequence[str],
    pairs: Sequence[tuple[int, int]],
    draws: Sequence[Draws],
    measures: Sequence[str],
    bootstrap: ClusterBootstrap,
    margin: float | None = None,
) -> tuple[Difference, ...]:
    """First minus second of each of `pairs` in each measure, measure by measure.

    Args:
        labels, draws: of each row; the draws' measures are `measures`.
        pairs: indices of rows.
        bootstrap: from which the draws are.
        margin: of non-inferiority.
    """
    found = [bootstrap.intervals(draws[a] - draws[b]) for a, b in pairs]
    return tuple(
        Difference(measure, labels[a], labels[b], figures[k], margin)
        for k, measure in enumerate(measures)
        for (a, b), figures in zip(pairs, found, strict=True)
    )
