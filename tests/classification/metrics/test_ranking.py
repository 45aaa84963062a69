"""Metrics against scikit-learn on explicit resamples, and what is undefined."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from cxrloc.classification.metrics.bootstrap import resample_counts, tail_of
from cxrloc.classification.metrics.ranking import classifier_metrics
from cxrloc.classification.report.run_page import metrics_table
from cxrloc.classification.report.tables import to_markdown

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
    assert math.isnan(mass.auc.low)
    assert math.isnan(mass.auc.high)


def test_both_figures_are_those_of_scikit_learn_with_ties_and_unknown_labels() -> None:
    labels, scores, patients = example()
    metrics = classifier_metrics(labels, scores, ["A", "B"], patients, replicates=0)
    for i, disease in enumerate("AB"):
        has_label = ~np.isnan(labels[:, i])
        y, s = labels[has_label, i], scores[has_label, i]
        assert metrics.diseases[disease].auc.value == pytest.approx(roc_auc_score(y, s), abs=1e-12)
        assert metrics.diseases[disease].average_precision.value == pytest.approx(
            average_precision_score(y, s), abs=1e-12
        )


def test_the_interval_is_the_expanded_percentile_of_explicit_resamples_of_patients() -> None:
    labels, scores, patients = example()
    metrics = classifier_metrics(labels, scores, ["A", "B"], patients, replicates=200, seed=7)
    names = np.unique(patients)
    rows_of = {p: np.flatnonzero(np.array(patients) == p) for p in names}
    figures = []
    for counts in resample_counts(len(names), 200, seed=7).astype(int):
        rows = np.concatenate(
            [np.repeat(rows_of[p], n) for p, n in zip(names, counts, strict=True)]
        )
        y, s = labels[rows], scores[rows]
        has_label = [~np.isnan(y[:, i]) for i in range(2)]
        figures.append(
            [
                f(y[k, i], s[k, i])
                for f in (roc_auc_score, average_precision_score)
                for i, k in enumerate(has_label)
            ]
        )
    # patients with an image of the disease are fewer than those with one of none
    positives = [
        len({p for p, y in zip(patients, labels[:, i], strict=True) if y == 1}) for i in (0, 1)
    ]
    a, b = metrics.diseases["A"], metrics.diseases["B"]
    estimates = [a.auc, b.auc, a.average_precision, b.average_precision]
    for column, (estimate, n) in enumerate(zip(estimates, positives * 2, strict=True)):
        ends = np.quantile(np.array(figures)[:, column], [tail_of(n), 1 - tail_of(n)])
        assert (estimate.low, estimate.high) == pytest.approx(tuple(ends), abs=1e-12)
    tail = tail_of(2 / (1 / positives[0] + 1 / positives[1]))
    macro = np.quantile(np.array(figures)[:, :2].mean(axis=1), [tail, 1 - tail])
    np.testing.assert_allclose([metrics.macro_auc.low, metrics.macro_auc.high], macro, atol=1e-12)


def test_an_interval_of_few_patients_is_wider_than_plain_percentiles_and_one_patient_has_none() -> (
    None
):
    # 4 patients with the disease: Student's t .975 of 3 degrees of freedom is 3.1824, and
    # Phi(-sqrt(4 / 3) 3.1824) is 0.000119: of 1000 resamples nearly the lowest and the highest
    labels = np.array([1.0] * 4 + [0.0] * 12)[:, None]
    scores = np.array([0.9, 0.7, 0.45, 0.2, *np.linspace(0, 0.8, 12)])[:, None]
    patients = [f"p{i:02d}" for i in range(16)]
    auc = classifier_metrics(labels, scores, ["A"], patients, seed=1).diseases["A"].auc
    samples = []
    for counts in resample_counts(16, 1000, seed=1).astype(int):
        y, s = np.repeat(labels[:, 0], counts), np.repeat(scores[:, 0], counts)
        samples.append(roc_auc_score(y, s) if 0 < y.sum() < 16 else NAN)
    low, high = np.nanquantile(samples, [0.000119, 1 - 0.000119])
    assert (auc.low, auc.high) == pytest.approx((low, high), abs=1e-5)
    plain = np.nanquantile(samples, [0.025, 0.975])
    assert auc.low < plain[0] - 0.05
    assert auc.high >= plain[1]
    alone = classifier_metrics(labels[3:], scores[3:], ["A"], patients[3:]).diseases["A"].auc
    assert 0 < alone.value < 1
    assert math.isnan(alone.low)


def test_the_size_of_the_chunks_does_not_change_the_interval(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    labels, scores, patients = example()
    whole = classifier_metrics(labels, scores, ["A", "B"], patients, replicates=50)
    monkeypatch.setattr("cxrloc.classification.metrics.sampled._CHUNK_ELEMENTS", 700)
    assert classifier_metrics(labels, scores, ["A", "B"], patients, replicates=50) == whole


def test_copies_of_an_image_within_a_patient_do_not_narrow_the_interval() -> None:
    labels, scores, _ = example(60)
    once = classifier_metrics(labels, scores, ["A", "B"], [str(i) for i in range(60)])
    four = classifier_metrics(
        np.repeat(labels, 4, axis=0),
        np.repeat(scores, 4, axis=0),
        ["A", "B"],
        [str(i // 4) for i in range(240)],
    )
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
    labels = np.array([[1.0], [1.0], [0.0], [0.0]])
    scores = np.array([[0.9], [0.8], [0.2], [0.1]])
    auc = classifier_metrics(labels, scores, ["A"], list("abcd"), replicates=400).diseases["A"].auc
    assert (auc.low, auc.high) == (1.0, 1.0)
    # the share of draws that hold both classes: 1 - 2 (1/2)^4 = 7/8
    assert 0.82 < auc.replicates / 400 < 0.93


def test_no_images_make_everything_undefined() -> None:
    metrics = classifier_metrics(np.zeros((0, 1)), np.zeros((0, 1)), ["A"], [])
    assert math.isnan(metrics.macro_auc.value)
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
    lines = to_markdown(metrics_table(metrics, "Test", {"Mass": "0.5000"})).splitlines()
    assert lines[:3] == ["# Test", "", "**Research use only, never a diagnosis.**"]
    figures = "1.000 [undefined] | 1.000 [undefined]"
    assert f"| Mass | {figures} | .500 | 1 / 2 | 0.5000 |" in lines
    reason = "undefined: no positive image"
    assert f"| Hernia | {reason} | {reason} | .000 | 0 / 2 |  |" in lines
    assert f"| macro mean | {figures} |  |  |  |" in lines
    assert lines[4].startswith("- macro over 1 of 2; undefined: Hernia.")


def test_the_page_says_in_how_few_resamples_the_macro_mean_has_all_diseases() -> None:
    labels = np.eye(12)[:, :2]  # one positive of each disease: most resamples lack one of them
    scores = np.linspace(0, 1, 24).reshape(12, 2)
    metrics = classifier_metrics(
        labels, scores, ["Mass", "Hernia"], [str(i) for i in range(12)], replicates=100, seed=0
    )
    used = metrics.macro_auc.replicates
    assert 20 < used < 60  # (1 - (11/12)^12)^2 of 100, about 42
    assert metrics_table(metrics, "Test").notes[1].startswith(f"In {used} resamples every disease")
