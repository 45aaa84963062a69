"""Where predictions come from: the sidecar of a results file.

Beside `NAME.json` (or `gate.csv`) stands `NAME.manifest.json`. Its key `films` lists, for each
model, the films that it looked at, also those on which it found nothing; `models` says which bundle
that was and which films it was trained on; `masks` names a results file with masks. Paths are
relative to the sidecar's folder, so that a run can be moved as a whole.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cxrloc.datasets.files.manifest import file_sha256, write_json
from cxrloc.datasets.provenance.image_lists import (
    HOW_TO_LIST,
    TRAINING_FILMS,
    FilmList,
    read_training_films,
)

SIDECAR_ENDING = ".manifest.json"


@dataclass(frozen=True)
class LookedAt:
    """The films that one model looked at.

    Attributes:
        films: image ids, also of films without any box.
        bundle: the model; None for a control, which was not trained.
        fold: its test fold; None where there are no folds.
    """

    films: tuple[str, ...] = field(repr=False)
    bundle: Path | None = None
    fold: int | None = None

    @property
    def model(self) -> str:
        """`fold0`, `fold1`, ... or `all`."""
        return "all" if self.fold is None else f"fold{self.fold}"


@dataclass(frozen=True)
class Provenance:
    """What a sidecar says.

    Attributes:
        path: the sidecar.
        films_by_model: model -> image ids that it looked at.
        models: model -> its record; empty for a control.
        masks: results file with masks, or None.
        problem: why the sidecar does not say which films were looked at; empty if it does.
    """

    path: Path
    films_by_model: Mapping[str, tuple[str, ...]] = field(repr=False, default_factory=dict)
    models: Mapping[str, Mapping[str, Any]] = field(repr=False, default_factory=dict)
    masks: Path | None = None
    problem: str = ""

    @property
    def films(self) -> frozenset[str]:
        """All films that were looked at."""
        return frozenset(film for films in self.films_by_model.values() for film in films)

    def training(self, model: str) -> FilmList:
        """The films that a model was trained on.

        Raises:
            FileNotFoundError, ValueError: saying why they are not known.
        """
        record = self.models[model]
        listed = record.get("training_films")
        if not listed:
            raise FileNotFoundError(
                f"{record.get('bundle')} had no {TRAINING_FILMS} when the films were predicted; "
                f"{HOW_TO_LIST}, then predict again"
            )
        path = self.path.parent / listed
        films = read_training_films(path)
        if file_sha256(path) != record.get("training_films_sha256"):
            raise ValueError(
                f"{path} is not the list that the films were predicted with (its hash differs); "
                "predict again"
            )
        return films


def sidecar_path(results: Path) -> Path:
    """`boxes.manifest.json` of `boxes.json`."""
    return results.with_suffix(SIDECAR_ENDING)


def write_provenance(
    results: Path,
    looked_at: Sequence[LookedAt],
    facts: Mapping[str, Any] | None = None,
    masks: Path | None = None,
) -> None:
    """Write the sidecar of a results file that is there; several entries of a model are joined.

    Args:
        facts: further keys, put first.
        masks: results file with masks of the same films.
    """
    folder = results.parent
    films: dict[str, list[str]] = {}
    for one in looked_at:
        films.setdefault(one.model, []).extend(one.films)
    record: dict[str, Any] = {
        **(facts or {}),
        "results": results.name,
        "results_sha256": file_sha256(results),
        "films": films,
        "models": {o.model: _model(o.bundle, folder) for o in looked_at if o.bundle is not None},
    }
    if masks is not None:
        record["masks"] = os.path.relpath(masks, folder)
    write_json(sidecar_path(results), record)


def read_provenance(results: Path) -> Provenance | None:
    """The sidecar of a results file; None where there is none.

    Raises:
        ValueError: for a sidecar that is no JSON object, or whose parts do not fit together.
    """
    path = sidecar_path(results)
    return read_sidecar(path) if path.is_file() else None


def read_sidecar(path: Path) -> Provenance:
    """As `read_provenance`, from the sidecar's own path.

    Raises:
        FileNotFoundError: when it is not there.
        ValueError: as `read_provenance`.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no sidecar {path}; tools/localize.py and the trainings write one")
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"cannot read {path} as JSON: {error}") from error
    if not isinstance(record, dict):
        raise ValueError(f"{path} holds a JSON {type(record).__name__}, expected an object")
    problem = _problem(record, path)
    if problem:
        return Provenance(path, problem=problem)
    films = {str(model): tuple(map(str, found)) for model, found in record["films"].items()}
    models = record["models"]
    unnamed = [model for model in films if models and model not in models]
    if unnamed:
        raise ValueError(f"{path}: films of {unnamed[0]}, but models are {', '.join(models)}")
    masks = record.get("masks")
    return Provenance(path, films, models, None if masks is None else path.parent / masks)


def _problem(record: Mapping[str, Any], path: Path) -> str:
    """Why the record cannot be believed; empty if it can."""
    films, models = record.get("films"), record.get("models")
    listed = isinstance(films, dict) and all(isinstance(found, list) for found in films.values())
    if not listed or not isinstance(models, dict):
        return f"{path.name} does not list the films that were looked at; predict them again"
    results = path.parent / str(record.get("results", ""))
    if not results.is_file():
        return f"{path.name} belongs to {record.get('results')!r}, which is not beside it"
    if file_sha256(results) != record.get("results_sha256"):
        return f"{results.name} is not the file that {path.name} was written for (its hash differs)"
    return ""


def _model(bundle: Path, folder: Path) -> dict[str, Any]:
    films = bundle.parent / TRAINING_FILMS
    there = films.is_file()
    return {
        "bundle": os.path.relpath(bundle, folder),
        "sha256": file_sha256(bundle),
        "training_films": os.path.relpath(films, folder) if there else None,
        "training_films_sha256": file_sha256(films) if there else None,
    }
