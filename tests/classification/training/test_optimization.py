"""Optimizers: two steps by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from cxrloc.classification.train_config import TrainConfig
from cxrloc.classification.training.optimization import averaged_copy, make_optimizer


def weight_after(steps: int, **settings: object) -> float:
    """A weight that begins at 1, after steps with a gradient of 2 and a rate of 0.1."""
    layer = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.ones_(layer.weight)
    optimizer = make_optimizer(layer, TrainConfig(lr=0.1, **settings))  # type: ignore[arg-type]
    for _ in range(steps):
        layer.weight.grad = torch.full((1, 1), 2.0)
        optimizer.step()
    return layer.weight.item()


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        # 1 - .1 * 2, then the momentum of .5 * 2 besides: - .1 * (2 + 1)
        ({"optimizer": "sgd", "momentum": 0.5, "weight_decay": 0.0}, 0.8 - 0.3),
        # the decay joins the gradient: 1 - .1 * (2 + .5), then .75 - .1 * (2 + .375)
        ({"optimizer": "sgd", "momentum": 0.0, "weight_decay": 0.5}, 0.75 - 0.2375),
        # Adam's step has length lr while the gradient stays the same
        ({"optimizer": "adam", "weight_decay": 0.0}, 0.8),
        # AdamW takes lr * decay off the weight first: .95 - .1, then .85 * .95 - .1
        ({"optimizer": "adamw", "weight_decay": 0.5}, 0.7075),
    ],
)
def test_two_steps_are_what_the_paper_says(settings: dict[str, object], expected: float) -> None:
    assert weight_after(2, **settings) == pytest.approx(expected, abs=1e-5)


def test_adam_decays_through_the_gradient_which_it_normalises() -> None:
    # 2 + .5 instead of 2: the step keeps its length, unlike AdamW's
    assert weight_after(1, optimizer="adam", weight_decay=0.5) == pytest.approx(0.9, abs=1e-5)
    assert weight_after(1, optimizer="adamw", weight_decay=0.5) == pytest.approx(0.85, abs=1e-5)


def test_frozen_parameters_are_not_optimized() -> None:
    network = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 1))
    network[0].requires_grad_(False)
    groups = make_optimizer(network, TrainConfig()).param_groups
    assert [tuple(p.shape) for p in groups[0]["params"]] == [(1, 2), (1,)]


def test_the_average_follows_the_weights_and_forgets_the_first_ones() -> None:
    model = nn.BatchNorm1d(2)
    average = averaged_copy(model, decay=0.9)
    expected, state = np.zeros(2), model.state_dict()
    for step in range(200):
        state["weight"].fill_(step)
        state["running_mean"].fill_(2 * step)
        state["num_batches_tracked"].fill_(step)
        average.update_parameters(model)
        kept = min(0.9, (1 + step) / (10 + step)) if step else 0.0  # the first is a copy
        expected = kept * expected + (1 - kept) * np.array([step, 2 * step])
    averaged = average.module.state_dict()
    assert averaged["weight"].tolist() == pytest.approx([expected[0]] * 2, rel=1e-4)
    assert averaged["running_mean"].tolist() == pytest.approx([expected[1]] * 2, rel=1e-4)
    assert averaged["num_batches_tracked"] == 199
    assert averaged["bias"].tolist() == [0, 0]
