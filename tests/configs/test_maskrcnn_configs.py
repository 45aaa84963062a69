"""Every Mask R-CNN config of the repository loads, and its first comment is its command."""

from __future__ import annotations

from pathlib import Path

import pytest

from cxrloc.configs.command_line import load_config
from cxrloc.detection.run_config import MaskRCNNConfig

CONFIGS = sorted((Path(__file__).resolve().parents[2] / "configs").rglob("maskrcnn*.yaml"))


def test_there_are_configs_for_the_demo_the_phantom_and_the_real_images() -> None:
    names = {f"{path.parent.name}/{path.stem}" for path in CONFIGS}
    assert {"phantom/maskrcnn_demo", "phantom/maskrcnn", "nih/maskrcnn"} <= names


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_config_loads_and_begins_with_its_command(path: Path) -> None:
    config = load_config(MaskRCNNConfig, ["--config", str(path), "--train.lr", "1e-4"])
    assert config.train.lr == 1e-4
    assert config.size % 32 == 0
    assert config.train.augment.flip == 0  # the heart has a side
    command = f"# cxrloc train-maskrcnn --config configs/{path.parent.name}/{path.name}"
    assert path.read_text().splitlines()[0].startswith(command)
