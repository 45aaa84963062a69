"""What a run says of studies: studies.csv and studies.md in its folder, and their operating point.

Written where images have studies of several images.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from cxrloc.classification.inference.gate_table import read_gate_table
from cxrloc.classification.metrics.bootstrap import FloatArray
from cxrloc.classification.metrics.examinations import (
    by_level,
    has_multi_image_examinations,
    images_of,
    studies_of,
)
from cxrloc.classification.metrics.operating_point import OperatingPoint, operating_points
from cxrloc.classification.metrics.scored_images import ScoredImages
from cxrloc.classification.report.examinations import level_records, level_tables
from cxrloc.classification.report.fold_tables import POOLED
from cxrloc.classification.report.tables import page_markdown, write_records
from cxrloc.classification.runs.predict import images_of_rows
from cxrloc.classification.runs.run import Part, Run
from cxrloc.datasets.files.atomic import write_text

STUDY_POINTS = "study_operating_points"  # in a part's metrics.json


def study_points(validation: ScoredImages) -> dict[str, OperatingPoint]:
    """Operating point of studies per disease, on validation images; none without studies."""
    if not has_multi_image_examinations(validation.study_ids):
        return {}
    nothing = np.full(validation.scores.shape, np.nan)
    studies = studies_of(images_of(validation), validation.study_ids, nothing)
    return operating_points(studies.labels, studies.scores, validation.diseases)


def write_study_report(run: Run, parts: Sequence[Part]) -> str:
    """Write the tables over the test images of all parts; returns the page, empty without studies.

    Every image is judged by its own part's model and points.
    """
    rows = [(part, row) for part in parts for row in read_gate_table(part.files.gate)]
    images = images_of_rows(run, [row for _, row in rows])
    if not has_multi_image_examinations(images.study_ids):
        return ""
    points = {part.folder: _points(part.files.metrics) for part in parts}
    cuts = [points[part.folder].get(row.disease) for part, row in rows]
    study_thresholds: FloatArray = np.array(cuts, dtype=np.float64).reshape(images.scores.shape)
    train = run.config.train
    found = by_level(images, study_thresholds, train.bootstrap, train.seed)
    write_records(run.files.studies, level_records(found, run.diseases))
    tables = level_tables(found, run.diseases)
    if len(parts) > 1:
        tables = [replace(table, notes=(*table.notes, POOLED)) for table in tables]
    page = page_markdown(f"Studies: {run.files.path.name}", tables)
    write_text(run.files.studies_page, page)
    return page


def _points(metrics: Path) -> dict[str, float | None]:
    """Disease -> operating point of studies that a part chose; empty of an older part."""
    stored: Mapping[str, Any] = json.loads(metrics.read_text()).get(STUDY_POINTS, {})
    return {disease: point["threshold"] for disease, point in stored.items()}
