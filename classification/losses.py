"""Binary cross-entropy over several diseases, blind to unknown labels."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional as F


def masked_bce(
    logits: torch.Tensor, labels: torch.Tensor, positive_weights: torch.Tensor | None = None
) -> torch.Tensor:
    """Mean binary cross-entropy over the known labels; 0 (with a gradient of 0) when none is known.

    Args:
        logits: (N, D).
        labels: (N, D) of 0, 1 and NaN (unknown).
        positive_weights: (D,) weight of a positive against a negative, or None.
    """
    known = ~labels.isnan()
    targets = torch.where(known, labels, 0.0)
    losses = F.binary_cross_entropy_with_logits(
        logits.float(), targets, pos_weight=positive_weights, reduction="none"
    )
    return (losses * known).sum() / known.sum().clamp(min=1)


def positive_weights(labels: npt.NDArray[np.float64], cap: float) -> torch.Tensor | None:
    """(D,) negatives / positives of (N, D) training labels, within 1..cap; None for cap 0.

    A disease without a positive gets the cap.
    """
    if cap == 0:
        return None
    positives = np.nansum(labels == 1, axis=0)
    negatives = np.nansum(labels == 0, axis=0)
    ratio = negatives / np.maximum(positives, 1)
    return torch.from_numpy(np.clip(ratio, 1.0, max(cap, 1.0)).astype(np.float32))
