"""The table of AUCs by body part: figures known by hand, and when there is none."""

from __future__ import annotations

import numpy as np

from cxrloc.classification.body_part_table import body_part_tables
from cxrloc.classification.text_tables import tables_markdown
from cxrloc.datasets.radiograph import Radiograph

LABELS = np.array([[1.0], [0.0], [1.0], [0.0], [1.0], [0.0]])
SCORES = np.array([[0.9], [0.2], [0.3], [0.4], [0.8], [0.6]])


def films(*parts: str) -> list[Radiograph]:
    return [
        Radiograph(f"i{n}", None, f"p{n}", "", {"Abnormal": float(LABELS[n, 0])}, body_part=part)
        for n, part in enumerate(parts)
    ]


def test_each_part_has_its_own_auc_and_a_part_of_one_class_says_why_it_has_none() -> None:
    parts = ("XR_HAND", "XR_HAND", "XR_HAND", "XR_HAND", "XR_ELBOW", "XR_WRIST")
    (table,) = body_part_tables(films(*parts), LABELS, SCORES, ("Abnormal",), replicates=0, seed=0)
    elbow, hand, wrist = table.rows
    # of the hand's 2 x 2 pairs, .3 under .4 alone is wrong
    assert hand[:2] == ("Abnormal", "XR_HAND")
    assert hand[2].startswith("0.750")
    assert [row[3] for row in table.rows] == ["1 / 1", "2 / 4", "0 / 1"]
    assert elbow[2].startswith("undefined: ")
    assert wrist[2].startswith("undefined: ")
    assert "studies.md" in tables_markdown([table])


def test_films_of_one_part_or_of_unknown_parts_have_no_table() -> None:
    for part in ("XR_HAND", ""):
        same = films(*[part] * 6)
        assert body_part_tables(same, LABELS, SCORES, ("Abnormal",), replicates=0, seed=0) == []
    assert tables_markdown([]) == ""
