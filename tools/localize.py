r"""Box the images of a prepared folder, each by the model that has not seen its patient.

    cxrloc localize --localizer grad_cam --gate runs/gate --prepared data/nih \
        --out runs/grad_cam.json
    cxrloc localize --localizer mask_rcnn --maskrcnn runs/maskrcnn \
        --prepared data/nih --images all --out runs/mask_rcnn.json
    cxrloc localize --localizer prior_box --prepared data/nih \
        --out runs/prior_box.json
    cxrloc localize --localizer mask_rcnn --maskrcnn runs/maskrcnn \
        --prepared data/rsna --labels nih_to_rsna.yaml --out runs/on_rsna.json

A run folder holds `fold0/`, `fold1/`, ...: each image is predicted by the model of its own test
fold. All diseases are boxed, whatever the gate decides; `compare --gate` applies its decisions.

With --labels or --external the folder is of another data set: each image is predicted by the first
model that has not seen its patient, and `compare` says what was trained on what. A grad_cam also
writes the gate's decisions for `compare --gate`, NAME.gate.csv. With --ensemble all models of a
run that has never seen these patients box each image, and weighted boxes fusion merges the boxes.

With --maps and --remove-markers, the file of maps also holds the maps of the images without
burnt-in letters, and the shortcut check of `compare` sets the two side by side.

An image that cannot be read is reported and left out (exit status 1). Research use only, never a
diagnosis.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch: spinning threads cost 5 x

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from cxrloc.configs.command_line import load_config, run_tool
from cxrloc.datasets.files.manifest import RESEARCH_USE, file_sha256, run_manifest
from cxrloc.datasets.files.runs.locks import while_holding, writes_file
from cxrloc.datasets.images.markers import Removal, without_markers
from cxrloc.datasets.prepared.choice import ImageChoice, select_radiographs
from cxrloc.datasets.prepared.coco import load_coco
from cxrloc.datasets.progress import progress
from cxrloc.datasets.provenance.sidecar import write_provenance
from cxrloc.detection.localizer_registry import (
    LocalizerInputs,
    build_localizer,
    kind_of_maps,
    localizer_entry,
)
from cxrloc.detection.planning.external_models import (
    check_fusion,
    check_not_merged,
    disease_counterparts,
    external_facts,
    plan_external_models,
    write_gate,
    write_rest,
)
from cxrloc.detection.planning.fold_models import (
    FoldModel,
    ModelFiles,
    check_markers_kept,
    plan_fold_models,
    with_rules,
)
from cxrloc.detection.run_config import MASK_RCNN
from cxrloc.localization.cam.heat_maps import HeatMaps, check_map_file, write_heat_maps
from cxrloc.localization.localizer import Localizer
from cxrloc.localization.predictions.predicted import Predicted, readable
from cxrloc.localization.predictions.relabelled import Counterparts, RelabelledLocalizer
from cxrloc.localization.predictions.results_file import write_predictions

if TYPE_CHECKING:
    from cxrloc.datasets.prepared.folder import PreparedData


@dataclass(frozen=True)
class LocalizeConfig:
    """Which images are boxed, by what.

    Attributes:
        localizer: grad_cam, grad_cam_wang, grad_cam_aligned, guided_cam (of a gate trained with
            boxes), mask_rcnn, mask_rcnn_mask_box, or a control: prior_box, constant_box, center_box
            or random_map.
        prepared: folder written by `cxrloc prepare`.
        out: COCO results file to write. NAME.manifest.json next to it records which model predicted
            which images.
        gate: the gate, for the cam localizers: a run folder with one folder per test fold, or
            one bundle (.safetensors). A bundle of one fold predicts the images of that fold only.
        maskrcnn: the detector, for the mask_rcnn localizers: run folder or bundle, as for the gate.
        images: those with boxes, all on disk, or those with boxes or in the official test list.
        folds: test folds to predict, such as `0 1` (default: all).
        cam_rules: box rules written by `cxrloc tune-cam`, for grad_cam, grad_cam_aligned and
            guided_cam. The images of a fold are boxed by the rules of that fold.
        maps: also write the heat maps of the boxed images and diseases to this file
            (NAME.maps.safetensors). Only cam localizers have any.
        remove_markers: also write the maps of the images with burnt-in letters masked or inpainted,
            which takes a second pass over the boxed images. The boxes do not change.
        external: the prepared folder is of another data set than the models.
        labels: label map (YAML) from the model's diseases to the other data set's, one line
            `Effusion: Pleural Effusion` each, null for those without a counterpart. Without it
            equal names are counterparts.
        seen: of another data set, refuse or leave_out images whose patient every model has seen.
            The ground truth of the others is then written beside OUT.
        ensemble: of another data set, fuse the boxes of all models of the run. An image whose
            patient any of them has seen is refused.
        sizes: sides of the squares that a Mask R-CNN looks at, such as `384 512`; the boxes are
            fused (default: its training's).
        strict: stop at the first image that cannot be read.
        device: cpu, cuda or auto.
        precision: number format of the network.
        seed: seed of random_map.
    """

    localizer: str
    prepared: Path
    out: Path
    gate: Path | None = None
    maskrcnn: Path | None = None
    images: ImageChoice = "boxed"
    folds: list[int] | None = None
    cam_rules: Path | None = None
    maps: Path | None = None
    remove_markers: Removal | None = None
    external: bool = False
    labels: Path | None = None
    seen: Literal["refuse", "leave_out"] = "refuse"
    ensemble: bool = False
    sizes: list[int] | None = None
    strict: bool = False
    device: str = "cpu"
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    seed: int = 0

    @property
    def is_external(self) -> bool:
        """Whether the prepared folder is of another data set than the models."""
        return self.external or self.labels is not None

    def __post_init__(self) -> None:
        entry = localizer_entry(self.localizer)
        if self.is_external and (self.folds is not None or self.cam_rules is not None):
            raise ValueError("--folds and --cam-rules belong to the models' own data set")
        check_fusion(self.ensemble, self.sizes, entry.bundle_file == MASK_RCNN, self.is_external)
        if self.maps is not None:
            check_map_file(self.maps)
            if not entry.has_maps:
                raise ValueError(f"--maps: {self.localizer} has no heat maps, expected a cam")
        elif self.remove_markers is not None:
            raise ValueError("--remove-markers is for the maps that are kept; give --maps too")
        if self.cam_rules is not None and not entry.takes_rules:
            raise ValueError(
                f"--cam-rules: {self.localizer} takes no rules, expected grad_cam, "
                "grad_cam_aligned or guided_cam"
            )
        given = {f"--{n}" for n in ("gate", "maskrcnn") if getattr(self, n) is not None}
        if entry.bundle_file is None and given:
            raise ValueError(f"{self.localizer} is a control and takes no {min(given)}")
        needed = "--maskrcnn" if entry.bundle_file == MASK_RCNN else "--gate"
        if entry.bundle_file is not None and given != {needed}:
            raise ValueError(
                f"{self.localizer} needs {needed} (a run folder or a bundle), and no other model; "
                f"got {' and '.join(sorted(given)) or 'neither'}"
            )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool; returns the exit status."""
    return run_tool("localize", lambda: _run(load_config(LocalizeConfig, argv, __doc__)))


@while_holding(lambda config: writes_file(config.out, config.maps))
def _run(config: LocalizeConfig) -> int:
    done = localize(config)
    counts = f"{len(done.boxes)} boxes on {done.images} images"
    print(f"{counts} by {config.localizer} -> {config.out}\n{RESEARCH_USE}.")
    if config.maps is not None and not done.maps:
        print(f"{config.maps} holds no map: no image has a box", file=sys.stderr)
    for image_id, reason in done.unreadable.items():
        print(f"cannot be read, left out: {image_id}: {reason}", file=sys.stderr)
    return int(bool(done.unreadable))


def localize(config: LocalizeConfig) -> Predicted:
    """Predict and write the results file and its manifest.

    Raises:
        ValueError, FileNotFoundError: for a fold without a model, or a model of another
            preparation.
    """
    from cxrloc.datasets.prepared.folder import load_prepared

    started = time.time()
    prepared = load_prepared(config.prepared)
    coco = load_coco(prepared.files.ground_truth)
    done = Predicted()
    hashes = {"ground_truth": file_sha256(prepared.files.ground_truth)}
    fold_models = _fold_models(config, prepared)
    pairs = [disease_counterparts(model, coco, config.labels) for model in fold_models]
    if config.maps is not None:
        check_not_merged(pairs)
    if config.cam_rules is not None:
        hashes["cam_rules"] = file_sha256(config.cam_rules)
    for model, names in zip(fold_models, pairs, strict=True):
        predict_images(model, names, config, coco, done)
        hashes |= {str(bundle): file_sha256(bundle) for bundle in model.bundles}
    write_predictions(config.out, done.boxes, coco, done.extra)
    folder = config.out.parent
    manifest = run_manifest(config, seed=config.seed, hashes=hashes, started=started, folder=folder)
    facts = {"image_count": done.images, "boxes": len(done.boxes), "unreadable": done.unreadable}
    in_folds = all(model.fold is not None for model in fold_models if model.bundles)
    out_of_fold = not config.is_external and in_folds
    if config.maps is not None:
        _write_maps(config, done, prepared.folds if out_of_fold else None)
    if config.is_external:
        facts["external"] = external_facts(fold_models, pairs[0], config.prepared, folder)
        if config.seen == "leave_out":
            write_rest(config.out, fold_models, coco)
    summary = {"notice": RESEARCH_USE, **facts, "out_of_fold": out_of_fold, **manifest}
    write_provenance(config.out, done.looked_at, summary)
    if config.is_external:
        write_gate(config.out, fold_models, done, summary)
    return done


def _fold_models(config: LocalizeConfig, prepared: PreparedData) -> list[FoldModel]:
    images = select_radiographs(prepared.radiographs, config.images, prepared)
    if not images:
        raise ValueError(f"{config.prepared}: no image with a box is on disk; try --images all")
    path = config.maskrcnn or config.gate
    models = ModelFiles(localizer_entry(config.localizer).bundle_file, path)
    if config.is_external:
        fold_models = plan_external_models(images, models, config.seen, config.ensemble)
    else:
        fold_models = plan_fold_models(images, prepared, models, config.folds)
    if config.remove_markers is not None:
        check_markers_kept(fold_models)
    if config.cam_rules is None:
        return fold_models
    rules, kind = config.cam_rules, kind_of_maps(config.localizer)
    return [m for model in fold_models for m in with_rules(model, rules, prepared, **kind)]


def predict_images(
    model: FoldModel,
    names: Counterparts,
    config: LocalizeConfig,
    coco: Mapping[str, Any],
    done: Predicted,
) -> None:
    """Predict the images of one model, with a progress bar, into `done`."""
    localizer = _localizer(model, config, coco)
    if config.is_external:
        localizer = RelabelledLocalizer(localizer, names.sources)
    diseases = list(names.sources)
    title = config.localizer if model.fold is None else f"{config.localizer} fold {model.fold}"
    bar = progress(model.images, title)
    boxed_pairs = {(r.image_id, box.disease) for r in model.images for box in r.boxes}
    with_maps = boxed_pairs if config.maps is not None else set()
    looked_at = []
    for image in readable(bar, model.bundle is not None, config.strict, done):
        output = localizer.localize([image], diseases)
        done.boxes += output.boxes
        done.extra |= output.facts
        maps = {p: cells.copy() for p, cells in (output.maps or {}).items() if p in with_maps}
        done.maps |= maps
        if config.remove_markers is not None and maps:
            bare = without_markers(image, config.remove_markers)
            done.bare_maps |= localizer.localize([bare], [d for _, d in maps]).maps or {}
        looked_at.append(image.image_id)
    done.looked_at += model.looked_at(looked_at)


def _localizer(model: FoldModel, config: LocalizeConfig, coco: Mapping[str, Any]) -> Localizer:
    seed, device, precision = config.seed, config.device, config.precision
    inputs = LocalizerInputs(model.bundle, coco, seed, device, precision, model.cam_rules)
    fused = replace(inputs, partners=model.partners, sizes=tuple(config.sizes or ()))
    return build_localizer(config.localizer, fused)


def _write_maps(config: LocalizeConfig, done: Predicted, folds: Mapping[str, int] | None) -> None:
    assert config.maps is not None
    maps = HeatMaps.of(
        done.maps,
        name=config.localizer,
        folds=None if folds is None else {i: folds[i] for i in sorted({i for i, _ in done.maps})},
        without_markers=done.bare_maps if config.remove_markers else None,
        removal=config.remove_markers or "",
        **kind_of_maps(config.localizer),
    )
    write_heat_maps(config.maps, maps)


if __name__ == "__main__":
    sys.exit(main())
