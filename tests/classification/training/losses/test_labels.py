"""Losses are what their papers say, hand-computed, and ignore what is unknown."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from cxrloc.classification.train_config import TrainConfig
from cxrloc.classification.training.losses.labels import (
    LOSSES,
    ClassWeightedLoss,
    FocalLoss,
    HammingLoss,
    LabelLoss,
    PositiveWeightedLoss,
    ThreeClassLoss,
    chexnet_weights,
    make_loss,
    positive_weights,
    two_sided_weights,
)
from cxrloc.datasets.label_policies import UNCERTAIN_CLASS

NAN = math.nan
LOG2, LOG4 = math.log(2), math.log(4)
# a probability of 1/2 and one of 3/4; what is unknown has a logit that would show
LOGITS = torch.tensor([[0.0, 50.0], [math.log(3), -50.0]])
LABELS = torch.tensor([[1.0, NAN], [0.0, NAN]])


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        # -log(1/2) of the positive and -log(1/4) of the negative
        (LabelLoss(), (LOG2 + LOG4) / 2),
        (PositiveWeightedLoss(torch.tensor([3.0, 9.0])), (3 * LOG2 + LOG4) / 2),
        # 4 of 5 negative: the positive weighs .8, the negative .2
        (
            ClassWeightedLoss(torch.tensor([0.8, 0.5]), torch.tensor([0.2, 0.5])),
            (0.8 * LOG2 + 0.2 * LOG4) / 2,
        ),
        # alpha_t (1 - p_t)^gamma: .25 (1/2)^2 and .75 (3/4)^2
        (FocalLoss(gamma=2, alpha=0.25), (0.0625 * LOG2 + 0.421875 * LOG4) / 2),
        # |1 - 1/2| and |0 - 3/4|
        (HammingLoss(), (0.5 + 0.75) / 2),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, LabelLoss) else "",
)
def test_each_loss_is_what_its_paper_says_and_blind_to_unknown_labels(
    loss: LabelLoss, expected: float
) -> None:
    assert loss(LOGITS, LABELS).item() == pytest.approx(expected)


@pytest.mark.parametrize("name", LOSSES)
def test_a_soft_label_costs_its_share_of_a_positive_and_the_rest_of_a_negative(name: str) -> None:
    loss = make_loss(TrainConfig(loss=name), np.array([[1, 0], [0, 1], [0, 0.0]]))  # type: ignore[arg-type]
    logits = torch.tensor([[0.7, -1.3]])
    soft, positive, negative = (
        loss(logits, torch.full((1, 2), value)).item() for value in (0.7, 1.0, 0.0)
    )
    assert soft == pytest.approx(0.7 * positive + 0.3 * negative)


def test_three_classes_are_a_softmax_of_which_the_probability_takes_two() -> None:
    # absent, present, uncertain of two diseases: probabilities 1/6, 2/6, 3/6 and 1/3 each
    outputs = torch.tensor([[0.0, LOG2, math.log(3), 0.0, 0.0, 0.0]])
    loss = ThreeClassLoss()
    for label, probability in ((0.0, 1 / 6), (1.0, 2 / 6), (UNCERTAIN_CLASS, 3 / 6)):
        value = loss(outputs, torch.tensor([[label, NAN]]))
        assert value.item() == pytest.approx(-math.log(probability))
    both = loss(outputs, torch.tensor([[1.0, UNCERTAIN_CLASS]])).item()
    assert both == pytest.approx((math.log(3) + math.log(3)) / 2)
    # of absent and present alone: 2/6 against 1/6, and 1/3 against 1/3
    torch.testing.assert_close(
        torch.sigmoid(loss.disease_logits(outputs)), torch.tensor([[2 / 3, 1 / 2]])
    )


def test_weights_count_soft_labels_by_their_parts() -> None:
    labels = np.array([[0.75, 0], [0.25, NAN], [0, 0], [NAN, 1]])
    assert positive_weights(labels, 0).tolist() == [2.0, 2.0]
    assert chexnet_weights(labels)[0].tolist() == pytest.approx([2 / 3, 2 / 3])


@pytest.mark.parametrize("name", LOSSES)
def test_a_batch_without_a_known_label_gives_zero_and_no_gradient(name: str) -> None:
    logits = torch.ones(2, 2, requires_grad=True)
    loss = make_loss(TrainConfig(loss=name), np.array([[1, 0], [0, NAN]]))  # type: ignore[arg-type]
    value = loss(logits, torch.full((2, 2), NAN))
    value.backward()
    assert value.item() == 0
    assert logits.grad is not None
    assert logits.grad.eq(0).all()


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_stays_finite_for_logits_that_are_sure_and_wrong(name: str) -> None:
    logits = torch.tensor([[200.0, -200.0]], requires_grad=True)
    loss = make_loss(TrainConfig(loss=name), np.array([[1, 0], [0, 1.0]]))  # type: ignore[arg-type]
    value = loss(logits, torch.tensor([[0.0, 1.0]]))
    value.backward()
    assert value.isfinite()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def test_focal_loss_without_focus_is_half_the_cross_entropy() -> None:
    logits, labels = torch.linspace(-4, 4, 10).view(5, 2), torch.tensor([[0.0, 1.0]] * 5)
    half = F.binary_cross_entropy_with_logits(logits, labels) / 2
    torch.testing.assert_close(FocalLoss(gamma=0, alpha=0.5)(logits, labels), half)


def test_focus_takes_most_from_the_labels_that_are_easiest() -> None:
    # Lin et al., section 3.2: with gamma 2, p_t .9 counts 100 times less than without
    logits, labels = torch.tensor([[math.log(9)]]), torch.ones(1, 1)
    focused, plain = (FocalLoss(g, 0.25)(logits, labels).item() for g in (2, 0))
    assert plain / focused == pytest.approx(100, rel=1e-4)


def test_positive_weights_are_the_ratio_within_one_and_the_cap() -> None:
    labels = np.array([[1, 0, 0, 1], [0, 0, 0, 1], [0, NAN, 0, 1], [0, 0, 1, 0.0]])
    # 3 / 1 capped, no positive capped, 3 / 1 capped, 1 / 3 raised to 1
    assert positive_weights(labels, cap=2.5).tolist() == [2.5, 2.5, 2.5, 1.0]
    assert positive_weights(labels, cap=10).tolist() == [3.0, 3.0, 3.0, 1.0]
    assert positive_weights(labels, cap=0).tolist() == [3.0, 3.0, 3.0, 1.0]


def test_both_classes_of_a_disease_have_the_same_sum_of_chexnet_weights() -> None:
    labels = np.array([[1, 0, NAN], [0, 0, NAN], [0, NAN, NAN], [0, 0, NAN]])
    weights = chexnet_weights(labels)
    assert weights[0].tolist() == [0.75, 1.0, 1.0]  # |N| / (|P| + |N|): 3 / 4, 3 / 3, none known
    targets = torch.from_numpy(labels == 1).float()
    first = ClassWeightedLoss(*weights).per_label(torch.zeros(4, 3), targets)[:, 0] / LOG2
    assert first[0].item() == pytest.approx(first[1:].sum().item()) == pytest.approx(0.75)


def test_two_sided_weights_by_hand_with_and_without_a_bias() -> None:
    # 1 positive of 4; 2 of 4; none of 3, which counts as one; one unknown is not counted
    labels = np.array([[1, 1, 0], [0, 1, 0], [0, 0, NAN], [0, 0, 0.0]])
    positives, negatives = two_sided_weights(labels, bias=0)
    assert positives.tolist() == [1 + 3 / 1, 1 + 2 / 2, 1 + 3 / 1]
    torch.testing.assert_close(negatives, torch.tensor([1 + 1 / 3, 1 + 2 / 2, 1 + 1 / 3]))
    # both classes of a disease have the same sum of weights: 1 x 4 and 3 x 4 / 3
    assert 1 * positives[0] == pytest.approx(3 * negatives[0].item())
    leaning, same = two_sided_weights(labels, bias=5)
    assert leaning.tolist() == [1 + (3 + 5) / 1, 1 + (2 + 5) / 2, 1 + (3 + 5) / 1]
    assert torch.equal(same, negatives)


def test_a_wrong_answer_costs_its_class_s_weight() -> None:
    loss = make_loss(
        TrainConfig(loss="bce_two_sided", class_weight_bias=1.0),
        np.array([[1.0], [0.0], [0.0], [0.0]]),
    )
    # logits of 0: each costs log 2 times 1 + (3 + 1) / 1, or times 1 + 1 / 3
    assert loss(torch.zeros(1, 1), torch.ones(1, 1)).item() == pytest.approx(5 * LOG2)
    assert loss(torch.zeros(1, 1), torch.zeros(1, 1)).item() == pytest.approx(4 / 3 * LOG2)


@pytest.mark.parametrize(
    ("settings", "kind"),
    [
        ({}, LabelLoss),
        ({"positive_weight_cap": 5.0}, PositiveWeightedLoss),
        ({"loss": "bce"}, LabelLoss),
        ({"loss": "bce_weighted"}, PositiveWeightedLoss),
        ({"loss": "bce_two_sided", "class_weight_bias": 2.0}, ClassWeightedLoss),
        ({"loss": "chexnet"}, ClassWeightedLoss),
        ({"loss": "focal"}, FocalLoss),
        ({"loss": "hamming"}, HammingLoss),
    ],
)
def test_a_name_stands_for_its_loss_and_none_for_what_it_was_before_names(
    settings: dict[str, object], kind: type
) -> None:
    loss = make_loss(TrainConfig(**settings), np.array([[1.0], [0.0]]))  # type: ignore[arg-type]
    assert type(loss) is kind
