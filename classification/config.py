"""Settings of a classifier training; torch is not imported, which keeps `--help` fast."""

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
    MapStride,
    Size,
    Split,
    Standardise,
    Uncertain,
    Weights,
    check_map_stride,
)
from cxrloc.classification.train_config import TrainConfig
from cxrloc.configs.checks import (
    Count,
    InnerShare,
    NonNegativeFloat,
    NonNegativeInt,
    check_fields,
    require,
)
from cxrloc.datasets.images.markers import Markers
from cxrloc.datasets.label_policies import LabelRules


@dataclass(frozen=True)
class DataConfig:
    """The training data.

    Attributes:
        prepared: folder written by cxrloc prepare.
        split: folds (patient-grouped, from the prepared folder), official (the data set's own test
            list), sampled (Deep MedIA: at most 5,000 images per disease, 80/10/10 by patient),
            label_sets (`test_share` of the patients for each combination of labels) or iterative
            (the same for each single label, better with many labels). The last two pool the images
            of all official lists, so use `official` if CheXpert's valid.csv is the test set.
        fold: test fold to run, or all; only with split folds. A single fold gets no out-of-fold
            report; run all with the same run folder once its folds are trained.
        diseases: names of the outputs, in order; empty means every labelled disease.
        uncertain: training value of uncertain labels: ignore (masked), ones, zeros, smoothed_ones,
            smoothed_zeros, or three_class (a third class; needs loss auto). See
            `cxrloc.datasets.label_policies`. Uncertain labels are never scored.
        blank: meaning of blank labels in training and scoring: unknown or negative.
        closure: an image with a finding also gets the finding's parents (Cardiomegaly: Enlarged
            Cardiomediastinum), by CheXpert's label tree; the changes are printed.
        shards: folder or URL from cxrloc build-shards. Images of `model.size` are then read
            from there instead of a pixel cache; their order, and so the result, differs.
        cache: folder of the decoded pixels; empty means `pixel_cache` in the prepared folder.
        test_share: share of the patients in the test set (splits label_sets and iterative).
        validation_share: share of the remaining patients for validation (not folds and sampled).
        strict: stop at an unreadable file; otherwise it is named, counted and left out.
        workers: threads that decode images the first time.
        loader_workers: processes that load batches; 0 is best if the decoded pixels fit in memory.
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
        """How uncertain and blank labels count."""
        return LabelRules(self.uncertain, self.blank, self.closure)


@dataclass(frozen=True)
class ModelConfig:
    """The network.

    Attributes:
        architecture: resnet18, resnet34, resnet50, densenet121, densenet161, densenet169,
            efficientnet_b0, efficientnet_b4, efficientnet_b7, efficientnet_lite0, googlenet, vgg16,
            convnext_tiny, simple_cnn, conv3 or conv4; see
            `cxrloc.classification.network.backbones`.
        size: side of the square input in pixels, a multiple of 32; the last map has side
            size / map_stride.
        map_stride: pixels of the input to a cell of the last map, 32, 16 or 8. 16 and 8 keep the
            stride of the last stage or two and dilate what follows: finer maps from the same
            weights, at a higher cost. Only for ResNets and EfficientNets.
        lse_r: pool the last map by log-sum-exp with this r instead of the mean, as Wang et al. 2017
            (r 10): close to the maximum, so that small findings count. 0 is the mean.
        head: linear, or two_layer (Deep MedIA).
        weights: none, imagenet (torchvision's, by name; of efficientnet_lite0 those of an installed
            package, without a download), or the path of a .safetensors or .pth file, which may
            contain only some of the tensors.
        input: channels of the network's input: grey (the image three times), single (the image
            once; the first layer's red, green and blue kernels are summed) or enhanced (the image;
            the image with equalised histogram; the image with stretched contrast).
        clahe_clip: clip limit of the contrast-limited equalisation (CLAHE) applied to every image,
            in training and later; 2 is usual, 0 is off. With enhanced input it makes the equalised
            channel and does not affect the other two.
        standardise: imagenet (by ImageNet's mean and deviation) or image (each pixel by its mean
            and deviation over the training images).
        markers: burned-in text and side letters, in training and later: keep, mask (filled with the
            surrounding grey) or inpaint (see `cxrloc.datasets.images.markers`).
        demographics: any of age, sex and view, as inputs in addition to the image. Off by default:
            they invite shortcuts (see `cxrloc.classification.network.demographics`), and a gate
            that uses them must not be used to compare localizers.
        frozen_stages: keep the first of the backbone's five stages as loaded: the stem (1) and a
            ResNet's layer1 .. layer4 (2 .. 5), or their equivalents (`backbones.ARCHITECTURES`).
    """

    architecture: Architecture = "resnet18"
    size: Size = 224
    map_stride: MapStride = 32
    lse_r: NonNegativeFloat = 0.0
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
        check_map_stride(self.architecture, self.map_stride)
        pretrained = self.frozen_stages == 0 or self.weights != "none"
        expected = "0 with model.weights none: frozen random layers learn nothing"
        require(pretrained, "model.frozen_stages", self.frozen_stages, expected)


@dataclass(frozen=True)
class ClassifierConfig:
    """A complete classifier run.

    Attributes:
        out: run folder; the same command resumes an interrupted run.
        data, model, train: see their classes.
        sensitivity: the out-of-fold report also shows decisions at the thresholds that reach this
            sensitivity on each fold's validation images; on the test images it differs.
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
        expected = "none with data.uncertain three_class"
        require(folds, "model.demographics", self.model.demographics, expected)
        expected = "false with model.weights none: the first stage would freeze random layers"
        require(pretrained, "train.two_stage", self.train.two_stage, expected)
        single_schedule = self.train.hierarchy == "none" or not self.train.two_stage
        expected = "none with train.two_stage: each has its own two stages"
        require(single_schedule, "train.hierarchy", self.train.hierarchy, expected)
        shared = self.model.head != "linear" or self.model.architecture == "convnext_tiny"
        expected = (
            "none with model.head two_layer or convnext_tiny: their heads have a layer that "
            "children share with parents, which must stay frozen"
        )
        apart = self.train.hierarchy == "none" or not shared
        require(apart, "train.hierarchy", self.train.hierarchy, expected)
        one_stage = not self.train.two_stage and self.train.hierarchy == "none"
        expected = "val_loss with train.two_stage or train.hierarchy, which choose by themselves"
        kept = one_stage or self.train.monitor == "val_loss"
        require(kept, "train.monitor", self.train.monitor, expected)
        self._check_boxes()
        softmax = self.data.uncertain != "three_class" or self.train.resolved_loss() == "bce"
        expected = "auto (without weights) with data.uncertain three_class, which has its own loss"
        require(softmax, "train.loss", self.train.loss, expected)
        streams = not self.data.shards or self.train.sampler == "uniform"
        expected = "uniform with data.shards: the others draw images from all shards at once"
        require(streams, "train.sampler", self.train.sampler, expected)
        plain = not self.data.shards or self.model.markers == "keep"
        expected = "keep with data.shards: shards hold the images as they are"
        require(plain, "model.markers", self.model.markers, expected)

    def _check_boxes(self) -> None:
        """The box loss needs logits of cells: one linear layer over the map, one per disease."""
        weight = self.train.box_loss_weight
        defaults = TrainConfig()
        for key in ("box_inside_weight", "box_absent_weight"):
            value, default = getattr(self.train, key), getattr(defaults, key)
            expected = f"{default:g} with train.box_loss_weight 0, which is off"
            require(weight > 0 or value == default, f"train.{key}", value, expected)
        cells = self.model.head == "linear" and self.model.architecture != "convnext_tiny"
        conditions = {
            "model.head two_layer or convnext_tiny, whose cells have no logits": cells,
            "model.lse_r, whose logits are no mean over cells": not self.model.lse_r,
            "data.uncertain three_class, which has three outputs a disease": (
                self.data.uncertain != "three_class"
            ),
            "model.demographics, which no cell shows": not self.model.demographics,
            "train.hierarchy parents_first, which trains the diseases apart": (
                self.train.hierarchy == "none"
            ),
        }
        for cause, holds in conditions.items():
            require(weight == 0 or holds, "train.box_loss_weight", weight, f"0 with {cause}")
