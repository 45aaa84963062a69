"""One report of every test image of a run, each as the model judges it that has not seen it."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Any

from cxrloc.classification.inference.gate_table import read_gate_table
from cxrloc.classification.metrics.ensembles import with_thresholds
from cxrloc.classification.metrics.scored_images import (
    ScoredImages,
    join_images,
    read_scored_images,
)
from cxrloc.classification.report.examinations import part_tables
from cxrloc.classification.report.folds import write_fold_report
from cxrloc.classification.runs.predict import images_of_rows
from cxrloc.classification.runs.run import Part, Run, input_hashes
from cxrloc.datasets.files.manifest import run_manifest, write_json


def report_out_of_fold(run: Run, parts: Sequence[Part]) -> None:
    """Write out_of_fold.parquet, cross_validation.* and their figures of finished parts."""
    started, train = time.time(), run.config.train
    validation = [read_scored_images(part.files.validation) for part in parts]
    images = join_images([_out_of_fold(run, part) for part in parts])
    images = with_thresholds(images, validation, run.config.sensitivity)
    histories = {part.fold or 0: _metrics(part)["history"] for part in parts}
    page = write_fold_report(
        run.files.path,
        images,
        histories,
        _stages(run, parts),
        part_tables(images, train.bootstrap, train.seed),
        replicates=train.bootstrap,
        seed=train.seed,
    )
    hashes = input_hashes(run)
    manifest = run_manifest(run.config, seed=train.seed, hashes=hashes, started=started)
    write_json(run.files.out_of_fold_manifest, manifest)
    written = f"results: {run.files.out_of_fold_page}, {run.files.out_of_fold}"
    print(page, written, sep="\n", flush=True)


def _out_of_fold(run: Run, part: Part) -> ScoredImages:
    """The test images of a finished fold, as its gate.csv judges them."""
    return images_of_rows(run, read_gate_table(part.files.gate))


def _stages(run: Run, parts: Sequence[Part]) -> list[ScoredImages]:
    """All images out of fold as each of two stages judges them; none of a training in one."""
    stages = range(len(_metrics(parts[0]).get("stages", ())))
    return [join_images([_of_stage(run, part, stage) for part in parts]) for stage in stages]


def _of_stage(run: Run, part: Part, stage: int) -> ScoredImages:
    noted = _metrics(part)["stages"][stage]
    if noted["chosen"]:  # the gate is of this stage
        return _out_of_fold(run, part)
    return read_scored_images((part.folder / noted["bundle"]).with_suffix(".parquet"))


def _metrics(part: Part) -> dict[str, Any]:
    metrics: dict[str, Any] = json.loads(part.files.metrics.read_text())
    return metrics
