"""Settings of a classifier's training procedure, without torch, like `config`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from cxrloc.classification.choices import Loss, Monitor, Optimizer, Sampler, Schedule
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


@dataclass(frozen=True)
class TrainConfig:
    """The training procedure.

    Attributes:
        epochs: maximum number of epochs; `patience` may stop earlier.
        epoch_steps: end an epoch after this many steps, each epoch with other images; 0 shows all.
        batch_size: images per step over all processes (torchrun): each of N processes takes an
            equal part of them.
        lr: peak learning rate.
        loss: see `cxrloc.classification.training.losses`; auto is bce_weighted if
            `positive_weight_cap` is set, otherwise bce.
        positive_weight_cap: weight positives by negatives / positives in the training images,
            limited to the range from 1 to this value; with loss bce_weighted, 0 means no upper
            limit.
        class_weight_bias: added to the number of negatives, which increases the weight of positives
            (bce_two_sided).
        focal_gamma, focal_alpha: how strongly easy labels are discounted, and the weight of
            positives against 1 - alpha for negatives (focal).
        optimizer: adamw, adam or sgd.
        weight_decay: weight decay of AdamW; for adam and sgd an L2 penalty, usually 1e-4.
        momentum: momentum of sgd.
        schedule: learning-rate schedule. Per step: one_cycle (warm up, then down), cosine (down),
            constant, triangular (up and down in cycles), triangular2 (half as high each cycle). Per
            epoch: step (a tenth after every 7), exponential, reduce_on_plateau (of the validation
            loss).
        warmup_share: share of the steps for warm-up (one_cycle).
        exponential_factor: factor on the rate after every epoch (exponential).
        plateau_epochs: reduce the rate to a tenth after more than this many epochs without a lower
            validation loss (reduce_on_plateau).
        cycle_epochs, cycle_low: epochs per cycle, and the lowest rate as a share of `lr`
            (triangular, triangular2).
        sampler: sampler of an epoch's images, see `cxrloc.classification.training.samplers`.
        small_share: share of the epochs, at the start, trained at half the input size (faster).
        monitor: figure of the validation images by which the best epoch is kept: val_loss or
            val_auc. Few images overfit in loss while their ranking still improves.
        patience: epochs without a better `monitor` before stopping (with `two_stage`: without
            a better validation AUC before a stage ends).
        two_stage: train the head alone on a frozen backbone, then all layers (except
            `model.frozen_stages`) from the head's best epoch.
        hierarchy: none or parents_first: first all layers on the top labels of CheXpert's label
            tree, then, with everything else frozen, the children's rows of a linear head (see
            `cxrloc.classification.training.label_hierarchy`). Each stage has at most `epochs`; the
            second uses the rate `stage2_lr` and no weight decay.
        stage1_epochs: maximum epochs of the head's stage; `epochs` applies to the second stage.
        stage2_lr: peak learning rate of the second stage; `lr` applies to the first.
        box_loss_weight: weight of the box loss beside the image loss, which teaches the cells of
            the map where the diseases are from the boxes of the training images; 1 is usual, 0 is
            off (see `cxrloc.classification.training.losses.boxes`). Such a classifier makes the
            boxes of guided_cam and is no longer a gate for grad_cam.
        box_inside_weight: weight of a cell inside a box against one outside.
        box_absent_weight: weight of a cell of an image without the disease.
        weights_average: decay of an exponential moving average of the weights, which is then
            validated and kept instead of the last ones; .99 suits some hundred steps, 0 is off.
        rotation_degrees, shift, scale, brightness: largest random change of a training image; shift
            as a share of the side, scale and brightness as a share of 1.
        flip: mirror half of the images. Off by default, because the heart has a side: a mirrored
            image shows dextrocardia, which no label says, and teaches that neither the heart's side
            nor the letter L or R on the image means anything.
        precision: auto (bf16 if the hardware runs it fast), fp32 or bf16.
        device: auto, cpu, cuda or cuda:N.
        seed: seed of the initial weights, the order of the images and the random changes.
        bootstrap: replicates of the patient bootstrap for each interval.
    """

    epochs: Count = 20
    epoch_steps: NonNegativeInt = 0
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
    monitor: Monitor = "val_loss"
    patience: Count = 20
    two_stage: bool = False
    hierarchy: Literal["none", "parents_first"] = "none"
    stage1_epochs: Count = 10
    stage2_lr: PositiveFloat = 1e-4
    box_loss_weight: NonNegativeFloat = 0.0
    box_inside_weight: PositiveFloat = 5.0
    box_absent_weight: NonNegativeFloat = 0.05
    weights_average: Share = 0.0
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
