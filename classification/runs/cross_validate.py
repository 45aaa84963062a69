"""A cross-validation: all folds trained, then one report of every image out of fold."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cxrloc.classification.config import CrossValidationConfig
from cxrloc.classification.inference.gate_table import read_gate_table
from cxrloc.classification.metrics.ensembles import with_thresholds
from cxrloc.classification.metrics.scored_images import (
    OUT_OF_FOLD,
    VALIDATION,
    ScoredImages,
    join_images,
    read_scored_images,
)
from cxrloc.classification.report.examinations import part_tables
from cxrloc.classification.report.folds import write_fold_report
from cxrloc.classification.runs.predict import images_of_rows
from cxrloc.classification.runs.run import GATE_NAME, Part, Run
from cxrloc.classification.runs.train import METRICS_NAME, complete_run, input_hashes
from cxrloc.classification.training.distributed import process_group, run_on_rank_zero
from cxrloc.datasets.files.manifest import run_manifest, write_json

MANIFEST_NAME = "cross_validation.manifest.json"


def cross_validate(config: CrossValidationConfig) -> Path:
    """Train the folds that are not finished and report on all of them; returns the run folder.

    Raises:
        ValueError, FileNotFoundError: for settings, data or weights that do not work.
    """
    started = time.time()
    with process_group(config.train.device):
        run, parts = complete_run(config)
        run_on_rank_zero(_report, config, run, parts, started)
    return Path(config.out)


def _report(config: CrossValidationConfig, run: Run, parts: Sequence[Part], started: float) -> None:
    out, train = Path(config.out), config.train
    validation = [read_scored_images(part.folder / VALIDATION) for part in parts]
    images = join_images([_out_of_fold(run, part) for part in parts])
    images = with_thresholds(images, validation, config.sensitivity)
    histories = {part.fold or 0: _metrics(part)["history"] for part in parts}
    page = write_fold_report(
        out,
        images,
        histories,
        _stages(run, parts),
        part_tables(images, train.bootstrap, train.seed),
        replicates=train.bootstrap,
        seed=train.seed,
    )
    manifest = run_manifest(config, seed=train.seed, hashes=input_hashes(run), started=started)
    write_json(out / MANIFEST_NAME, manifest)
    print(
        page, f"results: {out / 'cross_validation.md'}, {out / OUT_OF_FOLD}", sep="\n", flush=True
    )


def _out_of_fold(run: Run, part: Part) -> ScoredImages:
    """The test images of a finished fold, as its gate.csv judges them."""
    return images_of_rows(run, read_gate_table(part.folder / GATE_NAME))


def _stages(run: Run, parts: Sequence[Part]) -> list[ScoredImages]:
    """All images out of fold as each of two stages judges them; none of a training in one."""
    stages = range(len(_metrics(parts[0]).get("stages", ())))
    return [join_images([_of_stage(run, part, stage) for part in parts]) for stage in stages]


def _of_stage(run: Run, part: Part, stage: int) -> ScoredImages:
    """The test images of a fold as one of its stages judges them."""
    noted = _metrics(part)["stages"][stage]
    if noted["chosen"]:  # the gate is of this stage
        return _out_of_fold(run, part)
    return read_scored_images((part.folder / noted["bundle"]).with_suffix(".parquet"))


def _metrics(part: Part) -> dict[str, Any]:
    metrics: dict[str, Any] = json.loads((part.folder / METRICS_NAME).read_text())
    return metrics
