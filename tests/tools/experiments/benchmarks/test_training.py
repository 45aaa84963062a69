"""The speed of training and prediction, ours beside a plain torchvision loop."""

from __future__ import annotations

import pytest
import torch

from cxrloc.tools.benchmark import main
from cxrloc.tools.experiments.benchmarks.training import _plain_input


def test_it_prints_images_per_second_of_both_sides(capsys: pytest.CaptureFixture[str]) -> None:
    command = ["train", "--size", "64", "--batch", "2", "--repeats", "1"]
    assert main(command) == 0
    title, header, *rows = capsys.readouterr().out.strip().splitlines()
    assert title.startswith("resnet18 at 64 px, 2 images at a time, on ")
    assert header.split() == ["side", "ms", "images", "/", "s", "GPU", "MB"]
    assert [row.split("  ")[0].split(",")[0] for row in rows] == [
        *["training"] * 2,
        *["prediction"] * 2,
        *["prediction of one image"] * 2,
    ]
    for row, images in zip(rows, (2, 2, 2, 2, 1, 1), strict=True):
        milliseconds, rate = map(float, row.split()[-3:-1])
        assert rate == pytest.approx(1000 * images / milliseconds, rel=0.05, abs=0.06)


def test_the_plain_loop_feeds_what_imagenets_networks_expect() -> None:
    white = _plain_input(torch.full((1, 2, 2), 255, dtype=torch.uint8))
    assert white.shape == (1, 3, 2, 2)
    assert white[0, :, 0, 0].tolist() == pytest.approx([2.2489, 2.4286, 2.64], abs=1e-4)
