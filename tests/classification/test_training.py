"""Training: schedule, frozen layers, one seed one result, the best epoch is kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from cxrloc.classification.config import ClassifierConfig, ModelConfig, TrainConfig
from cxrloc.classification.data import FilmBatches
from cxrloc.classification.models import ChestClassifier, Preprocessing, build_classifier
from cxrloc.classification.training import (
    GateTraining,
    Trained,
    _finite,
    forget_checkpoints,
    learning_rate_factor,
    train,
)
from cxrloc.datasets.radiograph import Radiograph

QUICK = TrainConfig(epochs=2, batch_size=8, lr=1e-3, precision="fp32", device="cpu", seed=3)


def make_films(count: int, seed: int) -> FilmBatches:
    """Noise; the positives have a bright corner."""
    rng = np.random.default_rng(seed)
    radiographs = [
        Radiograph(f"i{n}", None, f"p{n}", "PA", {"Mass": n % 2, "Edema": float("nan")})
        for n in range(count)
    ]
    cache = {r.image_id: rng.integers(0, 100, (64, 64), dtype=np.uint8) for r in radiographs}
    for r in radiographs:
        cache[r.image_id][:32, :32] += np.uint8(150 * r.labels["Mass"])
    return FilmBatches(cache, radiographs, ("Mass", "Edema"))  # type: ignore[arg-type]


def run(folder: Path, settings: TrainConfig = QUICK) -> Trained:
    model, _ = build_classifier("resnet18", 2, seed=settings.seed)
    config = ClassifierConfig(model=ModelConfig(size=64), train=settings)
    return train(model, (make_films(16, 0), make_films(8, 1)), config, folder)


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
    found = [learning_rate_factor(step, 4, config) for step in range(4)]
    np.testing.assert_allclose(found, factors, atol=1e-4)


def test_the_learning_rate_never_reaches_zero() -> None:
    assert learning_rate_factor(10, 10, TrainConfig(schedule="cosine")) == 1e-3


def make_module(frozen_stages: int = 0, **settings: object) -> GateTraining:
    model, _ = build_classifier("resnet18", 2)
    config = TrainConfig(**settings)  # type: ignore[arg-type]
    return GateTraining(model, Preprocessing(64), config, 10, None, frozen_stages)


def test_frozen_stages_have_no_gradient_and_keep_their_batch_statistics() -> None:
    module = make_module(frozen_stages=3).train()
    module.on_train_epoch_start()
    before = {k: v.clone() for k, v in module.model.state_dict().items()}
    module._loss(torch.randn(2, 3, 64, 64), torch.ones(2, 2)).backward()
    changed = {k for k, v in module.model.state_dict().items() if not torch.equal(v, before[k])}
    assert changed
    assert all(k.startswith(("backbone.layer3", "backbone.layer4")) for k in changed)
    trained = {n.split(".")[1] for n, p in module.model.named_parameters() if p.grad is not None}
    assert trained == {"layer3", "layer4", "weight", "bias"}


def test_the_first_epochs_see_films_at_half_the_size(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    monkeypatch.setattr(GateTraining, "log", lambda *a, **k: None)
    for epoch in range(4):
        module = make_module(epochs=4, small_share=0.5)
        monkeypatch.setattr(GateTraining, "current_epoch", epoch)
        module.model.register_forward_pre_hook(lambda _, x: sizes.append(x[0].shape[-1]))
        module.training_step((torch.zeros(2, 64, 64, dtype=torch.uint8), torch.ones(2, 2)), 0)
    assert sizes == [32, 32, 64, 64]


def same_weights(a: ChestClassifier, b: ChestClassifier) -> bool:
    pairs = zip(a.state_dict().values(), b.state_dict().values(), strict=True)
    return all(torch.equal(x, y) for x, y in pairs)


@pytest.mark.slow
def test_one_seed_gives_one_result_to_the_last_bit_and_another_seed_another(
    tmp_path: Path,
) -> None:
    first, second = run(tmp_path / "a"), run(tmp_path / "b")
    assert first.history == second.history
    assert same_weights(first.model, second.model)
    other = run(tmp_path / "c", TrainConfig(**{**vars(QUICK), "seed": 4, "epochs": 1}))
    assert other.history[0]["train_loss"] != first.history[0]["train_loss"]


@pytest.mark.slow
def test_the_epoch_with_the_lowest_validation_loss_is_kept(tmp_path: Path) -> None:
    settings = TrainConfig(**{**vars(QUICK), "epochs": 3, "lr": 0.05, "schedule": "constant"})
    trained = run(tmp_path, settings)
    losses = [entry["val_loss"] for entry in trained.history]
    assert [entry["epoch"] for entry in trained.history] == [0, 1, 2]
    assert losses[trained.best_epoch] == min(losses)
    films = make_films(8, 1)
    squares, labels = films[range(8)]
    module = GateTraining(trained.model, Preprocessing(64), settings, 2)
    with torch.inference_mode():
        again = module.eval()._loss(Preprocessing(64).to_tensor(squares), labels).item()
    assert again == pytest.approx(min(losses), rel=1e-4)


@pytest.mark.slow
def test_training_stops_when_the_validation_loss_has_not_improved_for_patience_epochs(
    tmp_path: Path,
) -> None:
    # a rate this high makes the second epoch and all later ones worse
    settings = {"epochs": 8, "lr": 5.0, "schedule": "constant", "patience": 1}
    trained = run(tmp_path, TrainConfig(**{**vars(QUICK), **settings}))
    losses = [entry["val_loss"] for entry in trained.history]
    assert len(losses) < 8
    assert losses[-1] >= min(losses[:-1])


@pytest.mark.slow
def test_a_finished_training_is_read_back_and_then_forgotten(tmp_path: Path) -> None:
    settings = TrainConfig(**{**vars(QUICK), "epochs": 1})
    first = run(tmp_path, settings)
    again = run(tmp_path, settings)
    assert again.history == first.history
    assert same_weights(again.model, first.model)
    forget_checkpoints(tmp_path)
    assert not list(tmp_path.rglob("*.ckpt"))
    assert list((tmp_path / "logs").rglob("events.out.tfevents*"))
    assert list((tmp_path / "logs").rglob("metrics.csv"))


def test_epochs_whose_loss_is_no_number_are_left_out_and_none_at_all_is_an_error(
    capsys: pytest.CaptureFixture[str],
) -> None:
    good, bad = {"epoch": 0.0, "val_loss": 1.0}, {"epoch": 1.0, "val_loss": float("nan")}
    assert _finite([good, bad], lr=9) == [good]
    assert "the loss became infinite or NaN" in capsys.readouterr().out
    with pytest.raises(ValueError, match=r"never finite; lower train\.lr \(it is 9\)"):
        _finite([bad], lr=9)


def test_a_part_without_films_or_labels_is_an_error(tmp_path: Path) -> None:
    model, _ = build_classifier("resnet18", 2)
    parts = make_films(4, 0), make_films(0, 1)
    config = ClassifierConfig(model=ModelConfig(size=64), train=QUICK)
    with pytest.raises(ValueError, match="the validation part has 0 films and no known label"):
        train(model, parts, config, tmp_path)
