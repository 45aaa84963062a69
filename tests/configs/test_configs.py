"""Every YAML in configs/ loads; every classifier trains two steps on a phantom."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from safetensors.torch import save_file

from cxrloc.classification.bundle.classifier import load_classifier
from cxrloc.classification.config import ClassifierConfig
from cxrloc.classification.network.classifier import build_classifier
from cxrloc.configs.command_line import load_config
from cxrloc.datasets.labels.names import ABNORMAL, CHEXPERT_LABELS, NIH_DISEASES, NO_FINDING
from cxrloc.datasets.phantoms.chexpert import ChexpertPhantomConfig, make_chexpert_phantom
from cxrloc.datasets.phantoms.mura import LimbConfig, make_phantom_limb
from cxrloc.datasets.phantoms.nih import PhantomConfig, make_phantom
from cxrloc.detection.run_config import MaskRCNNConfig
from cxrloc.tools import prepare_data, train_classifier

CONFIGS = sorted((Path(__file__).resolve().parents[2] / "configs").rglob("*.yaml"))
CONFIG_OF = {"train-gate": ClassifierConfig, "train-maskrcnn": MaskRCNNConfig}


def name_of(path: Path) -> str:
    """nih/classifier for configs/nih/classifier.yaml."""
    return f"{path.parent.name}/{path.stem}"


def verb_of(path: Path) -> str:
    """The verb that the first comment of a config names."""
    return path.read_text().splitlines()[0].removeprefix("# cxrloc ").split()[0]


def data_set_of(path: Path) -> str:
    """The data set whose labels a classifier is trained on; empty of detectors."""
    diseases = {*yaml.safe_load(path.read_text()).get("data", {}).get("diseases", ())}
    if not diseases or verb_of(path) != "train-gate":
        return ""
    labels_of = {
        "nih": {*NIH_DISEASES, NO_FINDING},
        "chexpert": {*CHEXPERT_LABELS},
        "mura": {ABNORMAL},
    }
    return next((name for name, labels in labels_of.items() if diseases <= labels), "")


@pytest.mark.parametrize("path", CONFIGS, ids=name_of)
def test_a_config_loads_and_its_first_comment_is_its_command(path: Path) -> None:
    assert path.read_text().startswith(f"# cxrloc {verb_of(path)} --config configs/")
    assert f"configs/{name_of(path)}.yaml" in path.read_text().splitlines()[0]
    config: Any = load_config(
        CONFIG_OF[verb_of(path)], ["--config", str(path), "--train.lr", "2e-5"]
    )
    assert config.train.lr == 2e-5


@pytest.mark.parametrize("path", CONFIGS, ids=name_of)
def test_a_config_says_what_it_costs_and_what_it_scored(path: Path) -> None:
    head = [line for line in path.read_text().splitlines() if line.startswith("# ")]
    comment = " ".join(line.lower() for line in head[:4])
    assert "cost" in comment
    assert "score" in comment


def test_the_configs_of_earlier_projects_have_their_labels_and_splits() -> None:
    transfer = [p for p in CONFIGS if "knowledge_transfer" in name_of(p) and p.stem != "simple_cnn"]
    assert len(transfer) == 5
    for path in transfer:
        config = load_config(ClassifierConfig, ["--config", str(path)])
        assert config.train.two_stage
        if path.stem.endswith(("256", "512")):
            assert path.stem.endswith(f"{config.model.architecture}_{config.model.size}")
            assert set(config.data.diseases) == set(NIH_DISEASES)
            assert config.data.split == "official"
    fifteen = [p for p in CONFIGS if p.parent.name == "nih15"]
    networks = set()
    for path in fifteen:
        config = load_config(ClassifierConfig, ["--config", str(path)])
        assert config.data.diseases == (*config.data.diseases[:14], NO_FINDING)
        assert set(config.data.diseases[:14]) == set(NIH_DISEASES)
        networks.add(config.model.architecture)
    assert {"efficientnet_b7", "densenet161", "resnet50", "googlenet", "vgg16"} <= networks


def test_the_configs_of_chexpert_have_what_the_readme_says_of_them() -> None:
    of = {
        p.stem: load_config(ClassifierConfig, ["--config", str(p)])
        for p in CONFIGS
        if p.parent.name == "chexpert"
    }
    assert {of[name].train.schedule for name in of} == {"triangular"}
    for name in ("densenet121_three_class", "densenet121_parents_first"):
        assert of[name].data.diseases == CHEXPERT_LABELS
        assert of[name].data.closure
    assert of["densenet121_three_class"].data.uncertain == "three_class"
    assert of["densenet121_parents_first"].train.hierarchy == "parents_first"
    for name in ("densenet121", "effnet_b4"):  # with and without differ in their input alone
        plain, enhanced = of[name], of[f"{name}_enhanced"]
        assert replace(plain.model, input="enhanced") == enhanced.model
        assert (plain.data, plain.train) == (enhanced.data, enhanced.train)


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Data set -> a folder of some 20 phantom images, of which each split trains on 8 to 11."""
    folder = tmp_path_factory.mktemp("phantoms")

    def folder_of(data_set: str) -> Path:
        images, out = folder / f"{data_set}_images", folder / data_set
        if data_set == "nih":
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("cxrloc.datasets.phantoms.nih.SHARE_TRAIN_VAL", 0.6)
                make_phantom(PhantomConfig(patients=11, seed=3, image_size=64), images, workers=1)
        elif data_set == "mura":
            make_phantom_limb(LimbConfig(patients=7, seed=5, image_size=64), images, workers=1)
        else:
            make_chexpert_phantom(ChexpertPhantomConfig(11, 5, image_size=64), images, workers=1)
        if not out.is_dir():
            words = ["--dataset", data_set, "--root", str(images), "--out", str(out)]
            assert prepare_data.main(words) == 0
        return out

    return folder_of


@pytest.fixture(scope="session")
def start_weights(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Architecture -> a file of it as torchvision writes it; random in the place of ImageNet's.

    That of a network that torchvision does not have is our own.
    """
    folder = tmp_path_factory.mktemp("weights")

    def path_of(architecture: str) -> Path:
        from torchvision.models import get_model, list_models

        path = folder / f"{architecture}.safetensors"
        if not path.is_file():
            known = architecture in list_models()
            network = (
                get_model(architecture, weights=None)
                if known
                else build_classifier(architecture, 1)[0].backbone
            )
            save_file(network.state_dict(), path)
        return path

    return path_of


@pytest.mark.slow
@pytest.mark.parametrize("path", [p for p in CONFIGS if data_set_of(p)], ids=name_of)
def test_a_classifier_config_trains_two_steps_on_phantom_images(
    path: Path,
    prepared: Callable[[str], Path],
    start_weights: Callable[[str], Path],
    tmp_path: Path,
) -> None:
    config = load_config(ClassifierConfig, ["--config", str(path)])
    frozen = config.train.two_stage or config.model.frozen_stages
    options = {
        "config": path,
        "data.prepared": prepared(data_set_of(path)),
        "out": tmp_path / "run",
        "data.fold": 0 if config.data.split == "folds" else "all",
        "data.validation_share": 0.3,
        "data.workers": 1,
        "data.loader_workers": 0,
        "model.size": 64,
        "train.epochs": 1,
        "train.epoch_steps": 2,
        "train.stage1_epochs": 1,
        "train.batch_size": 4,
        "model.weights": start_weights(config.model.architecture) if frozen else "none",
        "train.device": "cpu",
        "train.bootstrap": 2,
    }
    assert train_classifier.main([f"--{key}={value}" for key, value in options.items()]) == 0
    part = tmp_path / "run" / ("fold0" if config.data.split == "folds" else "")
    stages = config.train.two_stage or config.train.hierarchy != "none"
    for stage in ("stage1", "stage2") if stages else ("",):
        assert steps_of(part / "logs" / stage) == 2
    bundle = load_classifier(part / "classifier.safetensors")
    assert bundle.model.architecture == config.model.architecture
    assert bundle.diseases == config.data.diseases


def steps_of(logs: Path) -> int:
    """Optimizer steps that a stage took, from its log."""
    (path,) = logs.glob("csv/*/metrics.csv")
    with path.open() as handle:
        rows: list[dict[str, Any]] = list(csv.DictReader(handle))
    return 1 + max(int(row["step"]) for row in rows)
