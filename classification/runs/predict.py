"""Probabilities of a part's films by its trained network, by the code that judges films later."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from cxrloc.classification.bundle.classifier import ClassifierBundle
from cxrloc.classification.inference.gate import Gate
from cxrloc.classification.inference.gate_table import GateRow
from cxrloc.classification.metrics.scored_images import YOUDEN, ScoredFilms, studies_and_parts
from cxrloc.classification.runs.run import Part, Run
from cxrloc.classification.training.batches import FilmBatches, mean_box_sizes
from cxrloc.classification.training.distributed import gather, member
from cxrloc.classification.training.stages import Trained, preprocessing_of
from cxrloc.datasets.radiograph import label_matrix


@dataclass(frozen=True)
class Judged:
    """A trained network and its probabilities of the part that it was trained for.

    Attributes:
        trained: the network, and how it came to be.
        bundle: of it, still without thresholds and manifest.
        validation, test: (N, D) probabilities of these films of the part.
    """

    trained: Trained
    bundle: ClassifierBundle
    validation: npt.NDArray[np.float64]
    test: npt.NDArray[np.float64]


def judge_part(run: Run, part: Part, trained: Trained) -> Judged:
    """Judge the validation and test films of a part, shared among the processes."""
    bundle = untested_bundle(run, part, trained)
    parts = run.films(part.split.validation), run.films(part.split.test)
    return Judged(trained, bundle, *(judge_together(run, bundle, films) for films in parts))


def judge(
    run: Run, bundle: ClassifierBundle, films: FilmBatches, positions: range | None = None
) -> npt.NDArray[np.float64]:
    """Probabilities (N, D) of the films at some positions (default: all).

    By the same code that judges films later.
    """
    train_settings = run.config.train
    gate = Gate(bundle, train_settings.device, train_settings.precision)
    asked, step = range(len(films)) if positions is None else positions, 64
    batches = [asked[start : start + step] for start in range(0, len(asked), step)]
    columns = len(run.diseases)
    scores = [
        gate.forward_squares(films.squares(batch), films.demographics[batch])[0]
        for batch in batches
    ]
    return np.concatenate([np.zeros((0, columns)), *scores])


def judge_together(
    run: Run, bundle: ClassifierBundle, films: FilmBatches
) -> npt.NDArray[np.float64]:
    """`judge` of all films, each by one of the processes; the whole (N, D) on every process."""
    mine = judge(run, bundle, films, member().share(len(films)))
    scores: npt.NDArray[np.float64] = gather(torch.from_numpy(mine)).numpy()
    return scores


def scored_films(
    run: Run, part: Part, films: FilmBatches, scores: npt.NDArray[np.float64]
) -> ScoredFilms:
    """Films of a fold (0 of a single split) with their probabilities (N, D) and labels."""
    folds = np.full(len(films), part.fold or 0, dtype=np.int64)
    studies, parts = studies_and_parts([run.radiographs[i] for i in films.image_ids])
    return ScoredFilms(
        run.diseases, films.image_ids, films.patients, folds, scores, films.labels,
        study_ids=studies, body_parts=parts,
    )  # fmt: skip


def films_of_rows(run: Run, rows: Sequence[GateRow]) -> ScoredFilms:
    """The films of a gate.csv, with labels and the thresholds that stand there."""
    columns = len(run.diseases)
    films = [run.radiographs[row.image_id] for row in rows[::columns]]
    cells = [(row.probability, row.threshold) for row in rows]
    matrices = np.array(cells, dtype=np.float64).reshape(len(films), columns, 2)  # None is NaN
    studies, parts = studies_and_parts(films)
    return ScoredFilms(
        run.diseases,
        tuple(film.image_id for film in films),
        tuple(film.patient_id for film in films),
        np.array([row.fold or 0 for row in rows[::columns]], dtype=np.int64),
        matrices[..., 0],
        label_matrix(films, run.diseases),
        {YOUDEN: matrices[..., 1]},
        study_ids=studies,
        body_parts=parts,
    )


def untested_bundle(run: Run, part: Part, trained: Trained) -> ClassifierBundle:
    """The network, ready to judge films, with what is known before it has done so."""
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
