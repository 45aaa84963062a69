"""The demo: every step is a command that its verb understands."""

from __future__ import annotations

from pathlib import Path

import pytest

from cxrloc.configs import command_line
from cxrloc.configs.command_line import load_config
from cxrloc.tools import compare_localizers
from cxrloc.tools.experiments.demo import DemoRun, box_steps, compare_step, maps_of
from cxrloc.tools.localize import LocalizeConfig


@pytest.mark.parametrize("demo", [DemoRun(Path("demo")), DemoRun(Path("runs"), nih=Path("nih"))])
def test_the_maps_of_images_with_and_without_letters_reach_the_report(demo: DemoRun) -> None:
    steps = [command for _, command in box_steps(demo) if command[0] == "localize"]
    asked = [load_config(LocalizeConfig, command[1:]) for command in steps]
    configs = {config.localizer: config for config in asked if config.maps is not None}
    assert tuple(configs) == maps_of(demo)
    assert {config.remove_markers for config in configs.values()} == {"mask"}
    arguments = compare_localizers._parser().parse_args(compare_step(demo)[1][1:])
    assert arguments.maps == [f"{name}={config.maps}" for name, config in configs.items()]
    predictions = command_line.named_files(arguments.predictions)
    assert {config.out for config in asked} <= set(predictions.values())
