"""Confusion matrices of networks side by side, by hand."""

from __future__ import annotations

import numpy as np

from cxrloc.classification.metrics.networks import Comparison, Network, compare_networks
from cxrloc.classification.metrics.scored_images import ScoredImages
from cxrloc.classification.report.confusion import confusion_records, confusion_tables
from cxrloc.classification.report.tables import text_rows

NAN = float("nan")
FIVE = ("Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Pleural Effusion")
# of six images; the last one's label is uncertain
LABELS = [1.0, 1.0, 1.0, 0.0, 0.0, NAN]
PLAIN = [0.9, 0.8, 0.2, 0.1, 0.6, 0.9]  # at .5: two of three found, one of two false
ENHANCED = [0.9, 0.8, 0.7, 0.1, 0.2, 0.9]  # all right


def network(name: str, scores: list[float], thresholds: float | None = 0.5) -> Network:
    """The same scores for each of five diseases; edema has no threshold."""
    matrix = np.repeat(np.array(scores)[:, None], 5, axis=1)
    labels = np.repeat(np.array(LABELS)[:, None], 5, axis=1)
    images = tuple("abcdef")
    limits = np.full(matrix.shape, thresholds or 0.0)
    limits[:, 3] = NAN
    rules = {} if thresholds is None else {"youden": limits}
    folds = np.zeros(6, dtype=np.int64)
    return Network(name, ScoredImages(FIVE, images, images, folds, matrix, labels, rules))


def compared(*networks: Network) -> Comparison:
    return compare_networks(networks, replicates=5, seed=0)


def test_each_disease_has_its_networks_below_one_another_and_the_sum_the_published_ones() -> None:
    both = compared(network("plain", PLAIN), network("enhanced", ENHANCED))
    (table,) = confusion_tables(both)
    _, *rows = text_rows(table.rows)
    assert rows[:2] == [
        ["Atelectasis", "plain", "2", "1", "1", "1", ".667", ".500", ".667", ".833"],
        ["Atelectasis", "enhanced", "3", "0", "0", "2", "1.000", "1.000", "1.000", "1.000"],
    ]
    # four diseases as above; edema is never called present: 3 missed, 2 right
    assert rows[10:12] == [
        ["all, summed", "plain", "8", "7", "4", "6", ".533", ".600", ".593", ".833 (mean AUC)"],
        [
            "all, summed",
            "enhanced",
            "12",
            "3",
            "0",
            "10",
            ".800",
            "1.000",
            ".889",
            "1.000 (mean AUC)",
        ],
    ]
    assert rows[12] == [
        "all, summed",
        "published: Chasanidis 2020 (DenseNet-121 with enhancement layers)",
        "",
        "",
        "",
        "",
        "none",
        "none",
        "none",
        "0.79 (multilabel AUC)",
    ]
    assert any("no TPR, TNR or F1 is published" in note for note in table.notes)
    assert "Edema (plain, 5 images), Edema (enhanced, 5 images)" in table.notes[-1]


def test_the_records_hold_counts_and_rates_in_full() -> None:
    records = confusion_records(compared(network("plain", PLAIN)))
    assert [r["disease"] for r in records] == [*FIVE, "all, summed"]
    assert records[0] == {
        "rule": "youden",
        "network": "plain",
        "disease": "Atelectasis",
        "true_positive": 2,
        "false_negative": 1,
        "false_positive": 1,
        "true_negative": 1,
        "undecided": 0,
        "sensitivity": 2 / 3,
        "specificity": 1 / 2,
        "f1": 2 / 3,
    }
    assert records[-1]["undecided"] == 5


def test_a_network_without_thresholds_is_named_and_left_out() -> None:
    some = compared(network("plain", PLAIN), network("mean", ENHANCED, thresholds=None))
    (table,) = confusion_tables(some)
    assert {
        row.lead["network"]
        for row in table.rows
        if not str(row.lead["network"]).startswith("published")
    } == {"plain"}
    assert "Left out, without thresholds: mean" in table.notes
    assert confusion_tables(compared(network("mean", PLAIN, thresholds=None))) == ()
