"""A whole classifier run: one bundle per split or fold, out-of-fold decisions, pooled metrics."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cxrloc.classification.bundle import RESEARCH_USE
from cxrloc.classification.config import ClassifierConfig
from cxrloc.classification.data import FilmBatches, mean_box_sizes
from cxrloc.classification.gate import Gate, GateRow, decide, read_gate_table, write_gate_table
from cxrloc.classification.losses import CLASSES
from cxrloc.classification.metrics import ClassifierMetrics, classifier_metrics
from cxrloc.classification.metrics_page import metrics_markdown
from cxrloc.classification.models import (
    ClassifierBundle,
    build_classifier,
    present_against_absent,
    save_classifier,
)
from cxrloc.classification.operating_point import OperatingPoint, operating_points
from cxrloc.classification.plots import plot_losses, plot_roc
from cxrloc.classification.preprocessing import INPUTS
from cxrloc.classification.run_parts import (
    BUNDLE_NAME,
    GATE_NAME,
    Part,
    Run,
    claim,
    list_films,
    make_parts,
    open_run,
    write_gate_provenance,
)
from cxrloc.classification.scored_films import VALIDATION, ScoredFilms, write_scored_films
from cxrloc.classification.stage_report import StageFigures, stages_markdown
from cxrloc.classification.training import Trained, forget_checkpoints, preprocessing_of, train
from cxrloc.classification.weights import LoadReport
from cxrloc.datasets.files import write_text
from cxrloc.datasets.manifest import file_sha256, run_manifest, write_json
from cxrloc.datasets.radiograph import label_matrix

METRICS_NAME = "metrics.json"


def run_classifier(config: ClassifierConfig) -> Path:
    """Train what is not trained yet and write the run folder; returns it.

    A finished part is skipped and an interrupted one goes on, provided that the settings are the
    same. The folder gets a bundle, metrics, figures, logs and the list of training films for each
    part, and `gate.csv` and `metrics.*` over the test images of all parts.

    Raises:
        ValueError, FileNotFoundError: for settings, data or weights that do not work.
    """
    complete_run(config)
    return Path(config.out)


def complete_run(config: ClassifierConfig) -> tuple[Run, list[Part]]:
    """What `run_classifier` does; returns the run and its parts, all of them finished."""
    run = open_run(config)
    parts = make_parts(run)
    for number, part in enumerate(parts, start=1):
        sizes = [len(getattr(part.split, name)) for name in ("train", "validation", "test")]
        what = f"part {number} of {len(parts)}"
        what += "" if part.fold is None else f" (test fold {part.fold})"
        images = "train {}, validation {}, test {} images".format(*sizes)
        done = (part.folder / BUNDLE_NAME).is_file()
        print(f"{what}: {images}{': finished before, skipped' if done else ''}", flush=True)
        claim(run, part)
        if not done:
            _run_part(run, part)
        list_films(run, part)
    out = Path(config.out)
    if parts[0].fold is not None:
        _pool(run, parts, out)
    print(f"results: {out / 'metrics.md'}, {out / GATE_NAME}. {RESEARCH_USE}", flush=True)
    return run, parts


def _run_part(run: Run, part: Part) -> None:
    """Train, choose thresholds on validation films, score the test films; the bundle is last."""
    started = time.time()
    trained, report = _train_part(run, part)
    bundle = _untested_bundle(run, part, trained)
    validation, test = run.films(part.split.validation), run.films(part.split.test)
    judged = judge(run, bundle, validation)
    points = operating_points(validation.labels, judged, run.diseases)
    thresholds = {d: point.threshold for d, point in points.items()}
    rows = _rows(test, judge(run, bundle, test), thresholds, run.diseases, part.fold)
    seed = run.config.train.seed
    manifest = run_manifest(run.config, seed=seed, hashes=input_hashes(run), started=started)
    manifest |= run.label_facts
    stages = _report_stages(run, part, trained, manifest)
    details = {
        "best_epoch": trained.best_epoch,
        "history": trained.history,
        "operating_points": {d: asdict(p) for d, p in points.items()},
        "weights": asdict(report),
        **({"stages": [stage.to_json() for stage in stages]} if stages else {}),
    }
    if part.fold is not None:
        write_scored_films(part.folder / VALIDATION, scored_films(run, part, validation, judged))
    notes, more = _threshold_notes(points), stages_markdown(stages)
    print(_write_scores(run, part.folder, rows, details, notes, more), flush=True)
    plot_losses(part.folder / "loss.png", trained.history, trained.best_epoch)
    finished = replace(bundle, thresholds=thresholds, manifest=manifest)
    save_classifier(part.folder / BUNDLE_NAME, finished)
    forget_checkpoints(part.folder)


def _train_part(run: Run, part: Part) -> tuple[Trained, LoadReport]:
    settings = run.config.model
    three_class = run.config.data.uncertain == "three_class"
    outputs = len(run.diseases) * (CLASSES if three_class else 1)
    model, report = build_classifier(
        settings.architecture, outputs, settings.head, settings.weights,
        hidden=settings.hidden, seed=run.config.train.seed, in_channels=INPUTS[settings.input],
    )  # fmt: skip
    print(report, flush=True)
    films = run.training_films(part.split.train), run.films(part.split.validation)
    trained = train(model, films, run.config, part.folder)
    return _folded(trained) if three_class else trained, report


def _folded(trained: Trained) -> Trained:
    """Networks of three classes a disease with one output a disease."""
    stages = tuple(_folded(stage) for stage in trained.stages)
    return replace(trained, model=present_against_absent(trained.model), stages=stages)


def _untested_bundle(run: Run, part: Part, trained: Trained) -> ClassifierBundle:
    train_ids = "\n".join(sorted(part.split.train))
    return ClassifierBundle(
        model=trained.model,
        diseases=run.diseases,
        thresholds=dict.fromkeys(run.diseases),
        preprocessing=preprocessing_of(run.config, run.films(part.split.train), part.folder),
        mean_box_sizes=mean_box_sizes([run.radiographs[i] for i in part.split.train], run.diseases),
        manifest={},
        metadata={
            "fold": part.fold,
            "k": None if part.fold is None else run.prepared.k,
            "train_ids_sha256": hashlib.sha256(train_ids.encode()).hexdigest(),
        },
    )


def _report_stages(
    run: Run, part: Part, trained: Trained, manifest: Mapping[str, Any]
) -> list[StageFigures]:
    """Figures of both stages; the other one's bundle and scores are kept beside the gate."""
    validation, test = run.films(part.split.validation), run.films(part.split.test)
    figures = []
    for number, stage in enumerate(trained.stages, start=1):
        chosen = stage.best_epoch == trained.best_epoch
        name = BUNDLE_NAME if chosen else f"classifier_stage{number}.safetensors"
        bundle = _untested_bundle(run, part, stage)
        judged, tested = judge(run, bundle, validation), judge(run, bundle, test)
        if not chosen:
            points = operating_points(validation.labels, judged, run.diseases)
            thresholds = {d: point.threshold for d, point in points.items()}
            kept = replace(bundle, thresholds=thresholds, manifest=manifest)
            save_classifier(part.folder / name, kept)
            if part.fold is not None:
                scored = scored_films(run, part, test, tested)
                write_scored_films((part.folder / name).with_suffix(".parquet"), scored)
        on = [_metrics(run, validation, judged), _metrics(run, test, tested)]
        epochs = len(stage.history)
        figures.append(StageFigures(number, epochs, stage.best_epoch, name, chosen, *on))
    return figures


def _metrics(run: Run, films: FilmBatches, scores: npt.NDArray[np.float64]) -> ClassifierMetrics:
    settings = run.config.train
    return classifier_metrics(
        films.labels, scores, run.diseases, films.patients,
        replicates=settings.bootstrap, seed=settings.seed,
    )  # fmt: skip


def judge(run: Run, bundle: ClassifierBundle, films: FilmBatches) -> npt.NDArray[np.float64]:
    """Probabilities (N, D), by the same code that judges films later."""
    train_settings = run.config.train
    gate = Gate(bundle, train_settings.device, train_settings.precision)
    step = 64
    batches = [range(s, min(s + step, len(films))) for s in range(0, len(films), step)]
    columns = len(run.diseases)
    scores = [gate.forward_squares(films.squares(batch))[0] for batch in batches]
    return np.concatenate([np.zeros((0, columns)), *scores])


def scored_films(
    run: Run, part: Part, films: FilmBatches, scores: npt.NDArray[np.float64]
) -> ScoredFilms:
    """Films of a fold with their probabilities (N, D) and labels."""
    assert part.fold is not None
    folds = np.full(len(films), part.fold, dtype=np.int64)
    return ScoredFilms(run.diseases, films.image_ids, films.patients, folds, scores, films.labels)


def _rows(
    films: FilmBatches,
    scores: npt.NDArray[np.float64],
    thresholds: dict[str, float | None],
    diseases: Sequence[str],
    fold: int | None,
) -> list[GateRow]:
    present = decide(scores, diseases, thresholds)
    return [
        GateRow(image, patient, d, float(scores[i, j]), thresholds[d], bool(present[i, j]), fold)
        for i, (image, patient) in enumerate(zip(films.image_ids, films.patients, strict=True))
        for j, d in enumerate(diseases)
    ]


def _write_scores(
    run: Run,
    folder: Path,
    rows: Sequence[GateRow],
    extra: Mapping[str, Any],
    notes: Mapping[str, str] | None,
    more: str = "",
) -> str:
    """gate.csv, metrics.json, metrics.md and roc.png of a decision table; returns the page.

    `extra` goes into the JSON and `more` below the page.
    """
    image_ids = list(dict.fromkeys(row.image_id for row in rows))
    films = [run.radiographs[i] for i in image_ids]
    labels = label_matrix(films, run.diseases)
    scores = np.array([row.probability for row in rows]).reshape(-1, len(run.diseases))
    metrics = classifier_metrics(
        labels, scores, run.diseases, [r.patient_id for r in films],
        replicates=run.config.train.bootstrap, seed=run.config.train.seed,
    )  # fmt: skip
    write_gate_table(folder / GATE_NAME, rows)
    page = metrics_markdown(metrics, f"Gate on {len(films)} test images", notes) + more
    write_text(folder / "metrics.md", page)
    plot_roc(folder / "roc.png", labels, scores, metrics)
    test = {"images": len(films), **metrics.to_json()}
    write_json(folder / METRICS_NAME, {"test": test, **extra, "notice": RESEARCH_USE})
    return page


def _pool(run: Run, parts: Sequence[Part], out: Path) -> None:
    """Decisions and metrics over the test images of all folds, each judged by its own fold."""
    rows = [row for part in parts for row in read_gate_table(part.folder / GATE_NAME)]
    folds = [part.fold for part in parts]
    page = _write_scores(run, out, rows, {"folds": folds, "k": run.prepared.k}, None)
    write_gate_provenance(out, parts)
    if len(parts) > 1:
        print(page, flush=True)


def input_hashes(run: Run) -> dict[str, str]:
    """Name -> SHA-256 of what the run was made from, for its manifest."""
    root, weights = run.prepared.root, Path(run.config.model.weights)
    files = {"index": root / "index.parquet", "folds": root / "folds.csv", "weights": weights}
    own = {name: file_sha256(path) for name, path in files.items() if path.is_file()}
    return {**run.prepared.manifest["hashes"], **own}


def _threshold_notes(points: dict[str, OperatingPoint]) -> dict[str, str]:
    """Disease -> its threshold, or why it has none, for the last column of the metrics page."""
    return {
        d: f"none, never called present: {p.reason}"
        if p.threshold is None
        else f"{p.threshold:.4f}"
        for d, p in points.items()
    }
