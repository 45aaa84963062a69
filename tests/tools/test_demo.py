"""tools/demo.py: every step is a command that its tool understands."""

from __future__ import annotations

from pathlib import Path

import pytest

from cxrloc.configs import command_line
from cxrloc.configs.command_line import load_config
from cxrloc.tools import compare_localizers
from cxrloc.tools.demo import Job, box_steps, compare_step, maps_of
from cxrloc.tools.localize import LocalizeConfig


@pytest.mark.parametrize("job", [Job(Path("demo")), Job(Path("runs"), nih=Path("nih"))])
def test_the_maps_of_images_with_and_without_letters_reach_the_report(job: Job) -> None:
    steps = [words for _, words in box_steps(job) if words[0] == "localize.py"]
    asked = [load_config(LocalizeConfig, words[1:]) for words in steps]
    kept = {config.localizer: config for config in asked if config.maps is not None}
    assert tuple(kept) == maps_of(job)
    assert {config.remove_markers for config in kept.values()} == {"mask"}
    arguments = compare_localizers._parser().parse_args(compare_step(job)[1][1:])
    assert arguments.maps == [f"{name}={config.maps}" for name, config in kept.items()]
    predictions = command_line.named_files(arguments.predictions)
    assert {config.out for config in asked} <= set(predictions.values())
