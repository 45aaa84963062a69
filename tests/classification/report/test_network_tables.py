"""Published rows of the tables: each with its own measure."""

from __future__ import annotations

import numpy as np

from cxrloc.classification.metrics.networks import Network, compare_networks
from cxrloc.classification.metrics.scored_images import ScoredImages
from cxrloc.classification.report.network_tables import network_records, network_result_tables
from cxrloc.classification.report.tables import text_rows

FIVE = ("Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Pleural Effusion")


def test_a_multilabel_auc_is_not_called_a_macro_auc() -> None:
    labels = np.repeat([[0.0], [1.0], [0.0], [1.0]], 5, axis=1)
    names = tuple("abcd")
    images = ScoredImages(FIVE, names, names, np.zeros(4, dtype=np.int64), 0.8 * labels, labels)
    comparison = compare_networks([Network("ours", images)], replicates=5, seed=0)
    rows = {row[0]: row[1] for row in text_rows(network_result_tables(comparison)[0].rows)}
    assert rows["published: Chasanidis 2020 (DenseNet-121)"] == "0.77 (multilabel AUC)"
    records = network_records(comparison)
    assert [r["measure"] for r in records[:6]] == ["AUC"] * 5 + ["mean AUC"]
    assert [(r["measure"], r["auc"]) for r in records[6:]] == [
        ("multilabel AUC", value) for value in (0.79, 0.77, 0.79, 0.78)
    ]
