"""Every network by name: torchvision's numbers, its map, its weights, its bundle, its stages."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import nn
from torchvision.models import VGG, get_model, get_model_weights

from builders import settled
from cxrloc.classification.bundle.classifier import (
    ClassifierBundle,
    load_classifier,
    save_classifier,
)
from cxrloc.classification.bundle.preprocessing import Preprocessing
from cxrloc.classification.config import ModelConfig
from cxrloc.classification.network.backbones import ARCHITECTURES, STAGES, Family
from cxrloc.classification.network.classifier import ChestClassifier, build_classifier
from cxrloc.classification.network.weights import read_weights
from cxrloc.classification.training.gate_training import frozen_layers

# the smallest of each family; its larger ones run with the slow tests
QUICK = {name for name in ARCHITECTURES if not re.search("34|50|161|169|b4|b7", name)}
NAMES = [
    pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in ARCHITECTURES
]
# torchvision's own arguments; transform_input is what it sets whenever it loads GoogLeNet's weights
OPTIONS = {"googlenet": {"aux_logits": True, "transform_input": True, "init_weights": True}}
OURS = ("simple_cnn", "conv3", "conv4")
ELSEWHERE = ("vgg16", "efficientnet_lite0")  # tested below, and in test_efficientnet_lite.py
WITH_LINEAR_HEAD = [name for name in NAMES if name.values[0] not in (*ELSEWHERE, *OURS)]


def images(count: int = 2, height: int = 64, width: int = 64) -> torch.Tensor:
    return torch.randn(count, 3, height, width, generator=torch.Generator().manual_seed(1))


def classifier(name: str, diseases: int = 2) -> ChestClassifier:
    model, _ = build_classifier(name, diseases, seed=1)
    settled(model)
    return model


def linear_of(network: nn.Module) -> tuple[str, nn.Linear]:
    """The last layer of a torchvision network or of a head, with its name."""
    layers = [(n, m) for n, m in network.named_modules() if isinstance(m, nn.Linear)]
    return next((n, m) for n, m in reversed(layers) if not n.startswith("aux"))


@pytest.fixture
def weights_site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Stores a state dict where torchvision keeps its downloaded ImageNet weights of a name."""
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))

    def store(name: str, state: dict[str, torch.Tensor]) -> None:
        url = get_model_weights(name)["IMAGENET1K_V1"].url
        torch.save(state, folder / Path(url).name)

    yield store
    for file in folder.iterdir():  # up to 0.3 GB each, which pytest would keep
        file.unlink()


@pytest.mark.parametrize("name", WITH_LINEAR_HEAD)
def test_with_its_imagenet_weights_a_network_gives_torchvisions_logits(
    name: str, weights_site: Callable[..., None]
) -> None:
    reference = settled(get_model(name, weights=None, num_classes=9, **OPTIONS.get(name, {})))
    state = reference.state_dict()
    weights_site(name, state)
    model, report = build_classifier(name, 9, weights="imagenet")
    last, linear = linear_of(reference)
    linear_of(model.head)[1].load_state_dict(linear.state_dict())
    left_over = {n for n in report.unexpected if not n.startswith("backbone.aux")}
    assert left_over == {f"backbone.{last}.weight", f"backbone.{last}.bias"}
    assert report.mismatched == ()
    assert all(n.startswith("head.") for n in report.missing)
    assert len(report.missing) == 2
    with torch.inference_mode():
        expected, logits = reference(images()), model.eval()(images()).logits
    torch.testing.assert_close(logits, expected)
    assert expected.std(dim=1).min() > 1e-3


def test_vgg16_keeps_torchvisions_features_and_takes_the_mean_in_place_of_its_dense_layers(
    weights_site: Callable[..., None],
) -> None:
    state = build_classifier("vgg16", 1, seed=4)[0].backbone.state_dict()
    dense = {"classifier.6.bias": torch.zeros(1000)}
    weights_site("vgg16", {**state, **dense})
    model, report = build_classifier("vgg16", 3, weights="imagenet")
    assert report.unexpected == ("backbone.classifier.6.bias",)
    reference = VGG(build_classifier("vgg16", 1)[0].backbone.features, 3, init_weights=False)
    reference.features.load_state_dict({k.removeprefix("features."): v for k, v in state.items()})
    with torch.inference_mode():
        logits, features = model.eval()(images())
        torch.testing.assert_close(features, reference.features(images()))
    torch.testing.assert_close(logits, model.head(features.mean((2, 3))))


@pytest.mark.parametrize("name", NAMES)
def test_the_map_has_one_cell_for_32_pixels_and_its_mean_goes_into_the_head(name: str) -> None:
    model = classifier(name)
    with torch.inference_mode():
        assert model(images(1, 32, 32)).features.shape[2:] == (1, 1)
        logits, features = model(images(1, 64, 96))
        torch.testing.assert_close(logits, model.head(features.mean((2, 3))))
    assert features.shape == (1, ARCHITECTURES[name].channels, 2, 3)
    lowest = features.min().item()
    if name.startswith("efficientnet_b"):  # the least value of x sigmoid(x) is -0.2785
        assert -0.2785 < lowest < 0
    elif name == "convnext_tiny":  # not activated
        assert lowest < -0.2785
    else:
        assert lowest == 0


def test_densenets_map_is_a_tensor_of_its_own_and_not_norm5_overwritten() -> None:
    model = classifier("densenet121")
    outputs: list[torch.Tensor] = []
    layer = model.backbone.get_submodule("features.norm5")
    with layer.register_forward_hook(lambda _m, _i, output: outputs.append(output)):
        features = model(images()).features.detach()
    assert outputs[0].min() < 0  # torchvision's own forward pass leaves zeros here
    assert torch.equal(features, outputs[0].relu())


def test_an_input_smaller_than_one_cell_is_refused() -> None:
    with pytest.raises(ValueError, match=r"input of 31 x 64 px, expected at least 32 x 32"):
        classifier("simple_cnn")(images(1, 31, 64))


@pytest.mark.parametrize("name", NAMES)
def test_a_saved_network_comes_back_and_starts_another_training(name: str, tmp_path: Path) -> None:
    model, path = classifier(name), tmp_path / "a.safetensors"
    thresholds = {"Mass": 0.5, "Nodule": None}
    bundle = ClassifierBundle(model, ("Mass", "Nodule"), thresholds, Preprocessing(64), {}, {}, {})
    save_classifier(path, bundle)
    back = load_classifier(path).model
    start, report = build_classifier(name, 2, weights=path)
    path.unlink()
    assert back.architecture == name
    assert report.missing == report.unexpected == report.mismatched == ()
    with torch.inference_mode():
        logits = model(images()).logits
        assert torch.equal(back(images()).logits, logits)
        assert torch.equal(start.eval()(images()).logits, logits)


@pytest.mark.parametrize("name", NAMES)
def test_stages_are_the_whole_backbone_and_three_frozen_ones_do_not_learn(name: str) -> None:
    model, _ = build_classifier(name, 2)
    stages = ARCHITECTURES[name].family.stages
    frozen = tuple(f"{layer}." for stage in stages[:3] for layer in stage)
    learning = tuple(f"{layer}." for stage in stages[3:] for layer in stage)
    model.train()
    for layer in frozen_layers(model, 3):
        layer.requires_grad_(False).eval()
    before = {n: b.clone() for n, b in model.backbone.named_buffers()}
    model(images(4)).logits.square().sum().backward()
    for parameter_name, parameter in model.backbone.named_parameters():
        assert parameter_name.startswith(frozen if parameter.grad is None else learning)
    assert all(parameter.grad is not None for parameter in model.head.parameters())
    changed = {n for n, b in model.backbone.named_buffers() if not torch.equal(b, before[n])}
    assert all(n.startswith(learning) for n in changed)
    assert changed or name in ("vgg16", "convnext_tiny", "conv3")  # which have no BatchNorm


@pytest.mark.parametrize("name", NAMES)
def test_stages_follow_the_forward_pass(name: str) -> None:
    with torch.device("meta"):
        backbone = build_classifier(name, 2)[0].backbone
    layers = [layer for stage in ARCHITECTURES[name].family.stages for layer in stage]
    stages = [
        n for layer in layers for n, _ in backbone.get_submodule(layer).named_parameters(layer)
    ]
    assert stages == [n for n, _ in backbone.named_parameters()]


def test_the_small_cnn_has_the_layers_that_its_docstring_says() -> None:
    model, _ = build_classifier("simple_cnn", 2)
    kinds = [type(layer).__name__ for layer in model.backbone.modules()]
    assert kinds.count("Conv2d") == kinds.count("MaxPool2d") == kinds.count("ReLU") == 5
    # 9 (3*16 + 16*32 + 32*64 + 64*128 + 128*256) weights and 2 (16 + ... + 256) of BatchNorm
    assert sum(p.numel() for p in model.backbone.parameters()) == 392_112 + 992


def test_conv4_has_two_normalised_convolutions_a_block_and_conv3_drops_out_instead() -> None:
    kinds = {
        name: [type(m).__name__ for m in build_classifier(name, 1)[0].backbone.modules()]
        for name in ("conv3", "conv4")
    }
    for found in kinds.values():
        assert found.count("Conv2d") == found.count("ReLU") == 10
        assert found.count("MaxPool2d") == 5
    assert (kinds["conv4"].count("BatchNorm2d"), kinds["conv4"].count("Dropout")) == (10, 0)
    assert (kinds["conv3"].count("BatchNorm2d"), kinds["conv3"].count("Dropout")) == (0, 5)


def test_conv3_drops_out_in_training_alone() -> None:
    model, x = classifier("conv3"), images(1)
    with torch.inference_mode():
        assert torch.equal(model(x).logits, model(x).logits)
        model.train()
        assert not torch.equal(model(x).logits, model(x).logits)


@pytest.mark.parametrize("name", OURS)
def test_torchvision_has_no_weights_of_the_small_cnns_and_that_is_said(name: str) -> None:
    with pytest.raises(
        ValueError, match=rf"no ImageNet weights for {name} in torchvision; set model\.weights"
    ):
        build_classifier(name, 2, weights="imagenet")


def test_the_old_names_in_torchvisions_densenet_files_become_the_new_ones(tmp_path: Path) -> None:
    old = "module.features.denseblock1.denselayer2.norm.1.weight"
    torch.save({old: torch.ones(96), "features.norm5.bias": torch.zeros(1)}, tmp_path / "d.pth")
    new = ["features.denseblock1.denselayer2.norm1.weight", "features.norm5.bias"]
    assert list(read_weights(tmp_path / "d.pth")) == new
    _, report = build_classifier("densenet121", 2, weights=tmp_path / "d.pth")
    assert report.loaded == (f"backbone.{new[0]}",)


def test_the_settings_name_every_network() -> None:
    assert all(name in (ModelConfig.__doc__ or "") for name in ARCHITECTURES)


def test_a_family_without_its_five_stages_is_refused() -> None:
    with pytest.raises(ValueError, match=f"1 stages, expected {STAGES}"):
        Family(lambda name: nn.Identity(), (("conv1",),))
