"""Save the bundles of a fold: the chosen network's, and the other stage's next to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cxrloc.classification.bundle.classifier import save_classifier
from cxrloc.classification.metrics.examinations import choose_points
from cxrloc.classification.metrics.operating_point import Points, thresholds_of
from cxrloc.classification.metrics.ranking import ClassifierMetrics, classifier_metrics
from cxrloc.classification.metrics.scored_images import write_scored_images
from cxrloc.classification.report.stages import StageFigures
from cxrloc.classification.runs.predict import FoldPrediction, scored_images
from cxrloc.classification.runs.run import Fold, Run
from cxrloc.classification.training.batches import ImageBatches


def report_stages(
    run: Run,
    fold: Fold,
    chosen: FoldPrediction,
    stages: Sequence[FoldPrediction],
    manifest: Mapping[str, Any],
) -> list[StageFigures]:
    """Report both stages; the other stage's bundle and scores are kept next to the gate."""
    validation, test = run.images(fold.split.validation), run.images(fold.split.test)
    figures = []
    for number, stage in enumerate(stages, start=1):
        best = stage.trained.best_epoch
        is_chosen = best == chosen.trained.best_epoch
        bundle = fold.files.classifier if is_chosen else fold.files.stage_classifier(number)
        if not is_chosen:
            on_validation = scored_images(run, fold, validation, stage.validation)
            save_bundle(bundle, stage, choose_points(on_validation), manifest)
            scored = scored_images(run, fold, test, stage.test)
            write_scored_images(bundle.with_suffix(".parquet"), scored)
        on = _metrics(run, validation, stage.validation), _metrics(run, test, stage.test)
        epochs = len(stage.trained.history)
        figures.append(StageFigures(number, epochs, best, bundle.name, is_chosen, *on))
    return figures


def save_bundle(
    path: Path,
    prediction: FoldPrediction,
    points: tuple[Points, Points],
    manifest: Mapping[str, Any],
) -> None:
    """Write the bundle with its thresholds for images and examinations."""
    images, examinations = map(thresholds_of, points)
    bundle = replace(prediction.bundle, thresholds=images, examination_thresholds=examinations)
    save_classifier(path, replace(bundle, manifest=manifest))


def _metrics(run: Run, images: ImageBatches, scores: npt.NDArray[np.float64]) -> ClassifierMetrics:
    settings = run.config.train
    return classifier_metrics(
        images.labels,
        scores,
        run.diseases,
        images.patients,
        replicates=settings.bootstrap,
        seed=settings.seed,
    )
