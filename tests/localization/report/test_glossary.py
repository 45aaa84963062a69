"""Every column of every table, as people and as CSV readers see it, has an explanation."""

from __future__ import annotations

import csv
import io

import pytest

from builders import coco_ground_truth, evaluated
from cxrloc.classification.report.tables import ResultTable, to_csv
from cxrloc.localization.evaluation.evaluated import Evaluated
from cxrloc.localization.localizer import Localization
from cxrloc.localization.report.glossary import lookup
from localization.report.half_comparison import tables_of

DISEASES = ("Mass", "Nodule")


def _evaluated() -> Evaluated:
    """Two localizers, a gate, a margin and two boxes of a disease: all columns that there are."""
    boxes = [(f"{i}", d, (c, i, 3, 3)) for i in (1, 2) for c, d in enumerate(DISEASES, start=1)]
    boxes.append(("1", "Mass", (5, 5, 3, 3)))
    coco = coco_ground_truth(DISEASES, boxes, size_wh=(9, 9))
    predicted = [Localization("1", d, (1, 1, 4, 4), 0.5) for d in DISEASES]
    gate = {(f"{i}", d): True for i in (1, 2) for d in DISEASES}
    return evaluated(
        coco, {"a": predicted, "b": []}, gate, resamples=20, noninferiority_margin=0.05
    )


@pytest.mark.parametrize("table", tables_of(_evaluated()), ids=lambda table: table.name)
def test_every_column_of_the_comparison_is_explained(table: ResultTable) -> None:
    columns = next(csv.reader(io.StringIO(to_csv(table))))

    assert len(columns) > 5
    for column in columns:
        assert lookup(_without_names(column)).definition


def _without_names(column: str) -> str:
    """A disease's name as a column is explained as `disease`."""
    for name in DISEASES:
        column = column.replace(name, "disease")
    return column
