"""Write what a fused localizer was allowed to see: the models of its parts, and its own tuning.

The sidecar of the fused file lists every model behind it, `mask_rcnn fold0` and so on, with that
model's training images, and as `fused fold0` the images on whose boxes the fusion of fold 0 was
chosen. So the leakage audit of a comparison checks a fused localizer as any other.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cxrloc.datasets.files.keys import KnownImages
from cxrloc.datasets.files.manifest import file_sha256, write_json
from cxrloc.datasets.provenance.image_lists import write_image_list
from cxrloc.datasets.provenance.sidecar import Provenance, sidecar_path
from cxrloc.localization.evaluation.ground_truth import BoolArray, ImageTable
from cxrloc.localization.fusion.fuse import Fusion

Provenances = Mapping[str, Provenance | None]


def looked_at(images: ImageTable, provenances: Provenances) -> BoolArray:
    """(N,) images that the localizers predicted; all where no sidecar tells.

    Raises:
        ValueError: if two localizers predicted different images: where one has not looked, its
            missing box would count as its opinion.
    """
    every = np.ones(len(images), dtype=np.bool_)
    seen: dict[str, BoolArray] = {}
    for name, provenance in provenances.items():
        if provenance is not None and not provenance.problem:
            known = KnownImages(provenance.images)
            found = [known.find(image) is not None for image in images.image_ids]
            seen[name] = np.array(found, dtype=np.bool_)
    for name, mask in seen.items():
        first, other = next(iter(seen.items()))
        odd = np.flatnonzero(mask != other)
        if len(odd):
            raise ValueError(
                f"{first} predicted {other.sum():,} of the images, {name} {mask.sum():,}; they "
                f"differ on {images.image_ids[odd[0]]}. A fusion needs predictions of the same "
                "images: `cxrloc localize --images all` for each, `data.predict: all` for a "
                "detector"
            )
    return next(iter(seen.values()), every)


def external_facts(provenances: Provenances) -> Mapping[str, Any] | None:
    """What the models of another data set were trained on, None if they are of this one.

    Raises:
        ValueError: if the localizers disagree.
    """
    facts = {
        name: None if provenance is None else provenance.external
        for name, provenance in provenances.items()
    }
    first, expected = next(iter(facts.items()))
    for name, other in facts.items():
        if other != expected:
            raise ValueError(
                f"{first} and {name} were not trained on the same data set for the same diseases; "
                "a fusion needs that, since a disease that one cannot predict would count as its "
                "'not there'"
            )
    return expected


def write_fusion_provenance(
    results: Path,
    fusion: Fusion,
    images: ImageTable,
    provenances: Provenances,
    looked: BoolArray,
    facts: Mapping[str, Any],
) -> None:
    """Write the sidecar of a fused results file, and the lists of images of its tuning.

    Args:
        provenances: localizer -> its sidecar. Where one has none, the fused one does not list
            models either, and says why.
        looked: (N,) images that were fused.
        facts: additional keys, written first.
    """
    record: dict[str, Any] = {
        **facts,
        "results": results.name,
        "results_sha256": file_sha256(results),
    }
    unknown = {n: p.problem if p else "no sidecar" for n, p in provenances.items()}
    unknown = {n: problem for n, problem in unknown.items() if problem}
    if unknown:
        record["problem"] = "not known what it was trained on: " + "; ".join(
            f"{name}: {problem}" for name, problem in unknown.items()
        )
    else:
        record |= _joined(results, fusion, images, provenances, looked)
    write_json(sidecar_path(results), record)


def _joined(
    results: Path,
    fusion: Fusion,
    images: ImageTable,
    provenances: Provenances,
    looked: BoolArray,
) -> dict[str, Any]:
    listed: dict[str, list[str]] = {}
    models: dict[str, dict[str, Any]] = {}
    for name, provenance in provenances.items():
        assert provenance is not None
        for model, record in provenance.models.items():  # a control has none
            listed[f"{name} {model}"] = list(provenance.images_by_model.get(model, ()))
            models[f"{name} {model}"] = _moved(record, provenance.path.parent, results.parent)
    folder = results.with_suffix(".tuned_on")
    for part, label in enumerate(fusion.parts.names):
        mine = fusion.parts.of_image == part
        if not ((looked & mine).any() and (looked & ~mine).any()):
            continue
        model = f"{results.stem} {label.replace(' ', '')}"
        listed[model] = _names(images, np.flatnonzero(looked & mine).tolist())
        path = folder / f"{label.replace(' ', '')}.csv"
        _write_list(path, images, np.flatnonzero(looked & ~mine).tolist())
        models[model] = {
            "bundle": None,
            "training_images": os.path.relpath(path, results.parent),
            "training_images_sha256": file_sha256(path),
        }
    return {"images": listed, "models": models}


def _moved(record: Mapping[str, Any], old: Path, new: Path) -> dict[str, Any]:
    """A model's record with its paths relative to another folder."""
    moved = dict(record)
    for key in ("bundle", "training_images"):
        if moved.get(key):
            moved[key] = os.path.relpath(old / moved[key], new)
    return moved


def _names(images: ImageTable, rows: Sequence[int]) -> list[str]:
    return [images.image_ids[row] for row in rows]


def _write_list(path: Path, images: ImageTable, rows: Sequence[int]) -> None:
    """A list of images as a training writes it; patients that are not known are left empty."""
    people = [(images.image_ids[row], images.patient_ids[row]) for row in rows]
    write_image_list(path, [(i, "" if p == i else p, "fusion") for i, p in people], ())
