"""Metrics against scikit-learn on explicit resamples, and what is undefined."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from cxrloc.classification.metrics.ranking import classifier_metrics
from cxrloc.classification.report.run_page import metrics_markdown

NAN = math.nan


def example(n: int = 120, seed: int = 0) -> tuple[np.ndarray, np.ndarray, list[str]]:
    rng = np.random.default_rng(seed)
    labels = (rng.random((n, 2)) < 0.3).astype(float)
    scores = np.round(rng.random((n, 2)) + 0.4 * labels, 2)  # rounded: with ties
    labels[rng.random((n, 2)) < 0.1] = NAN
    return labels, scores, [f"p{i // 3}" for i in range(n)]


def test_a_hand_computed_auc_and_average_precision() -> None:
    labels = np.array([[1.0], [0.0], [1.0], [0.0]])
    scores = np.array([[0.9], [0.8], [0.8], [0.1]])
    metrics = classifier_metrics(labels, scores, ["Mass"], list("abcd"), replicates=0)
    mass = metrics.diseases["Mass"]
    # pairs: 1, 1, 1/2 (tie), 1 of 4; precision 1 at recall 1/2, 2/3 at recall 1
    assert mass.auc.value == pytest.approx(3.5 / 4)
    assert mass.average_precision.value == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    assert mass.prevalence == 0.5
    assert (mass.auc.low, mass.auc.high) == (None, None)


def test_both_figures_are_those_of_scikit_learn_with_ties_and_unknown_labels() -> None:
    labels, scores, patients = example()
    metrics = classifier_metrics(labels, scores, ["A", "B"], patients, replicates=0)
    for i, disease in enumerate("AB"):
        known = ~np.isnan(labels[:, i])
        y, s = labels[known, i], scores[known, i]
        assert metrics.diseases[disease].auc.value == pytest.approx(roc_auc_score(y, s), abs=1e-12)
        assert metrics.diseases[disease].average_precision.value == pytest.approx(
            average_precision_score(y, s), abs=1e-12
        )


def test_the_interval_is_that_of_explicit_resamples_of_patients() -> None:
    labels, scores, patients = example()
    metrics = classifier_metrics(labels, scores, ["A", "B"], patients, replicates=200, seed=7)
    names = np.unique(patients)
    rows_of = {p: np.flatnonzero(np.array(patients) == p) for p in names}
    drawn = np.random.default_rng(7).integers(0, len(names), size=(200, len(names)))
    figures = []
    for draw in drawn:
        rows = np.concatenate([rows_of[names[i]] for i in draw])
        y, s = labels[rows], scores[rows]
        known = [~np.isnan(y[:, i]) for i in range(2)]
        figures.append(
            [f(y[k, i], s[k, i]) for f in (roc_auc_score, average_precision_score)
             for i, k in enumerate(known)]
        )  # fmt: skip
    low, high = np.percentile(np.array(figures), [2.5, 97.5], axis=0)
    a, b = metrics.diseases["A"], metrics.diseases["B"]
    estimates = [a.auc, b.auc, a.average_precision, b.average_precision]
    np.testing.assert_allclose([e.low for e in estimates], low, atol=1e-12)
    np.testing.assert_allclose([e.high for e in estimates], high, atol=1e-12)
    macro = np.percentile(np.array(figures)[:, :2].mean(axis=1), [2.5, 97.5])
    np.testing.assert_allclose([metrics.macro_auc.low, metrics.macro_auc.high], macro, atol=1e-12)


def test_the_size_of_the_chunks_does_not_change_the_interval(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    labels, scores, patients = example()
    whole = classifier_metrics(labels, scores, ["A", "B"], patients, replicates=50)
    monkeypatch.setattr("cxrloc.classification.metrics.replicates._CHUNK_ELEMENTS", 700)
    assert classifier_metrics(labels, scores, ["A", "B"], patients, replicates=50) == whole


def test_copies_of_an_image_within_a_patient_do_not_narrow_the_interval() -> None:
    labels, scores, _ = example(60)
    once = classifier_metrics(labels, scores, ["A", "B"], [str(i) for i in range(60)])
    four = classifier_metrics(
        np.repeat(labels, 4, axis=0), np.repeat(scores, 4, axis=0), ["A", "B"],
        [str(i // 4) for i in range(240)],
    )  # fmt: skip
    assert four.diseases["A"].auc == once.diseases["A"].auc


def test_undefined_figures_are_named_and_left_out_of_the_mean_openly() -> None:
    labels = np.array([[1, 0, 1, NAN], [0, 0, 1, NAN], [1, 0, 1, NAN], [0, 0, 1, NAN]])
    scores = np.tile([[0.9], [0.2], [0.8], [0.3]], (1, 4))
    names = ["Mass", "Hernia", "Edema", "Fibrosis"]
    metrics = classifier_metrics(labels, scores, names, list("abcd"), replicates=20)
    assert metrics.undefined == ("Hernia", "Edema", "Fibrosis")
    assert metrics.macro_auc.value == 1.0
    assert metrics.macro_note == "macro over 1 of 4; undefined: Hernia, Edema, Fibrosis"
    assert metrics.diseases["Hernia"].auc.reason == "no positive image"
    assert metrics.diseases["Edema"].auc.reason == "no negative image"
    assert metrics.diseases["Fibrosis"].prevalence is None
    stored = json.loads(json.dumps(metrics.to_json(), allow_nan=False))
    assert stored["macro_auc"] == 1.0
    assert stored["diseases"]["Hernia"]["auc"] is None
    assert stored["diseases"]["Hernia"]["auc_undefined"] == "no positive image"


def test_replicates_without_a_positive_are_not_counted_as_zero() -> None:
    labels = np.array([[1.0], [0.0], [0.0]])
    scores = np.array([[0.9], [0.2], [0.1]])
    auc = classifier_metrics(labels, scores, ["A"], list("abc"), replicates=400).diseases["A"].auc
    assert (auc.low, auc.high) == (1.0, 1.0)
    # the share of draws that hold both classes: 1 - (2/3)^3 - (1/3)^3 = 2/3
    assert 0.6 < auc.replicates / 400 < 0.73


def test_no_images_make_everything_undefined() -> None:
    metrics = classifier_metrics(np.zeros((0, 1)), np.zeros((0, 1)), ["A"], [])
    assert metrics.macro_auc.value is None
    assert metrics.macro_auc.reason == "undefined for every disease"


def test_wrong_shapes_and_scores_that_are_not_finite_are_errors() -> None:
    with pytest.raises(ValueError, match=r"expected both \(1, 2\): 1 patients"):
        classifier_metrics(np.zeros((1, 1)), np.zeros((1, 2)), ["A", "B"], ["p"])
    with pytest.raises(ValueError, match="1 scores are not finite"):
        classifier_metrics(np.zeros((1, 1)), np.full((1, 1), NAN), ["A"], ["p"])


def test_the_page_prints_undefined_the_prevalence_and_the_notice() -> None:
    labels = np.array([[1.0, 0.0], [0.0, 0.0]])
    metrics = classifier_metrics(
        labels, np.array([[0.9, 0.1], [0.1, 0.2]]), ["Mass", "Hernia"], ["a", "b"], replicates=0
    )
    lines = metrics_markdown(metrics, "Test", {"Mass": "0.5000"}).splitlines()
    assert "| Mass | 1.000 | 1.000 | 0.500 | 1 / 2 | 0.5000 |" in lines
    assert "| Hernia | undefined: no positive image | undefined | 0.000 | 0 / 2 |  |" in lines
    assert lines[-4].startswith("macro over 1 of 2; undefined: Hernia.")
    assert "rests on 0 resamples" in lines[-3]
    assert lines[-1] == "Research use only - not a diagnosis."


def test_the_page_says_on_how_few_resamples_a_macro_interval_rests() -> None:
    labels = np.eye(12)[:, :2]  # one positive of each disease: most resamples lack one of them
    scores = np.linspace(0, 1, 24).reshape(12, 2)
    metrics = classifier_metrics(
        labels, scores, ["Mass", "Hernia"], [str(i) for i in range(12)], replicates=100, seed=0
    )
    used = metrics.macro_auc.replicates
    assert 20 < used < 60  # (1 - (11/12)^12)^2 of 100, about 42
    assert f"rests on {used} resamples" in metrics_markdown(metrics, "Test", None)
