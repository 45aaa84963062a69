"""Training: frozen layers, one seed one result, the best epoch is kept, killed runs go on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cxrloc.classification.bundle.preprocessing import Preprocessing
from cxrloc.classification.config import ClassifierConfig, ModelConfig
from cxrloc.classification.network.classifier import ChestClassifier, build_classifier
from cxrloc.classification.train_config import TrainConfig
from cxrloc.classification.training.batches import ImageBatches
from cxrloc.classification.training.gate_training import GateTraining, macro_auc
from cxrloc.classification.training.stages import Trained, train
from cxrloc.classification.training.trainer import forget_checkpoints
from cxrloc.datasets.radiograph import Radiograph

QUICK = TrainConfig(epochs=2, batch_size=8, lr=1e-3, precision="fp32", device="cpu", seed=3)


def make_images(count: int, seed: int, *, swapped: bool = False) -> ImageBatches:
    """Noise; the positives have a bright corner; swapped, the negatives have it."""
    rng = np.random.default_rng(seed)
    radiographs = [
        Radiograph(f"i{n}", None, f"p{n}", "PA", {"Mass": n % 2, "Edema": float("nan")})
        for n in range(count)
    ]
    cache = {r.image_id: rng.integers(0, 100, (64, 64), dtype=np.uint8) for r in radiographs}
    for r in radiographs:
        cache[r.image_id][:32, :32] += np.uint8(150 * (r.labels["Mass"] != swapped))
    return ImageBatches(cache, radiographs, ("Mass", "Edema"))  # type: ignore[arg-type]


def run(
    folder: Path,
    settings: TrainConfig = QUICK,
    architecture: Any = "resnet18",
    validation: ImageBatches | None = None,
) -> Trained:
    model, _ = build_classifier(architecture, 2, seed=settings.seed)
    network = ModelConfig(architecture=architecture, size=64)
    config = ClassifierConfig(model=network, train=settings)
    parts = make_images(16, 0), validation or make_images(8, 1)
    return train(model, parts, config, folder)


def make_module(frozen_stages: int = 0, **settings: object) -> GateTraining:
    model, _ = build_classifier("resnet18", 2)
    config = TrainConfig(**settings)  # type: ignore[arg-type]
    return GateTraining(model, Preprocessing(64), config, 10, None, frozen_stages)


def test_frozen_stages_have_no_gradient_and_keep_their_batch_statistics() -> None:
    module = make_module(frozen_stages=3).train()
    module.on_train_epoch_start()
    before = {k: v.clone() for k, v in module.model.state_dict().items()}
    module.loss(module.model(torch.randn(2, 3, 64, 64)).logits, torch.ones(2, 2)).backward()
    changed = {k for k, v in module.model.state_dict().items() if not torch.equal(v, before[k])}
    assert changed
    assert all(k.startswith(("backbone.layer3", "backbone.layer4")) for k in changed)
    trained = {n.split(".")[1] for n, p in module.model.named_parameters() if p.grad is not None}
    assert trained == {"layer3", "layer4", "weight", "bias"}


def test_the_first_epochs_see_images_at_half_the_size(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    monkeypatch.setattr(GateTraining, "log", lambda *a, **k: None)
    for epoch in range(4):
        module = make_module(epochs=4, small_share=0.5)
        monkeypatch.setattr(GateTraining, "current_epoch", epoch)
        module.model.register_forward_pre_hook(lambda _, x: sizes.append(x[0].shape[-1]))
        module.training_step((torch.zeros(2, 64, 64, dtype=torch.uint8), torch.ones(2, 2)), 0)
    assert sizes == [32, 32, 64, 64]


def test_dropout_draws_by_seed_and_epoch_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []
    for epoch in (0, 1, 0):
        monkeypatch.setattr(GateTraining, "current_epoch", epoch)
        make_module().on_train_epoch_start()
        drawn.append(torch.rand(1).item())
    assert drawn[0] == drawn[2] != drawn[1]


def test_the_macro_auc_is_the_mean_over_the_diseases_that_have_one() -> None:
    nan = float("nan")
    labels = np.array([[1, 1, nan, 0], [0, 0, nan, 0], [1, 0, nan, 0], [0, nan, nan, 0.0]])
    scores = np.array([[4, 1, 0, 0], [3, 2, 0, 0], [2, 3, 0, 0], [1, 9, 0, 0.0]])
    # positives 4 and 2 against 3 and 1: 3 of 4 pairs; positive 1 against 2 and 3: none
    assert macro_auc(labels, scores) == pytest.approx((0.75 + 0) / 2)
    assert macro_auc(labels[:, 2:], scores[:, 2:]) is None
    assert np.isnan(macro_auc(labels, np.full_like(scores, np.inf)))  # type: ignore[arg-type]


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
    images = make_images(8, 1)
    squares, labels = images[range(8)]
    module = GateTraining(trained.model, Preprocessing(64), settings, 2)
    with torch.inference_mode():
        logits = module.eval().model(Preprocessing(64).to_tensor(squares)).logits
        again = module.loss(logits, labels).item()
    assert again == pytest.approx(min(losses), rel=1e-4)


@pytest.mark.slow
def test_the_monitor_says_whether_loss_or_auc_chooses_the_epoch(tmp_path: Path) -> None:
    """The ranking is right from the first epoch on; the loss falls to the last."""
    settings = {**vars(QUICK), "epochs": 6, "lr": 0.01, "schedule": "constant"}
    runs = {
        m: run(tmp_path / m, TrainConfig(**{**settings, "monitor": m}), "simple_cnn")
        for m in ("val_loss", "val_auc")
    }
    history = runs["val_loss"].history
    assert history == runs["val_auc"].history
    assert runs["val_loss"].best_epoch == min(range(6), key=lambda e: history[e]["val_loss"])
    assert runs["val_auc"].best_epoch == max(range(6), key=lambda e: history[e]["val_auc"])
    assert runs["val_loss"].best_epoch != runs["val_auc"].best_epoch


@pytest.mark.slow
def test_training_stops_when_the_validation_loss_has_not_improved_for_patience_epochs(
    tmp_path: Path,
) -> None:
    # the better the training images are known, the worse these are predicted: labels are swapped
    swapped = make_images(8, 1, swapped=True)
    settings = TrainConfig(**{**vars(QUICK), "epochs": 30, "lr": 3e-3, "patience": 2})
    trained = run(tmp_path, settings, "simple_cnn", swapped)
    losses = [entry["val_loss"] for entry in trained.history]
    assert len(losses) == losses.index(min(losses)) + 1 + 2 < 30


@pytest.mark.slow
def test_the_validation_auc_of_every_epoch_is_noted(tmp_path: Path) -> None:
    trained = run(tmp_path, architecture="simple_cnn")
    images = make_images(8, 1)
    squares, labels = images[range(8)]
    with torch.inference_mode():
        logits = trained.model(Preprocessing(64).to_tensor(squares)).logits
    auc = trained.history[trained.best_epoch]["val_auc"]
    assert auc == pytest.approx(macro_auc(labels.double().numpy(), logits.double().numpy()))


def kill_at(monkeypatch: pytest.MonkeyPatch, epoch: int) -> None:
    """From now on a training dies when it begins this epoch."""
    begin = GateTraining.on_train_epoch_start

    def die(module: GateTraining) -> None:
        if module.current_epoch == epoch:
            raise RuntimeError("killed")
        begin(module)

    monkeypatch.setattr(GateTraining, "on_train_epoch_start", die)


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        {"schedule": "step", "optimizer": "sgd", "sampler": "capped"},
        {"schedule": "exponential", "optimizer": "adam", "sampler": "inverse_frequency"},
        # a rate at which the second epoch, the last before the kill, is worse than the first
        {"schedule": "reduce_on_plateau", "plateau_epochs": 0, "lr": 0.02},
        {"schedule": "triangular2", "cycle_epochs": 1, "loss": "chexnet"},
        {"schedule": "one_cycle", "weights_average": 0.9},
    ],
    ids=lambda settings: str(settings["schedule"]),
)
def test_a_killed_training_goes_on_to_the_same_result_with_every_schedule(
    settings: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cxrloc.classification.training.samplers.CAP", 6)
    monkeypatch.setattr("cxrloc.classification.training.optimization._STEP_EPOCHS", 1)
    config = TrainConfig(**{**vars(QUICK), "epochs": 4, **settings})
    whole = run(tmp_path / "whole", config, "simple_cnn")
    if config.schedule == "reduce_on_plateau":
        assert whole.history[1]["val_loss"] > whole.history[0]["val_loss"]
    with monkeypatch.context() as patch:
        kill_at(patch, epoch=2)
        with pytest.raises(RuntimeError, match="killed"):
            run(tmp_path / "killed", config, "simple_cnn")
    resumed = run(tmp_path / "killed", config, "simple_cnn")
    assert resumed.history == whole.history
    assert same_weights(resumed.model, whole.model)
    assert resumed.best_epoch == whole.best_epoch


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


def test_a_part_without_images_or_labels_is_an_error(tmp_path: Path) -> None:
    model, _ = build_classifier("resnet18", 2)
    parts = make_images(4, 0), make_images(0, 1)
    config = ClassifierConfig(model=ModelConfig(size=64), train=QUICK)
    with pytest.raises(ValueError, match="the validation part has 0 images but no known label"):
        train(model, parts, config, tmp_path)
