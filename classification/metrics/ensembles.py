"""Ensembles of cross-validated networks: the mean of their probabilities, film by film.

A film out of fold gets one probability from each network, that of the fold which held its patient
out. The folds of one network are never averaged on these films: all but one were trained on them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from cxrloc.classification.metrics.operating_point import at_sensitivity, youden
from cxrloc.classification.metrics.replicates import Array
from cxrloc.classification.metrics.scored_images import TARGET, YOUDEN, ScoredFilms


def in_order_of(films: ScoredFilms, other: ScoredFilms) -> ScoredFilms:
    """The films of the first, in the order of the second, which has the same ones."""
    position = {image: i for i, image in enumerate(films.image_ids)}
    return films.select(np.array([position[i] for i in other.image_ids], dtype=np.int64))


def mean_of(networks: Sequence[ScoredFilms]) -> ScoredFilms:
    """Mean probabilities on the same films; without thresholds, which belong to one network.

    Raises:
        ValueError: for fewer than two networks.
    """
    if len(networks) < 2:
        raise ValueError(f"an ensemble needs at least two networks, got {len(networks)}")
    first = networks[0]
    scores = np.mean([in_order_of(n, first).scores for n in networks], axis=0)
    return replace(first, scores=scores, thresholds={}, sensitivity=float("nan"))


def with_thresholds(
    films: ScoredFilms, validation: Sequence[ScoredFilms], sensitivity: float
) -> ScoredFilms:
    """The films with thresholds that each fold's validation films give, never the films themselves.

    Args:
        films: out of fold.
        validation: per fold its validation films, judged as `films` are; their fold is the test
            fold of the models behind them.
        sensitivity: of the rule `target`.
    """
    thresholds = {rule: np.full(films.scores.shape, np.nan) for rule in (YOUDEN, TARGET)}
    for part in validation:
        rows = films.folds == part.folds[0]
        thresholds[YOUDEN][rows] = _cuts(part, None)
        thresholds[TARGET][rows] = _cuts(part, sensitivity)
    return replace(films, thresholds=thresholds, sensitivity=sensitivity)


def _cuts(validation: ScoredFilms, sensitivity: float | None) -> Array:
    columns = zip(validation.labels.T, validation.scores.T, strict=True)
    points = [youden(y, s) if sensitivity is None else at_sensitivity(y, s, sensitivity)
              for y, s in columns]  # fmt: skip
    return np.array([point.threshold for point in points], dtype=np.float64)
