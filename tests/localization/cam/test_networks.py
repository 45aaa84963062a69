"""Grad-CAM maps of every network by name against one backward pass for each disease."""

from __future__ import annotations

import re

import pytest
import torch
from torch import nn
from torchvision.models import get_model

from builders import settled
from cxrloc.classification.network.backbones import ARCHITECTURES
from cxrloc.classification.network.classifier import ChestClassifier, build_classifier
from cxrloc.localization.cam.activation_maps import (
    autograd_maps,
    class_activation_maps,
    network_maps,
)

DISEASES = 4
# the smallest of each family; its larger ones run with the slow tests
QUICK = {name for name in ARCHITECTURES if not re.search("34|50|161|169|b4|b7", name)}
NAMES = [
    pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in ARCHITECTURES
]


def showing(network: nn.Module) -> nn.Module:
    """Settled, with two classes that are the negatives of two others."""
    settled(network)
    last = [module for module in network.modules() if isinstance(module, nn.Linear)][-1]
    last.weight.data[2:] = -last.weight.data[:2]  # of a map and its negative, one shows something
    return network


def classifier(name: str, head: str = "linear", map_stride: int = 32) -> ChestClassifier:
    model, _ = build_classifier(name, DISEASES, head, seed=3, map_stride=map_stride)
    showing(model)
    return model


def images(count: int = 2, size: int = 96) -> torch.Tensor:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(1))


def backward_maps(model: ChestClassifier, batch: torch.Tensor) -> torch.Tensor:
    """(N, DISEASES, h, w): Grad-CAM as in its paper, from each logit back to the backbone's map."""
    features: list[torch.Tensor] = []
    with model.backbone.register_forward_hook(lambda _m, _i, output: features.append(output)):
        logits = model(batch).logits
    maps = []
    for index in range(DISEASES):
        (gradient,) = torch.autograd.grad(logits[:, index].sum(), features[0], retain_graph=True)
        alpha = gradient.mean(dim=(2, 3), keepdim=True)
        maps.append((alpha * features[0]).sum(dim=1).relu().detach())
    return torch.stack(maps, dim=1)


def assert_same_maps(found: torch.Tensor, expected: torch.Tensor) -> None:
    """Equal to 1e-5 of the highest value, and not because nothing is there."""
    highest = expected.max().item()
    assert 0 < highest < float("inf")
    torch.testing.assert_close(found, expected, atol=1e-5 * highest, rtol=0)


@pytest.mark.parametrize("head", ["linear", "two_layer"])
@pytest.mark.parametrize("name", NAMES)
def test_maps_equal_a_backward_pass(name: str, head: str) -> None:
    model, batch = classifier(name, head), images()
    logits, maps = network_maps(model, batch, range(DISEASES))
    assert_same_maps(maps, backward_maps(model, batch))
    with torch.inference_mode():
        output, order = model(batch), [3, 1, 0, 2]
        assert torch.equal(output.logits, logits)
        assert_same_maps(class_activation_maps(model, output.features, order), maps[:, order])


@pytest.mark.parametrize("name", ["resnet18", "efficientnet_lite0"])
def test_finer_maps_equal_a_backward_pass(name: str) -> None:
    model = classifier(name, map_stride=16)
    _, maps = network_maps(model, images(), range(DISEASES))
    assert maps.shape == (2, DISEASES, 6, 6)
    assert_same_maps(maps, backward_maps(model, images()))


@pytest.mark.parametrize("name", ["densenet121", "efficientnet_b0", "googlenet", "convnext_tiny"])
def test_maps_equal_those_of_torchvisions_own_network_with_the_same_weights(name: str) -> None:
    """By listening to what torchvision pools: also its DenseNet, which rectifies in place."""
    options = {"transform_input": True, "aux_logits": False, "init_weights": True}
    torchvisions = get_model(
        name, weights=None, num_classes=DISEASES, **(options if name == "googlenet" else {})
    )
    showing(torchvisions)
    classifiers = classifier(name)
    state = torchvisions.state_dict()
    classifiers.backbone.load_state_dict({n: state[n] for n in classifiers.backbone.state_dict()})
    last = list(state.values())[-4:] if name == "convnext_tiny" else list(state.values())[-2:]
    classifiers.head.load_state_dict(dict(zip(classifiers.head.state_dict(), last, strict=True)))
    logits, maps = network_maps(classifiers, images(), range(DISEASES))
    their_logits, their_maps = autograd_maps(torchvisions, images(), range(DISEASES))
    torch.testing.assert_close(logits, their_logits)
    assert_same_maps(maps, their_maps)


@pytest.mark.parametrize("name", ["efficientnet_b0", "convnext_tiny"])
def test_where_the_map_has_both_signs_the_sum_alone_is_rectified(name: str) -> None:
    model = classifier(name)
    with torch.no_grad():
        features = model(images()).features
    assert features.min() < 0
    maps = class_activation_maps(model, features, range(DISEASES))
    rectified = class_activation_maps(model, features.relu(), range(DISEASES))
    assert_same_maps(maps, backward_maps(model, images()))
    assert (maps - rectified).abs().max() > 1e-2 * maps.max()
