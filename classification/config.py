"""Settings of a classifier training; torch is not imported here, so that `--help` stays quick."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from cxrloc.classification.choices import (
    Architecture,
    Blank,
    ClaheClip,
    Demographics,
    Diseases,
    FoldChoice,
    FrozenStages,
    Input,
    Loss,
    Optimizer,
    Sampler,
    Schedule,
    Size,
    Split,
    Standardise,
    Uncertain,
    Weights,
)
from cxrloc.configs.checks import (
    Count,
    InnerShare,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    Share,
    check_fields,
    require,
)
from cxrloc.datasets.images.markers import Markers
from cxrloc.datasets.label_policies import LabelRules


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
    fold: FoldChoice = "all"
    diseases: Diseases = ()
    uncertain: Uncertain = "ignore"
    blank: Blank = "unknown"
    closure: bool = False
    shards: str = ""
    cache: str = ""
    test_share: InnerShare = 0.2
    validation_share: InnerShare = 0.1
    strict: bool = False
    workers: Count = 2
    loader_workers: NonNegativeInt = 0

    def __post_init__(self) -> None:
        check_fields(self, "data.")

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
        demographics: any of age, sex and view, given to the network with the image. Off by
            default: they invite shortcuts (see `cxrloc.classification.network.demographics`), and a
            gate with them must not be used to compare localizers.
        frozen_stages: leave the first of the backbone's five stages as they were loaded: the stem
            (1) and a ResNet's layer1 .. layer4 (2 .. 5), or their like (`backbones.ARCHITECTURES`).
    """

    architecture: Architecture = "resnet18"
    size: Size = 224
    head: Literal["linear", "two_layer"] = "linear"
    weights: Weights = "none"
    input: Input = "grey"
    clahe_clip: ClaheClip = 0.0
    standardise: Standardise = "imagenet"
    markers: Markers = "keep"
    demographics: Demographics = ()
    frozen_stages: FrozenStages = 0

    def __post_init__(self) -> None:
        check_fields(self, "model.")
        pretrained = self.frozen_stages == 0 or self.weights != "none"
        expected = "0 with model.weights none: frozen random layers learn nothing"
        require(pretrained, "model.frozen_stages", self.frozen_stages, expected)


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
        class_weight_bias: negatives counted in addition to the true ones, so that positives weigh
            more (bce_two_sided).
        focal_gamma, focal_alpha: how much less an easy label counts, and the weight of positives
            against the 1 - alpha of negatives (focal).
        optimizer: adamw, adam or sgd.
        weight_decay: of AdamW; for adam and sgd an L2 penalty, of which 1e-4 is usual.
        momentum: of sgd.
        schedule: of the learning rate. Changed with every step: one_cycle (warm up, then down),
            cosine (down), constant, triangular (up and down in cycles), triangular2 (half as far
            up each cycle). With every epoch: step (a tenth after every 7), exponential,
            reduce_on_plateau (of the validation loss).
        warmup_share: share of the steps that warm up (one_cycle).
        exponential_factor: multiply the rate by it after every epoch (exponential).
        plateau_epochs: a tenth of the rate after more than so many epochs without a lower
            validation loss (reduce_on_plateau).
        cycle_epochs, cycle_low: epochs of a cycle up and down, and the rate at its ends as a share
            of `lr` (triangular, triangular2).
        sampler: of the images of an epoch, see `cxrloc.classification.training.samplers`.
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

    epochs: Count = 20
    batch_size: Count = 16
    lr: PositiveFloat = 5e-4
    loss: Loss = "auto"
    positive_weight_cap: NonNegativeFloat = 0.0
    class_weight_bias: NonNegativeFloat = 0.0
    focal_gamma: NonNegativeFloat = 2.0
    focal_alpha: InnerShare = 0.25
    optimizer: Optimizer = "adamw"
    weight_decay: NonNegativeFloat = 1e-2
    momentum: Share = 0.9
    schedule: Schedule = "one_cycle"
    warmup_share: Share = 0.2
    exponential_factor: InnerShare = 0.9
    plateau_epochs: NonNegativeInt = 2
    cycle_epochs: Count = 4
    cycle_low: Share = 0.25
    sampler: Sampler = "uniform"
    small_share: Share = 0.0
    patience: Count = 20
    two_stage: bool = False
    hierarchy: Literal["none", "parents_first"] = "none"
    stage1_epochs: Count = 10
    stage2_lr: PositiveFloat = 1e-4
    rotation_degrees: NonNegativeFloat = 5.0
    shift: Share = 0.05
    scale: Share = 0.08
    brightness: Share = 0.15
    flip: bool = False
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    device: str = "auto"
    seed: NonNegativeInt = 0
    bootstrap: NonNegativeInt = 1000

    def __post_init__(self) -> None:
        check_fields(self, "train.")
        weighted = self.positive_weight_cap == 0 or self.loss in ("auto", "bce_weighted")
        expected = f"0 with train.loss {self.loss}; bce_weighted is the loss with such weights"
        require(weighted, "train.positive_weight_cap", self.positive_weight_cap, expected)
        biased = self.class_weight_bias == 0 or self.loss == "bce_two_sided"
        expected = f"0 with train.loss {self.loss}; bce_two_sided is the loss with such a bias"
        require(biased, "train.class_weight_bias", self.class_weight_bias, expected)

    def resolved_loss(self) -> str:
        """`loss` with `auto` resolved."""
        if self.loss != "auto":
            return self.loss
        return "bce_weighted" if self.positive_weight_cap else "bce"


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
    sensitivity: InnerShare = 0.9

    def __post_init__(self) -> None:
        check_fields(self)
        pretrained = not self.train.two_stage or self.model.weights != "none"
        folds = self.data.uncertain != "three_class" or not self.model.demographics
        require(
            folds,
            "model.demographics",
            self.model.demographics,
            "none with data.uncertain three_class",
        )
        expected = "false with model.weights none: the first stage would freeze random layers"
        require(pretrained, "train.two_stage", self.train.two_stage, expected)
        single_schedule = self.train.hierarchy == "none" or not self.train.two_stage
        expected = "none with train.two_stage: each has two stages of its own"
        require(single_schedule, "train.hierarchy", self.train.hierarchy, expected)
        shared = self.model.head != "linear" or self.model.architecture == "convnext_tiny"
        expected = (
            "none with model.head two_layer or convnext_tiny: their heads have a layer that "
            "children share with parents, which must stay frozen"
        )
        apart = self.train.hierarchy == "none" or not shared
        require(apart, "train.hierarchy", self.train.hierarchy, expected)
        softmax = self.data.uncertain != "three_class" or self.train.resolved_loss() == "bce"
        expected = "auto (without weights) with data.uncertain three_class, a loss of its own"
        require(softmax, "train.loss", self.train.loss, expected)
        streams = not self.data.shards or self.train.sampler == "uniform"
        expected = "uniform with data.shards: the others draw images from all shards at once"
        require(streams, "train.sampler", self.train.sampler, expected)
        plain = not self.data.shards or self.model.markers == "keep"
        expected = "keep with data.shards: shards hold the images as they are"
        require(plain, "model.markers", self.model.markers, expected)
