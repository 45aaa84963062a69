"""One classifier or the mean of several on films of patients that none of them has seen.

Every member judges every film, and their probabilities are averaged. Films whose patient a member
was trained or chosen on are left out. So all folds of a cross-validation are for a test set outside
of it (its own films are judged honestly in its out_of_fold.parquet), and the same fold of several
networks can judge the films of that fold too.

The operating point. One classifier brings its own thresholds. Of several, the mean of their
thresholds is no threshold of their mean. Films out of fold that no member has seen, on which the
mean itself could be tried, are there only where a fold is no member, and then they are mostly the
ones that are scored. So the thresholds are Youden's on the out-of-fold films of patients who are
not scored, each judged by the fold that had not seen it (of several networks by the mean over
networks). A mean of folds scatters less than one fold does: sensitivity and specificity on new
films will differ from those aimed at, and are reported where labels are.

The labels. What blank labels count as, and whether a finding has its parents, is as in the training
(`cxrloc.datasets.uncertain_labels`), so that figures agree with those of the cross-validation.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
from tqdm import tqdm

from cxrloc.classification.ensembles import mean_of
from cxrloc.classification.fold_metrics import sample_figures
from cxrloc.classification.gate import Gate
from cxrloc.classification.models import ClassifierBundle, load_classifier
from cxrloc.classification.operating_point import operating_points
from cxrloc.classification.run_parts import BUNDLE_NAME
from cxrloc.classification.scored_films import (
    OUT_OF_FOLD,
    OUTSIDE,
    YOUDEN,
    ScoredFilms,
    read_scored_films,
)
from cxrloc.classification.text_tables import TextTable
from cxrloc.datasets.film_lists import TRAINING_FILMS, FilmList, read_training_films
from cxrloc.datasets.image_files import UnreadableImageError, read_grey
from cxrloc.datasets.leakage import audit
from cxrloc.datasets.radiograph import Film, Radiograph, label_matrix
from cxrloc.datasets.uncertain_labels import LabelRules

_BATCH = 32  # films in memory at once


@dataclass(frozen=True)
class Ensemble:
    """Classifiers that judge films together.

    Attributes:
        paths: bundles of the members.
        gates: the members.
        diseases: of all members, in order.
        rules: what the labels of scored films mean to all members.
    """

    paths: tuple[Path, ...]
    gates: tuple[Gate, ...]
    diseases: tuple[str, ...]
    rules: LabelRules


def load_ensemble(paths: Sequence[Path], device: str, precision: str) -> Ensemble:
    """The bundles as one ensemble.

    Raises:
        FileNotFoundError, ValueError: for a file that is no bundle, one given twice, or bundles of
            different diseases or label rules.
    """
    if len({path.resolve() for path in paths}) < len(paths):
        raise ValueError(f"--classifier: expected each bundle once, got {_names(paths)}")
    bundles = [load_classifier(path) for path in paths]
    diseases, rules = bundles[0].diseases, _label_rules(bundles[0])
    for path, bundle in zip(paths, bundles, strict=True):
        if bundle.diseases != diseases:
            raise ValueError(
                f"{path} knows {', '.join(bundle.diseases)}, but {paths[0]} "
                f"{', '.join(diseases)}; an ensemble needs the same diseases in the same order"
            )
        if _label_rules(bundle) != rules:
            raise ValueError(
                f"{path} was trained with {_rules_text(_label_rules(bundle))}, but {paths[0]} with "
                f"{_rules_text(rules)}; an ensemble needs the same meaning of labels"
            )
    gates = tuple(Gate(bundle, device, precision) for bundle in bundles)
    return Ensemble(tuple(paths), gates, diseases, rules)


def unseen_films(
    paths: Sequence[Path], radiographs: Sequence[Radiograph]
) -> tuple[list[Radiograph], list[str]]:
    """Films of patients that no bundle was trained or chosen on, and what a reader must know.

    Raises:
        ValueError: when none is left.
    """
    evaluated = FilmList({r.image_id: r.patient_id for r in radiographs})
    images, patients, notes = set[str](), set[str](), []
    for path in paths:
        listed = path.parent / TRAINING_FILMS
        if not listed.is_file():
            notes.append(f"Not known: what {path} was trained on, as {listed} is not there.")
            continue
        shared = audit(read_training_films(listed), evaluated)
        images |= set(shared.shared_images)
        patients |= set(shared.shared_patients)
        notes += [f"Not known: what {weights} was trained on." for weights in shared.unlisted]
    kept = [r for r in radiographs if r.image_id not in images and r.patient_id not in patients]
    if not kept:
        raise ValueError(
            f"all {len(radiographs)} films are of patients that a classifier was trained or chosen "
            f"on; for the films of a cross-validation see its {OUT_OF_FOLD}"
        )
    left_out = len(radiographs) - len(kept)
    first = f"{left_out} films of patients that a classifier has seen were left out."
    return kept, [first, *notes] if left_out else notes


def score_films(
    ensemble: Ensemble, radiographs: Sequence[Radiograph]
) -> tuple[ScoredFilms, list[str]]:
    """Mean probabilities of the films that can be read, and what their thresholds and labels are.

    Args:
        radiographs: with labels as published; films that cannot be read are named and left out.

    Raises:
        FileNotFoundError, ValueError: when no film can be read, or films out of fold do not fit.
    """
    thresholds, note = _thresholds(ensemble, radiographs)
    radiographs = ensemble.rules.meaning(radiographs)
    films = _judged(ensemble, radiographs)
    notes = [note, f"Labels as in the training: {_rules_text(ensemble.rules)}."]
    cuts = [thresholds[d] for d in ensemble.diseases]
    if all(cut is None for cut in cuts):
        return films, notes
    row = np.array(cuts, dtype=np.float64)
    return replace(films, thresholds={YOUDEN: np.tile(row, (len(films), 1))}), notes


def _judged(ensemble: Ensemble, radiographs: Sequence[Radiograph]) -> ScoredFilms:
    read: list[Radiograph] = []
    scores = [np.zeros((0, len(ensemble.diseases)))]
    films_on_disk = _readable(tqdm(radiographs, desc="score films", unit="film"))
    while batch := list(islice(films_on_disk, _BATCH)):
        batch_of, films_read = zip(*batch, strict=True)
        read += batch_of
        scores.append(np.mean([gate(films_read).probabilities for gate in ensemble.gates], axis=0))
    if not read:
        raise ValueError(f"none of {len(radiographs)} films can be read")
    return ScoredFilms(
        ensemble.diseases,
        tuple(r.image_id for r in read),
        tuple(r.patient_id for r in read),
        np.full(len(read), OUTSIDE, dtype=np.int64),
        np.concatenate(scores),
        label_matrix(read, ensemble.diseases),
    )


def scores_table(
    films: ScoredFilms, notes: Sequence[str], replicates: int = 1000, seed: int = 0
) -> TextTable:
    """Figures per disease and their macro means, with intervals that resample patients."""
    figures = sample_figures(films, replicates, seed)
    names = {"auc": "AUC", "ap": "AP", "brier": "Brier"}
    names |= {f"{figure}_{YOUDEN}": figure for figure in ("sensitivity", "specificity")}
    shown = {name: head for name, head in names.items() if name in figures}
    estimates = {name: (*figures[name].estimates, figures[name].macro) for name in shown}
    rows = [
        (disease, counts, *(str(estimates[name][i]) for name in shown))
        for i, (disease, counts) in enumerate(
            zip((*films.diseases, "macro"), _counts(films), strict=True)
        )
    ]
    return TextTable(
        f"{len(films)} films of {len(set(films.patient_ids))} patients",
        ("disease", "positives / films", *shown.values()),
        tuple(rows),
        (*notes, f"In parentheses: 95 % interval, {replicates} resamples of patients."),
    )


def _counts(films: ScoredFilms) -> Iterator[str]:
    for labels in films.labels.T:
        yield f"{int((labels == 1).sum())} / {int((~np.isnan(labels)).sum())}"
    yield ""


def _label_rules(bundle: ClassifierBundle) -> LabelRules:
    """The rules for scored films; `uncertain` holds for training films alone and may differ."""
    # a bundle of before a rule was there was trained with what became its default
    data = bundle.manifest.get("config", {}).get("data", {})
    return LabelRules(**{name: data[name] for name in ("blank", "closure") if name in data})


def _rules_text(rules: LabelRules) -> str:
    return f"data.blank {rules.blank}, data.closure {str(rules.closure).lower()}"


def _thresholds(
    ensemble: Ensemble, scored: Sequence[Radiograph]
) -> tuple[Mapping[str, float | None], str]:
    """Thresholds of the mean probability on these films, and a sentence on them."""
    diseases, first = ensemble.diseases, ensemble.gates[0].bundle
    if len(ensemble.gates) == 1:
        return first.thresholds, "Thresholds are the classifier's own."
    none, no_thresholds = dict.fromkeys(diseases), "No thresholds, and nothing is called present"
    tables = {path: path.parent.parent / OUT_OF_FOLD for path in ensemble.paths}
    for path, table in tables.items():
        if path.name != BUNDLE_NAME or not table.is_file():
            return none, (
                f"{no_thresholds}: {path} is no {BUNDLE_NAME} of a finished cross-validation, "
                f"which has {OUT_OF_FOLD} in its run folder."
            )
    films, folds = _out_of_fold(list(dict.fromkeys(tables.values())), diseases)
    others = _of_other_patients(films, scored)
    if not len(others):
        return (
            none,
            f"{no_thresholds}: all {len(films)} films out of fold are of patients scored here.",
        )
    left_out = len(films) - len(others)
    note = (
        f"Thresholds are Youden's on {len(others)} films out of fold, each judged by the {folds} "
        f"that had not seen it and not by all members; {left_out} others are of patients who are "
        "scored here and had no say."
    )
    points = operating_points(others.labels, others.scores, diseases)
    return {d: point.threshold for d, point in points.items()}, note


def _out_of_fold(tables: Sequence[Path], diseases: Sequence[str]) -> tuple[ScoredFilms, str]:
    """The films out of fold, with the mean over networks, and the word for who judged each."""
    networks = [read_scored_films(table) for table in tables]
    _check(networks, diseases, tables)
    return (networks[0], "fold") if len(networks) == 1 else (mean_of(networks), "folds")


def _of_other_patients(films: ScoredFilms, scored: Sequence[Radiograph]) -> ScoredFilms:
    """Those films that are not scored, and of which no other film of the patient is."""
    ours = FilmList({r.image_id: r.patient_id for r in scored})
    theirs = dict(zip(films.image_ids, films.patient_ids, strict=True))
    shared = audit(ours, FilmList(theirs))
    images, patients = set(shared.shared_images), set(shared.shared_patients)
    return films.select(
        np.array([i not in images and p not in patients for i, p in theirs.items()], dtype=bool)
    )


def _check(
    networks: Sequence[ScoredFilms], diseases: Sequence[str], tables: Sequence[Path]
) -> None:
    first = set(networks[0].image_ids)
    for network, table in zip(networks, tables, strict=True):
        if network.diseases != tuple(diseases):
            raise ValueError(f"{table} is of other diseases than the classifiers beside it")
        if set(network.image_ids) != first:
            raise ValueError(
                f"{table} and {tables[0]} hold different films; cross-validate both on the same"
            )


def _readable(radiographs: Iterable[Radiograph]) -> Iterator[tuple[Radiograph, Film]]:
    for r in radiographs:
        assert r.path is not None, "a prepared folder lists only films that are on disk"
        try:
            yield r, r.film(read_grey(r.path))
        except UnreadableImageError as error:
            tqdm.write(f"left out {r.image_id}: {error}")


def _names(paths: Sequence[Path]) -> str:
    return ", ".join(map(str, paths))
