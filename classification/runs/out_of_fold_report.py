"""Report every test image of a run at once, each predicted by the model that never saw it."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Any

from cxrloc.classification.metrics.ensembles import with_thresholds
from cxrloc.classification.metrics.scored_images import (
    ScoredImages,
    join_images,
    read_scored_images,
)
from cxrloc.classification.report.examinations import part_tables
from cxrloc.classification.report.folds import write_fold_report
from cxrloc.classification.runs.run import Fold, Run, input_hashes
from cxrloc.datasets.files.manifest import run_manifest, write_json
from cxrloc.datasets.prepared.summary import patients_note


def report_out_of_fold(run: Run, folds: Sequence[Fold], images: ScoredImages) -> None:
    """Write out_of_fold.parquet, cross_validation.* and their figures for finished folds.

    Args:
        folds: all folds of the run.
        images: their test images, as in each gate.csv.
    """
    started, train = time.time(), run.config.train
    validation = [read_scored_images(fold.files.validation) for fold in folds]
    with_both_rules = with_thresholds(images, validation, run.config.sensitivity)
    histories = {fold.number or 0: _metrics(fold)["history"] for fold in folds}
    page = write_fold_report(
        run.files.path,
        with_both_rules,
        histories,
        _stages(folds, images),
        part_tables(with_both_rules, train.bootstrap, train.seed),
        patients_note(run.prepared.radiographs),
        replicates=train.bootstrap,
        seed=train.seed,
    )
    hashes = input_hashes(run)
    folder = run.files.path
    manifest = run_manifest(
        run.config, seed=train.seed, hashes=hashes, started=started, folder=folder
    )
    write_json(run.files.out_of_fold_manifest, manifest)
    written = f"results: {run.files.out_of_fold_page}, {run.files.out_of_fold}"
    print(page, written, sep="\n", flush=True)


def _stages(folds: Sequence[Fold], images: ScoredImages) -> list[ScoredImages]:
    """All out-of-fold images as predicted by each of two stages; empty for a single stage."""
    stages = range(len(_metrics(folds[0]).get("stages", ())))
    return [join_images([_of_stage(fold, images, stage) for fold in folds]) for stage in stages]


def _of_stage(fold: Fold, images: ScoredImages, stage: int) -> ScoredImages:
    stage_record = _metrics(fold)["stages"][stage]
    if stage_record["chosen"]:  # the gate comes from this stage
        return images.select(images.folds == (fold.number or 0))
    return read_scored_images((fold.folder / stage_record["bundle"]).with_suffix(".parquet"))


def _metrics(fold: Fold) -> dict[str, Any]:
    metrics: dict[str, Any] = json.loads(fold.files.metrics.read_text())
    return metrics
