"""Confusion counts, calibration and figures over folds on cases worked by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cxrloc.classification.metrics.bootstrap import resample_counts, tail_of
from cxrloc.classification.metrics.calibration import calibration_error, reliability
from cxrloc.classification.metrics.confusion import Confusion, confusions, summed
from cxrloc.classification.metrics.folds import fold_spreads, sample_figures
from cxrloc.classification.metrics.scored_images import ScoredImages
from cxrloc.classification.report.confusion import confusion_table
from cxrloc.classification.report.fold_tables import fold_result_tables, fold_rows
from cxrloc.classification.report.tables import text_rows

NAN = float("nan")


def example() -> ScoredImages:
    """Eight images of four patients in two folds; the second disease is unknown or absent."""
    scores = np.array([0.9, 0.6, 0.4, 0.1, 0.8, 0.7, 0.3, 0.2])
    labels = np.array([1, 0, 1, 0, 1, 1, 0, NAN])
    cut = np.array([0.5] * 4 + [0.75] * 4)
    return ScoredImages(
        ("Mass", "Hernia"),
        tuple(f"f{i}" for i in range(8)),
        tuple(f"p{i // 2}" for i in range(8)),
        np.repeat([0, 1], 4),
        np.stack([scores, np.full(8, 0.25)], axis=1),
        np.stack([labels, np.array([0, 0, 0, NAN, 1, 0, 0, 0])], axis=1),
        {
            "youden": np.stack([cut, np.repeat([NAN, 0.5], 4)], axis=1),
            "target": np.stack([cut - 0.2, np.repeat([NAN, 0.25], 4)], axis=1),
        },
        0.9,
    )


def test_confusion_counts_by_hand() -> None:
    mass, hernia = confusions(example(), "youden")
    # fold 0 at .5: .9 found, .6 false, .4 missed, .1 right; fold 1 at .75: .8 found, .7 missed
    assert mass.matrix.tolist() == [[2, 2], [1, 2]]
    assert mass.undecided == 0
    # fold 0 has no threshold: its three known images are called absent
    assert hernia.matrix.tolist() == [[0, 1], [0, 6]]
    assert hernia.undecided == 3
    assert confusions(example(), "target")[1].matrix.tolist() == [[1, 0], [3, 3]]


def test_shares_of_a_confusion_and_of_all_diseases_summed_by_hand() -> None:
    mass, hernia = confusions(example(), "youden")
    assert mass.sensitivity == 0.5
    assert mass.specificity == pytest.approx(2 / 3)
    assert mass.f1 == pytest.approx(2 * 2 / (2 * 2 + 1 + 2))
    assert (hernia.sensitivity, hernia.specificity, hernia.f1) == (0.0, 1.0, 0.0)
    both = summed([mass, hernia])
    assert both.matrix.tolist() == [[2, 3], [1, 8]]
    assert both.undecided == 3
    table = confusion_table([mass, hernia], "Youden's threshold")
    assert text_rows(table.rows)[-1] == ["all, summed", "2", "3", "1", "8", ".400", ".889", ".500"]
    nobody = Confusion("Hernia", 0, 0, 0, 4, 0)
    _, row, _ = text_rows(confusion_table([nobody], "").rows)
    assert row[5:] == ["undefined", "1.000", "undefined"]


def test_sensitivity_specificity_and_brier_are_shares_of_these_counts() -> None:
    figures = sample_figures(example(), 50, 0)
    assert figures["sensitivity_youden"].points.tolist() == [0.5, 0.0]
    assert figures["specificity_youden"].points.tolist() == pytest.approx([2 / 3, 1.0])
    assert figures["f1_youden"].points.tolist() == pytest.approx([4 / 7, 0.0])
    squares = [0.1**2, 0.6**2, 0.6**2, 0.1**2, 0.2**2, 0.3**2, 0.3**2]
    assert figures["brier"].points[0] == pytest.approx(sum(squares) / 7)
    assert figures["brier"].points[1] == pytest.approx((6 * 0.25**2 + 0.75**2) / 7)
    assert figures["sensitivity_youden"].macro.value == pytest.approx(0.25)
    assert figures["sensitivity_youden"].samples.shape == (50, 2)


def test_the_interval_of_a_share_is_that_of_explicit_resamples_of_patients() -> None:
    images = example()
    figure = sample_figures(images, 200, 5)["specificity_youden"].estimates[0]
    right = np.array([0, 0, 0, 1, 0, 0, 1, 0])  # negative and called absent
    negative = np.array([0, 1, 0, 1, 0, 0, 1, 0])
    shares = []
    for counts in resample_counts(4, 200, seed=5):
        drawn = np.repeat(counts, 2)
        if (drawn @ negative) > 0:
            shares.append((drawn @ right) / (drawn @ negative))
    assert figure.replicates == len(shares)
    tail = tail_of(3)  # the third patient has the disease on both images
    assert [figure.low, figure.high] == pytest.approx(list(np.quantile(shares, [tail, 1 - tail])))


def test_mean_and_deviation_over_folds_by_hand() -> None:
    (mass, hernia), macro = fold_spreads(example())["auc"]
    # fold 0: pairs .9>.6 .9>.1 .4<.6 .4>.1: 3/4; fold 1: 1
    assert mass.mean == pytest.approx(0.875)
    assert mass.deviation == pytest.approx(0.25 / np.sqrt(2))
    assert mass.folds == 2
    # Hernia has a positive in fold 1 alone, at the score of all others
    assert (hernia.mean, hernia.deviation, hernia.folds) == (0.5, None, 1)
    assert macro == mass  # over the diseases that every fold has


def test_the_table_says_what_is_undefined_and_where_no_threshold_was() -> None:
    images = example()
    rows = fold_rows(images, 10, 0)
    assert [row.disease for row in rows] == ["Mass", "Hernia", "macro mean"]
    record = rows[0].record()
    assert (record["images"], record["positives"]) == (7, 4)
    assert record["auc_fold_mean"] == pytest.approx(0.875)
    ranking, decisions = fold_result_tables(images, rows)
    head, mass, *_ = text_rows(ranking.rows)
    assert mass[:2] == ["Mass", "4 / 7"]
    assert mass[head.index("AUC, over folds")] == ".875 ± .177"
    assert "over folds without Hernia, undefined in some fold" in ranking.notes[-1]
    assert "sensitivity (TPR), threshold for sensitivity 0.9" in text_rows(decisions.rows)[0]
    assert "without one count as predicted absent: Hernia (4 images)" in decisions.notes[1]


def test_bins_hold_equally_many_images_and_ties_stay_together() -> None:
    scores = np.linspace(0.01, 0.99, 30)
    labels = (np.arange(30) % 3 == 0).astype(float)
    bins = reliability(labels, scores, [str(i) for i in range(30)], replicates=0, seed=0)
    assert [b.images for b in bins] == [3] * 10
    assert [b.observed.value for b in bins] == pytest.approx([1 / 3] * 10)
    assert bins[0].mean_probability == pytest.approx(scores[:3].mean())
    assert calibration_error(bins) == pytest.approx(
        np.mean([abs(scores[3 * i : 3 * i + 3].mean() - 1 / 3) for i in range(10)])
    )
    tied = reliability(
        labels, np.repeat([0.2, 0.8], 15), list(map(str, range(30))), replicates=0, seed=0
    )
    assert [b.images for b in tied] == [15, 15]
    assert [b.mean_probability for b in tied] == pytest.approx([0.2, 0.8])


def test_without_a_known_label_there_is_no_bin() -> None:
    assert reliability(np.array([NAN]), np.array([0.5]), ["p"], replicates=9, seed=0) == ()
    assert calibration_error(()) is None


def test_a_single_split_has_no_columns_over_folds() -> None:
    images = example()
    one = replace(images, folds=np.zeros(8, dtype=np.int64))
    of_two, of_one = (
        fold_result_tables(f, fold_rows(f, replicates=20, seed=0)) for f in (images, one)
    )
    for before, after in zip(of_two, of_one, strict=True):
        several, single = text_rows(before.rows), text_rows(after.rows)
        kept = [i for i, title in enumerate(several[0]) if not title.endswith("over folds")]
        assert len(kept) < len(several[0])
        assert single == [[row[i] for i in kept] for row in several]
    assert not any("over folds" in note.lower() for note in of_one[0].notes)
