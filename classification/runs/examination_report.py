"""Report a run's examinations in its folder as studies.csv and studies.md.

Only written if some examination has several images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NotRequired

import numpy as np
from typing_extensions import TypedDict

from cxrloc.classification.metrics.examinations import by_level, has_multi_image_examinations
from cxrloc.classification.metrics.scored_images import ScoredImages
from cxrloc.classification.report.examinations import level_records, level_tables
from cxrloc.classification.report.fold_tables import POOLED
from cxrloc.classification.report.tables import page_markdown, write_records
from cxrloc.classification.runs.run import Fold, Run
from cxrloc.datasets.files.atomic import write_text
from cxrloc.datasets.files.checked import Name, Share, checked
from cxrloc.datasets.files.parse import read_json

EXAMINATION_POINTS = "study_operating_points"  # in a fold's metrics.json


def write_examination_report(run: Run, folds: Sequence[Fold], images: ScoredImages) -> str:
    """Write the tables over the test images of all folds; return the page, or an empty text.

    The text is empty if no examination has several images.

    Args:
        images: of all folds, each predicted by its own fold's model at that model's points.
    """
    if not has_multi_image_examinations(images.study_ids):
        return ""
    examination_thresholds = np.full(images.scores.shape, np.nan)
    for fold in folds:
        points = read_points(fold.files.metrics)
        cuts = np.array([points.get(d) for d in run.diseases], dtype=np.float64)  # None is NaN
        examination_thresholds[images.folds == (fold.number or 0)] = cuts
    train = run.config.train
    levels = by_level(images, examination_thresholds, train.bootstrap, train.seed)
    write_records(run.files.examinations, level_records(levels, run.diseases))
    tables = level_tables(levels, run.diseases)
    if len(folds) > 1:
        tables = [replace(table, notes=(*table.notes, POOLED)) for table in tables]
    page = page_markdown(f"Examinations: {run.files.path.name}", tables)
    write_text(run.files.examinations_page, page)
    return page


def read_points(metrics: Path) -> dict[str, float | None]:
    """Disease -> operating point of examinations chosen by a fold; empty if it chose none."""
    stored: _Metrics = checked(
        read_json(metrics), _Metrics, str(metrics), "run the training's command again"
    )
    points = stored.get("study_operating_points", {})
    return {disease: point["threshold"] for disease, point in points.items()}


class _Point(TypedDict):
    threshold: Share | None


class _Metrics(TypedDict):
    study_operating_points: NotRequired[dict[Name, _Point]]
