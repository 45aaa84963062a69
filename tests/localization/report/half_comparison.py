"""A comparison of a localizer that finds half of each box, and its tables, also as records."""

from __future__ import annotations

import csv
import io
from typing import Any

from builders import coco_ground_truth, evaluated
from cxrloc.classification.report.tables import (
    ResultTable,
    to_csv,
)
from cxrloc.datasets.labels.names import NIH_BOXED_DISEASES
from cxrloc.localization.analyses.means import accuracy, means, paired
from cxrloc.localization.evaluation.comparison import Comparison
from cxrloc.localization.evaluation.evaluated import Evaluated
from cxrloc.localization.localizer import Localization
from cxrloc.localization.report.sections import Section


def half_evaluated(
    diseases: tuple[str, ...] = NIH_BOXED_DISEASES, *, gated: bool = False, **inputs: Any
) -> Evaluated:
    """Three patients, one box of each disease; `half` finds two of three with IoU .5, IoBB 1."""
    names = [f"{i}_0.png" for i in (1, 2, 3)]
    squares = [(name, disease, (10, 10, 10, 10)) for name in names for disease in diseases]
    coco = coco_ground_truth(diseases, squares, patient_of=lambda name: name.split("_")[0])
    boxes = [Localization(f"{i}_0.png", d, (10, 10, 20, 15), 0.5) for i in (1, 2) for d in diseases]
    gate = {(f"{i}_0.png", d): i != 1 for i in (1, 2, 3) for d in diseases} if gated else None
    return evaluated(coco, {"half": boxes}, gate, **inputs)


def half_comparison(
    diseases: tuple[str, ...] = NIH_BOXED_DISEASES,
    *,
    gated: bool = False,
    margin: float | None = None,
) -> Comparison:
    return half_evaluated(diseases, gated=gated, noninferiority_margin=margin).comparison


def sections_of(compared: Evaluated) -> tuple[Section, ...]:
    """What is said of the localizers themselves: means, accuracies, one against another."""
    return means(compared), accuracy(compared), paired(compared)


def tables_of(compared: Evaluated) -> list[ResultTable]:
    return [table for section in sections_of(compared) for table in section.tables]


def records(table: ResultTable) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(to_csv(table))))
