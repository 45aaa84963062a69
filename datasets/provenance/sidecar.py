"""Record where predictions come from, in the sidecar of a results file.

`NAME.json` (or `gate.csv`) comes with `NAME.manifest.json`. Its key `images` lists, for each model,
the images that it predicted, including those without any finding. `models` names each model's
bundle and training images, and `masks` a results file with masks. Paths are relative to the
sidecar's folder, so a run can be moved as a whole. `external` is there where the models predicted
another data set than their own, and `saw` where a reader must be told more (see `Provenance`).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NotRequired

from typing_extensions import TypedDict

from cxrloc.datasets.files.checked import FileName, Name, Sha256, checked
from cxrloc.datasets.files.manifest import file_sha256, write_json
from cxrloc.datasets.files.parse import read_json
from cxrloc.datasets.provenance.image_lists import (
    LISTING_HINT,
    TRAINING_IMAGES,
    ImageList,
    read_training_images,
)

SIDECAR_ENDING = ".manifest.json"


@dataclass(frozen=True)
class LookedAt:
    """The images predicted by one model.

    Attributes:
        images: image ids, including images without any box.
        bundle: the model; None for a control, which is not trained.
        fold: the model's test fold; None without folds.
    """

    images: tuple[str, ...] = field(repr=False)
    bundle: Path | None = None
    fold: int | None = None

    @property
    def model(self) -> str:
        """`fold0`, `fold1`, ... or `all`."""
        return "all" if self.fold is None else f"fold{self.fold}"


@dataclass(frozen=True)
class Provenance:
    """Content of a sidecar.

    Attributes:
        path: the sidecar.
        images_by_model: model -> ids of the images it predicted.
        models: model -> its record; empty for a control.
        masks: results file with masks, or None.
        external: None if the models predicted their own data set; otherwise `trained_on` (prepared
            folders), `predicted`, `labels` (disease of the models -> name in the ground truth, or
            null) and `no_counterpart` (`model` and `ground_truth`: names of either alone).
        saw: what was shown to the localizer beside its models' training images, as a clause; empty
            if nothing.
        localizer: name under which `cxrloc localize` built it; empty for other files.
        problem: why the sidecar cannot tell which images were predicted; empty if it can.
    """

    path: Path
    images_by_model: Mapping[str, tuple[str, ...]] = field(repr=False, default_factory=dict)
    models: Mapping[str, Mapping[str, Any]] = field(repr=False, default_factory=dict)
    masks: Path | None = None
    saw: str = ""
    problem: str = ""
    external: Mapping[str, Any] | None = field(repr=False, default=None)
    localizer: str = ""

    @property
    def images(self) -> frozenset[str]:
        """All predicted images."""
        return frozenset(image for images in self.images_by_model.values() for image in images)

    def training(self, model: str) -> ImageList:
        """The training images of a model.

        Raises:
            FileNotFoundError, ValueError: stating why they are unknown.
        """
        record = self.models[model]
        listed = record.get("training_images")
        if not listed:
            raise FileNotFoundError(
                f"{record.get('bundle')} had no {TRAINING_IMAGES} when the images were predicted; "
                f"{LISTING_HINT}, then predict again"
            )
        path = self.path.parent / listed
        images = read_training_images(path)
        if file_sha256(path) != record.get("training_images_sha256"):
            raise ValueError(
                f"{path} is not the list used when the images were predicted (its hash differs); "
                "predict again"
            )
        return images


def sidecar_path(results: Path) -> Path:
    """`boxes.manifest.json` of `boxes.json`."""
    return results.with_suffix(SIDECAR_ENDING)


def write_provenance(
    results: Path,
    looked_at: Sequence[LookedAt],
    facts: Mapping[str, Any] | None = None,
    masks: Path | None = None,
) -> None:
    """Write the sidecar of an existing results file; several entries of one model are joined.

    Args:
        facts: additional keys, written first.
        masks: results file with masks of the same images.
    """
    folder = results.parent
    images: dict[str, list[str]] = {}
    for look in looked_at:
        images.setdefault(look.model, []).extend(look.images)
    record: dict[str, Any] = {
        **(facts or {}),
        "results": results.name,
        "results_sha256": file_sha256(results),
        "images": images,
        "models": {o.model: _model(o.bundle, folder) for o in looked_at if o.bundle is not None},
    }
    if masks is not None:
        record["masks"] = os.path.relpath(masks, folder)
    write_json(sidecar_path(results), record)


def read_provenance(results: Path) -> Provenance | None:
    """Read the sidecar of a results file; None if there is none.

    Raises:
        ValueError: for a sidecar that is not a JSON object or contradicts itself.
    """
    path = sidecar_path(results)
    return read_sidecar(path) if path.is_file() else None


def read_sidecar(path: Path) -> Provenance:
    """Like `read_provenance`, given the path of the sidecar.

    Raises:
        FileNotFoundError: if it is missing.
        ValueError: see `read_provenance`.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no sidecar {path}; cxrloc localize and the trainings write one")
    document = read_json(path)
    if not isinstance(document, dict):
        raise ValueError(f"{path} holds a JSON {type(document).__name__}, expected an object")
    saw = str(document.get("saw", ""))
    if document.get("problem"):
        return Provenance(path, saw=saw, problem=str(document["problem"]))
    if not {"images", "models"} <= document.keys():
        problem = f"{path.name} does not list the predicted images; predict again"
        return Provenance(path, saw=saw, problem=problem)
    record: _Record = checked(document, _Record, str(path), "predict again")
    if problem := _problem(record, path):
        return Provenance(path, saw=saw, problem=problem)
    models = record["models"]
    unnamed = [model for model in record["images"] if models and model not in models]
    if unnamed:
        raise ValueError(f"{path}: images of {unnamed[0]}, but the models are {', '.join(models)}")
    masks = record.get("masks")
    return Provenance(
        path,
        record["images"],
        {name: {**model} for name, model in models.items()},
        None if masks is None else path.parent / masks,
        saw,
        external=record.get("external"),
        localizer=_localizer(document),
    )


def _localizer(document: Mapping[str, Any]) -> str:
    config = document.get("config")
    return str(config.get("localizer", "")) if isinstance(config, dict) else ""


class _Model(TypedDict):
    bundle: Name | None  # fused boxes have no model of their own
    sha256: NotRequired[Sha256]
    training_images: Name | None
    training_images_sha256: Sha256 | None


class _Counterparts(TypedDict):
    model: list[Name]
    ground_truth: list[Name]


class _External(TypedDict):
    trained_on: list[Name]
    predicted: Name
    labels: dict[Name, Name | None]
    no_counterpart: _Counterparts


class _Record(TypedDict):
    results: FileName
    results_sha256: Sha256
    images: dict[Name, tuple[Name, ...]]
    models: dict[Name, _Model]
    masks: NotRequired[Name | None]
    external: NotRequired[_External | None]


def _problem(record: _Record, path: Path) -> str:
    """Why the record is not usable; empty if it is."""
    results = path.parent / record["results"]
    if not results.is_file():
        return f"{path.name} belongs to {record['results']!r}, which is not next to it"
    if file_sha256(results) != record["results_sha256"]:
        return f"{results.name} is not the file that {path.name} was written for (its hash differs)"
    return ""


def _model(bundle: Path, folder: Path) -> dict[str, Any]:
    images = bundle.parent / TRAINING_IMAGES
    there = images.is_file()
    return {
        "bundle": os.path.relpath(bundle, folder),
        "sha256": file_sha256(bundle),
        "training_images": os.path.relpath(images, folder) if there else None,
        "training_images_sha256": file_sha256(images) if there else None,
    }
