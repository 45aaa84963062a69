"""The Grad-CAM localizer on a network whose maps are known by construction."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from builders import tiny_classifier
from cxrloc.classification.bundle.classifier import ClassifierBundle
from cxrloc.classification.bundle.preprocessing import Preprocessing
from cxrloc.classification.inference.gate import Gate
from cxrloc.classification.inference.gate_output import GateOutput
from cxrloc.classification.network.classifier import build_classifier
from cxrloc.datasets.radiograph import LoadedImage
from cxrloc.localization.cam import activation_maps
from cxrloc.localization.cam.activation_maps import class_activation_maps
from cxrloc.localization.cam.boxes import DEEP_MEDIA, WANG, CamBoxRule
from cxrloc.localization.cam.localizer import GradCamLocalizer, gate_facts
from cxrloc.localization.diagnosis.diagnoser import Diagnoser
from cxrloc.localization.localizer import Localizer

DISEASES = ("Bright", "Dark")


class BrightCells(nn.Module):
    """(N, 3, S, S) -> (N, 2, S/32, S/32): mean brightness of a cell, and its opposite."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        bright = nn.functional.avg_pool2d(x[:, :1], 32)
        return torch.cat([bright, 1 - bright], dim=1).relu()


def localizer(
    size: int = 256,
    rule: CamBoxRule = DEEP_MEDIA,
    mean_box_sizes: dict[str, tuple[float, float]] | None = None,
    name: str = "grad_cam",
) -> GradCamLocalizer:
    model, _ = build_classifier("resnet18", 2)
    model.backbone = BrightCells()
    model.head = nn.Linear(2, 2)
    model.head.weight.data, model.head.bias.data = torch.eye(2), torch.zeros(2)
    bundle = ClassifierBundle(
        model=model,
        diseases=DISEASES,
        thresholds={"Bright": 0.6, "Dark": None},
        preprocessing=Preprocessing(size, mean=(0, 0, 0), std=(1, 1, 1)),
        mean_box_sizes={"Bright": (0.25, 0.25)} if mean_box_sizes is None else mean_box_sizes,
        manifest={},
        metadata={},
    )
    return GradCamLocalizer(Gate(bundle, precision="fp32"), rule, name)


def image(
    box: tuple[int, int, int, int] = (64, 128, 128, 192),
    shape: tuple[int, int] = (256, 256),
    frame: tuple[int, int] | None = None,
    image_id: str = "a.png",
) -> LoadedImage:
    pixels = np.zeros(shape, np.uint8)
    pixels[box[1] : box[3], box[0] : box[2]] = 255
    return LoadedImage(image_id, pixels, frame or shape)


def test_a_bright_patch_is_boxed_where_it_is() -> None:
    """Cells of 32 px; half the way to a dark neighbour the bilinear map falls through 180 / 255."""
    (box,) = localizer().localize([image()], ["Bright"]).boxes
    assert (box.image_id, box.disease) == ("a.png", "Bright")
    edge = 16 - 32 * (1 - 180 / 255)  # how far inside the patch's border the map crosses
    np.testing.assert_allclose(
        box.box_xyxy, [64 + edge, 128 + edge, 128 - edge, 192 - edge], atol=1.01
    )


def test_the_score_is_the_gates_probability_times_the_mean_heat() -> None:
    cam = localizer()
    answer = cam.localize([image()], ["Bright"])
    (box,) = answer.boxes
    x1, y1, x2, y2 = map(int, box.box_xyxy)
    output = cam.gate([image()])
    heat = cam.heat_maps(image(), answer)["Bright"]
    assert heat.max() == pytest.approx(1.0)
    expected = output.probabilities[0, 0] * heat[y1:y2, x1:x2].mean()
    assert box.score == pytest.approx(expected, rel=1e-5)


def test_boxes_are_in_the_original_frame_also_of_a_resized_image() -> None:
    small = localizer().localize([image()], ["Bright"]).boxes[0].box_xyxy
    large = localizer().localize([image(frame=(1024, 1024))], ["Bright"]).boxes[0].box_xyxy
    np.testing.assert_allclose(np.array(small) * 4, large, atol=4)


@pytest.mark.parametrize("shape", [(256, 128), (128, 256)])
def test_a_image_that_is_not_square_is_boxed_in_its_own_frame(shape: tuple[int, int]) -> None:
    """The network sees it padded to a square; the padding must not shift or stretch the box."""
    (box,) = localizer().localize([image((32, 32, 96, 96), shape)], ["Bright"]).boxes
    x1, y1, x2, y2 = box.box_xyxy
    assert ((x1 + x2) / 2, (y1 + y2) / 2) == pytest.approx((64, 64), abs=1)
    assert x2 <= shape[1]
    assert y2 <= shape[0]


def test_only_the_asked_diseases_are_boxed_whatever_the_gate_says() -> None:
    cam = localizer()
    assert {f.disease for f in cam.localize([image()], ["Dark"]).boxes} == {"Dark"}
    assert not cam.gate([image()]).present[0, 1]
    assert cam.localize([image()], []).boxes == ()
    assert cam.localize([], ["Bright"]).boxes == ()


def test_a_black_image_has_no_bright_box_and_a_zero_map() -> None:
    cam, black = localizer(), image((0, 0, 0, 0))
    output = cam.localize([black], ["Bright"])
    assert output.boxes == ()
    assert cam.heat_maps(black, output)["Bright"].max() == 0


def test_a_classifier_without_training_boxes_takes_the_hottest_region() -> None:
    pixels = np.zeros((256, 256), np.uint8)
    pixels[0:128, 0:128] = 190  # large
    pixels[160:224, 160:224] = 255  # small and hotter
    two = LoadedImage("b.png", pixels, (256, 256))
    by_size = localizer(rule=CamBoxRule((180.0,), 1), mean_box_sizes={"Bright": (0.4, 0.4)})
    by_heat = localizer(mean_box_sizes={})
    assert by_size.localize([two], ["Bright"]).boxes[0].box_xyxy[0] == 0
    assert by_heat.localize([two], ["Bright"]).boxes[0].box_xyxy[0] > 160


def test_one_forward_pass_serves_gate_and_boxes() -> None:
    cam = localizer()
    images = [image(image_id="a.png"), image((0, 0, 64, 64), image_id="b.png")]
    output = cam.gate(images)
    assert cam.localize_output(images, output, ["Bright"]) == cam.localize(images, ["Bright"])


def test_gate_facts_carry_probability_threshold_and_decision() -> None:
    output = localizer().localize([image()], ["Bright", "Dark"])
    bright, dark = output.facts["a.png", "Bright"], output.facts["a.png", "Dark"]
    assert bright["gate_probability"] == pytest.approx(1 / (1 + np.exp(-4 / 64)))  # 4 of 64 cells
    assert (bright["gate_threshold"], bright["gate_present"]) == (0.6, False)
    assert (dark["gate_threshold"], dark["gate_present"]) == (None, False)
    assert {f.disease for f in output.boxes} <= set(DISEASES)


def test_wangs_rule_returns_several_boxes_and_the_name_is_its_own() -> None:
    cam = localizer(rule=WANG, name="grad_cam_wang")
    assert isinstance(cam, Localizer)
    assert cam.name == "grad_cam_wang"
    assert len(cam.localize([image()], ["Bright"]).boxes) == 2


def test_as_many_regions_are_boxed_as_asked_for_the_best_first() -> None:
    two = image()
    two.pixels[0:32, 192:256] = 200  # a second, dimmer patch
    grad_cam = localizer()
    (one,) = grad_cam.localize([two], ["Bright"]).boxes
    grad_cam.number = 2
    first, second = grad_cam.localize([two], ["Bright"]).boxes
    assert first == one
    assert first.score > second.score
    assert second.box_xyxy[0] > 150
    assert second.box_xyxy[3] < 64
    grad_cam.number = 9
    assert grad_cam.localize([two], ["Bright"]).boxes == (first, second)


def test_an_unknown_disease_and_a_foreign_gate_output_are_errors() -> None:
    cam = localizer()
    with pytest.raises(ValueError, match=r"unknown disease 'Mass'; .* has \['Bright', 'Dark'\]"):
        cam.localize([image()], ["Mass"])
    output = cam.gate([image()])
    with pytest.raises(
        ValueError, match=r"expected the gate output of \('b.png',\), got \('a.png',\)"
    ):
        cam.localize_output([image(image_id="b.png")], output, ["Bright"])
    assert isinstance(output, GateOutput)
    assert gate_facts(output, []) == {}


def test_an_aligned_localizer_moves_box_and_map_half_a_cell_left_and_up() -> None:
    plain, aligned = localizer(), localizer(name="grad_cam_aligned")
    aligned.aligned = True
    answers = [cam.localize([image()], ["Bright"]) for cam in (plain, aligned)]
    boxes = [output.boxes[0].box_xyxy for output in answers]
    np.testing.assert_allclose(np.array(boxes[0]) - boxes[1], 16)  # 15.5 of 256 px, rounded
    before, after = (
        cam.heat_maps(image(), output)["Bright"]
        for cam, output in zip((plain, aligned), answers, strict=True)
    )
    np.testing.assert_allclose(before[16:, 16:], after[:-16, :-16], atol=1e-6)


def test_aligned_maps_of_a_network_whose_cells_look_elsewhere_are_refused() -> None:
    gate = Gate(tiny_classifier(DISEASES, architecture="simple_cnn"))
    with pytest.raises(ValueError, match=r"the gate is a simple_cnn, expected a ResNet or .*B7"):
        GradCamLocalizer(gate, aligned=True)


def test_the_map_is_made_once_for_boxes_and_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted where the maps come from: the picture of a map needs no second one."""
    made: list[int] = []

    def counted(*arguments: Any) -> torch.Tensor:
        made.append(1)
        return class_activation_maps(*arguments)

    monkeypatch.setattr(activation_maps, "class_activation_maps", counted)
    cam = localizer()
    [diagnosis] = Diagnoser(cam.gate, cam)([image((0, 0, 256, 256))])
    assert diagnosis.present == ("Bright",)
    assert set(diagnosis.heat_maps) == {"Bright"}
    assert len(made) == 1


def test_heat_maps_are_of_the_asked_image_alone() -> None:
    cam = localizer()
    images = [image(image_id="a.png"), image((0, 0, 64, 64), (256, 128), image_id="b.png")]
    output = cam.localize(images, ["Bright", "Dark"])
    assert output.maps is not None
    assert list(output.maps) == [(i, d) for i in ("a.png", "b.png") for d in DISEASES]
    heat = cam.heat_maps(images[1], output)
    assert set(heat) == set(DISEASES)
    assert heat["Bright"].shape == (256, 128)
    assert heat["Bright"][:32, :32].min() > 0.5 > heat["Bright"][128:].max()
