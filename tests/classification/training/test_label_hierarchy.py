"""Parents first: which labels are on top, and what either stage changes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from cxrloc.classification.bundle.file import read_bundle
from cxrloc.classification.config import ClassifierConfig, ModelConfig
from cxrloc.classification.network.classifier import build_classifier
from cxrloc.classification.train_config import TrainConfig
from cxrloc.classification.training.batches import ImageBatches
from cxrloc.classification.training.label_hierarchy import child_labels, select_diseases, top_labels
from cxrloc.classification.training.stages import Trained, train
from cxrloc.datasets.labels.names import CHEXPERT_LABELS
from cxrloc.datasets.radiograph import Radiograph

DISEASES = ("Edema", "Lung Opacity", "Fracture")


def test_on_top_is_what_is_no_kind_of_another_output() -> None:
    below = {"Cardiomegaly", "Edema", "Consolidation", "Atelectasis", "Lung Lesion", "Pneumonia"}
    assert top_labels(CHEXPERT_LABELS) == tuple(d for d in CHEXPERT_LABELS if d not in below)
    assert top_labels(["Pneumonia", "Lung Opacity"]) == ("Lung Opacity",)  # a grandparent
    assert child_labels(["Edema", "Lung Opacity", "Fracture"]) == ("Edema",)
    with pytest.raises(ValueError, match=r"none of data\.diseases is another's parent: Edema, Fr"):
        top_labels(["Edema", "Fracture"])


def make_images(count: int, seed: int) -> ImageBatches:
    """Noise; images with edema, and so with an opacity, have a corner that is brighter."""
    rng, radiographs, cache = np.random.default_rng(seed), [], {}
    for n in range(count):
        labels = dict(zip(DISEASES, (n % 2, n % 2, n % 3 == 0), strict=True))
        radiographs.append(Radiograph(f"i{n}", None, f"p{n}", "PA", labels))
        cache[f"i{n}"] = rng.integers(0, 200, (64, 64), dtype=np.uint8)
        cache[f"i{n}"][:32, :32] += np.uint8(50 * (n % 2))
    return ImageBatches(cache, radiographs, DISEASES)  # type: ignore[arg-type]


def test_labels_are_masked_in_a_copy() -> None:
    images = make_images(4, 0)
    masked = select_diseases(images, ["Lung Opacity"]).labels
    assert np.isnan(masked).all(axis=0).tolist() == [True, False, True]
    assert masked[:, 1].tolist() == [0, 1, 0, 1]
    assert not np.isnan(images.labels).any()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Trained, Path]:
    """Two epochs of each stage."""
    folder = tmp_path_factory.mktemp("hierarchy")
    settings = TrainConfig(
        hierarchy="parents_first",
        epochs=2,
        batch_size=8,
        lr=0.01,
        stage2_lr=0.05,
        weight_decay=0.1,
        precision="fp32",
        device="cpu",
        seed=1,
    )
    config = ClassifierConfig(model=ModelConfig("simple_cnn", 64), train=settings)
    model, _ = build_classifier("simple_cnn", 3, seed=0)
    return train(model, (make_images(16, 0), make_images(12, 1)), config, folder), folder


@pytest.mark.slow
def test_the_first_stage_leaves_children_alone_and_the_second_the_backbone(
    run: tuple[Trained, Path],
) -> None:
    trained, folder = run
    start = build_classifier("simple_cnn", 3, seed=0)[0].state_dict()
    first, _ = read_bundle(folder / "checkpoints" / "stage1" / "trained.safetensors")
    second = trained.model.state_dict()
    # edema is the child: its row only shrinks, by weight decay
    factors = first["head.weight"] / start["head.weight"]
    alike = [bool((row - row.mean()).abs().max() < 1e-4) for row in factors]
    assert alike == [True, False, False]
    assert any(not torch.equal(first[n], t) for n, t in start.items() if n.startswith("backbone"))
    assert all(torch.equal(second[n], t) for n, t in first.items() if n.startswith("backbone"))
    assert any("running_mean" in n for n in first)  # BatchNorm's statistics were among them
    for name in ("head.weight", "head.bias"):
        changed = [not torch.equal(second[name][i], first[name][i]) for i in range(3)]
        assert changed == [True, False, False]  # the parents stay to the last bit


@pytest.mark.slow
def test_epochs_are_numbered_through_both_stages_and_the_second_is_the_result(
    run: tuple[Trained, Path],
) -> None:
    trained, _ = run
    assert [(e["epoch"], e["stage"]) for e in trained.history] == [(0, 1), (1, 1), (2, 2), (3, 2)]
    assert trained.best_epoch in (2, 3)
    assert trained.stages == ()


def test_a_hierarchy_is_refused_beside_the_other_two_stages() -> None:
    both = TrainConfig(hierarchy="parents_first", two_stage=True)
    with pytest.raises(ValueError, match=r"train\.hierarchy: got 'parents_first', expected none"):
        ClassifierConfig(model=ModelConfig(weights="imagenet"), train=both)
    alone = TrainConfig(hierarchy="parents_first")
    with pytest.raises(
        ValueError, match=r"train\.hierarchy: .* none with model\.head two_layer or"
    ):
        ClassifierConfig(model=ModelConfig(head="two_layer"), train=alone)
