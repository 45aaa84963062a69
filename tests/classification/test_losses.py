"""The loss ignores what is unknown and weighs positives as told."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from cxrloc.classification.losses import masked_bce, positive_weights

NAN = math.nan


def test_unknown_labels_count_neither_above_nor_below_the_line() -> None:
    logits = torch.tensor([[0.0, 5.0], [math.log(3), -5.0]])
    labels = torch.tensor([[1.0, NAN], [0.0, NAN]])
    # -log(1/2) and -log(1/4), mean over the two known labels
    assert masked_bce(logits, labels).item() == pytest.approx((math.log(2) + math.log(4)) / 2)


def test_a_batch_without_a_known_label_gives_zero_and_no_gradient() -> None:
    logits = torch.ones(2, 2, requires_grad=True)
    loss = masked_bce(logits, torch.full((2, 2), NAN))
    loss.backward()
    assert loss.item() == 0
    assert logits.grad is not None
    assert logits.grad.eq(0).all()


def test_a_positive_weighs_as_much_as_its_weight_says() -> None:
    logits, labels = torch.zeros(2, 1), torch.tensor([[1.0], [0.0]])
    loss = masked_bce(logits, labels, torch.tensor([3.0]))
    assert loss.item() == pytest.approx((3 + 1) * math.log(2) / 2)


def test_positive_weights_are_the_ratio_within_one_and_the_cap() -> None:
    labels = np.array([[1, 0, 0, 1], [0, 0, 0, 1], [0, NAN, 0, 1], [0, 0, 1, 0.0]])
    weights = positive_weights(labels, cap=2.5)
    assert weights is not None
    # 3 / 1 capped, no positive capped, 3 / 1 capped, 1 / 3 raised to 1
    assert weights.tolist() == [2.5, 2.5, 2.5, 1.0]
    assert positive_weights(labels, cap=10).tolist() == [3.0, 3.0, 3.0, 1.0]  # type: ignore[union-attr]
    assert positive_weights(labels, cap=0) is None
