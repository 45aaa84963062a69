"""guided_cam on a network whose cells are known by construction."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from builders import tiny_classifier
from cxrloc.classification.bundle.metadata import BOX_SUPERVISION
from cxrloc.classification.bundle.preprocessing import Preprocessing
from cxrloc.classification.inference.gate import Gate
from cxrloc.datasets.radiograph import LoadedImage
from cxrloc.localization.cam.boxes import CamBoxRule, boxes_from_map
from cxrloc.localization.cam.guided import GuidedCamLocalizer, map_localizer
from cxrloc.localization.cam.localizer import GradCamLocalizer
from cxrloc.localization.cam.rules import SizedRule
from cxrloc.localization.localizer import Localizer

SIDE = 256


class Brightness(nn.Module):
    """(N, 3, S, S) -> (N, 1, S/32, S/32): the mean brightness of a cell."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.avg_pool2d(x[:, :1], 32)


def gate(*, boxes: bool = True) -> Gate:
    """A cell's logit is 4 where it is white and -4 where it is black."""
    supervision = {"boxes": 3, "box_loss_weight": 1.0} if boxes else None
    bundle = tiny_classifier(
        ("Bright",),
        preprocessing=Preprocessing(SIDE, mean=(0, 0, 0), std=(1, 1, 1)),
        metadata={BOX_SUPERVISION: supervision},
    )
    bundle.model.backbone = Brightness()
    bundle.model.head = nn.Linear(1, 1)
    bundle.model.head.weight.data, bundle.model.head.bias.data = (
        torch.full((1, 1), 8.0),
        torch.tensor([-4.0]),
    )
    return Gate(bundle, precision="fp32")


def image(grey: int = 255, size_hw: tuple[int, int] = (SIDE, SIDE)) -> LoadedImage:
    pixels = np.zeros((SIDE, SIDE), np.uint8)
    pixels[128:192, 64:128] = grey
    return LoadedImage("a.png", pixels, size_hw)


def sigmoid(logit: float) -> float:
    return float(1 / (1 + np.exp(-logit)))


def test_a_map_holds_the_probability_of_each_cell() -> None:
    localizer = GuidedCamLocalizer(gate())
    assert isinstance(localizer, Localizer)
    maps = localizer.localize([image()], ["Bright"]).maps
    assert maps is not None
    expected = np.full((8, 8), sigmoid(-4))
    expected[4:6, 2:4] = sigmoid(4)
    np.testing.assert_allclose(maps["a.png", "Bright"], expected, rtol=1e-5)


def test_the_score_is_the_mean_probability_within_the_box_whatever_the_rule() -> None:
    """So a dim patch scores less than a bright one, although both fill their map's own range."""
    rules = CamBoxRule((128.0,)), CamBoxRule(probability=0.2)
    for rule in rules:
        scores = []
        for grey in (255, 110):
            localizer = GuidedCamLocalizer(gate(), rule)
            output = localizer.localize([image(grey)], ["Bright"])
            (box,) = output.boxes
            x1, y1, x2, y2 = map(int, box.box_xyxy)
            assert (x1 + x2, y1 + y2) == (192, 320)  # around the patch
            peak = sigmoid(8 * grey / 255 - 4)
            assert 0.5 * peak < box.score < peak
            scores.append(box.score)
        assert scores[0] > scores[1] > 0.2


def test_a_probability_cuts_where_the_map_reaches_it_and_else_at_half_its_peak() -> None:
    """A ramp from 0 to .5 over 100 columns is over .3 from column 60 on, over .25 from 50 on."""
    ramp = np.tile(np.linspace(0, 0.5, 101, dtype=np.float32), (10, 1))
    for probability, left in ((0.3, 61), (0.7, 51)):
        [(box, score)] = boxes_from_map(ramp, CamBoxRule(probability=probability))
        assert list(box) == [left, 0, 101, 10]
        assert score == pytest.approx(ramp[0, left:].mean(), abs=1e-6)
    assert boxes_from_map(np.full((4, 4), 0.9), CamBoxRule(probability=0.5)) == []


@pytest.mark.parametrize("probability", [0.0, 1.0, -0.1])
def test_a_probability_is_between_0_and_1(probability: float) -> None:
    with pytest.raises(ValueError, match=r"probability: expected None or one in \(0, 1\)"):
        CamBoxRule(probability=probability)


def test_tuned_rules_replace_the_default() -> None:
    wide = SizedRule(CamBoxRule(probability=0.03))
    plain, tuned = (
        GuidedCamLocalizer(gate(), rules=rules).localize([image()], ["Bright"]).boxes[0].box_xyxy
        for rules in ({}, {"Bright": wide})
    )
    assert tuned[2] - tuned[0] > plain[2] - plain[0]


def test_each_gate_has_its_own_localizer_and_refuses_the_others() -> None:
    assert map_localizer(gate()).name == "guided_cam"
    assert map_localizer(gate(boxes=False)).name == "grad_cam"
    with pytest.raises(ValueError, match="use the localizer guided_cam"):
        GradCamLocalizer(gate())
    with pytest.raises(ValueError, match=r"guided_cam needs a gate .* its maps are grad_cam's"):
        GuidedCamLocalizer(gate(boxes=False))
