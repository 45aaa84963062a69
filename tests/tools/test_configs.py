"""Every YAML in configs/ loads; every classifier of NIH's films trains two steps on a phantom."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from safetensors.torch import save_file

from cxrloc.classification.config import ClassifierConfig
from cxrloc.classification.cross_validation_config import CrossValidationConfig
from cxrloc.classification.models import load_classifier
from cxrloc.configs.load import load_config
from cxrloc.datasets.labels import NIH_DISEASES, NO_FINDING
from cxrloc.datasets.phantom import PhantomConfig, make_phantom
from cxrloc.detection.run_config import MaskRCNNConfig
from cxrloc.tools import prepare_data, train_classifier

CONFIGS = sorted((Path(__file__).resolve().parents[2] / "configs").glob("*.yaml"))
CONFIG_OF = {
    "train_classifier": ClassifierConfig,
    "cross_validate": CrossValidationConfig,
    "train_maskrcnn": MaskRCNNConfig,
}


def tool_of(path: Path) -> str:
    """The tool that the first comment of a config names."""
    return path.read_text().splitlines()[0].removeprefix("# python tools/").split(".py")[0]


def is_of_nih(path: Path) -> bool:
    """Whether it trains a classifier of NIH's diseases; others need films of another data set."""
    diseases = yaml.safe_load(path.read_text()).get("data", {}).get("diseases", ())
    classifier = tool_of(path) in ("train_classifier", "cross_validate")
    return classifier and bool(diseases) and {*diseases} <= {*NIH_DISEASES, NO_FINDING}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_config_loads_and_its_first_comment_is_its_command(path: Path) -> None:
    assert path.read_text().startswith(f"# python tools/{tool_of(path)}.py --config configs/")
    assert f"configs/{path.name}" in path.read_text().splitlines()[0]
    config = load_config(CONFIG_OF[tool_of(path)], ["--config", str(path), "--train.lr", "2e-5"])
    assert config.train.lr == 2e-5


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_config_says_what_it_costs_and_what_it_scored(path: Path) -> None:
    head = [line for line in path.read_text().splitlines() if line.startswith("# ")]
    said = " ".join(line.lower() for line in head[:4])
    assert "cost" in said
    assert "score" in said


def test_the_configs_of_earlier_projects_have_their_labels_and_splits() -> None:
    transfer = [p for p in CONFIGS if p.stem.startswith("knowledge_transfer_")]
    assert len(transfer) == 5
    for path in transfer:
        config = load_config(ClassifierConfig, ["--config", str(path)])
        assert config.train.two_stage
        if path.stem.endswith(("256", "512")):
            assert path.stem.endswith(f"{config.model.architecture}_{config.model.size}")
            assert set(config.data.diseases) == set(NIH_DISEASES)
            assert config.data.split == "official"
    fifteen = [p for p in CONFIGS if p.stem.startswith("nih15_")]
    networks = set()
    for path in fifteen:
        config = load_config(CrossValidationConfig, ["--config", str(path)])
        assert config.data.diseases == (*config.data.diseases[:14], NO_FINDING)
        assert set(config.data.diseases[:14]) == set(NIH_DISEASES)
        networks.add(config.model.architecture)
    assert {"efficientnet_b7", "densenet161", "resnet50", "googlenet", "vgg16"} <= networks


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 phantom films in NIH's layout: 10 or 11 to train on by the folds, by the lists alike."""
    folder = tmp_path_factory.mktemp("phantom")
    phantom = PhantomConfig(patients=11, seed=3, image_size=64, share_train_val=0.6)
    make_phantom(phantom, folder / "films", workers=1)
    words = ["--dataset", "nih", "--root", str(folder / "films"), "--out", str(folder / "prepared")]
    assert prepare_data.main(words) == 0
    return folder / "prepared"


@pytest.fixture(scope="session")
def start_weights(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Architecture -> a file of it as torchvision writes it; random in the place of ImageNet's."""
    folder = tmp_path_factory.mktemp("weights")

    def path_of(architecture: str) -> Path:
        from torchvision.models import get_model

        path = folder / f"{architecture}.safetensors"
        if not path.is_file():
            save_file(get_model(architecture, weights=None).state_dict(), path)
        return path

    return path_of


@pytest.mark.slow
@pytest.mark.parametrize("path", [p for p in CONFIGS if is_of_nih(p)], ids=lambda path: path.stem)
def test_a_classifier_config_trains_two_steps_on_phantom_films(
    path: Path, prepared: Path, start_weights: Callable[[str], Path], tmp_path: Path
) -> None:
    config = load_config(ClassifierConfig, ["--config", str(path)])
    frozen = config.train.two_stage or config.model.frozen_stages
    options = {
        "config": path, "data.prepared": prepared, "out": tmp_path / "run",
        "data.fold": "all" if config.data.split == "official" else 0,
        "data.validation_share": 0.3, "data.workers": 1, "data.loader_workers": 0,
        "model.size": 64, "train.epochs": 1, "train.stage1_epochs": 1, "train.batch_size": 4,
        "model.weights": start_weights(config.model.architecture) if frozen else "none",
        "train.device": "cpu", "train.bootstrap": 2,
    }  # fmt: skip
    assert train_classifier.main([f"--{key}={value}" for key, value in options.items()]) == 0
    part = tmp_path / "run" / ("" if config.data.split == "official" else "fold0")
    for stage in ("stage1", "stage2") if config.train.two_stage else ("",):
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
