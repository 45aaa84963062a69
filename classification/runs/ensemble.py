"""Score images of unseen patients with one classifier or the mean of several.

Every member predicts every image, and the probabilities are averaged. Images are left out if a
member was trained or selected on their patient. So all folds of a cross-validation suit an external
test set (its own images have honest predictions in its out_of_fold.parquet), and the same fold of
several networks can also predict that fold's images.

For the operating point see `cxrloc.classification.runs.ensemble_thresholds`. Blank labels and the
parents of findings count as in the training (`cxrloc.datasets.label_policies`), so the figures
agree with those of the cross-validation.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np

from cxrloc.classification.bundle.classifier import ClassifierBundle
from cxrloc.classification.inference.any_gate import load_gate
from cxrloc.classification.inference.exported_gate import ExportedBundle, ExportedGate
from cxrloc.classification.inference.gate import Gate
from cxrloc.classification.metrics.bootstrap import MACRO_MEAN, FloatArray
from cxrloc.classification.metrics.folds import sample_figures
from cxrloc.classification.metrics.scored_images import OUTSIDE, YOUDEN, ScoredImages
from cxrloc.classification.report.tables import Cell, ResultTable, TableRow, Value
from cxrloc.classification.run_folder import RunFolder
from cxrloc.classification.runs.ensemble_thresholds import ensemble_thresholds
from cxrloc.datasets.images.read import print_left_out, read_radiograph, readable_images
from cxrloc.datasets.label_policies import LabelRules
from cxrloc.datasets.progress import progress
from cxrloc.datasets.provenance.image_lists import listed, read_training_images
from cxrloc.datasets.provenance.leakage import audit
from cxrloc.datasets.radiograph import Radiograph

_BATCH = 32  # images in memory at once


@dataclass(frozen=True)
class Ensemble:
    """Classifiers that predict images jointly.

    Attributes:
        paths: bundles of the members.
        gates: the members.
        diseases: diseases of all members, in order.
        rules: meaning of the scored labels, the same for all members.
    """

    paths: tuple[Path, ...]
    gates: tuple[Gate | ExportedGate, ...]
    diseases: tuple[str, ...]
    rules: LabelRules


@dataclass(frozen=True)
class Scored:
    """Images with the predictions of an ensemble.

    Attributes:
        images: with Youden's thresholds, if any.
        examination_thresholds: (D,) operating points of examinations, NaN for none.
        notes: notes on thresholds and labels, without a full stop.
    """

    images: ScoredImages
    examination_thresholds: FloatArray
    notes: tuple[str, ...]


def load_ensemble(paths: Sequence[Path], device: str, precision: str) -> Ensemble:
    """Load the bundles, or what `cxrloc export` made of them, as one ensemble.

    Raises:
        FileNotFoundError, ValueError: for a file that is neither, a repeated one, or bundles
            with different diseases or label rules.
    """
    if len({path.resolve() for path in paths}) < len(paths):
        raise ValueError(f"--gate: expected each bundle once, got {_names(paths)}")
    gates = tuple(load_gate(path, device, precision) for path in paths)
    bundles = [gate.bundle for gate in gates]
    diseases, rules = bundles[0].diseases, label_rules(bundles[0])
    for path, bundle in zip(paths, bundles, strict=True):
        if bundle.diseases != diseases:
            raise ValueError(
                f"{path} has the diseases {', '.join(bundle.diseases)}, but {paths[0]} has "
                f"{', '.join(diseases)}; an ensemble needs the same diseases in the same order"
            )
        if label_rules(bundle) != rules:
            raise ValueError(
                f"{path} was trained with {_rules_text(label_rules(bundle))}, but {paths[0]} with "
                f"{_rules_text(rules)}; an ensemble needs the same meaning of labels"
            )
    return Ensemble(tuple(paths), gates, diseases, rules)


def unseen_images(
    paths: Sequence[Path], radiographs: Sequence[Radiograph]
) -> tuple[list[Radiograph], list[str]]:
    """Images of patients that no bundle was trained or selected on, and notes on the others.

    Raises:
        ValueError: if none remains.
    """
    evaluated = listed(radiographs)
    images, patients, notes = set[str](), set[str](), []
    for path in paths:
        training = RunFolder(path.parent).training_images
        if not training.is_file():
            notes.append(f"Training images of {path} unknown: {training} is missing.")
            continue
        shared = audit(read_training_images(training), evaluated)
        images |= set(shared.shared_images)
        patients |= set(shared.shared_patients)
        notes += [f"{gap[:1].upper()}{gap[1:]}." for gap in shared.unknown]
    unseen = [r for r in radiographs if not evaluated.shows(r.image_id, images, patients)]
    if not unseen:
        out_of_fold = RunFolder(paths[0].parent.parent).out_of_fold
        raise ValueError(
            f"all {len(radiographs)} images show patients that a classifier was trained or "
            f"selected on; predictions of a cross-validation are in {out_of_fold}"
        )
    left_out = len(radiographs) - len(unseen)
    counted = f"Left out {left_out} images of patients that a classifier has seen."
    return unseen, [counted, *notes] if left_out else notes


def score_images(ensemble: Ensemble, radiographs: Sequence[Radiograph]) -> Scored:
    """Mean probabilities of the readable images, with notes on thresholds and labels.

    Args:
        radiographs: with labels as published; unreadable images are named and left out.

    Raises:
        FileNotFoundError, ValueError: if no image is readable, or out-of-fold images do not fit.
    """
    chosen = ensemble_thresholds(ensemble.paths, [g.bundle for g in ensemble.gates], radiographs)
    images = _predicted(ensemble, ensemble.rules.meaning(radiographs))
    notes = (chosen.note, f"Labels as in the training: {_rules_text(ensemble.rules)}")
    of_images, of_examinations = (
        np.array([cuts.get(d) for d in ensemble.diseases], dtype=np.float64)  # None is NaN
        for cuts in (chosen.images, chosen.examinations)
    )
    if not np.isnan(of_images).all():
        images = replace(images, thresholds={YOUDEN: np.tile(of_images, (len(images), 1))})
    return Scored(images, of_examinations, notes)


def _predicted(ensemble: Ensemble, radiographs: Sequence[Radiograph]) -> ScoredImages:
    read: list[Radiograph] = []
    scores = [np.zeros((0, len(ensemble.diseases)))]
    shown = progress(radiographs, "score images")
    images_on_disk = readable_images(shown, read_radiograph, print_left_out)
    while batch := list(islice(images_on_disk, _BATCH)):
        batch_of, images_read = zip(*batch, strict=True)
        read += batch_of
        scores.append(np.mean([gate(images_read).probabilities for gate in ensemble.gates], axis=0))
    if not read:
        raise ValueError(f"none of the {len(radiographs)} images is readable")
    return ScoredImages.of(read, ensemble.diseases, np.concatenate(scores), OUTSIDE)


def scores_table(
    images: ScoredImages, notes: Sequence[str], replicates: int = 1000, seed: int = 0
) -> ResultTable:
    """Figures per disease and their macro means, with intervals that resample patients."""
    figures = sample_figures(images, replicates, seed)
    heads = {"auc": "AUC", "ap": "AP", "brier": "Brier"}
    heads |= {f"{figure}_{YOUDEN}": figure for figure in ("sensitivity", "specificity")}
    cells: list[dict[str, Value]] = [{"positives / images": counts} for counts in _counts(images)]
    for name, head in heads.items():
        if name in figures:
            for row, estimate in zip(cells, figures[name].columns, strict=True):
                row[head] = Cell(estimate)
    names = (*images.diseases, MACRO_MEAN)
    return ResultTable(
        "scores",
        f"{len(images)} images of {len(set(images.patient_ids))} patients",
        tuple(TableRow("", {"disease": n}, row) for n, row in zip(names, cells, strict=True)),
        (*notes, f"Brackets: 95 % interval, {replicates} resamples of patients"),
    )


def _counts(images: ScoredImages) -> Iterator[str]:
    for labels in images.labels.T:
        yield f"{int((labels == 1).sum())} / {int((~np.isnan(labels)).sum())}"
    yield ""


def label_rules(bundle: ClassifierBundle | ExportedBundle) -> LabelRules:
    """The rules for scored images; `uncertain` applies only to training images and may differ."""
    # a bundle that was not made by a run has no configuration: use the defaults
    data = bundle.manifest.get("config", {}).get("data", {})
    return LabelRules(**{name: data[name] for name in ("blank", "closure") if name in data})


def _rules_text(rules: LabelRules) -> str:
    return f"data.blank {rules.blank}, data.closure {str(rules.closure).lower()}"


def _names(paths: Sequence[Path]) -> str:
    return ", ".join(map(str, paths))
