"""Findings are drawn as often, together and as large as NIH's."""

from __future__ import annotations

import numpy as np
import pytest

from cxrloc.datasets.labels.names import NIH_BOXED_DISEASES
from cxrloc.datasets.phantoms.drawing.statistics import (
    BOX_STATISTICS,
    FINDINGS_PER_IMAGE,
    sample_diseases,
    sample_size,
)


@pytest.mark.parametrize("disease", NIH_BOXED_DISEASES)
def test_sampled_sizes_have_nihs_median(disease: str) -> None:
    rng = np.random.default_rng(0)
    sizes = np.array([sample_size(rng, disease) for _ in range(2000)])
    numbers = BOX_STATISTICS[disease]
    expected = np.exp([numbers.log_width[0], numbers.log_height[0]])
    assert np.median(sizes, axis=0) == pytest.approx(expected, rel=0.06)


def test_findings_per_image_follow_nihs_counts_and_pairs() -> None:
    rng = np.random.default_rng(0)
    drawn = [sample_diseases(rng) for _ in range(4000)]
    total = sum(FINDINGS_PER_IMAGE.values())
    several = np.mean([len(diseases) > 1 for diseases in drawn])
    assert several == pytest.approx(1 - FINDINGS_PER_IMAGE[1] / total, abs=0.015)
    assert all(len(set(diseases)) == len(diseases) for diseases in drawn)
    assert ("Cardiomegaly", "Nodule") not in drawn  # never on one image in NIH's list
    pairs = [diseases for diseases in drawn if len(diseases) == 2]
    share = pairs.count(("Effusion", "Infiltration")) / len(pairs)
    assert share == pytest.approx(25 / 116, abs=0.07)
