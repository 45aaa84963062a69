"""First weights come from the gate, a file or torchvision; what did not load is said."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torchvision.models import resnet18
from torchvision.models.detection import MaskRCNN_ResNet50_FPN_Weights

from builders import tiny_classifier
from cxrloc.classification.bundle.classifier import ClassifierBundle, save_classifier
from cxrloc.classification.bundle.preprocessing import Preprocessing
from cxrloc.classification.network.classifier import build_classifier
from cxrloc.detection.config import LITE0, DetectorConfig, Init, ModelConfig, resolve_init
from cxrloc.detection.torchvision_backend import initial_weights
from cxrloc.detection.torchvision_backend.initial_weights import build_detector, load_initial
from cxrloc.detection.torchvision_backend.network import MaskRCNN


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    model, _ = build_classifier("resnet18", 2, seed=3)
    names = ("Effusion", "Mass")
    path = tmp_path / "classifier.safetensors"
    none = dict.fromkeys(names)
    save_classifier(path, ClassifierBundle(model, names, none, Preprocessing(128), {}, {}, {}))
    return path


def test_the_gates_backbone_becomes_the_detectors(gate: Path, small_config: DetectorConfig) -> None:
    model = dataclasses.replace(small_config.model, weights="gate", gate=str(gate))
    config = dataclasses.replace(small_config, model=model)
    detector, report = build_detector(config, Init("gate", gate))
    classifier, _ = build_classifier("resnet18", 2, seed=3)
    images = torch.randn(1, 3, 128, 128)
    with torch.no_grad():
        expected = classifier.eval()(images).features
        got = detector.eval().backbone.body(images)["2"]
    torch.testing.assert_close(got, expected, rtol=1e-3, atol=1e-3 * float(expected.max()))
    assert not any("backbone.body" in name for name in report.missing)
    assert set(report.unexpected) == {"head.bias", "head.weight"}


def test_a_gate_of_another_architecture_is_refused(gate: Path) -> None:
    config = ModelConfig(architecture="resnet50", weights="gate", gate=str(gate))
    model = torch.nn.Module()
    with pytest.raises(ValueError, match=r"is a resnet18, but model\.architecture is resnet50"):
        load_initial(model, Init("gate", gate), config)


def test_a_partial_file_of_a_classifier_fills_the_body_and_says_what_is_missing(
    tmp_path: Path, small_config: DetectorConfig
) -> None:
    tensors = {
        n: t for n, t in resnet18().state_dict().items() if not n.startswith(("layer4", "fc"))
    }
    save_file(tensors, tmp_path / "part.safetensors")
    model = MaskRCNN(small_config.model, 2, 128)
    report = load_initial(model, Init("file", tmp_path / "part.safetensors"), small_config.model)
    assert torch.equal(model.backbone.body.layer1[0].conv1.weight, tensors["layer1.0.conv1.weight"])
    assert len(report.loaded) == len(tensors)
    assert "backbone.body.layer4.0.conv1.weight" in report.missing


def test_a_whole_detector_loads_from_its_own_state(
    tmp_path: Path, small_config: DetectorConfig
) -> None:
    source, target = (MaskRCNN(small_config.model, 2, 128) for _ in range(2))
    torch.save(source.state_dict(), tmp_path / "whole.pth")
    report = load_initial(target, Init("file", tmp_path / "whole.pth"), small_config.model)
    assert report.missing == ()
    assert report.unexpected == ()
    for name, tensor in source.state_dict().items():
        assert torch.equal(tensor, target.state_dict()[name])


def test_coco_weights_without_network_name_the_other_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: object, **__: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(MaskRCNN_ResNet50_FPN_Weights, "get_state_dict", offline)
    config = ModelConfig(architecture="resnet50", weights="coco")
    with pytest.raises(ValueError, match=r"no route to host.*path of a \.safetensors"):
        load_initial(torch.nn.Module(), Init("coco"), config)


def test_imagenet_weights_by_name_fill_the_backbone_alone(
    monkeypatch: pytest.MonkeyPatch, small_config: DetectorConfig
) -> None:
    published = resnet18().state_dict()
    monkeypatch.setattr(initial_weights, "imagenet_weights", lambda name: published)
    model = MaskRCNN(small_config.model, 2, 128)
    config = ModelConfig(weights="imagenet")
    report = load_initial(model, resolve_init(config, fold=0), config)
    body = model.backbone.body.state_dict()
    assert all(torch.equal(body[name], published[name]) for name in body)
    assert {name.split(".")[0] for name in report.missing} == {"backbone", "rpn", "roi_heads"}
    assert not [name for name in report.missing if name.startswith("backbone.body")]


def test_a_pyramid_of_lite0_has_its_maps_at_strides_8_16_and_32_and_its_imagenet_weights(
    small_config: DetectorConfig,
) -> None:
    model = dataclasses.replace(small_config.model, architecture=LITE0, weights="imagenet")
    detector, report = build_detector(
        dataclasses.replace(small_config, model=model), Init("imagenet")
    )
    assert not any("backbone.body" in name for name in report.missing)
    assert report.mismatched == ()
    classifier, _ = build_classifier(LITE0, 2, weights="imagenet")
    expected: dict[str, torch.Tensor] = {}
    for name in ("layer2", "layer3", "layer4"):
        classifier.backbone.get_submodule(name).register_forward_hook(
            lambda _m, _i, output, name=name: expected.update({name: output})
        )
    images = torch.randn(1, 3, 128, 128, generator=torch.manual_seed(0))
    with torch.no_grad():
        classifier.eval()(images)
        maps = detector.eval().backbone.body(images)  # its BatchNorm is folded
        assert [(m.shape[1], 128 // m.shape[2]) for m in maps.values()] == [
            *((40, 8), (112, 16), (320, 32))
        ]
        for got, name in zip(maps.values(), expected, strict=True):
            torch.testing.assert_close(got, expected[name], rtol=1e-3, atol=1e-3)
        (found,) = detector(images, None, [(128, 128)])
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in detector.modules())
    assert set(found["labels"].tolist()) == {1, 2}


def test_a_gate_of_lite0_starts_a_detector_of_lite0(
    tmp_path: Path, small_config: DetectorConfig
) -> None:
    gate = tmp_path / "gate.safetensors"
    classifier = tiny_classifier(("Mass",), architecture=LITE0, seed=5)
    save_classifier(gate, classifier)
    config = dataclasses.replace(
        small_config.model, architecture=LITE0, weights="gate", gate=str(gate)
    )
    model = MaskRCNN(config, 2, 128)
    report = load_initial(model, Init("gate", gate), config)
    assert not any("backbone.body" in name for name in report.missing)
    assert torch.equal(
        model.backbone.body.layer3[0].conv2.weight,
        classifier.model.backbone.layer3[0].conv2.weight,
    )
