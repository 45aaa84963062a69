"""The training loop: schedule, resume, log and the guard against a loss that is not finite."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from cxrloc.detection.config import TrainConfig
from cxrloc.detection.training import Plan, epoch_order, lr_factor, make_optimizer, train

CONFIG = TrainConfig(lr=0.05, warmup_steps=3, checkpoint_every=10)


def _plan(out: Path, steps: int = 40, **values: object) -> Plan:
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.2), nn.Linear(8, 1))

    def losses(step: int) -> dict[str, torch.Tensor]:
        # dropout and data are both random: a resumed run must draw the same
        x = torch.randn(16, 4)
        return {"loss_fit": (model(x) - x.sum(1, keepdim=True)).square().mean()}

    plan = Plan(model, losses, None, steps, 10, CONFIG, 7, "mark", out)
    return replace(plan, **values)  # type: ignore[arg-type]


def _run(plan: Plan) -> dict[str, torch.Tensor]:
    train(plan, make_optimizer(plan.model, plan.config))
    return plan.model.state_dict()


class _KilledError(Exception): ...


def _dies_at(plan: Plan, at: int) -> Callable[[int], dict[str, torch.Tensor]]:
    def losses(step: int) -> dict[str, torch.Tensor]:
        if step == at:
            raise _KilledError
        return plan.losses(step)

    return losses


def test_the_learning_rate_warms_up_and_ends_at_zero() -> None:
    assert lr_factor(0, 100, 4) == pytest.approx(0.2)
    assert lr_factor(4, 100, 4) == 1
    assert lr_factor(52, 100, 4) == pytest.approx(0.5)
    assert lr_factor(100, 100, 4) == pytest.approx(0)


def test_an_epoch_visits_every_image_once_in_an_order_of_its_own() -> None:
    assert sorted(epoch_order(0, 3, 10)) == list(range(10))
    assert epoch_order(0, 3, 10) == epoch_order(0, 3, 10)
    assert epoch_order(0, 3, 10) != epoch_order(0, 4, 10)


def test_training_lowers_the_loss(tmp_path: Path) -> None:
    _run(_plan(tmp_path, 200))
    with (tmp_path / "loss.csv").open() as handle:
        rows = list(csv.DictReader(handle))
    assert [int(row["step"]) for row in rows] == list(range(10, 201, 10))
    assert float(rows[-1]["loss"]) < 0.5 * float(rows[0]["loss"])


def test_a_resumed_run_ends_with_the_weights_of_one_that_was_not_killed(tmp_path: Path) -> None:
    expected = _run(_plan(tmp_path / "whole"))
    dying = _plan(tmp_path / "cut")
    with pytest.raises(_KilledError):
        _run(replace(dying, losses=_dies_at(dying, 25)))
    resumed = _run(_plan(tmp_path / "cut"))
    assert all(torch.equal(expected[name], resumed[name]) for name in expected)
    whole, cut = ((tmp_path / n / "loss.csv").read_text() for n in ("whole", "cut"))
    assert whole == cut


def test_a_checkpoint_of_another_run_is_refused(tmp_path: Path) -> None:
    dying = _plan(tmp_path)
    with pytest.raises(_KilledError):
        _run(replace(dying, losses=_dies_at(dying, 15)))
    with pytest.raises(ValueError, match="another config or other images"):
        _run(_plan(tmp_path, fingerprint="other"))


def test_a_loss_that_stays_infinite_stops_the_run_and_says_what_to_do(tmp_path: Path) -> None:
    plan = _plan(tmp_path)
    broken = replace(plan, losses=lambda step: {"a": plan.losses(step)["loss_fit"] * math.inf})
    with pytest.raises(RuntimeError, match=r"10 times in a row.*lower train\.lr"):
        _run(broken)


def test_one_infinite_loss_changes_no_weight(tmp_path: Path) -> None:
    plan = _plan(tmp_path, steps=1)
    before = {name: tensor.clone() for name, tensor in plan.model.state_dict().items()}
    after = _run(replace(plan, losses=lambda s: {"a": plan.losses(s)["loss_fit"] * math.nan}))
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_the_best_weights_of_the_validation_are_kept(tmp_path: Path) -> None:
    scores = iter([0.1, 0.9, 0.3, 0.2])
    states: list[dict[str, torch.Tensor]] = []
    plan = _plan(tmp_path)

    def score() -> float:
        states.append({name: t.clone() for name, t in plan.model.state_dict().items()})
        return next(scores)

    config = replace(CONFIG, validate_every=1)
    progress = train(replace(plan, score=score, config=config), make_optimizer(plan.model, config))
    assert (progress.best_step, progress.best_score) == (20, 0.9)
    for name, tensor in plan.model.state_dict().items():
        assert torch.equal(tensor, states[1][name])


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_biases_do_not_decay_and_the_body_learns_slower(name: str) -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    config = TrainConfig(optimizer=name, lr=0.1, weight_decay=0.3, backbone_lr_factor=0.5)  # type: ignore[arg-type]
    groups = make_optimizer(model, config, model[0]).param_groups
    found = {(group["lr"], group["weight_decay"]): len(group["params"]) for group in groups}
    assert found == {(0.05, 0.3): 1, (0.05, 0.0): 1, (0.1, 0.3): 1, (0.1, 0.0): 1}
