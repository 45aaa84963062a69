"""Build ensembles of cross-validated networks: mean probabilities, image by image.

An out-of-fold image gets one probability from each network, by the fold that held its patient out.
The folds of one network are never averaged on these images: all but one trained on them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from cxrloc.classification.metrics.bootstrap import FloatArray
from cxrloc.classification.metrics.operating_point import at_sensitivity, youden
from cxrloc.classification.metrics.scored_images import TARGET, YOUDEN, ScoredImages


def in_order_of(images: ScoredImages, other: ScoredImages) -> ScoredImages:
    """Reorder the first set of images like the second, which contains the same ones."""
    position = {image: i for i, image in enumerate(images.image_ids)}
    return images.select(np.array([position[i] for i in other.image_ids], dtype=np.int64))


def mean_of(networks: Sequence[ScoredImages]) -> ScoredImages:
    """Mean probabilities on the same images, without thresholds, which belong to one network.

    Raises:
        ValueError: for fewer than two networks.
    """
    if len(networks) < 2:
        raise ValueError(f"an ensemble needs at least two networks, got {len(networks)}")
    first = networks[0]
    scores = np.mean([in_order_of(n, first).scores for n in networks], axis=0)
    return replace(first, scores=scores, thresholds={}, sensitivity=float("nan"))


def with_thresholds(
    images: ScoredImages, validation: Sequence[ScoredImages], sensitivity: float
) -> ScoredImages:
    """Add thresholds chosen on each fold's validation images, never on the images themselves.

    Args:
        images: out of fold.
        validation: each fold's validation images, predicted like `images`; their fold is the test
            fold of the models used.
        sensitivity: goal of the rule `target`.
    """
    thresholds = {rule: np.full(images.scores.shape, np.nan) for rule in (YOUDEN, TARGET)}
    for part in validation:
        rows = images.folds == part.folds[0]
        thresholds[YOUDEN][rows] = _cuts(part, None)
        thresholds[TARGET][rows] = _cuts(part, sensitivity)
    return replace(images, thresholds=thresholds, sensitivity=sensitivity)


def _cuts(validation: ScoredImages, sensitivity: float | None) -> FloatArray:
    columns = zip(validation.labels.T, validation.scores.T, strict=True)
    points = [
        youden(y, s) if sensitivity is None else at_sensitivity(y, s, sensitivity)
        for y, s in columns
    ]
    return np.array([point.threshold for point in points], dtype=np.float64)
