"""Run a whole classifier training: bundles per split or fold, gate decisions, pooled metrics."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cxrloc.classification.bundle.preprocessing import INPUTS
from cxrloc.classification.config import ClassifierConfig
from cxrloc.classification.inference.gate_output import decide
from cxrloc.classification.inference.gate_table import GateRow, read_gate_table, write_gate_table
from cxrloc.classification.metrics.examinations import choose_points
from cxrloc.classification.metrics.operating_point import Points, thresholds_of
from cxrloc.classification.metrics.ranking import classifier_metrics
from cxrloc.classification.metrics.scored_images import ScoredImages, write_scored_images
from cxrloc.classification.network.backbones import ARCHITECTURES, STAGES
from cxrloc.classification.network.classifier import (
    CLASSES,
    build_classifier,
    present_against_absent,
)
from cxrloc.classification.network.weights import LoadReport, random_and_frozen
from cxrloc.classification.report.examinations import part_tables
from cxrloc.classification.report.run_page import metrics_table, plot_losses, plot_roc
from cxrloc.classification.report.stages import (
    random_notes,
    stage_tables,
)
from cxrloc.classification.report.tables import ResultTable, tables_markdown, to_markdown
from cxrloc.classification.run_folder import RunFolder
from cxrloc.classification.runs.bundles import report_stages, save_bundle
from cxrloc.classification.runs.examination_report import (
    EXAMINATION_POINTS,
    write_examination_report,
)
from cxrloc.classification.runs.out_of_fold_report import report_out_of_fold
from cxrloc.classification.runs.predict import (
    FoldPrediction,
    images_of_rows,
    predict_fold,
    scored_images,
)
from cxrloc.classification.runs.run import (
    Fold,
    Run,
    check_or_write_settings,
    input_hashes,
    list_images,
    make_folds,
    open_run,
    write_gate_provenance,
)
from cxrloc.classification.training.batches import ImageBatches
from cxrloc.classification.training.distributed import (
    member,
    process_group,
    run_on_rank_zero,
    sole_run,
)
from cxrloc.classification.training.losses.boxes import location_prior
from cxrloc.classification.training.stages import Trained, train
from cxrloc.classification.training.trainer import forget_checkpoints
from cxrloc.datasets.files.atomic import write_text
from cxrloc.datasets.files.manifest import RESEARCH_USE, run_manifest, write_json
from cxrloc.datasets.prepared.summary import patients_note


def run_classifier(config: ClassifierConfig) -> Path:
    """Train whatever is not trained yet, write the run folder and return it.

    A finished fold is skipped and an interrupted one resumes, if the settings are unchanged. Each
    fold gets a bundle, metrics, figures, logs and the list of training images. Over the test images
    of all folds there are `gate.csv`, `metrics.*` and, unless only one fold is run, the out-of-fold
    report. Under torchrun all processes work on it together.

    Raises:
        ValueError, FileNotFoundError: for unusable settings, data or weights.
    """
    out = Path(config.out)
    # trainings of single folds may run at once into the folder that they share
    shared = config.data.split == "folds" and config.data.fold != "all"
    with process_group(config.train.device, None if shared else out):
        _run(config)
    return out


def _run(config: ClassifierConfig) -> None:
    member().images_per_step(config.train.batch_size)  # checks itself before anything slow
    run = open_run(config)
    folds = make_folds(run)
    for number, fold in enumerate(folds, start=1):
        done = run_on_rank_zero(_begin_fold, run, fold)
        print(_headline(fold, f"training {number} of {len(folds)}", done), flush=True)
        if not done:
            with sole_run(fold.folder):
                _run_fold(run, fold)
        run_on_rank_zero(list_images, run, fold)
    run_on_rank_zero(_finish, run, folds)


def _begin_fold(run: Run, fold: Fold) -> bool:
    """Claim the fold's folder; return whether the fold was already finished."""
    check_or_write_settings(run, fold)
    return fold.files.classifier.is_file()


def _headline(fold: Fold, what: str, done: bool) -> str:
    sizes = [len(getattr(fold.split, name)) for name in ("train", "validation", "test")]
    what += "" if fold.number is None else f" (test fold {fold.number})"
    images = "train {}, validation {}, test {} images".format(*sizes)
    return f"{what}: {images}{': already finished, skipped' if done else ''}"


def _finish(run: Run, folds: Sequence[Fold]) -> None:
    rows = [row for fold in folds for row in read_gate_table(fold.files.gate)]
    images = images_of_rows(run, rows)
    if folds[0].number is not None:
        _pool(run, folds, rows, images)
    print(write_examination_report(run, folds, images), flush=True)
    if folds[0].number is None or run.config.data.fold == "all":
        report_out_of_fold(run, folds, images)
    files = run.files
    print(f"results: {files.metrics_page}, {files.gate}. {RESEARCH_USE}.", flush=True)


def _run_fold(run: Run, fold: Fold) -> None:
    """Train, choose thresholds on validation images, score the test images, save the bundle."""
    started = time.time()
    trained, report = _train_fold(run, fold)
    chosen = predict_fold(run, fold, trained)
    stages = [
        replace(chosen, trained=stage)
        if stage.best_epoch == trained.best_epoch
        else predict_fold(run, fold, stage)
        for stage in trained.stages
    ]
    run_on_rank_zero(_write_fold, run, fold, chosen, stages, report, started)


def _write_fold(
    run: Run,
    fold: Fold,
    chosen: FoldPrediction,
    predicted_stages: Sequence[FoldPrediction],
    report: LoadReport,
    started: float,
) -> None:
    validation, test = run.images(fold.split.validation), run.images(fold.split.test)
    scored = scored_images(run, fold, validation, chosen.validation)
    points, of_examinations = choose_points(scored)
    rows = _rows(test, chosen.test, thresholds_of(points), run.diseases, fold.number)
    seed, trained = run.config.train.seed, chosen.trained
    manifest = run_manifest(
        run.config, seed=seed, hashes=input_hashes(run), started=started, folder=fold.folder
    )
    manifest |= {**run.label_facts, "patients": list(patients_note(run.prepared.radiographs))}
    stages = report_stages(run, fold, chosen, predicted_stages, manifest)
    details = {
        "best_epoch": trained.best_epoch,
        "history": trained.history,
        "operating_points": {d: asdict(p) for d, p in points.items()},
        "weights": asdict(report),
        **(
            {EXAMINATION_POINTS: {d: asdict(p) for d, p in of_examinations.items()}}
            if of_examinations
            else {}
        ),
        **({"stages": [stage.to_json() for stage in stages]} if stages else {}),
    }
    write_scored_images(fold.files.validation, scored)
    notes, more = _threshold_notes(points), stage_tables(stages, _random_layers(run, report))
    decisions = rows, images_of_rows(run, rows)
    print(_write_scores(run, fold.files, decisions, details, notes, more), flush=True)
    plot_losses(fold.folder / "loss.png", trained.history, trained.best_epoch)
    save_bundle(fold.files.classifier, chosen, (points, of_examinations), manifest)
    forget_checkpoints(fold.folder)


def _train_fold(run: Run, fold: Fold) -> tuple[Trained, LoadReport]:
    settings = run.config.model
    three_class = run.config.data.uncertain == "three_class"
    outputs = len(run.diseases) * (CLASSES if three_class else 1)
    model, report = build_classifier(
        settings.architecture,
        outputs,
        settings.head,
        settings.weights,
        seed=run.config.train.seed,
        in_channels=INPUTS[settings.input],
        demographics=settings.demographics,
        map_stride=settings.map_stride,
        lse_r=settings.lse_r,
    )
    notes = random_notes(_random_layers(run, report))
    print(report, *(f"{note}." for note in notes), sep="\n", flush=True)
    images = run.training_images(fold.split.train), run.images(fold.split.validation)
    trained = train(model, images, run.config, fold.folder)
    if images[0].regions is not None:
        prior = location_prior(images[0].regions, -(-settings.size // settings.map_stride))
        for stage in (trained, *trained.stages):
            stage.model.guide(prior)
    return _folded(trained) if three_class else trained, report


def _random_layers(run: Run, report: LoadReport) -> tuple[str, ...]:
    """Layers frozen by some stage although the initial weights lack tensors of them."""
    stages = STAGES if run.config.train.two_stage else run.config.model.frozen_stages
    stage_layers = ARCHITECTURES[run.config.model.architecture].family.stages[:stages]
    return random_and_frozen(report, [layer for stage in stage_layers for layer in stage])


def _folded(trained: Trained) -> Trained:
    """Convert networks with three classes per disease to one output per disease."""
    stages = tuple(_folded(stage) for stage in trained.stages)
    return replace(trained, model=present_against_absent(trained.model), stages=stages)


def _rows(
    images: ImageBatches,
    scores: npt.NDArray[np.float64],
    thresholds: dict[str, float | None],
    diseases: Sequence[str],
    fold: int | None,
) -> list[GateRow]:
    present = decide(scores, diseases, thresholds)
    return [
        GateRow(image, patient, d, float(scores[i, j]), thresholds[d], bool(present[i, j]), fold)
        for i, (image, patient) in enumerate(zip(images.image_ids, images.patients, strict=True))
        for j, d in enumerate(diseases)
    ]


def _write_scores(
    run: Run,
    folder: RunFolder,
    decisions: tuple[Sequence[GateRow], ScoredImages],
    extra: Mapping[str, Any],
    notes: Mapping[str, str] | None,
    more: Sequence[ResultTable] = (),
) -> str:
    """Write gate.csv, metrics.json, metrics.md and roc.png for decisions; return the page.

    Args:
        decisions: the rows of the table, and their images.
        extra: additional content of the JSON.
        notes: notes for the table of metrics.
        more: tables printed below it.
    """
    (rows, images), settings = decisions, run.config.train
    replicates, seed = settings.bootstrap, settings.seed
    metrics = classifier_metrics(
        images.labels,
        images.scores,
        run.diseases,
        images.patient_ids,
        replicates=replicates,
        seed=seed,
    )
    write_gate_table(folder.gate, rows)
    unknown = patients_note(run.prepared.radiographs)
    table = metrics_table(metrics, f"Gate on {len(images)} test images", notes)
    page = to_markdown(replace(table, notes=(*unknown, *table.notes)))
    page += tables_markdown([*part_tables(images, replicates, seed), *more])
    write_text(folder.metrics_page, page)
    plot_roc(folder.path / "roc.png", images, metrics)
    test = {"images": len(images), **metrics.to_json()}
    write_json(folder.metrics, {"test": test, **extra, "notice": f"{RESEARCH_USE}."})
    return page


def _pool(run: Run, folds: Sequence[Fold], rows: Sequence[GateRow], images: ScoredImages) -> None:
    """Decisions and metrics over the test images of all folds, each predicted by its own fold."""
    details = {"folds": [fold.number for fold in folds], "k": run.prepared.k}
    page = _write_scores(run, run.files, (rows, images), details, None)
    write_gate_provenance(run.files, folds)
    if len(folds) > 1:
        print(page, flush=True)


def _threshold_notes(points: Points) -> dict[str, str]:
    """Disease -> its threshold, or why it has none, for the last column of the metrics page."""
    return {
        d: f"none, never predicted present: {p.reason}"
        if p.threshold is None
        else f"{p.threshold:.4f}"
        for d, p in points.items()
    }
