"""Two stages: the head alone, then all layers; the best of each by validation AUC; kills."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from cxrloc.classification.bundle.preprocessing import Preprocessing
from cxrloc.classification.config import ClassifierConfig, ModelConfig
from cxrloc.classification.network.classifier import ChestClassifier, build_classifier
from cxrloc.classification.train_config import TrainConfig
from cxrloc.classification.training.batches import ImageBatches
from cxrloc.classification.training.gate_training import GateTraining, macro_auc
from cxrloc.classification.training.stages import Trained, joined, stage_configs, train
from cxrloc.datasets.radiograph import Radiograph

MODEL = ModelConfig(architecture="simple_cnn", size=64, weights="pretrained.safetensors")
TRAIN = TrainConfig(
    two_stage=True,
    epochs=3,
    stage1_epochs=2,
    lr=0.1,
    stage2_lr=1e-3,
    batch_size=8,
    precision="fp32",
    device="cpu",
    seed=3,
    patience=3,
)


def make_images(count: int, seed: int) -> ImageBatches:
    """Noise; the positives have a corner that is a little brighter."""
    rng = np.random.default_rng(seed)
    radiographs = [Radiograph(f"i{n}", None, f"p{n}", "PA", {"Mass": n % 2}) for n in range(count)]
    cache = {r.image_id: rng.integers(0, 200, (64, 64), dtype=np.uint8) for r in radiographs}
    for r in radiographs:
        cache[r.image_id][:32, :32] += np.uint8(5 * r.labels["Mass"])
    return ImageBatches(cache, radiographs, ("Mass",))  # type: ignore[arg-type]


def start() -> ChestClassifier:
    return build_classifier("simple_cnn", 1, seed=0)[0]


def run(folder: Path, **settings: object) -> Trained:
    config = ClassifierConfig(model=MODEL, train=TrainConfig(**{**vars(TRAIN), **settings}))
    return train(start(), (make_images(16, 0), make_images(12, 1)), config, folder)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return run(tmp_path_factory.mktemp("whole"))


def differing(a: ChestClassifier, b: ChestClassifier) -> set[str]:
    """Which of backbone and head have a tensor, statistics of BatchNorm included, that differs."""
    other = b.state_dict()
    return {n.split(".")[0] for n, t in a.state_dict().items() if not torch.equal(t, other[n])}


@pytest.mark.slow
def test_the_first_stage_changes_the_head_alone_and_the_second_everything(
    trained: Trained,
) -> None:
    first, second = trained.stages
    assert differing(first.model, start()) == {"head"}
    assert differing(second.model, first.model) == {"backbone", "head"}


@pytest.mark.slow
def test_batchnorm_keeps_its_statistics_in_the_first_stage_and_moves_them_in_the_second(
    trained: Trained,
) -> None:
    means = [
        [t for n, t in model.state_dict().items() if n.endswith("running_mean")]
        for model in (start(), *(stage.model for stage in trained.stages))
    ]
    before, first, second = means
    assert len(before) == 5
    assert all(torch.equal(a, b) for a, b in zip(before, first, strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.slow
def test_each_stage_keeps_the_epoch_with_its_highest_validation_auc(trained: Trained) -> None:
    squares, labels = make_images(12, 1)[range(12)]
    assert [entry["epoch"] for entry in trained.history] == [0, 1, 2, 3, 4]
    assert [entry["stage"] for entry in trained.history] == [1, 1, 2, 2, 2]
    for stage in trained.stages:
        aucs = {entry["epoch"]: entry["val_auc"] for entry in stage.history}
        assert aucs[stage.best_epoch] == max(aucs.values())
        with torch.inference_mode():
            logits = stage.model(Preprocessing(64).to_tensor(squares)).logits
        again = macro_auc(labels.double().numpy(), logits.double().numpy())
        assert again == pytest.approx(aucs[stage.best_epoch])


@pytest.mark.slow
@pytest.mark.parametrize(("frozen", "epoch"), [(True, 1), (False, 0), (False, 2)])
def test_a_run_killed_in_either_stage_goes_on_to_the_same_result(
    frozen: bool, epoch: int, trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = GateTraining.on_train_epoch_start

    def die(module: GateTraining) -> None:
        if bool(module.frozen) == frozen and module.current_epoch == epoch:
            raise RuntimeError("killed")
        begin(module)

    with monkeypatch.context() as patch:
        patch.setattr(GateTraining, "on_train_epoch_start", die)
        with pytest.raises(RuntimeError, match="killed"):
            run(tmp_path)
    resumed = run(tmp_path)
    assert resumed.history == trained.history
    assert resumed.best_epoch == trained.best_epoch
    for stage, whole in zip(resumed.stages, trained.stages, strict=True):
        assert not differing(stage.model, whole.model)


@pytest.mark.slow
def test_a_stage_ends_when_the_validation_auc_has_not_improved_for_patience_epochs(
    tmp_path: Path,
) -> None:
    # at this rate nothing changes, and the loss falls too little to change a rank
    trained = run(tmp_path, lr=1e-9, stage1_epochs=9, epochs=1, patience=2)
    first, second = trained.stages
    assert [entry["val_auc"] for entry in first.history] == [first.history[0]["val_auc"]] * 3
    assert (first.best_epoch, len(second.history)) == (0, 1)


def test_the_stages_differ_in_what_is_frozen_the_rate_and_the_epochs() -> None:
    first, second = stage_configs(ClassifierConfig(model=MODEL, train=TRAIN))
    assert (first.model.frozen_stages, first.train.lr, first.train.epochs) == (5, 0.1, 2)
    assert (second.model.frozen_stages, second.train.lr, second.train.epochs) == (0, 1e-3, 3)


@pytest.mark.parametrize(
    ("second_aucs", "chosen", "best"),
    [([0.6, 0.9, 0.8], 1, 3), ([0.7, 0.6], 0, 1), ([0.5], 0, 1)],
)
def test_the_stage_with_the_higher_auc_is_chosen_the_first_one_of_equals(
    second_aucs: list[float], chosen: int, best: int
) -> None:
    stages = [
        Trained(
            start(),
            Preprocessing(64),
            [{"epoch": n, "val_auc": auc} for n, auc in enumerate(aucs)],
            0,
        )
        for aucs in ([0.6, 0.7], second_aucs)
    ]
    whole = joined(stages)
    assert whole.best_epoch == best
    assert whole.model is stages[chosen].model
    assert [entry["epoch"] for entry in whole.history] == list(range(2 + len(second_aucs)))
    assert whole.stages[chosen].best_epoch == best


def test_validation_images_without_an_auc_are_an_error(tmp_path: Path) -> None:
    positives = [Radiograph("a", None, "p", "PA", {"Mass": 1})]
    cache = {"a": np.zeros((64, 64), np.uint8)}
    validation = ImageBatches(cache, positives, ("Mass",))  # type: ignore[arg-type]
    config = ClassifierConfig(model=MODEL, train=TRAIN)
    with pytest.raises(
        ValueError,
        match="val_auc choose by the validation AUC, but no",
    ):
        train(start(), (make_images(8, 0), validation), config, tmp_path)
