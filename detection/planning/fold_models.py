"""Choose the trained model for each image: the one that never saw its patient."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cxrloc.classification.run_folder import RunFolder
from cxrloc.datasets.files.manifest import file_sha256
from cxrloc.datasets.provenance.sidecar import LookedAt
from cxrloc.datasets.radiograph import Radiograph
from cxrloc.localization.cam.rules import SizedRule, rules_of_fold

if TYPE_CHECKING:
    from cxrloc.datasets.prepared.folder import PreparedData


@dataclass(frozen=True)
class FoldModel:
    """Images predicted by one model; the controls have no bundle and no fold.

    Attributes:
        partners: further models that predict the same images, to be fused with this one.
    """

    images: tuple[Radiograph, ...] = field(repr=False)
    bundle: Path | None = None
    fold: int | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict, repr=False)
    cam_rules: Mapping[str, SizedRule] | None = field(default=None, repr=False)
    partners: tuple[Path, ...] = ()

    @property
    def bundles(self) -> tuple[Path, ...]:
        """The trained models, none for a control."""
        return () if self.bundle is None else (self.bundle, *self.partners)

    def looked_at(self, images: Sequence[str]) -> list[LookedAt]:
        """Record these predicted images for each model, since each must not have seen them."""
        if not self.partners:
            return [LookedAt(tuple(images), self.bundle, self.fold)]
        from cxrloc.classification.bundle.file import read_metadata  # torch: not for --help

        folds = [read_metadata(bundle).get("fold") for bundle in self.bundles]
        return [
            LookedAt(tuple(images), bundle, number if fold is None else fold)
            for number, (bundle, fold) in enumerate(zip(self.bundles, folds, strict=True))
        ]


@dataclass(frozen=True)
class ModelFiles:
    """Locations of the trained models.

    Attributes:
        name: the bundle's file name in each fold's folder; None for a control, which has no bundle.
        path: a run folder with one folder per test fold, or a single trained model (a bundle, or
            the run folder of a single split).
    """

    name: str | None
    path: Path | None = None

    @property
    def bundle(self) -> Path | None:
        """The one trained model; None for a run over folds."""
        if self.path is None or self.name is None:
            return None
        if (self.path / self.name).is_file():
            return self.path / self.name
        return self.path if self.path.is_file() or self.path.suffix == ".safetensors" else None


def plan_fold_models(
    images: Sequence[Radiograph],
    prepared: PreparedData,
    models: ModelFiles,
    folds: Sequence[int] | None = None,
) -> list[FoldModel]:
    """Assign images to the trained models; each image has exactly one model.

    Args:
        images: images to predict.
        folds: test folds to predict; None means all.

    Raises:
        ValueError, FileNotFoundError: for a fold that does not exist or has no model, and for a
            model from another preparation.
    """
    test_folds = _wanted_folds(folds, prepared)
    if models.name is None:
        return [FoldModel(tuple(r for r in images if prepared.folds[r.image_id] in test_folds))]
    if models.bundle is not None:
        model = _model_of_bundle(models.bundle, images, prepared)
        if folds is not None and [model.fold] != test_folds:
            raise ValueError(
                f"--folds {test_folds}, but {models.bundle} is of fold {model.fold}; leave --folds "
                "out, or give the run folder with all folds"
            )
        return [model]
    assert models.path is not None
    fold_models = [
        _model_of_fold(models.path, fold, models.name, images, prepared) for fold in test_folds
    ]
    return [model for model in fold_models if model.images]


def unseen(model: FoldModel, notes: list[str]) -> FoldModel:
    """Drop images of patients seen by a model without a fold, such as MURA's official split.

    Explanations for the reader are appended to `notes`.

    Raises:
        ValueError: if no image remains.
    """
    if model.fold is not None or model.bundle is None:
        return model
    from cxrloc.classification.runs.ensemble import unseen_images  # torch: not for --help

    images, left_out = unseen_images([model.bundle], model.images)
    notes += left_out
    return replace(model, images=tuple(images))


def _wanted_folds(folds: Sequence[int] | None, prepared: PreparedData) -> list[int]:
    asked = list(range(prepared.k)) if folds is None else list(folds)
    unknown = [fold for fold in asked if not 0 <= fold < prepared.k]
    if unknown or not asked:
        raise ValueError(f"folds {folds}: {prepared.root} has folds 0 to {prepared.k - 1}")
    return sorted(dict.fromkeys(asked))


def _model_of_fold(
    run: Path, fold: int, bundle_file: str, images: Sequence[Radiograph], prepared: PreparedData
) -> FoldModel:
    path = RunFolder(run).fold(fold).path / bundle_file
    if not path.is_file():
        there = sorted(p.parent.name for p in run.glob(f"*/{bundle_file}"))
        raise FileNotFoundError(
            f"fold {fold} has no trained model: {path} does not exist (the run has "
            f"{', '.join(there) or 'none'}). Train it, or name the trained ones with --folds"
        )
    from cxrloc.classification.bundle.file import read_metadata  # torch: not for --help

    metadata = read_metadata(path)
    if metadata.get("fold") != fold:
        raise ValueError(f"{path}: trained with test fold {metadata.get('fold')}, expected {fold}")
    check_preparation(path, metadata, prepared)
    chosen = tuple(r for r in images if prepared.folds[r.image_id] == fold)
    return FoldModel(chosen, path, fold, metadata)


def _model_of_bundle(path: Path, images: Sequence[Radiograph], prepared: PreparedData) -> FoldModel:
    from cxrloc.classification.bundle.file import read_metadata  # torch: not for --help

    metadata = read_metadata(path)
    fold = metadata.get("fold")
    if fold is None:
        print(f"{path} has no fold: not checked whether it has seen these images", file=sys.stderr)
        return FoldModel(tuple(images), path, None, metadata)
    check_preparation(path, metadata, prepared)
    chosen = tuple(r for r in images if prepared.folds[r.image_id] == fold)
    return FoldModel(chosen, path, fold, metadata)


def check_preparation(path: Path, metadata: Mapping[str, Any], prepared: PreparedData) -> None:
    """Raise ValueError unless the model was trained on the folds of this prepared folder."""
    if metadata.get("k") != prepared.k:
        raise ValueError(
            f"{path}: trained on {metadata.get('k')} folds, but {prepared.root} has {prepared.k}"
        )
    folds_path = prepared.files.folds
    hashes = metadata.get("manifest", {}).get("hashes", {})
    recorded = metadata.get("folds_sha256") or hashes.get("folds")
    if recorded is None:
        raise ValueError(
            f"{path} states no hash of its training folds, so it may have seen images that it "
            "would predict; train it again. For a model of another data set give --external, or a "
            "label map with --labels"
        )
    if recorded != file_sha256(folds_path):
        raise ValueError(
            f"{path}: trained on other folds than {folds_path}, so it may have seen images "
            "that it would predict; prepare with the same settings, or train again. For a model "
            "of another data set give --external, or a label map with --labels"
        )


def check_markers_kept(fold_models: Sequence[FoldModel]) -> None:
    """Raise ValueError if a model removes markers itself and so never sees an image with them."""
    for model in fold_models:
        removal = model.metadata.get("preprocessing", {}).get("markers", "keep")
        if removal != "keep":
            raise ValueError(
                f"--remove-markers: the model {model.bundle} removes markers itself ({removal}), "
                "so its maps never show them; cxrloc check-shortcuts shows it "
                "images with them too"
            )


def with_rules(
    model: FoldModel, path: Path, prepared: PreparedData, *, aligned: bool, probabilities: bool
) -> list[FoldModel]:
    """The model with box rules from a file of `cxrloc tune-cam`, once for each fold of its images.

    A model of a fold has the images of that fold. One without, such as of the official split, may
    have images of all: each is boxed by the rules that were tuned on the other folds' patients.
    """
    truth, folds = prepared.files.ground_truth, prepared.folds
    boxed = {folds[r.image_id] for r in prepared.radiographs if r.boxes}
    parts = []
    for fold in sorted({folds[r.image_id] for r in model.images}):
        images = tuple(r for r in model.images if folds[r.image_id] == fold)
        rules = rules_of_fold(
            path,
            fold,
            truth,
            aligned=aligned,
            probabilities=probabilities,
            has_boxes=fold in boxed,
        )
        parts.append(replace(model, images=images, cam_rules=rules))
    return parts
