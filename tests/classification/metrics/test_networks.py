"""Comparisons, ensembles and their thresholds on real scores and on hand-made ones."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score

from cxrloc.classification.metrics.bootstrap import resample_counts, tail_of
from cxrloc.classification.metrics.delong import delong_test
from cxrloc.classification.metrics.ensembles import in_order_of
from cxrloc.classification.metrics.networks import (
    Network,
    check_same_images,
    compare_networks,
    ensemble,
)
from cxrloc.classification.metrics.scored_images import ScoredImages
from cxrloc.datasets.labels.names import canonical_label

NAN = float("nan")


def scored(
    scores: list[float], labels: Sequence[float], folds: list[int] | None = None
) -> ScoredImages:
    """Images f0, f1, .. of as many patients, one disease."""
    n = len(scores)
    return ScoredImages(
        ("Mass",),
        tuple(f"f{i}" for i in range(n)),
        tuple(f"p{i}" for i in range(n)),
        np.array(folds or [0] * n),
        np.array(scores).reshape(n, 1),
        np.array(labels).reshape(n, 1),
    )


def real_network(name: str, folder: Path, key: str) -> Network:
    """A real network's probabilities of 10 diseases on the 5,606 images of the Kaggle sample."""
    with (folder / "sample_labels.csv").open(newline="") as handle:
        rows = {r["Image Index"]: r for r in csv.DictReader(handle)}
    with (folder / f"sample_{name}_probabilities.csv").open(newline="") as handle:
        records = {r["image_index"]: r for r in csv.DictReader(handle)}
    suffix = f"_{key}_prob"
    diseases = tuple(
        c.removesuffix(suffix) for c in next(iter(records.values())) if c.endswith(suffix)
    )
    images = tuple(i for i in records if i in rows)
    present = [{canonical_label(t) for t in rows[i]["Finding Labels"].split("|")} for i in images]
    return Network(
        name,
        ScoredImages(
            diseases,
            images,
            tuple(rows[i]["Patient ID"] for i in images),
            np.zeros(len(images), dtype=np.int64),
            np.array([[float(records[i][f"{d}{suffix}"]) for d in diseases] for i in images]),
            np.array([[float(d in labels) for d in diseases] for labels in present]),
        ),
    )


@pytest.fixture(scope="module")
def real(shared_data: Path) -> tuple[Network, Network]:
    folder = shared_data / "nih" / "predictions"
    if not folder.is_dir():
        pytest.skip(f"{folder} is absent")
    names = {"resnet18": "resnet", "densenet121": "densenet"}
    first, second = (real_network(name, folder, key) for name, key in names.items())
    return first, second


def test_figures_of_real_networks_are_those_of_scikit_learn(real: tuple[Network, Network]) -> None:
    comparison = compare_networks(real, replicates=20, seed=0)
    assert len(comparison.images) == 5606
    for network, figures in zip(comparison.networks, comparison.figures, strict=True):
        for i in range(10):
            y, s = network.images.labels[:, i], network.images.scores[:, i]
            assert figures["auc"].points[i] == pytest.approx(roc_auc_score(y, s), abs=1e-12)
            for name, reference in (("ap", average_precision_score), ("brier", brier_score_loss)):
                assert figures[name].points[i] == pytest.approx(reference(y, s), abs=1e-12)
    pair = comparison.pairs[0]
    macro = [figures["auc"].points.mean() for figures in comparison.figures]
    assert pair.macro.value == pytest.approx(macro[0] - macro[1], abs=1e-12)
    for row in pair.diseases:
        assert row.bootstrap.value == pytest.approx(row.delong.difference, abs=1e-12)
        assert row.bootstrap.low <= row.bootstrap.value <= row.bootstrap.high
        assert row.delong.p <= row.holm_p <= 1


def test_the_paired_interval_is_that_of_explicit_resamples_of_patients() -> None:
    rng = np.random.default_rng(0)
    labels = (rng.random(40) < 0.4).astype(float)
    first, second = (np.clip(0.3 * labels + 0.7 * rng.random(40), 0, 1) for _ in range(2))
    a, b = (scored(list(s), list(labels)) for s in (first, second))
    two_images_each = tuple(f"p{i // 2:02d}" for i in range(40))
    a, b = (replace(x, patient_ids=two_images_each) for x in (a, b))
    pair = compare_networks([Network("a", a), Network("b", b)], replicates=100, seed=3).pairs[0]
    gains = []
    for counts in resample_counts(20, 100, seed=3).astype(int):
        rows = np.repeat(np.arange(40), np.repeat(counts, 2))
        gains.append(
            roc_auc_score(labels[rows], first[rows]) - roc_auc_score(labels[rows], second[rows])
        )
    positive, negative = (len({i // 2 for i in range(40) if labels[i] == y}) for y in (1, 0))
    tail = tail_of(min(positive, negative))
    low, high = np.quantile(gains, [tail, 1 - tail])
    assert pair.diseases[0].bootstrap.low == pytest.approx(low, abs=1e-12)
    assert pair.diseases[0].bootstrap.high == pytest.approx(high, abs=1e-12)
    assert pair.diseases[0].delong == delong_test(labels, first, second)


def test_the_order_of_the_images_does_not_matter() -> None:
    a = scored([0.9, 0.2, 0.6, 0.1], [1, 0, 1, 0])
    b = scored([0.3, 0.2, 0.6, 0.1], [1, 0, 1, 0])
    turned = b.select(np.array([3, 1, 0, 2]))
    assert in_order_of(turned, a).image_ids == a.image_ids
    straight = compare_networks([Network("a", a), Network("b", b)], replicates=10, seed=0)
    crooked = compare_networks([Network("a", a), Network("b", turned)], replicates=10, seed=0)
    assert crooked.pairs == straight.pairs


def test_an_ensemble_is_the_mean_probability_of_each_image() -> None:
    a, b = scored([0.9, 0.2], [1, 0], [0, 1]), scored([0.5, 0.4], [1, 0], [0, 1])
    both = ensemble([Network("a", a), Network("b", b.select(np.array([1, 0])))])
    assert both.name == "mean of a, b"
    np.testing.assert_allclose(both.images.scores[:, 0], [0.7, 0.3])
    assert both.images.thresholds == {}  # no validation images, no thresholds
    with pytest.raises(ValueError, match="at least two networks, got 1"):
        ensemble([Network("a", a)])


def test_an_ensembles_thresholds_come_from_the_means_of_validation_images() -> None:
    images = scored([0.9, 0.2, 0.6], [1, 0, 1], [0, 0, 1])
    images = replace(images, sensitivity=0.5)
    # fold 0: means .2 .4 .6 .8, fold 1: means .1 .3; each cut lies midway
    parts = [
        tuple(scored(s, y, [fold] * len(s)) for fold, (s, y) in enumerate(folds))
        for folds in (
            [([0.1, 0.3, 0.5, 0.9], [0, 0, 1, 1]), ([0.0, 0.4], [0, 1])],
            [([0.3, 0.5, 0.7, 0.7], [0, 0, 1, 1]), ([0.2, 0.2], [0, 1])],
        )
    ]
    both = ensemble([Network("a", images, parts[0]), Network("b", images, parts[1])])
    np.testing.assert_allclose(both.images.thresholds["youden"][:, 0], [0.5, 0.5, 0.2])
    np.testing.assert_allclose(both.images.thresholds["target"][:, 0], [0.7, 0.7, 0.2])
    assert both.images.sensitivity == 0.5
    other_folds = Network("b", replace(images, folds=np.array([1, 0, 0])), parts[1])
    assert ensemble([Network("a", images, parts[0]), other_folds]).images.thresholds == {}


def test_networks_on_other_images_labels_patients_or_diseases_are_refused() -> None:
    a = Network("a", scored([0.9, 0.2], [1, NAN]))
    check_same_images(a, Network("b", scored([0.1, 0.3], [1, NAN])))
    others = {
        "1 images only in a, for example f1": scored([0.9], [1]),
        "1 images only in b, for example f2": scored([0.9, 0.2, 0.3], [1, NAN, 0]),
        r"different patients or labels on 1 images, for example f1 \(Mass\)": scored(
            [0.9, 0.2], [1, 0]
        ),
        "for example f0": replace(a.images, patient_ids=("q", "p1")),
        r"differ in diseases: \['Mass'\] and \['Edema'\]": replace(a.images, diseases=("Edema",)),
    }
    for message, images in others.items():
        with pytest.raises(ValueError, match=message):
            check_same_images(a, Network("b", images))
