"""Predict another data set than the models': which model, which diseases, and what is recorded.

Each image is predicted by the first model of a run that has not seen its patient. The diseases of
the model become those of the other data set by a label map, or by equal names.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from cxrloc.classification.inference.gate_table import GateRow, write_gate_table
from cxrloc.classification.run_folder import bundles_at
from cxrloc.datasets.files.manifest import write_json
from cxrloc.datasets.files.runs.shown_paths import shown_path
from cxrloc.datasets.labels.map import read_label_map
from cxrloc.datasets.prepared.coco import select_images
from cxrloc.datasets.provenance.image_lists import (
    TRAINING_IMAGES,
    image_list,
    listed,
    read_training_images,
)
from cxrloc.datasets.provenance.leakage import audit
from cxrloc.datasets.provenance.sidecar import write_provenance
from cxrloc.datasets.radiograph import Radiograph
from cxrloc.detection.planning.fold_models import FoldModel, ModelFiles
from cxrloc.localization.predictions.predicted import Predicted
from cxrloc.localization.predictions.relabelled import Counterparts, counterparts


def plan_external_models(
    images: Sequence[Radiograph], models: ModelFiles, seen: str = "refuse", together: bool = False
) -> list[FoldModel]:
    """Assign images of another data set: each to the first model that has not seen its patient.

    A model without a list of its training images counts as one that has seen nobody; the leakage
    audit of the comparison says that this is not known.

    Args:
        seen: `refuse`, or `leave_out` images that every model has seen.
        together: assign each image to all models, and count it as seen if any of them has seen it.

    Raises:
        ValueError, FileNotFoundError: if a model is missing, an image was seen by all models, or
            none remains; with `together` also if there is only one model.
    """
    if models.name is None or models.path is None:
        raise ValueError("a control is not trained, so no data set is external to it")
    bundles = bundles_at(models.path, models.name)
    if together:
        return [_together(images, bundles, models.path, seen)]
    left, planned = list(images), []
    for path in bundles:
        chosen, left = _unseen_by(path, left)
        if chosen:
            planned.append(_external_model(path, chosen))
    _check_seen(left, images, f"every model of {models.path}", seen)
    return planned


def _together(
    images: Sequence[Radiograph], bundles: Sequence[Path], where: Path, seen: str
) -> FoldModel:
    if len(bundles) == 1:
        raise ValueError(f"--ensemble: {where} holds one model; give a run folder with several")
    unseen = list(images)
    for path in bundles:
        unseen, _ = _unseen_by(path, unseen)
    ids = {image.image_id for image in unseen}
    left = [image for image in images if image.image_id not in ids]
    _check_seen(left, images, f"at least one model of {where}", seen)
    first = _external_model(bundles[0], unseen)
    return replace(first, fold=None, partners=tuple(bundles[1:]))


def _check_seen(
    left: Sequence[Radiograph], images: Sequence[Radiograph], by: str, seen: str
) -> None:
    if left and seen == "refuse":
        raise ValueError(
            f"{len(left)} of {len(images)} images show patients whom {by} was trained or selected "
            f"on, for example {left[0].image_id}; leave them out with --seen leave_out, or give "
            "models that have not seen them"
        )
    if len(left) == len(images):
        raise ValueError(f"{by} has seen all {len(images)} images")


def check_fusion(
    ensemble: bool, sizes: Sequence[int] | None, is_mask_rcnn: bool, is_external: bool
) -> None:
    """Raise ValueError unless the boxes of several models, or of several sizes, can be fused."""
    if (ensemble or sizes) and not is_mask_rcnn:
        option = "--ensemble" if ensemble else "--sizes"
        raise ValueError(f"{option}: only the boxes of a mask_rcnn are fused; leave it out")
    if ensemble and not is_external:
        raise ValueError(
            "--ensemble is for another data set (--external or --labels): the folds of a run share "
            "their training images, so only one of its models has not seen an image"
        )


def _external_model(path: Path, images: Sequence[Radiograph]) -> FoldModel:
    from cxrloc.classification.bundle.file import read_metadata  # torch: not for --help

    metadata = read_metadata(path)
    return FoldModel(tuple(images), path, metadata.get("fold"), metadata)


def _unseen_by(
    path: Path, images: Sequence[Radiograph]
) -> tuple[list[Radiograph], list[Radiograph]]:
    """The images of patients that a model has not seen, and the others."""
    training = path.parent / TRAINING_IMAGES
    if not images or not training.is_file():
        if images:
            print(f"no {training}: not checked whether {path} has seen images", file=sys.stderr)
        return list(images), []
    evaluated = listed(images)
    shared = audit(read_training_images(training), evaluated)
    has_seen = [
        evaluated.shows(r.image_id, shared.shared_images, shared.shared_patients) for r in images
    ]
    pairs = list(zip(images, has_seen, strict=True))
    return [r for r, is_seen in pairs if not is_seen], [r for r, is_seen in pairs if is_seen]


def check_unseen(bundles: Sequence[Path], files: Sequence[Path]) -> None:
    """Refuse image files of patients that a model was trained or selected on, by their names.

    Raises:
        ValueError: naming one of them.
    """
    images = image_list(((file.name, "", "") for file in files), "the images")
    for path in bundles:
        training = path.parent / TRAINING_IMAGES
        if not training.is_file():
            print(f"no {training}: not checked whether {path} has seen images", file=sys.stderr)
            continue
        shared = audit(read_training_images(training), images)
        leaks = shared.shared_images, shared.shared_patients
        if seen := [file for file in files if images.shows(file.name, *leaks)]:
            raise ValueError(
                f"--ensemble: {path} was trained or selected on the patients of {len(seen)} of the "
                f"{len(files)} images, for example {seen[0]}; leave them out, or give as "
                "--maskrcnn the one model that has not seen them, without --ensemble"
            )


def disease_counterparts(
    model: FoldModel, coco: Mapping[str, Any], label_map: Path | None
) -> Counterparts:
    """The diseases of a model and of a ground truth; what it cannot answer is reported.

    Raises:
        FileNotFoundError, ValueError: for a map that is missing or does not fit.
    """
    of_truth = [str(category["name"]) for category in coco["categories"]]
    labels = None if label_map is None else read_label_map(label_map)
    names = counterparts(model.metadata.get("diseases", of_truth), of_truth, labels)
    if names.truth_alone:
        alone = ", ".join(names.truth_alone)
        print(f"{model.bundle} does not know {alone}: no boxes", file=sys.stderr)
    return names


def check_not_merged(pairs: Sequence[Counterparts]) -> None:
    """Raise ValueError if several diseases of a model become one: its boxes have no one map."""
    for names in pairs:
        for name, diseases in names.sources.items():
            if len(diseases) > 1:
                raise ValueError(
                    f"--maps: {', '.join(diseases)} all become {name}, so no one map made its "
                    "boxes; leave --maps out, or map one of them alone"
                )


def external_facts(
    models: Sequence[FoldModel], names: Counterparts, prepared: Path, folder: Path
) -> dict[str, Any]:
    """What a sidecar in `folder` says of an external validation (see `datasets.provenance`)."""
    return {
        "trained_on": list(dict.fromkeys(_prepared_of(model, folder) for model in models)),
        "predicted": shown_path(prepared, folder),
        "labels": dict(names.of_model),
        "no_counterpart": {"model": names.model_alone, "ground_truth": names.truth_alone},
    }


def _prepared_of(model: FoldModel, folder: Path) -> str:
    """The prepared folder that a model was trained on, seen from `folder`.

    A gate's is in its configuration. Both are recorded as seen from the bundle.
    """
    data = model.metadata.get("manifest", {}).get("config", {}).get("data", {})
    prepared = model.metadata.get("prepared") or data.get("prepared")
    if not prepared or model.bundle is None:
        return "not recorded"
    return shown_path(os.path.abspath(model.bundle.parent / prepared), folder)


def write_rest(out: Path, models: Sequence[FoldModel], coco: Mapping[str, Any]) -> None:
    """Write the ground truth of the predicted images alone beside the results."""
    predicted = {image.image_id for model in models for image in model.images}
    path = out.with_suffix(".ground_truth.json")
    write_json(path, select_images(coco, predicted))
    print(f"{path} holds the ground truth of the {len(predicted)} images that were predicted")


def write_gate(
    out: Path, models: Sequence[FoldModel], done: Predicted, facts: Mapping[str, Any]
) -> None:
    """Write the gate's decisions from the passes that made the boxes, with a sidecar.

    A localizer without a gate leaves none. The column `fold` stays empty: these are no images of
    the models' folds; the sidecar tells which model predicted which.
    """
    patient_of = {image.image_id: image.patient_id for model in models for image in model.images}
    rows = [
        GateRow(
            image,
            patient_of[image],
            disease,
            fact["gate_probability"],
            fact["gate_threshold"],
            fact["gate_present"],
        )
        for (image, disease), fact in done.extra.items()
        if "gate_present" in fact
    ]
    if not rows:
        return
    path = out.with_suffix(".gate.csv")
    write_gate_table(path, rows)
    write_provenance(path, done.looked_at, facts)
    print(f"{path} holds the gate's decisions, for `cxrloc compare --gate {path}`")
