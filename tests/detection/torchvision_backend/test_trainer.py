"""Training of the detector: exact resume, log, the guard against a loss that is not finite."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from cxrloc.classification.bundle.file import read_bundle
from cxrloc.classification.training.batches import EpochBatches
from cxrloc.classification.training.samplers import Uniform
from cxrloc.detection.config import AugmentConfig, DetectorConfig, Init
from cxrloc.detection.data import DetectionSet
from cxrloc.detection.torchvision_backend.backend import train_detector
from cxrloc.detection.torchvision_backend.data import RemainingBatches
from cxrloc.detection.torchvision_backend.initial_weights import build_detector
from cxrloc.detection.torchvision_backend.network import MaskRCNN
from cxrloc.detection.torchvision_backend.trainer import DetectorTraining, fit
from cxrloc.detection.validation import ValidationScores

EPOCHS, STEPS = 3, 5  # steps of an epoch: 16 images, 3 at a time, one left over
Step = Callable[..., torch.Tensor]


@pytest.fixture
def small(rectangles: DetectionSet) -> DetectionSet:
    """`rectangles` at half their size."""
    squares = {r.image_id: rectangles.squares[r.image_id][::2, ::2] for r in rectangles.radiographs}
    return replace(rectangles, squares=squares, size=64)


@pytest.fixture
def config(small_config: DetectorConfig) -> DetectorConfig:
    """A narrow network, trained for 15 steps."""
    model = replace(
        small_config.model,
        fpn_levels=(4, 5),
        anchor_sizes=(0.3, 0.5, 0.7),
        fpn_channels=16,
        box_hidden=16,
        mask_channels=16,
    )
    train = replace(
        small_config.train,
        epochs=EPOCHS,
        batch_size=3,
        warmup_steps=3,
        checkpoint_every=3,
        validate_every=1,
        weights_average=0.9,
        augment=AugmentConfig(),
    )
    return replace(small_config, size=64, model=model, train=train)


def _train(config: DetectorConfig, data: DetectionSet, out: Path) -> dict[str, torch.Tensor]:
    validation = replace(data, radiographs=data.radiographs[:2])
    return read_bundle(train_detector(config, data, validation, out, Init(), {}))[0]


def _rows(out: Path) -> list[dict[str, str]]:
    """Rows of the log, those of a resumed run last; without the columns that stay empty."""
    logs = sorted((out / "logs" / "csv").glob("version_*/metrics.csv"))
    rows = [row for log in logs for row in csv.DictReader(log.open())]
    return [{name: value for name, value in row.items() if value} for row in rows]


class _KilledError(Exception): ...


def _dies_at(step: int) -> Step:
    train = DetectorTraining.training_step

    def training_step(module: DetectorTraining, *batch: Any) -> torch.Tensor:
        if module.global_step == step:
            raise _KilledError
        return train(module, *batch)

    return training_step


def _score_dies_at(step: int) -> Callable[[DetectorTraining], ValidationScores]:
    score = DetectorTraining._score

    def dying(module: DetectorTraining) -> ValidationScores:
        if module.global_step == step:
            raise _KilledError
        return score(module)

    return dying


@pytest.mark.slow
def test_a_resumed_run_ends_with_the_weights_of_one_that_was_not_killed(
    config: DetectorConfig, small: DetectionSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = _train(config, small, tmp_path / "whole")
    out = tmp_path / "cut"
    # within an epoch, behind a checkpoint at the end of one, and while it validates
    for name, function in (
        ("training_step", _dies_at(4)),
        ("training_step", _dies_at(6)),
        ("_score", _score_dies_at(10)),
        ("training_step", _dies_at(14)),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(DetectorTraining, name, function)
            with pytest.raises(_KilledError):
                _train(config, small, out)
        assert (out / "checkpoints" / "last.ckpt").is_file()
    resumed = _train(config, small, out)
    assert all(torch.equal(expected[name], resumed[name]) for name in expected)
    metadata = [read_bundle(tmp_path / n / "maskrcnn.safetensors")[1] for n in ("whole", "cut")]
    for fact in ("kept", "steps", "validation_ap", "weights_average"):
        assert metadata[0][fact] == metadata[1][fact]
    assert not (out / "checkpoints").exists()
    whole, cut = _rows(tmp_path / "whole"), _rows(out)
    assert len(cut) > len(whole)
    # a step that was taken twice is logged twice, with the same figures
    assert {tuple(row.items()) for row in cut} == {tuple(row.items()) for row in whole}


@pytest.mark.slow
def test_every_step_and_validation_is_in_the_log(
    config: DetectorConfig, small: DetectionSet, tmp_path: Path
) -> None:
    more = replace(config.train, epochs=8, lr=3e-3, validate_every=5)
    _train(replace(config, train=more), small, tmp_path)
    rows = _rows(tmp_path)
    steps = [row for row in rows if "loss" in row]
    assert [int(row["step"]) for row in steps] == list(range(8 * STEPS))
    for row in steps:
        parts = [float(value) for name, value in row.items() if name.startswith("loss_")]
        assert len(parts) == 5
        assert sum(parts) == pytest.approx(float(row["loss"]), rel=1e-5)
    rates = [float(row["lr"]) / 3e-3 for row in steps]
    assert rates[:4] == pytest.approx([0.25, 0.5, 0.75, 1])
    losses = [float(row["loss"]) for row in steps]
    assert sum(losses[-STEPS:]) < 0.7 * sum(losses[:STEPS])
    # every five epochs, and at the end
    assert [int(row["step"]) for row in rows if "val_ap" in row] == [24, 39]
    assert list((tmp_path / "logs" / "tensorboard").glob("events.*"))


def test_a_checkpoint_of_another_run_is_refused(
    config: DetectorConfig, small: DetectionSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(DetectorTraining, "training_step", _dies_at(4))
        with pytest.raises(_KilledError):
            _train(config, small, tmp_path)
    with pytest.raises(ValueError, match="another config or other images"):
        _train(replace(config, seed=9), small, tmp_path)


def _spoiled(by: float) -> Step:
    train = DetectorTraining.training_step
    return lambda module, *batch: train(module, *batch) * by


def test_a_gradient_that_stays_infinite_stops_the_run_and_says_what_to_do(
    config: DetectorConfig, small: DetectionSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DetectorTraining, "training_step", _spoiled(math.inf))
    with pytest.raises(RuntimeError, match=r"10 times in a row.*lower train\.lr"):
        _train(config, small, tmp_path)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_a_loss_that_is_not_finite_changes_no_weight(
    config: DetectorConfig,
    small: DetectionSet,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    optimizer: str,
) -> None:
    forward = MaskRCNN.forward

    def spoiled(model: MaskRCNN, *inputs: Any) -> Any:
        return {name: loss * math.nan for name, loss in forward(model, *inputs).items()}

    monkeypatch.setattr(MaskRCNN, "forward", spoiled)
    train = replace(config.train, epochs=1, optimizer=optimizer)  # type: ignore[arg-type]
    config = replace(config, train=train)
    model, _ = build_detector(config, Init())
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    fit(model, config, small, None, "mark", tmp_path)
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, before[name]), name


def test_the_best_weights_of_the_validation_are_kept(
    config: DetectorConfig, small: DetectionSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    states = _scored(monkeypatch, 0.1, 0.9, 0.3)
    model, _ = build_detector(config, Init())
    outcome = fit(model, config, small, small, "mark", tmp_path)
    assert outcome["kept"] == f"best of validation, step {2 * STEPS}"
    assert (outcome["steps"], outcome["validation_ap"]) == (3 * STEPS, 0.9)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, states[1][name]), name


def _scored(monkeypatch: pytest.MonkeyPatch, *precisions: float) -> list[dict[str, torch.Tensor]]:
    """Let the validations give these; returns the weights that each has validated."""
    left, states = iter(precisions), list[dict[str, torch.Tensor]]()

    def score(module: DetectorTraining) -> ValidationScores:
        states.append({name: t.clone() for name, t in module.network.state_dict().items()})
        return ValidationScores(next(left), 0.0)

    monkeypatch.setattr(DetectorTraining, "_score", score)
    return states


def test_a_training_stops_after_validations_without_a_better_one(
    config: DetectorConfig, small: DetectionSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    states = _scored(monkeypatch, 0.4, 0.3, 0.9)
    config = replace(config, train=replace(config.train, patience=1))
    model, _ = build_detector(config, Init())
    assert fit(model, config, small, small, "mark", tmp_path)["validation_ap"] == 0.4
    assert len(states) == 2
    # killed between this and its bundle, it is resumed at its checkpoint and takes no further step
    again, _ = build_detector(config, Init())
    assert fit(again, config, small, small, "mark", tmp_path)["validation_ap"] == 0.4
    assert len(states) == 2
    for name, tensor in again.state_dict().items():
        assert torch.equal(tensor, states[0][name]), name


def test_a_resumed_epoch_has_the_batches_that_were_not_trained_on() -> None:
    whole = RemainingBatches(EpochBatches(16, 3, Uniform(16, seed=2)))
    rest = RemainingBatches(EpochBatches(16, 3, Uniform(16, seed=2)), done=7)
    epochs: list[list[list[tuple[int, list[int]]]]] = []
    for sampler in (whole, rest):
        epochs.append([])
        for epoch in range(3):
            sampler.set_epoch(epoch)
            epochs[-1].append(list(sampler))
    assert epochs[1] == [[], epochs[0][1][2:], epochs[0][2]]
    assert [epoch for epoch, _ in epochs[0][1]] == [1] * STEPS
    assert len(rest) == len(whole) == STEPS
