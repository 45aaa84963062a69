r"""How far do the faster runtimes move the gate's predictions, on images that it has not seen?

    cxrloc compare-runtimes --gate runs/gate --prepared data/nih \
        --out runs/runtimes

Each image is predicted by the model that has not seen its patient, in float32 and in every other
runtime that this machine's CPU has (--runtime of `predict` and `serve`). The table says how far
apart the probabilities are, how many decisions change, whether the Grad-CAM boxes stay, and what
becomes of the AUC.

INT8 weights are made for this comparison, from 96 training images of each model; those that `cxrloc
quantize` put next to a bundle are neither used nor changed. OUT receives runtimes.csv, .md and
.tex, all predictions as predictions_foldK.parquet, and the manifest. A finished fold is not
predicted again, so the same command resumes after an interrupt. Research use only, never a
diagnosis.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch: spinning threads cost 5 x

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cxrloc.classification.run_folder import CLASSIFIER, RunFolder
from cxrloc.configs.command_line import load_config, run_tool
from cxrloc.datasets.files.manifest import file_sha256, package_versions, run_manifest, write_json
from cxrloc.datasets.files.runs.locks import while_holding, writes_folder
from cxrloc.datasets.images.read import print_left_out, read_radiograph, readable_images
from cxrloc.datasets.prepared.folder import PreparedData, load_prepared
from cxrloc.datasets.progress import progress
from cxrloc.datasets.provenance.image_lists import read_training_images
from cxrloc.datasets.radiograph import Radiograph, label_matrix
from cxrloc.detection.planning.fold_models import FoldModel, ModelFiles, plan_fold_models, unseen
from cxrloc.localization.analyses.runtimes.config import CompareRuntimesConfig

if TYPE_CHECKING:
    from cxrloc.classification.bundle.classifier import ClassifierBundle
    from cxrloc.classification.inference.gate import Gate
    from cxrloc.classification.network.int8 import Int8Backbone
    from cxrloc.localization.analyses.runtimes.runtime_table import ImageInRuntimes

Facts = dict[str, Any]

# in float32 these are the reference, or the same as "auto"
PRECISIONS = {
    "torch": ("bf16",),
    "torch-bf16": ("auto",),
    "onnx": ("auto",),
    "openvino": ("auto", "fp32"),
    "openvino-int8": ("auto", "fp32"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool; returns the exit status."""
    return run_tool(
        "compare_runtimes",
        lambda: compare(load_config(CompareRuntimesConfig, argv, __doc__)),
        "the same command goes on after the last whole fold",
    )


@while_holding(lambda config: writes_folder(config.out))
def compare(config: CompareRuntimesConfig) -> None:
    """Predict the missing images, and write the table.

    Raises:
        ValueError, OSError: for a fold without a model, a model of another preparation, and for
            folds whose diseases, meaning of labels or runtimes are not the same.
    """
    from cxrloc.classification.report.tables import to_markdown, write_table
    from cxrloc.localization.analyses.runtimes.runtime_table import read_images, runtime_table

    started = time.time()
    prepared = load_prepared(config.prepared)
    models = ModelFiles(CLASSIFIER, config.gate)
    fold_models = plan_fold_models(prepared.radiographs, prepared, models, config.folds)
    if not any(model.images for model in fold_models):
        raise ValueError(f"{config.prepared} has no image in the folds that were asked for")
    notes: list[str] = []
    images: list[ImageInRuntimes] = []
    facts_of: dict[Path, Facts] = {}
    hashes: dict[str, str] = {}
    for model in (unseen(model, notes) for model in fold_models):
        path, facts = _predicted(model, prepared, config)
        notes += facts["notes"]
        images += read_images(path)
        facts_of[path] = facts
        hashes[str(model.bundle)] = facts["bundle"]
    _check_alike(facts_of)
    diseases = next(iter(facts_of.values()))["diseases"]
    table = runtime_table(images, diseases, tuple(dict.fromkeys(n.rstrip(".") for n in notes)))
    write_table(table, config.out)
    manifest = run_manifest(
        config, seed=config.seed, hashes=hashes, started=started, folder=config.out
    )
    write_json(config.out / "manifest.json", manifest)
    print(to_markdown(table))
    print(f"The table is {config.out / 'runtimes.md'}.")


def _predicted(
    model: FoldModel, prepared: PreparedData, config: CompareRuntimesConfig
) -> tuple[Path, Facts]:
    """The file with a model's images, made unless it exists, and its settings."""
    from cxrloc.classification.metrics.scored_images import OUTSIDE
    from cxrloc.localization.analyses.runtimes.runtime_table import settings_of, write_images

    assert model.bundle is not None
    images = _draw(model.images, config.images_per_fold, config.seed)
    name = "predictions" if model.fold is None else f"predictions_fold{model.fold}"
    path = config.out / f"{name}.parquet"
    settings = _made_of(model.bundle, images, prepared, config.seed)
    there = settings_of(path)
    if {key: there.get(key) for key in settings} == settings:
        print(f"{path} is there", file=sys.stderr)
        return path, there
    predictor = _Predictor(model.bundle, prepared, config.seed)
    answers = predictor.images(images, OUTSIDE if model.fold is None else model.fold)
    write_images(path, answers, predictor.bundle.diseases, {**settings, **predictor.facts})
    return path, settings_of(path)


def _made_of(
    bundle: Path, images: Sequence[Radiograph], prepared: PreparedData, seed: int
) -> Facts:
    """Everything that the predictions depend on: when it changes, images are predicted again."""
    import torch

    listed = RunFolder(bundle.parent).training_images
    return {
        "bundle": file_sha256(bundle),
        "training_images": file_sha256(listed) if listed.is_file() else None,
        "images": [image.image_id for image in images],
        "prepared": file_sha256(prepared.files.index),
        "seed": seed,
        "versions": package_versions(),
        "threads": torch.get_num_threads(),
        "cpu": torch.backends.cpu.get_cpu_capability(),
    }


def _draw(images: Sequence[Radiograph], most: int, seed: int) -> list[Radiograph]:
    if len(images) <= most:
        return list(images)
    chosen = np.random.default_rng(seed).permutation(len(images))[:most]
    return [images[i] for i in sorted(chosen)]


class _Predictor:
    """One classifier in all runtimes; the first is float32.

    Attributes:
        notes: which runtimes are left out and why, and what INT8 leaves in float.
    """

    def __init__(self, path: Path, prepared: PreparedData, seed: int) -> None:
        from cxrloc.classification.bundle.classifier import load_classifier
        from cxrloc.classification.inference.runtimes import INT8, require_int8

        self.path, self.prepared, self.seed = path, prepared, seed
        self.bundle = load_classifier(path)
        self.notes: list[str] = []
        self.gates: dict[str, Gate] = {}
        self._add(self.bundle, "torch", "fp32")
        for runtime, precisions in PRECISIONS.items():
            try:
                bundle = self.bundle
                if runtime == INT8:
                    require_int8()
                    bundle = replace(bundle, int8=self._int8())
                for precision in precisions:
                    self._add(bundle, runtime, precision)
            except (ImportError, ValueError, FileNotFoundError) as error:
                self.notes.append(f"{runtime} is left out: {error}")

    @property
    def facts(self) -> Facts:
        """What must be the same in all folds of a table, and the notes."""
        from cxrloc.classification.runs.ensemble import label_rules

        return {
            "diseases": list(self.bundle.diseases),
            "labels": asdict(label_rules(self.bundle)),
            "runtimes": list(self.gates),
            "notes": self.notes,
        }

    def images(self, radiographs: Sequence[Radiograph], fold: int) -> list[ImageInRuntimes]:
        """Those that can be read, with a progress bar."""
        from cxrloc.classification.runs.ensemble import label_rules
        from cxrloc.localization.analyses.runtimes.agreement import predict
        from cxrloc.localization.analyses.runtimes.runtime_table import ImageInRuntimes

        title = "images" if fold < 0 else f"fold {fold}"
        answered = []
        labelled = label_rules(self.bundle).meaning(radiographs)
        shown = progress(labelled, title)
        for radiograph, image in readable_images(shown, read_radiograph, print_left_out):
            labels = label_matrix([radiograph], self.bundle.diseases)[0]
            answers = {name: predict(gate, image) for name, gate in self.gates.items()}
            answered.append(
                ImageInRuntimes(radiograph.image_id, radiograph.patient_id, fold, labels, answers)
            )
        if not answered:
            raise ValueError(f"{self.path}: none of {len(radiographs)} images can be read")
        if missing := len(labelled) - len(answered):
            self.notes.append(f"{self.path}: {missing} of {len(labelled)} images cannot be read")
        return answered

    def _add(self, bundle: ClassifierBundle, runtime: str, precision: str) -> None:
        from cxrloc.classification.inference.gate import Gate

        gate = Gate(bundle, "cpu", precision, 1, runtime)
        self.gates.setdefault(gate.runtime, gate)  # "auto" may be fp32

    def _int8(self) -> Int8Backbone:
        """INT8 weights from training images, none of which is predicted here."""
        from cxrloc.classification.inference.int8_calibration import CALIBRATION_IMAGES, calibrate

        path = RunFolder(self.path.parent).training_images
        listed = read_training_images(path).parts.get("train", ())
        here = {r.image_id: r for r in self.prepared.radiographs}
        images = [here[image] for image in sorted(listed) if image in here]
        if not images:
            raise ValueError(
                f"{path}: none of its {len(listed)} training images is in {self.prepared.root}, "
                "so there is nothing to make INT8 weights of"
            )
        squares, draw = (
            self.bundle.preprocessing.squares,
            _draw(images, CALIBRATION_IMAGES, self.seed),
        )
        readable = readable_images(draw, read_radiograph, print_left_out)
        pixels = [squares([image]) for _, image in readable]
        if not pixels:
            raise ValueError("none of the training images can be read")
        int8 = calibrate(self.bundle, np.concatenate(pixels), seed=self.seed)
        total = len(int8.layers) + len(int8.left)
        left = ", ".join(int8.left) or "none"
        self.notes.append(
            f"{self.path}: {len(int8.layers)} of {total} convolutions in INT8, made of "
            f"{len(pixels)} training images; left in float: {left}"
        )
        return int8


def _check_alike(facts_of: Mapping[Path, Facts]) -> None:
    """Raise ValueError unless all folds have the same diseases, meaning of labels and runtimes."""
    first, *others = facts_of
    for path in others:
        for key in ("diseases", "labels", "runtimes"):
            here, there = facts_of[path][key], facts_of[first][key]
            if here != there:
                raise ValueError(
                    f"{path} and {first} cannot be in one table: {key} {here}, but {there}. "
                    "Name the folds that belong together with --folds, or delete the file that "
                    "another machine made; its images are predicted again"
                )


if __name__ == "__main__":
    raise SystemExit(main())
