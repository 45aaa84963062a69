"""Define losses over several diseases: the mean over known labels, ignoring unknown ones.

By name (`train.loss`):

    bce           binary cross-entropy
    bce_weighted  positives weighted by negatives / positives of the training images, per disease
    bce_two_sided positives by 1 + (|N| + bias) / |P|, negatives by 1 + |P| / |N|, per disease
    chexnet       positives by |N| / (|P| + |N|), negatives by |P| / (|P| + |N|), per disease
    focal         cross-entropy that discounts labels of which the network is sure
    hamming       |label - probability|: the Hamming loss of probabilities instead of decisions

A soft label y between 0 and 1 (`data.uncertain` smoothed_ones, smoothed_zeros) costs y times a
positive plus 1 - y times a negative, in every loss. `three_class`, the loss of `data.uncertain`
three_class, cannot be chosen by name: it needs another number of outputs.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional as F

from cxrloc.classification.network.classifier import CLASSES
from cxrloc.classification.train_config import TrainConfig

Labels = npt.NDArray[np.float64]


class LabelLoss(nn.Module):
    """Reduce (N, D) logits and (N, D) labels in 0..1 and NaN (unknown) to one number.

    The number is the mean over the known labels, or 0, with gradient 0, if none is known. This
    class is the binary cross-entropy; subclasses define the cost of a label in `per_label`.
    """

    def forward(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        has_label = ~labels.isnan()
        losses = self.per_label(logits.float(), torch.where(has_label, labels, 0.0))
        return (losses * has_label).sum() / has_label.sum().clamp(min=1)

    def per_label(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """(N, D) losses for targets in 0..1; results for unknown labels are dropped."""
        return F.binary_cross_entropy_with_logits(logits, targets, reduction="none")

    def disease_logits(self, outputs: torch.Tensor) -> torch.Tensor:
        """(N, D) logits whose sigmoid is the disease's probability: here all outputs."""
        return outputs


class PositiveWeightedLoss(LabelLoss):
    """Cross-entropy with positives weighted `weights` (D,) times as much as negatives."""

    weights: torch.Tensor

    def __init__(self, weights: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("weights", weights, persistent=False)

    def per_label(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return F.binary_cross_entropy_with_logits(
            logits, targets, pos_weight=self.weights, reduction="none"
        )


class ClassWeightedLoss(LabelLoss):
    """Cross-entropy with weights `positives` (D,) and `negatives` (D,) for the two classes."""

    positives: torch.Tensor
    negatives: torch.Tensor

    def __init__(self, positives: torch.Tensor, negatives: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("positives", positives, persistent=False)
        self.register_buffer("negatives", negatives, persistent=False)

    def per_label(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        positive, negative = F.softplus(-logits), F.softplus(logits)
        return _mixture(targets, self.positives * positive, self.negatives * negative)


class FocalLoss(LabelLoss):
    """-alpha_t (1 - p_t)^gamma log(p_t): Lin et al. 2017 ("Focal loss"), equation 5.

    p_t is the probability of the true class; alpha_t is alpha for positives and 1 - alpha for
    negatives. Lin et al. divide by the number of anchors on an object; images have labels instead
    of anchors, so we take the mean over the known labels as in the other losses.
    """

    def __init__(self, gamma: float, alpha: float) -> None:
        super().__init__()
        self.gamma, self.alpha = gamma, alpha

    def per_label(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        positive = torch.sigmoid(-logits) ** self.gamma * F.softplus(-logits)
        negative = torch.sigmoid(logits) ** self.gamma * F.softplus(logits)
        return _mixture(targets, self.alpha * positive, (1 - self.alpha) * negative)


class HammingLoss(LabelLoss):
    """|label - probability|: the share of wrong labels if each were drawn by its probability.

    The Hamming loss (Schapire and Singer 2000) counts wrong decisions, which have no gradient; its
    expectation has one. It is bounded by 1: surely wrong labels pull less, not more.
    """

    def per_label(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        # computes 1 - p without cancellation
        return _mixture(targets, torch.sigmoid(-logits), torch.sigmoid(logits))


class ThreeClassLoss(LabelLoss):
    """Softmax cross-entropy over absent, present and uncertain: Irvin et al. 2019, U-MultiClass.

    The network has three outputs per disease, in this order: (N, 3 D), labels (N, D) of 0, 1,
    `UNCERTAIN_CLASS` and NaN. The probability of a disease is the softmax over absent and present
    only, which is the sigmoid of the difference of the two.
    """

    def forward(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        has_label = ~labels.isnan()
        classes = torch.where(has_label, labels, 0.0).long()
        logs = F.log_softmax(logits.float().view(*labels.shape, CLASSES), dim=-1)
        losses = -logs.gather(-1, classes.unsqueeze(-1)).squeeze(-1)
        return (losses * has_label).sum() / has_label.sum().clamp(min=1)

    def disease_logits(self, outputs: torch.Tensor) -> torch.Tensor:
        absent, present, _ = outputs.view(len(outputs), -1, CLASSES).unbind(dim=-1)
        return present - absent


def _mixture(targets: torch.Tensor, positive: torch.Tensor, negative: torch.Tensor) -> torch.Tensor:
    """Cost of labels in 0..1, from the costs of a positive and of a negative."""
    return targets * positive + (1 - targets) * negative


def positive_weights(labels: Labels, cap: float) -> torch.Tensor:
    """(D,) negatives / positives of (N, D) training labels, limited to 1..cap; cap 0 is no limit.

    A disease without positives counts as having one.
    """
    positives, negatives = _counts(labels)
    ratio = negatives / np.maximum(positives, 1)
    return torch.from_numpy(np.clip(ratio, 1.0, max(cap, 1.0) if cap else None).astype(np.float32))


def chexnet_weights(labels: Labels) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights of positives and negatives, (D,) each: Rajpurkar et al. 2017 ("CheXNet"), eq. 1.

    |N| / (|P| + |N|) and |P| / (|P| + |N|) of (N, D) training labels, so that both classes have the
    same total weight. A disease without positives has 1 and 0, and so teaches nothing.
    """
    positives, negatives = _counts(labels)
    labelled = positives + negatives
    shares = np.where(labelled > 0, negatives / np.maximum(labelled, 1), 1.0)
    weights = torch.from_numpy(shares.astype(np.float32))
    return weights, 1 - weights


def two_sided_weights(labels: Labels, bias: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights of positives, 1 + (|N| + bias) / |P|, and negatives, 1 + |P| / |N|; (D,) each.

    Without a bias both classes have the same total weight, |P| + |N|; a bias above 0 favours
    sensitivity. A class without labels counts as having one.
    """
    positives, negatives = (np.maximum(counts, 1) for counts in _counts(labels))
    weights = np.array([1 + (negatives + bias) / positives, 1 + positives / negatives])
    of_positives, of_negatives = torch.from_numpy(weights.astype(np.float32))
    return of_positives, of_negatives


LOSSES: dict[str, Callable[[TrainConfig, Labels], LabelLoss]] = {
    "bce": lambda config, labels: LabelLoss(),
    "bce_weighted": lambda config, labels: PositiveWeightedLoss(
        positive_weights(labels, config.positive_weight_cap)
    ),
    "bce_two_sided": lambda config, labels: ClassWeightedLoss(
        *two_sided_weights(labels, config.class_weight_bias)
    ),
    "chexnet": lambda config, labels: ClassWeightedLoss(*chexnet_weights(labels)),
    "focal": lambda config, labels: FocalLoss(config.focal_gamma, config.focal_alpha),
    "hamming": lambda config, labels: HammingLoss(),
}


def make_loss(config: TrainConfig, labels: Labels, three_class: bool = False) -> LabelLoss:
    """Build the loss of the settings, with weights from the (N, D) training labels.

    Args:
        three_class: the labels include the class "uncertain", for which there is one loss.
    """
    if three_class:
        return ThreeClassLoss()
    return LOSSES[config.resolved_loss()](config, labels)


def _counts(labels: Labels) -> tuple[Labels, Labels]:
    """Positives and negatives per disease; a soft label counts partly as each."""
    return np.nansum(labels, axis=0), np.nansum(1 - labels, axis=0)
