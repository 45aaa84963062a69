"""Learning rates by step, against the papers' formulas."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cxrloc.classification.train_config import TrainConfig
from cxrloc.classification.training.optimization import (
    learning_rate_factor,
    make_optimizer,
    make_schedule,
    warmed_up_cosine,
)

STEPS = 4  # of an epoch


def rates(epochs: int, **settings: object) -> list[float]:
    """Rates of all steps, the schedule stepped as Lightning does; lr is 1."""
    config = TrainConfig(lr=1.0, optimizer="sgd", epochs=epochs, **settings)  # type: ignore[arg-type]
    optimizer = make_optimizer(torch.nn.Linear(1, 1), config)
    how = make_schedule(optimizer, config, STEPS)
    factors = []
    for step in range(1, epochs * STEPS + 1):
        factors.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if how["interval"] == "step" or step % STEPS == 0:
            how["scheduler"].step()
    return factors


@pytest.mark.parametrize(
    ("schedule", "factors"),
    [
        ("constant", [1, 1, 1, 1]),
        ("cosine", [1, 0.8536, 0.5, 0.1464]),  # (1 + cos(pi k / 4)) / 2
        ("one_cycle", [1 / 3, 2 / 3, 1, 0.5]),  # half of the 4 steps warm up
    ],
)
def test_the_learning_rate_follows_its_schedule(schedule: str, factors: list[float]) -> None:
    config = TrainConfig(schedule=schedule, warmup_share=0.5)  # type: ignore[arg-type]
    computed = [learning_rate_factor(step, 4, config) for step in range(4)]
    np.testing.assert_allclose(computed, factors, atol=1e-4)
    np.testing.assert_allclose(rates(1, schedule=schedule, warmup_share=0.5), factors, atol=1e-4)


def test_the_learning_rate_never_reaches_zero() -> None:
    assert learning_rate_factor(10, 10, TrainConfig(schedule="cosine")) == 1e-3


def test_the_detectors_rate_warms_up_by_steps_and_ends_at_zero() -> None:
    rates = [warmed_up_cosine(step, 100, 4) for step in (0, 4, 52, 100)]
    assert rates == pytest.approx([0.2, 1, 0.5, 0])


def test_step_multiplies_by_its_factor_after_every_so_many_epochs() -> None:
    factors = rates(15, schedule="step")
    np.testing.assert_allclose(factors[::STEPS], [*7 * [1], *7 * [0.1], 0.01])


def test_exponential_multiplies_by_its_factor_after_every_epoch() -> None:
    factors = rates(3, schedule="exponential", exponential_factor=0.5)
    np.testing.assert_allclose(factors, np.repeat([1, 0.5, 0.25], STEPS))


@pytest.mark.parametrize(
    ("schedule", "heights"),
    [("triangular", (0.8, 0.8, 0.8)), ("triangular2", (0.8, 0.4, 0.2))],
)
def test_the_triangle_is_alike_or_half_as_high_in_each_cycle(
    schedule: str, heights: tuple[float, ...]
) -> None:
    factors = rates(6, schedule=schedule, cycle_epochs=2, cycle_low=0.2)
    # up in 4 steps and down in 4 (Smith 2017, section 3.1)
    triangle = np.array([0, 0.25, 0.5, 0.75, 1, 0.75, 0.5, 0.25])
    np.testing.assert_allclose(factors, np.concatenate([0.2 + h * triangle for h in heights]))


def test_a_cycle_of_one_epoch_with_an_odd_number_of_steps_still_peaks_in_its_middle() -> None:
    # 5 steps a cycle: torch's half-cycle is 2.5, so steps 2 and 3 are 0.8 of the way up
    config = TrainConfig(lr=1.0, optimizer="sgd", schedule="triangular", cycle_epochs=1)
    optimizer = make_optimizer(torch.nn.Linear(1, 1), config)
    scheduler = make_schedule(optimizer, config, steps_per_epoch=5)["scheduler"]
    factors = []
    for _ in range(6):
        factors.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    low, height = 0.25, 0.75
    ways = np.array([0, 0.4, 0.8, 0.8, 0.4, 0])
    np.testing.assert_allclose(factors, low + height * ways, atol=1e-6)


def test_a_plateau_of_the_validation_loss_lowers_the_rate() -> None:
    config = TrainConfig(lr=1.0, schedule="reduce_on_plateau", plateau_epochs=1)
    optimizer = make_optimizer(torch.nn.Linear(1, 1), config)
    how = make_schedule(optimizer, config, STEPS)
    assert (how["monitor"], how["interval"], how["frequency"]) == ("val_loss", "step", STEPS)
    factors = []
    for loss in (3.0, 2.0, 2.0, 2.0, 1.0, 1.0, 1.0):  # twice without a lower one, twice over
        how["scheduler"].step(loss)
        factors.append(optimizer.param_groups[0]["lr"])
    assert factors == pytest.approx([1, 1, 1, 0.1, 0.1, 0.1, 0.01])
