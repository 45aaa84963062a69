"""Settings of a classifier training; torch is not imported here, so that `--help` stays quick."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from cxrloc.datasets.images.markers import Markers
from cxrloc.datasets.label_policies import LabelRules

Input = Literal["grey", "single", "enhanced"]
Architecture = Literal[
    "resnet18",
    "resnet34",
    "resnet50",
    "densenet121",
    "densenet161",
    "densenet169",
    "efficientnet_b0",
    "efficientnet_b4",
    "efficientnet_b7",
    "googlenet",
    "vgg16",
    "convnext_tiny",
    "simple_cnn",
    "conv3",
    "conv4",
]  # the keys of networks.ARCHITECTURES, which needs torch
Loss = Literal["auto", "bce", "bce_weighted", "bce_two_sided", "chexnet", "focal", "hamming"]
Demographic = Literal["age", "sex", "view"]
Standardise = Literal["imagenet", "image"]
Split = Literal["folds", "official", "sampled", "label_sets", "iterative"]
Uncertain = Literal["ignore", "ones", "zeros", "smoothed_ones", "smoothed_zeros", "three_class"]
Blank = Literal["unknown", "negative"]
Optimizer = Literal["adamw", "adam", "sgd"]
Schedule = Literal[
    "one_cycle",
    "cosine",
    "constant",
    "step",
    "exponential",
    "reduce_on_plateau",
    "triangular",
    "triangular2",
]
Sampler = Literal["uniform", "inverse_frequency", "capped"]


def _require(ok: bool, key: str, value: object, expected: str) -> None:
    if not ok:
        raise ValueError(f"{key}: got {value!r}, expected {expected}")


def _require_choice(choices: Any, key: str, value: object) -> None:
    known = get_args(choices)
    _require(value in known, key, value, f"one of {', '.join(known)}")


@dataclass(frozen=True)
class DataConfig:
    """What is trained on.

    Attributes:
        prepared: folder that tools/prepare_data.py wrote.
        split: folds (patient-wise, from the prepared folder), official (the data set's own test
            list), sampled (Deep MedIA: at most 5,000 images a disease, 80/10/10 by patient),
            label_sets (`test_share` of the patients of each combination of labels) or iterative
            (of each label, which is better for many labels); both take the images of all official
            lists together, so train on `official` what CheXpert's valid.csv is to score.
        fold: the test fold to run, or all; used with split folds only. One fold alone is not
            reported out of fold; give all to the same run folder when its folds are trained.
        diseases: names of the outputs, in order; empty takes every disease that has a label.
        uncertain: what labels that the data set calls uncertain become for training: ignore
            (masked), ones, zeros, smoothed_ones, smoothed_zeros, or three_class (a class of its
            own; loss auto). See `cxrloc.datasets.label_policies`. They are never scored.
        blank: what labels that the data set leaves blank are, trained on and scored: unknown, or
            negative.
        closure: an image with a finding has the findings that it is a kind of too (Cardiomegaly:
            Enlarged Cardiomediastinum), by CheXpert's label tree; what changes is printed.
        shards: folder or URL of tools/data/build_shards.py, from which images of `model.size` are
            read instead of a pixel cache; another order of images, so another result.
        cache: folder of the decoded pixels; empty is `pixel_cache` in the prepared folder.
        test_share: share of the patients that are scored (splits label_sets and iterative).
        validation_share: share of the other patients that validate (not of folds and sampled).
        strict: stop at an unreadable file, which is otherwise named, counted and left out.
        workers: threads that decode images the first time.
        loader_workers: processes that feed batches; 0 is best with the decoded pixels in memory.
    """

    prepared: str = ""
    split: Split = "folds"
    fold: int | Literal["all"] = "all"
    diseases: tuple[str, ...] = ()
    uncertain: Uncertain = "ignore"
    blank: Blank = "unknown"
    closure: bool = False
    shards: str = ""
    cache: str = ""
    test_share: float = 0.2
    validation_share: float = 0.1
    strict: bool = False
    workers: int = 2
    loader_workers: int = 0

    def __post_init__(self) -> None:
        fold_ok = self.fold == "all" or (isinstance(self.fold, int) and self.fold >= 0)
        _require(fold_ok, "data.fold", self.fold, "a fold number from 0, or all")
        _require_choice(Uncertain, "data.uncertain", self.uncertain)
        _require_choice(Blank, "data.blank", self.blank)
        repeats = len(set(self.diseases)) == len(self.diseases)
        _require(repeats, "data.diseases", self.diseases, "each disease once")
        for name in ("test_share", "validation_share"):
            value = getattr(self, name)
            _require(0 < value < 1, f"data.{name}", value, "a share in (0, 1)")
        _require(self.workers >= 1, "data.workers", self.workers, "at least 1")
        _require(self.loader_workers >= 0, "data.loader_workers", self.loader_workers, "0 or more")

    @property
    def label_rules(self) -> LabelRules:
        """What uncertain and blank labels count as."""
        return LabelRules(self.uncertain, self.blank, self.closure)


@dataclass(frozen=True)
class ModelConfig:
    """The network.

    Attributes:
        architecture: resnet18, resnet34, resnet50, densenet121, densenet161, densenet169,
            efficientnet_b0, efficientnet_b4, efficientnet_b7, googlenet, vgg16, convnext_tiny,
            simple_cnn, conv3 or conv4; see `cxrloc.classification.network.backbones`.
        size: side of the square input in pixels, a multiple of 32; the last map is size / 32 wide.
        head: linear, or two_layer (Deep MedIA).
        hidden: width of the two-layer head.
        weights: none, imagenet (torchvision's, by name), or the path of a .safetensors or .pth
            file, which may hold a part of the tensors.
        input: channels of the network's input: grey (the image thrice), single (the image once; the
            first layer's kernels for red, green and blue are added up) or enhanced (the image; the
            image with its histogram equalised; the image with its contrast stretched).
        clahe_clip: clip limit of the contrast-limited equalisation (CLAHE) that every image gets
            before the network, in training and later; 2 is usual, 0 leaves images as they are. Of
            an enhanced input it makes the equalised channel and leaves the two others alone.
        standardise: imagenet (by ImageNet's mean and deviation) or image (each pixel by its mean
            and deviation over the training images).
        markers: burnt-in text and side letters of every image, in training and later: keep, mask
            (filled with the grey around them) or inpaint (see `cxrloc.datasets.images.markers`).
        demographics: any of age, sex and view, given to the network beside the image. Off by
            default: they invite shortcuts (see `cxrloc.classification.network.demographics`), and a
                gate
            with them must not be used to compare localizers.
        frozen_stages: leave the first of the backbone's five stages as they were loaded: the stem
            (1) and a ResNet's layer1 .. layer4 (2 .. 5), or their like (`networks.ARCHITECTURES`).
    """

    architecture: Architecture = "resnet18"
    size: int = 224
    head: Literal["linear", "two_layer"] = "linear"
    hidden: int = 256
    weights: str = "none"
    input: Input = "grey"
    clahe_clip: float = 0.0
    standardise: Standardise = "imagenet"
    markers: Markers = "keep"
    demographics: tuple[Demographic, ...] = ()
    frozen_stages: int = 0

    def __post_init__(self) -> None:
        _require_choice(Architecture, "model.architecture", self.architecture)
        size_ok = 64 <= self.size <= 1024 and self.size % 32 == 0
        _require(size_ok, "model.size", self.size, "a multiple of 32 from 64 to 1024")
        for name in self.demographics:
            _require_choice(Demographic, "model.demographics", name)
        once = len(set(self.demographics)) == len(self.demographics)
        _require(once, "model.demographics", self.demographics, "each of age, sex, view once")
        _require(self.hidden >= 1, "model.hidden", self.hidden, "at least 1")
        _require(bool(self.weights), "model.weights", self.weights, "none, imagenet or a path")
        _require_choice(Input, "model.input", self.input)
        _require_choice(Standardise, "model.standardise", self.standardise)
        _require_choice(Markers, "model.markers", self.markers)
        _require(self.clahe_clip >= 0, "model.clahe_clip", self.clahe_clip, "0 (off) or more")
        _require(0 <= self.frozen_stages <= 5, "model.frozen_stages", self.frozen_stages, "0 to 5")
        pretrained = self.frozen_stages == 0 or self.weights != "none"
        expected = "0 with model.weights none: frozen random layers learn nothing"
        _require(pretrained, "model.frozen_stages", self.frozen_stages, expected)


@dataclass(frozen=True)
class TrainConfig:
    """How it is trained.

    Attributes:
        epochs: at most this many; `patience` may end the run before.
        batch_size: images per step, over all processes (torchrun) together: N of them take N equal
            parts of the images that one would take.
        lr: peak learning rate.
        loss: see `cxrloc.classification.training.losses`; auto is bce_weighted where
            `positive_weight_cap` is set, else bce.
        positive_weight_cap: weigh positives by negatives / positives of the training images, at
            least by 1 and at most by this; 0 is, for loss bce_weighted, without a limit.
        class_weight_bias: negatives counted beside the true ones, so that positives weigh more
            (bce_two_sided).
        focal_gamma, focal_alpha: how much less an easy label counts, and the weight of positives
            against the 1 - alpha of negatives (focal).
        optimizer: adamw, adam or sgd.
        weight_decay: of AdamW; for adam and sgd an L2 penalty, of which 1e-4 is usual.
        momentum: of sgd.
        schedule: of the learning rate. Changed with every step: one_cycle (warm up, then down),
            cosine (down), constant, triangular (up and down in cycles), triangular2 (half as far
            up each cycle). With every epoch: step, exponential, reduce_on_plateau (of the
            validation loss).
        warmup_share: share of the steps that warm up (one_cycle).
        step_epochs, step_factor: multiply the rate by the factor after every so many epochs (step).
        exponential_factor: multiply the rate by it after every epoch (exponential).
        plateau_epochs, plateau_factor: multiply the rate by the factor after more than so many
            epochs without a lower validation loss (reduce_on_plateau).
        cycle_epochs, cycle_low: epochs of a cycle up and down, and the rate at its ends as a share
            of `lr` (triangular, triangular2).
        sampler: of the images of an epoch, see `cxrloc.classification.training.samplers`.
        sampler_cap: images per disease and epoch at most (capped).
        small_share: share of the epochs, the first ones, trained at half the input size (quicker).
        patience: epochs without a better validation loss before stopping (with `two_stage` before a
            stage ends, and without a better validation AUC).
        two_stage: train the head alone on a frozen backbone, then all layers (but
            `model.frozen_stages`) from the best epoch of the head.
        hierarchy: none, or parents_first: first all layers on the labels at the top of CheXpert's
            label tree, then, all else frozen, the children's rows of a linear head (see
            `cxrloc.classification.training.label_hierarchy`), each stage `epochs` at most, the
            second at the rate `stage2_lr` and without weight decay.
        stage1_epochs: of the head at most; `epochs` are those of the second stage.
        stage2_lr: peak learning rate of the second stage; `lr` is that of the first.
        rotation_degrees, shift, scale, brightness: largest random change of a training image; shift
            as a share of the side, scale and brightness as a share of 1.
        flip: mirror half of the images. Off by default, because the heart has a side: a mirrored
            image shows dextrocardia, which no label says, and teaches that neither the heart's side
            nor the letter L or R on the image means anything.
        precision: auto (bf16 where the hardware is fast at it), fp32 or bf16.
        device: auto, cpu, cuda or cuda:N.
        seed: of the start weights, the order of the images and the random changes.
        bootstrap: replicates of the patient bootstrap behind each interval.
    """

    epochs: int = 20
    batch_size: int = 16
    lr: float = 5e-4
    loss: Loss = "auto"
    positive_weight_cap: float = 0.0
    class_weight_bias: float = 0.0
    focal_gamma: float = 2.0
    focal_alpha: float = 0.25
    optimizer: Optimizer = "adamw"
    weight_decay: float = 1e-2
    momentum: float = 0.9
    schedule: Schedule = "one_cycle"
    warmup_share: float = 0.2
    step_epochs: int = 7
    step_factor: float = 0.1
    exponential_factor: float = 0.9
    plateau_epochs: int = 2
    plateau_factor: float = 0.1
    cycle_epochs: int = 4
    cycle_low: float = 0.25
    sampler: Sampler = "uniform"
    sampler_cap: int = 5000
    small_share: float = 0.0
    patience: int = 20
    two_stage: bool = False
    hierarchy: Literal["none", "parents_first"] = "none"
    stage1_epochs: int = 10
    stage2_lr: float = 1e-4
    rotation_degrees: float = 5.0
    shift: float = 0.05
    scale: float = 0.08
    brightness: float = 0.15
    flip: bool = False
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    device: str = "auto"
    seed: int = 0
    bootstrap: int = 1000

    def __post_init__(self) -> None:
        _require_choice(Loss, "train.loss", self.loss)
        _require_choice(Optimizer, "train.optimizer", self.optimizer)
        _require_choice(Schedule, "train.schedule", self.schedule)
        _require_choice(Sampler, "train.sampler", self.sampler)
        for name in _COUNTS:
            _require(getattr(self, name) >= 1, f"train.{name}", getattr(self, name), "at least 1")
        for name in _SHARES:
            value = getattr(self, name)
            _require(0 <= value < 1, f"train.{name}", value, "a share in [0, 1)")
        for name in _FACTORS:
            value = getattr(self, name)
            _require(0 < value < 1, f"train.{name}", value, "a factor in (0, 1)")
        for name in _NOT_NEGATIVE:
            _require(getattr(self, name) >= 0, f"train.{name}", getattr(self, name), "0 or more")
        _require(self.lr > 0, "train.lr", self.lr, "more than 0")
        _require(self.stage2_lr > 0, "train.stage2_lr", self.stage2_lr, "more than 0")
        weighted = self.positive_weight_cap == 0 or self.loss in ("auto", "bce_weighted")
        expected = f"0 with train.loss {self.loss}; bce_weighted is the loss with such weights"
        _require(weighted, "train.positive_weight_cap", self.positive_weight_cap, expected)
        biased = self.class_weight_bias == 0 or self.loss == "bce_two_sided"
        expected = f"0 with train.loss {self.loss}; bce_two_sided is the loss with such a bias"
        _require(biased, "train.class_weight_bias", self.class_weight_bias, expected)

    def resolved_loss(self) -> str:
        """`loss` with `auto` resolved."""
        if self.loss != "auto":
            return self.loss
        return "bce_weighted" if self.positive_weight_cap else "bce"


_COUNTS = ("epochs", "batch_size", "patience", "step_epochs", "cycle_epochs", "sampler_cap",
           "stage1_epochs")  # fmt: skip
_SHARES = ("warmup_share", "small_share", "shift", "scale", "brightness", "cycle_low", "momentum")
_FACTORS = ("step_factor", "exponential_factor", "plateau_factor", "focal_alpha")
_NOT_NEGATIVE = ("weight_decay", "positive_weight_cap", "rotation_degrees", "bootstrap", "seed",
                 "focal_gamma", "plateau_epochs", "class_weight_bias")  # fmt: skip


@dataclass(frozen=True)
class ClassifierConfig:
    """A whole classifier run.

    Attributes:
        out: run folder; a run that was killed goes on there with the same command.
        data, model, train: see their classes.
        sensitivity: the report out of fold also has decisions at the thresholds that reach this
            sensitivity on each fold's validation images; the images scored are found at another.
    """

    out: str = "runs/classifier"
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    sensitivity: float = 0.9

    def __post_init__(self) -> None:
        reachable = 0 < self.sensitivity < 1
        _require(reachable, "sensitivity", self.sensitivity, "a share in (0, 1)")
        pretrained = not self.train.two_stage or self.model.weights != "none"
        folds = self.data.uncertain != "three_class" or not self.model.demographics
        _require(folds, "model.demographics", self.model.demographics,
                 "none with data.uncertain three_class")  # fmt: skip
        expected = "false with model.weights none: the first stage would freeze random layers"
        _require(pretrained, "train.two_stage", self.train.two_stage, expected)
        one = self.train.hierarchy == "none" or not self.train.two_stage
        expected = "none with train.two_stage: each has two stages of its own"
        _require(one, "train.hierarchy", self.train.hierarchy, expected)
        shared = self.model.head != "linear" or self.model.architecture == "convnext_tiny"
        expected = (
            "none with model.head two_layer or convnext_tiny: their heads have a layer that "
            "children share with parents, which must stay frozen"
        )
        apart = self.train.hierarchy == "none" or not shared
        _require(apart, "train.hierarchy", self.train.hierarchy, expected)
        softmax = self.data.uncertain != "three_class" or self.train.resolved_loss() == "bce"
        expected = "auto (without weights) with data.uncertain three_class, a loss of its own"
        _require(softmax, "train.loss", self.train.loss, expected)
        streams = not self.data.shards or self.train.sampler == "uniform"
        expected = "uniform with data.shards: the others draw images from all shards at once"
        _require(streams, "train.sampler", self.train.sampler, expected)
        plain = not self.data.shards or self.model.markers == "keep"
        expected = "keep with data.shards: shards hold the images as they are"
        _require(plain, "model.markers", self.model.markers, expected)
