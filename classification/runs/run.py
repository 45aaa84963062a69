"""Open a classifier run: its images, its splits, and the settings of its folders."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from cxrloc.classification.bundle.card import write_card
from cxrloc.classification.config import ClassifierConfig, ModelConfig
from cxrloc.classification.run_folder import RunFolder
from cxrloc.classification.training.batches import ImageBatches, holds_channels, row_groups
from cxrloc.classification.training.distributed import run_on_rank_zero
from cxrloc.classification.training.losses.boxes import BoxRegions
from cxrloc.classification.training.samplers import row_groups_in_use
from cxrloc.datasets.files.checked import Name, checked
from cxrloc.datasets.files.manifest import file_sha256, write_json
from cxrloc.datasets.files.parse import read_json
from cxrloc.datasets.images.pixel_cache import PixelCache
from cxrloc.datasets.label_policies import LabelRules, count_labels, counts_text
from cxrloc.datasets.labels.names import NO_FINDING
from cxrloc.datasets.prepared.folder import PreparedData, load_prepared
from cxrloc.datasets.prepared.splits import (
    Split,
    fold_split,
    official_split,
    sampled_split,
    stratified_split,
)
from cxrloc.datasets.prepared.stratification import STRATIFIERS
from cxrloc.datasets.provenance.image_lists import write_training_images
from cxrloc.datasets.provenance.sidecar import LookedAt, write_provenance
from cxrloc.datasets.radiograph import Radiograph
from cxrloc.datasets.shards.read import ShardSet, check_complete


@dataclass(frozen=True)
class Fold:
    """One training of the run: its split and its folder. `number` is None for a single split."""

    split: Split
    folder: Path
    number: int | None = None

    @property
    def files(self) -> RunFolder:
        """The files of its folder."""
        return RunFolder(self.folder)


@dataclass(frozen=True)
class Run:
    """Data shared by all folds of a run."""

    config: ClassifierConfig
    prepared: PreparedData
    radiographs: dict[str, Radiograph] = field(repr=False)
    diseases: tuple[str, ...]
    cache: PixelCache | ShardSet = field(repr=False)
    label_facts: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def files(self) -> RunFolder:
        """The files of the run over all folds."""
        return RunFolder(Path(self.config.out))

    def images(self, image_ids: Sequence[str]) -> ImageBatches:
        """Images for selection or scoring: uncertain labels are unknown."""
        images = [self.radiographs[i] for i in image_ids]
        model = self.config.model
        return ImageBatches(
            self.cache, images, self.diseases, model.clahe_clip, model.input, model.demographics
        )

    def training_images(self, image_ids: Sequence[str]) -> ImageBatches:
        """Images for training: uncertain labels are set by `data.uncertain`."""
        images, seed = self.images(image_ids), self.config.train.seed
        of_images = [self.radiographs[i] for i in image_ids]
        images.labels = self.config.data.label_rules.training_labels(of_images, self.diseases, seed)
        if self.config.train.box_loss_weight:
            images.regions = self.regions(of_images)
        return images

    def regions(self, radiographs: Sequence[Radiograph]) -> BoxRegions:
        """Boxes that the box loss may see: those of training images.

        Raises:
            ValueError: if there is none.
        """
        regions = BoxRegions(radiographs, self.diseases, self.config.model.size)
        if not len(regions):
            raise ValueError(
                f"train.box_loss_weight: got {self.config.train.box_loss_weight:g}, but none of "
                f"the {len(radiographs)} training images has a box of {', '.join(self.diseases)}; "
                "expected 0, a data set with boxes, or a split that trains on them"
            )
        return regions


def open_run(config: ClassifierConfig) -> Run:
    """Read the prepared folder; open its shards, or decode images missing from the pixel cache.

    Raises:
        ValueError, FileNotFoundError: for a folder that does not match the settings.
    """
    if not config.data.prepared:
        raise ValueError("data.prepared is empty; expected a folder made by cxrloc prepare")
    prepared = load_prepared(Path(config.data.prepared))
    diseases = _diseases(prepared.radiographs, config.data.diseases)
    wanted = _wanted(config, prepared.radiographs, diseases)
    cache = run_on_rank_zero(_pixels, config, prepared, wanted)
    usable = [r for r in wanted if r.image_id in cache]
    rules = config.data.label_rules
    facts = _label_facts(usable, diseases, rules)
    radiographs = {r.image_id: r for r in rules.meaning(usable)}
    return Run(config, prepared, radiographs, diseases, cache, facts)


def _wanted(
    config: ClassifierConfig, radiographs: Sequence[Radiograph], diseases: Sequence[str]
) -> list[Radiograph]:
    """The images that some part of the split has: no others are decoded.

    A sample of a sample by the same rules is that sample, so `make_folds` splits it the same way.
    """
    if config.data.split != "sampled":
        return list(radiographs)
    meant = config.data.label_rules.meaning(radiographs)
    split = sampled_split(meant, diseases, seed=config.train.seed)
    chosen = {*split.train, *split.validation, *split.test}
    return [r for r in radiographs if r.image_id in chosen]


def _pixels(
    config: ClassifierConfig, prepared: PreparedData, wanted: Sequence[Radiograph]
) -> PixelCache | ShardSet:
    data, size = config.data, config.model.size
    if data.shards:
        row_groups = row_groups_in_use(config.train.batch_size)
        shards = ShardSet(data.shards, size, row_groups)
        check_complete(shards, prepared.radiographs, strict=data.strict)
        _check_channels(shards, config.model)
        return shards
    return PixelCache.open(
        wanted,
        size,
        Path(data.cache or prepared.files.pixel_cache),
        workers=data.workers,
        strict=data.strict,
        markers=config.model.markers,
    )


def _check_channels(shards: ShardSet, model: ModelConfig) -> None:
    """Grey shards suit every input, enhanced ones only the channels they contain."""
    shard_channels = (shards.kind.input, shards.kind.clahe_clip)
    model_channels = (model.input, model.clahe_clip)
    if holds_channels(shards) and shard_channels != model_channels:
        raise ValueError(
            f"data.shards: {shards.url} contains images of input {shard_channels[0]} with "
            f"clahe_clip {shard_channels[1]:g}, expected {model_channels[0]} with "
            f"{model_channels[1]:g} as in model.input and model.clahe_clip; grey shards "
            "(cxrloc build-shards --input grey) suit every input"
        )


def _label_facts(
    radiographs: Sequence[Radiograph], diseases: Sequence[str], rules: LabelRules
) -> dict[str, Any]:
    """Collect published labels and closure's changes for the manifest; print them as a table.

    Empty if every label is present or absent.
    """
    counts = count_labels(radiographs, diseases, rules.closure)
    if not any(of.uncertain or of.blank or of.raised_absent for of in counts.values()):
        return {}
    print(f"\n{counts_text(counts, rules)}\n", flush=True)
    return {"labels": {disease: asdict(of_disease) for disease, of_disease in counts.items()}}


def make_folds(run: Run) -> list[Fold]:
    """List the trainings requested by the settings.

    Raises:
        ValueError: for a fold that does not exist.
    """
    data, seed, out = run.config.data, run.config.train.seed, run.files.path
    images, k = list(run.radiographs.values()), run.prepared.k
    if data.split == "official":
        official = run.prepared.official
        split = official_split(images, official, data.validation_share, seed, run.diseases)
        return [Fold(split, out)]
    if data.split in STRATIFIERS:
        test, rest = data.test_share, 1 - data.test_share
        shares = rest * (1 - data.validation_share), rest * data.validation_share, test
        split = stratified_split(images, run.diseases, shares, seed, data.split)
        return [Fold(split, out)]
    if data.split == "sampled":
        return [Fold(sampled_split(images, run.diseases, seed=seed), out)]
    if data.fold != "all" and data.fold >= k:
        raise ValueError(f"data.fold: got {data.fold}, expected 0 to {k - 1} or all")
    numbers = range(k) if data.fold == "all" else [data.fold]
    return [
        Fold(fold_split(images, run.prepared.folds, i, k), run.files.fold(i).path, i)
        for i in numbers
    ]


def check_or_write_settings(run: Run, fold: Fold) -> None:
    """Record the settings of a fold, or compare them with those its folder was started with."""
    path = fold.files.settings
    settings = json.loads(json.dumps(_settings(run, fold), default=str))
    begun = fold.files.checkpoints.is_dir() or fold.files.classifier.is_file()
    if not (begun and path.is_file()):
        write_json(path, settings)
        return
    held = dict[Name, Any]
    earlier: dict[str, Any] = checked(read_json(path), held, str(path), "delete the folder")
    different = [key for key in settings if settings[key] != earlier.get(key)]
    if different:
        changes = ", ".join(f"{k} was {earlier.get(k)!r}, now {settings[k]!r}" for k in different)
        raise ValueError(
            f"{fold.folder} was started with other settings ({changes}); "
            "use another out folder, or delete this one"
        )


def list_images(run: Run, fold: Fold) -> None:
    """Write the lists of a finished fold's training images and of the images in its gate.csv."""
    images = {
        name: [run.radiographs[i] for i in getattr(fold.split, name)]
        for name in ("train", "validation")
    }
    weights = Path(run.config.model.weights)
    listed = RunFolder(weights.parent).training_images.is_file() and weights.is_file()
    write_training_images(fold.files.classifier, images, {"weights": weights} if listed else {})
    write_gate_provenance(fold.files, [fold])
    write_card(fold.files.classifier)


def write_gate_provenance(folder: RunFolder, folds: Sequence[Fold]) -> None:
    """Write the sidecar of a folder's gate.csv, which has the decisions of these folds."""
    looked_at = [LookedAt(fold.split.test, fold.files.classifier, fold.number) for fold in folds]
    write_provenance(folder.gate, looked_at)


def input_hashes(run: Run) -> dict[str, str]:
    """Name -> SHA-256 of the run's inputs, for its manifest."""
    prepared, weights = run.prepared.files, Path(run.config.model.weights)
    files = {"index": prepared.index, "folds": prepared.folds, "weights": weights}
    hashes = {name: file_sha256(path) for name, path in files.items() if path.is_file()}
    return {**run.prepared.manifest["hashes"], **hashes}


def _settings(run: Run, fold: Fold) -> dict[str, Any]:
    """All settings that determine a fold's bundle, but not those that only affect speed."""
    config = run.config
    flat = {f"model.{k}": v for k, v in asdict(config.model).items()}
    flat["model.demographics"] = list(config.model.demographics)  # as in JSON
    flat |= {f"data.{k}": getattr(config.data, k) for k in ("uncertain", "blank", "closure")}
    flat |= {f"train.{k}": v for k, v in asdict(config.train).items() if k != "device"}
    split_ids = "\n".join(" ".join(ids) for ids in (fold.split.train, fold.split.validation))
    flat["split"] = hashlib.sha256(split_ids.encode()).hexdigest()
    ids = (*fold.split.train, *fold.split.validation, *fold.split.test)
    images = [run.radiographs[i] for i in ids]
    label_text = repr(
        [(r.image_id, [r.label(d) for d in run.diseases], r.boxes, r.uncertain) for r in images]
    )
    flat["labels and boxes"] = hashlib.sha256(label_text.encode()).hexdigest()
    # the order of images depends on which share a row group, not on where the shards are
    groups = row_groups(run.cache, fold.split.train)
    flat["row groups"] = "" if groups is None else hashlib.sha256(groups.tobytes()).hexdigest()
    if Path(config.model.weights).is_file():
        flat["weights file"] = file_sha256(Path(config.model.weights))
    return {**flat, "diseases": list(run.diseases)}


def _diseases(radiographs: Sequence[Radiograph], asked: Sequence[str]) -> tuple[str, ...]:
    labels = tuple(dict.fromkeys(d for r in radiographs for d in r.labels))
    able = list(dict.fromkeys((*labels, NO_FINDING)))  # CheXpert labels it explicitly
    unknown = [d for d in asked if d not in able]
    if unknown:
        raise ValueError(f"data.diseases: no label {', '.join(unknown)}; expected one of {able}")
    return tuple(asked) or labels
