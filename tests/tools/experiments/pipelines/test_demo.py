"""The demo: every step is a command that its verb understands."""

from __future__ import annotations

from pathlib import Path

import pytest

from cxrloc.configs import command_line
from cxrloc.configs.command_line import load_config
from cxrloc.tools import compare_localizers
from cxrloc.tools.experiments import fuse_localizers
from cxrloc.tools.experiments.pipelines.demo import (
    DemoRun,
    box_steps,
    boxes_of,
    compare_step,
    maps_of,
    training_steps,
)
from cxrloc.tools.localize import LocalizeConfig


@pytest.mark.parametrize("demo", [DemoRun(Path("demo")), DemoRun(Path("runs"), nih=Path("nih"))])
def test_the_maps_of_images_with_and_without_letters_reach_the_report(demo: DemoRun) -> None:
    steps = [command for _, command in box_steps(demo) if command[0] == "localize"]
    asked = [load_config(LocalizeConfig, command[1:]) for command in steps]
    configs = {config.localizer: config for config in asked if config.maps is not None}
    assert list(configs) == list(maps_of(demo))
    assert {c.localizer: c.gate for c in asked} == {n: g.path for n, g in maps_of(demo).items()}
    assert {config.remove_markers for config in configs.values()} == {"mask"}
    arguments = compare_localizers._parser().parse_args(compare_step(demo)[1][1:])
    assert arguments.maps == [f"{name}={config.maps}" for name, config in configs.items()]
    predictions = command_line.named_files(arguments.predictions)
    assert {config.out for config in asked} <= set(predictions.values())


def test_on_nih_guided_cam_and_the_detector_are_fused_and_all_are_compared() -> None:
    demo = DemoRun(Path("runs"), nih=Path("nih"), weights=Path("resnet18.pth"))

    commands = [command for _, command in box_steps(demo)]
    (fuse,) = [command for command in commands if command[0] == "fuse"]
    arguments = fuse_localizers._parser().parse_args(fuse[1:])
    compared = command_line.named_files(compare_step(demo)[1][4 : 4 + len(boxes_of(demo))])
    assert command_line.named_files(arguments.predictions) == {
        name: compared[name] for name in ("mask_rcnn", "guided_cam_tuned")
    }
    assert arguments.out == compared["fused"]
    made = {path for _, c in box_steps(demo) for path in c}
    own = {name for name in compared if not name.startswith("mask_rcnn")}
    assert {str(compared[name]) for name in own} <= made
    assert commands.index(fuse) > max(i for i, c in enumerate(commands) if c[0] == "localize")


def test_the_weights_of_a_resnet_are_not_given_to_guided_cams_network() -> None:
    demo = DemoRun(Path("runs"), nih=Path("nih"), weights=Path("resnet18.pth"))

    given = {c[c.index("--config") + 1]: "resnet18.pth" in c for _, c in training_steps(demo)}

    assert {Path(name).stem: weights for name, weights in given.items()} == {
        "classifier": True,
        "maskrcnn": True,
        "guided_cam": False,
    }
    assert len(training_steps(DemoRun(Path("demo")))) == 2
