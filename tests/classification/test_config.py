"""Settings: bad values name their key; every classifier config in the repository loads."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from cxrloc.classification.config import ClassifierConfig, DataConfig, ModelConfig, TrainConfig
from cxrloc.configs.load import load_config

CONFIGS = Path(__file__).resolve().parents[2] / "configs"


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: ModelConfig(size=230), r"model\.size: got 230, expected a multiple of 32"),
        (lambda: ModelConfig(frozen_stages=2), r"model\.frozen_stages: got 2, expected 0 with"),
        (lambda: TrainConfig(lr=0), r"train\.lr: got 0, expected more than 0"),
        (lambda: TrainConfig(small_share=1), r"train\.small_share: got 1, expected a share"),
        (lambda: DataConfig(fold=-1), r"data\.fold: got -1, expected a fold number from 0, or all"),
        (lambda: DataConfig(diseases=("Mass", "Mass")), r"data\.diseases: .* each disease once"),
    ],
)
def test_a_bad_value_names_its_key(build: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()  # type: ignore[operator]


def test_an_unknown_key_ends_with_status_2_and_its_name(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as stop:
        load_config(ClassifierConfig, ["--train.learning_rate", "1"])
    assert stop.value.code == 2
    assert "train.learning_rate" in capsys.readouterr().err


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("classifier_*.yaml")), ids=lambda p: p.stem)
def test_every_classifier_config_loads_and_begins_with_its_command(path: Path) -> None:
    config = load_config(ClassifierConfig, ["--config", str(path), "--data.fold", "3"])
    assert config.data.fold == 3
    assert config.data.diseases
    first = path.read_text().splitlines()[0]
    assert first.startswith("# python tools/train_classifier.py --config configs/")
    assert path.name in first


def test_there_is_a_classifier_config_for_the_demo_and_for_the_real_films() -> None:
    names = {path.stem for path in CONFIGS.glob("classifier_*.yaml")}
    assert {"classifier_phantom_demo", "classifier_nih_subset"} <= names


def test_the_settings_can_be_read_without_torch() -> None:
    code = "import sys, cxrloc.classification.config; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
