"""A comparison of a localizer that finds half of each box, and its tables as records."""

from __future__ import annotations

import csv
import io
from typing import Any

from cxrloc.classification.report.tables import (
    ResultTable,
    to_csv,
)
from cxrloc.datasets.labels import NIH_BOXED_DISEASES
from cxrloc.localization.evaluation.comparison import Comparison, compare
from cxrloc.localization.localizer import Localization


def half_comparison(
    diseases: tuple[str, ...] = NIH_BOXED_DISEASES,
    *,
    gated: bool = False,
    margin: float | None = None,
) -> Comparison:
    """Three patients, one box of each disease; `half` finds two of three with IoU .5, IoBB 1."""
    images = [
        {"id": i, "file_name": f"{i}_0.png", "width": 64, "height": 64, "patient_id": str(i)}
        for i in (1, 2, 3)
    ]
    pairs = [(i, c) for i in (1, 2, 3) for c in range(1, len(diseases) + 1)]
    coco: dict[str, Any] = {
        "images": images,
        "categories": [{"id": c, "name": d} for c, d in enumerate(diseases, start=1)],
        "annotations": [
            {"id": k, "image_id": i, "category_id": c, "bbox": [10, 10, 10, 10], "iscrowd": 0}
            for k, (i, c) in enumerate(pairs, start=1)
        ],
    }
    found = [Localization(f"{i}_0.png", d, (10, 10, 20, 15), 0.5) for i in (1, 2) for d in diseases]
    gate = {(f"{i}_0.png", d): i != 1 for i in (1, 2, 3) for d in diseases} if gated else None
    return compare(coco, {"half": found}, gate, resamples=50, noninferiority_margin=margin)


def records(table: ResultTable) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(to_csv(table))))
