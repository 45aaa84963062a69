"""All figures of a cross-validation: pooled with patient-bootstrap intervals, and fold by fold.

Pooled: all out-of-fold images at once, each judged by the model of its own fold. Folds whose models
give higher probabilities than others then mix, which lowers a pooled AUC a little; the mean over
folds, printed beside it, does not have this. The deviation over folds is no standard error: the
folds share training images (Bengio and Grandvalet, JMLR 2004).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from cxrloc.classification.metrics.ranking import bootstrap_ranking
from cxrloc.classification.metrics.replicates import (
    Array,
    Estimate,
    bootstrap_ratios,
    estimate,
    macro_estimate,
)
from cxrloc.classification.metrics.scored_images import TARGET, YOUDEN, ScoredImages

RULES = (YOUDEN, TARGET)
FIGURES = (
    "auc",
    "ap",
    "brier",
    *(f"{s}_{r}" for r in RULES for s in ("sensitivity", "specificity", "f1")),
)


@dataclass(frozen=True)
class Sampled:
    """One figure of D diseases.

    Attributes:
        points: (D,) NaN where undefined.
        samples: (R, D) bootstrap replicates, NaN where undefined.
    """

    points: Array
    samples: Array = field(repr=False)

    @property
    def estimates(self) -> tuple[Estimate, ...]:
        """One a disease."""
        reason = "needs images with and without the disease"
        pairs = zip(self.points, self.samples.T, strict=True)
        return tuple(estimate(point, samples, reason) for point, samples in pairs)

    @property
    def macro(self) -> Estimate:
        """Mean over the diseases that have the figure."""
        return macro_estimate(self.points, self.samples)

    def __sub__(self, other: Sampled) -> Sampled:
        """The paired difference, provided that both come from the same images and seed."""
        return Sampled(self.points - other.points, self.samples - other.samples)


@dataclass(frozen=True)
class Spread:
    """Mean and standard deviation (n - 1) of a figure over the folds that have it.

    Attributes:
        mean: None without a fold.
        deviation: None with fewer than two folds.
        folds: how many.
    """

    mean: float | None
    deviation: float | None
    folds: int

    def __str__(self) -> str:
        if self.mean is None:
            return "undefined"
        return f"{self.mean:.3f}" + ("" if self.deviation is None else f" ± {self.deviation:.3f}")


def sample_figures(images: ScoredImages, replicates: int, seed: int) -> dict[str, Sampled]:
    """`FIGURES` of all images with their replicates; without thresholds only auc, ap and brier."""
    labels, scores, patients = images.labels, images.scores, images.patient_ids
    ranking = bootstrap_ranking(labels, scores, patients, replicates, seed)
    figures = {name: Sampled(*parts) for name, *parts in zip(("auc", "ap"), *ranking, strict=True)}
    for name, (above, below) in _ratios(images).items():
        figures[name] = Sampled(*bootstrap_ratios(above, below, patients, replicates, seed))
    return figures


def fold_spreads(images: ScoredImages) -> dict[str, tuple[tuple[Spread, ...], Spread]]:
    """Figure -> its spread over folds for each disease, and that of the macro mean.

    The macro mean of every fold is over the diseases that have the figure in all folds, so that the
    folds are compared on the same diseases.
    """
    folds = np.unique(images.folds)
    by_fold = [sample_figures(images.select(images.folds == f), 0, 0) for f in folds]
    spreads = {}
    for name in by_fold[0]:
        values = np.array([figures[name].points for figures in by_fold])
        everywhere = ~np.isnan(values).any(axis=0)
        macro = values[:, everywhere].mean(axis=1) if everywhere.any() else np.zeros(0)
        spreads[name] = (tuple(_spread(column) for column in values.T), _spread(macro))
    return spreads


def _spread(values: Array) -> Spread:
    used = values[~np.isnan(values)]
    mean = float(used.mean()) if len(used) else None
    deviation = float(used.std(ddof=1)) if len(used) > 1 else None
    return Spread(mean, deviation, len(used))


def _ratios(images: ScoredImages) -> Mapping[str, tuple[Array, Array]]:
    """Figure -> what is summed over images as numerator and denominator, (N, D) each."""
    known = (~np.isnan(images.labels)).astype(np.float64)
    ill, well = ((images.labels == value).astype(np.float64) for value in (1, 0))
    ratios = {"brier": (known * (images.scores - ill) ** 2, known)}
    for rule in images.thresholds:
        called = images.present(rule)
        ratios[f"sensitivity_{rule}"] = (ill * called, ill)
        ratios[f"specificity_{rule}"] = (well * ~called, well)
        # 2 TP / (2 TP + FP + FN), where TP + FP are the images called present
        ratios[f"f1_{rule}"] = (2 * ill * called, known * called + ill)
    return ratios
