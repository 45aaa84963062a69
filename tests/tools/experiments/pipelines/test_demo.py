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
    steps = [s.arguments for s in box_steps(demo) if s.arguments[0] == "localize"]
    asked = [load_config(LocalizeConfig, command[1:]) for command in steps]
    configs = {config.localizer: config for config in asked if config.maps is not None}
    assert list(configs) == list(maps_of(demo))
    assert {c.localizer: c.gate for c in asked} == {n: g.path for n, g in maps_of(demo).items()}
    assert {config.remove_markers for config in configs.values()} == {"mask"}
    arguments = compare_localizers._parser().parse_args(compare_step(demo).arguments[1:])
    assert arguments.maps == [f"{name}={config.maps}" for name, config in configs.items()]
    predictions = command_line.named_files(arguments.predictions)
    assert {config.out for config in asked} <= set(predictions.values())


def test_on_nih_guided_cam_and_the_detector_are_fused_and_all_are_compared() -> None:
    demo = DemoRun(Path("runs"), nih=Path("nih"), weights=Path("resnet18.pth"))

    commands = [step.arguments for step in box_steps(demo)]
    (fuse,) = [command for command in commands if command[0] == "fuse"]
    arguments = fuse_localizers._parser().parse_args(fuse[1:])
    compared = command_line.named_files(compare_step(demo).arguments[4 : 4 + len(boxes_of(demo))])
    assert command_line.named_files(arguments.predictions) == {
        name: compared[name] for name in ("mask_rcnn", "guided_cam_tuned")
    }
    assert arguments.out == compared["fused"]
    made = {path for command in commands for path in command}
    own = {name for name in compared if not name.startswith("mask_rcnn")}
    assert {str(compared[name]) for name in own} <= made
    assert commands.index(fuse) > max(i for i, c in enumerate(commands) if c[0] == "localize")


def test_the_weights_of_a_resnet_are_given_to_the_detector_alone_and_the_precision_to_all() -> None:
    demo = DemoRun(Path("runs"), Path("nih"), Path("resnet18.pth"), "bf16")

    commands = [step.arguments for step in training_steps(demo)]

    given = {c[c.index("--config") + 1]: "resnet18.pth" in c for c in commands}
    assert {Path(name).stem: weights for name, weights in given.items()} == {
        "classifier_lite0": False,
        "maskrcnn": True,
        "guided_cam": False,
    }
    assert all(c[c.index("--train.precision") + 1] == "bf16" for c in commands)
    assert len(training_steps(DemoRun(Path("demo")))) == 2
