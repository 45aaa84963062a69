"""Compute all figures of a cross-validation, pooled with patient-bootstrap intervals and by fold.

Pooled means all out-of-fold images at once, each predicted by its own fold's model. Folds whose
models give higher probabilities then mix with others, which lowers a pooled AUC a little; the mean
over folds, printed next to it, avoids that. The deviation over folds is not a standard error: the
folds share training images (Bengio and Grandvalet, JMLR 2004).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from cxrloc.classification.metrics.bootstrap import FloatArray
from cxrloc.classification.metrics.ranking import NEEDS_BOTH, bootstrap_ranking
from cxrloc.classification.metrics.sampled import Sampled, bootstrap_all
from cxrloc.classification.metrics.scored_images import TARGET, YOUDEN, ScoredImages

RULES = (YOUDEN, TARGET)
FIGURES = (
    "auc",
    "ap",
    "brier",
    *(f"{s}_{r}" for r in RULES for s in ("sensitivity", "specificity", "f1")),
)


@dataclass(frozen=True)
class Spread:
    """Mean and standard deviation (n - 1) of a figure over the folds that have it.

    Attributes:
        mean: None without a fold.
        deviation: None with fewer than two folds.
        folds: number of folds.
    """

    mean: float | None
    deviation: float | None
    folds: int


Spreads = Mapping[str, tuple[tuple[Spread, ...], Spread]]


def sample_figures(images: ScoredImages, replicates: int, seed: int) -> dict[str, Sampled]:
    """`FIGURES` of all images with resamples; without thresholds only auc, ap and brier."""
    labels, scores, patients = images.labels, images.scores, images.patient_ids
    ranking = bootstrap_ranking(labels, scores, patients, replicates, seed)
    figures = dict(zip(("auc", "ap"), ranking, strict=True))
    ratios = bootstrap_all(_ratios(images), patients, replicates, seed)
    return figures | {name: replace(ratio, reason=NEEDS_BOTH) for name, ratio in ratios.items()}


def fold_spreads(images: ScoredImages) -> Spreads:
    """Return figure -> its spread over folds, for each disease and for the macro mean.

    Each fold's macro mean covers the diseases that have the figure in all folds, so the folds are
    compared on the same diseases.
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


def _spread(values: FloatArray) -> Spread:
    used = values[~np.isnan(values)]
    mean = float(used.mean()) if len(used) else None
    deviation = float(used.std(ddof=1)) if len(used) > 1 else None
    return Spread(mean, deviation, len(used))


def _ratios(images: ScoredImages) -> Mapping[str, tuple[FloatArray, FloatArray]]:
    """Figure -> summands over images of numerator and denominator, (N, D) each."""
    labelled = (~np.isnan(images.labels)).astype(np.float64)
    positive, negative = ((images.labels == value).astype(np.float64) for value in (1, 0))
    ratios = {"brier": (labelled * (images.scores - positive) ** 2, labelled)}
    for rule in images.thresholds:
        called = images.present(rule)
        ratios[f"sensitivity_{rule}"] = (positive * called, positive)
        ratios[f"specificity_{rule}"] = (negative * ~called, negative)
        # 2 TP / (2 TP + FP + FN), where TP + FP are the images predicted present
        ratios[f"f1_{rule}"] = (2 * positive * called, labelled * called + positive)
    return ratios
