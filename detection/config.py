"""Settings to build and train a Mask R-CNN: one frozen dataclass for every backend."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from cxrloc.classification.run_folder import RunFolder
from cxrloc.configs.checks import (
    Count,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    Probability,
    Share,
    check_fields,
)

# defaults of torchvision's and detectron2's Mask R-CNN that none of our runs has changed
ANCHOR_RATIOS = (0.5, 1.0, 2.0)  # height / width of the anchors of every level
# IoU with a box from which an anchor is positive, and below which negative. With the usual .7 a
# finding of NIH has .2 to .3 positive anchors and so learns from its single best one
RPN_POSITIVE_IOU, RPN_NEGATIVE_IOU = 0.5, 0.3
# proposals: before suppression per level, after it per image
RPN_PRE_NMS = {"training": 400, "testing": 200}
RPN_POST_NMS = {"training": 200, "testing": 100}
# anchors and regions per image in the losses, and the largest share of regions on a box
RPN_SAMPLES, BOX_SAMPLES, BOX_POSITIVES = 128, 64, 0.25
SCORE_THRESHOLD = 0.01  # weaker detections are dropped, except a disease's best one
LITE0: Literal["efficientnet_lite0"] = "efficientnet_lite0"
NMS_THRESHOLD = 0.4  # IoU above which the weaker of two boxes of a disease is dropped
AGREEMENT_IOU = 0.3  # least overlap of two candidates of a disease that speak for each other
DETECTIONS_PER_DISEASE = 4  # most boxes per image and disease


@dataclass(frozen=True)
class ModelConfig:
    """The network. Anchor lengths are fractions of the input square's side.

    Attributes:
        architecture: backbone below the feature pyramid; efficientnet_lite0 has the levels of a
            ResNet in 24, 40, 112 and 320 channels, and no norm `group`.
        weights: `none`, `imagenet` (by name, into the backbone: torchvision's, of
            efficientnet_lite0 those of an installed package), `coco`
            (torchvision's whole Mask R-CNN by name, resnet50 only), `gate` (backbone of a
            classifier bundle, see `gate`), or the path of a .safetensors or .pth file.
        gate: classifier bundle, or run folder with `fold{k}/classifier.safetensors`. The bundle of
            the SAME fold is used: its training images exclude the detector's test fold.
        norm: `batch` trains BatchNorm, `frozen` folds it into the convolutions, `group` is
            GroupNorm; `auto` is `batch` without weights and `frozen` with them.
        frozen_stages: 0 trains everything, 1 freezes the stem, 2 also layer1, and so on.
        fpn_levels: backbone stages that feed the pyramid: 2 has stride 4, 5 has stride 32; one
            level with twice the last stride is added on top.
        anchor_sizes: sides of the anchors, ascending: as many for each pyramid level, including the
            added one; eight values for three levels and the added one are two for each.
        box_hidden: width of the box head's two layers.
        mask_channels, mask_layers: width and number of the mask head's 3 x 3 convolutions.
        vote_threshold: box voting: a detection's box becomes the score-weighted mean of its
            disease's boxes that overlap it by more than this IoU; 1 switches it off.
    """

    architecture: Literal["resnet18", "resnet50", "efficientnet_lite0"] = "resnet18"
    weights: str = "none"
    gate: str | None = None
    norm: Literal["auto", "batch", "frozen", "group"] = "auto"
    frozen_stages: int = 0
    fpn_levels: tuple[int, ...] = (2, 3, 4, 5)
    fpn_channels: int = 256
    anchor_sizes: tuple[float, ...] = (0.04, 0.08, 0.16, 0.32, 0.6)
    box_hidden: int = 512
    mask_channels: int = 128
    mask_layers: int = 2
    vote_threshold: float = 0.5

    def __post_init__(self) -> None:
        levels = self.fpn_levels
        if not levels or list(levels) != list(range(levels[0], levels[0] + len(levels))):
            raise ValueError(f"fpn_levels {levels}: expected neighbouring levels like (2, 3, 4, 5)")
        if levels[0] < 2 or levels[-1] > 5:
            raise ValueError(
                f"fpn_levels {levels}: a backbone has levels 2 (stride 4) to 5 (stride 32)"
            )
        if self.norm == "group" and self.architecture == LITE0:
            raise ValueError(f"norm group: expected batch, frozen or auto with {LITE0}")
        self._check_anchors()
        if self.weights == "coco" and self.architecture != "resnet50":
            raise ValueError(
                "weights 'coco' exist for architecture resnet50 only; use a file or 'none'"
            )
        if self.weights == "gate" and not self.gate:
            raise ValueError(
                "weights 'gate' needs model.gate: a classifier bundle or its run folder"
            )
        if not 0 <= self.frozen_stages <= 5:
            raise ValueError(f"frozen_stages {self.frozen_stages}: expected 0 (none) to 5 (all)")
        if self.frozen_stages and self.weights == "none":
            raise ValueError(
                "frozen_stages without weights would freeze random filters; set it to 0"
            )

    def _check_anchors(self) -> None:
        sides, levels = self.anchor_sizes, len(self.fpn_levels) + 1
        if not sides or len(sides) % levels:
            raise ValueError(
                f"anchor_sizes {sides}: expected {levels} values or a multiple, as many for each "
                f"of the levels {self.fpn_levels} and for the level added on top"
            )
        if not all(0 < side <= 1 for side in sides):
            raise ValueError(
                f"anchor_sizes {sides}: expected fractions of the square's side, in (0, 1]"
            )
        if list(sides) != sorted(sides):
            raise ValueError(f"anchor_sizes {sides}: expected ascending values, finest level first")

    def anchor_sides(self, size: int) -> list[tuple[int, ...]]:
        """Sides of each level's anchors in the pixels of a square of `size`, finest level first."""
        sides = [max(1, round(side * size)) for side in self.anchor_sizes]
        each = len(sides) // (len(self.fpn_levels) + 1)
        return [tuple(sides[i : i + each]) for i in range(0, len(sides), each)]

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> ModelConfig:
        """Restore the settings from a bundle's metadata, where JSON has lists for tuples."""
        settings: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in stored.items()
        }
        return cls(**settings)

    def resolved_norm(self) -> str:
        """`norm` with `auto` resolved: use batch statistics only if there are no better ones."""
        if self.norm != "auto":
            return self.norm
        return "batch" if self.weights == "none" else "frozen"


@dataclass(frozen=True)
class AugmentConfig:
    """Light changes of the square and its boxes, redrawn for every image and epoch.

    Flips are off by default: the heart has a side, and so do the signs of its enlargement.

    Attributes:
        scale: zoom factor in [1 - scale, 1 + scale].
        translate: largest shift as a fraction of the side, in either direction.
        brightness, contrast: added share of the grey range; factor in [1 - contrast, 1 + contrast].
        flip: probability of a left-right flip.
    """

    scale: Share = 0.1
    translate: Share = 0.05
    brightness: Share = 0.08
    contrast: Share = 0.15
    flip: Probability = 0.0

    def __post_init__(self) -> None:
        check_fields(self, "train.augment.")


@dataclass(frozen=True)
class TrainConfig:
    """The schedule: warm-up, then cosine to zero.

    Attributes:
        epochs: passes over the training images.
        epoch_steps: end an epoch after this many steps, each epoch with other images; 0 shows all.
        lr: peak learning rate of AdamW (or of SGD with momentum .9).
        backbone_lr_factor: learning rate of the backbone's body as a share of `lr`.
        clip_norm: largest norm of the gradient; 0 does not clip.
        precision: `auto` is bfloat16 if the machine has units for it, otherwise fp32.
        device: `auto` is the first GPU or the CPU.
        threads: torch threads; 0 keeps torch's default.
        checkpoint_every: steps between checkpoints (an interrupted run resumes at the last one).
        weights_average: decay of a moving average of the weights, such as .998, which is then
            validated and kept in place of the weights themselves; 0 switches it off.
        validate_every: epochs between validations, if there is a validation set; the best weights
            by AP (mean over IoU thresholds .1 to .7) are kept. Without a validation set the last
            weights are kept.
        patience: validations without a better AP until the training stops; 0 never stops it.
    """

    epochs: Count = 20
    epoch_steps: NonNegativeInt = 0
    batch_size: Count = 4
    optimizer: Literal["adamw", "sgd"] = "adamw"
    lr: PositiveFloat = 3e-4
    backbone_lr_factor: NonNegativeFloat = 1.0
    weight_decay: NonNegativeFloat = 1e-4
    warmup_steps: NonNegativeInt = 50
    clip_norm: NonNegativeFloat = 5.0
    checkpoint_every: Count = 100
    weights_average: Share = 0.0
    validate_every: Count = 5
    patience: NonNegativeInt = 0
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    device: str = "auto"
    threads: NonNegativeInt = 0
    augment: AugmentConfig = field(default_factory=AugmentConfig)

    def __post_init__(self) -> None:
        check_fields(self, "train.")


def check_size(size: int, name: str = "size") -> None:
    """Raise ValueError unless squares of this side fit every level of a pyramid."""
    if not 64 <= size <= 1024 or size % 32:
        raise ValueError(f"{name} {size}: expected a multiple of 32 from 64 to 1024 pixels")


@dataclass(frozen=True)
class DetectorConfig:
    """Everything a backend needs to build and train one detector.

    Attributes:
        backend: a key of `cxrloc.detection.mask_rcnn.BACKENDS`.
        size: side of the input square in pixels; images are fitted into its top left.
        diseases: the classes, in order; class i of the network is `diseases[i - 1]`, and 0 is
            background.
        seed: the same seed gives the same result on a CPU.
    """

    backend: str = "torchvision"
    size: int = 384
    diseases: tuple[str, ...] = ()
    seed: NonNegativeInt = 0
    model: ModelConfig = field(default_factory=ModelConfig)
    train: TrainConfig = field(default_factory=TrainConfig)

    def __post_init__(self) -> None:
        check_fields(self)
        if self.backend == "detectron2" and self.train.patience:
            raise ValueError(
                f"train.patience {self.train.patience}: the detectron2 backend trains to the end; "
                "set 0, or use --backend torchvision"
            )
        check_size(self.size)
        if self.backend == "detectron2" and self.model.architecture == LITE0:
            raise ValueError(
                f"model.architecture {LITE0}: expected resnet18 or resnet50 with backend detectron2"
            )


@dataclass(frozen=True)
class Init:
    """Source of the initial weights of one fold.

    Attributes:
        kind: `none`, `imagenet`, `coco`, `gate` (backbone of the classifier bundle at `path`) or
            `file`.
        path: bundle or weights file, for `gate` and `file`.
    """

    kind: Literal["none", "imagenet", "coco", "gate", "file"] = "none"
    path: Path | None = None

    def __post_init__(self) -> None:
        if (self.kind in ("gate", "file")) != (self.path is not None):
            raise ValueError(f"init {self.kind}: path {self.path} (only gate and file need one)")
        if self.path is not None and not self.path.is_file():
            raise FileNotFoundError(
                f"{self.path}: weights file not found; a missing file never means random weights. "
                "Check model.weights and model.gate"
            )


def resolve_init(model: ModelConfig, fold: int | None) -> Init:
    """Choose the initial weights of one fold's detector.

    Args:
        fold: the test fold, or None for a run without folds.

    Raises:
        FileNotFoundError: if the file or the fold's classifier bundle is missing.
    """
    if model.weights in ("none", "imagenet", "coco"):
        return Init(model.weights)  # type: ignore[arg-type]
    if model.weights != "gate":
        return Init("file", Path(model.weights))
    gate = Path(str(model.gate))
    if not gate.is_dir():
        return Init("gate", gate)
    run = RunFolder(gate)
    if fold is not None and run.fold(fold).path.is_dir():
        run = run.fold(fold)
    return Init("gate", run.classifier)
