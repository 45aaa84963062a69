"""The picture of networks speaks of published figures only where it shows some."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from cxrloc.classification.metrics.networks import Network, compare_networks
from cxrloc.classification.metrics.scored_images import ScoredImages
from cxrloc.classification.report.networks import plot_networks
from cxrloc.datasets.labels.names import NIH_DISEASES


@pytest.mark.parametrize(("diseases", "shown"), [(NIH_DISEASES, True), (("Abnormal",), False)])
def test_published_figures_are_named_where_they_are_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, diseases: tuple[str, ...], shown: bool
) -> None:
    figures: list[Figure] = []
    save = Figure.savefig

    def spy(figure: Figure, *args: Any, **kwargs: Any) -> None:
        figures.append(figure)
        save(figure, *args, **kwargs)

    monkeypatch.setattr(Figure, "savefig", spy)
    labels = np.repeat([[0.0], [1.0], [0.0], [1.0]], len(diseases), axis=1)
    names, folds = tuple("abcd"), np.zeros(4, dtype=np.int64)
    images = ScoredImages(diseases, names, names, folds, 0.8 * labels, labels)
    plot_networks(
        tmp_path / "n.png", compare_networks([Network("ours", images)], replicates=5, seed=0)
    )
    (figure,) = figures
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert any(text.startswith("published: ") for text in legend) == shown
    assert ("published" in figure.axes[0].get_title()) == shown
