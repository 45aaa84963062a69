"""Closed-form maps against a backward-pass Grad-CAM and against the public grad-cam package."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import torch
import torchvision
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import nn

from builders import settled
from cxrloc.classification.network.classifier import ChestClassifier, build_classifier
from cxrloc.localization.cam.activation_maps import (
    autograd_maps,
    class_activation_maps,
    head_jacobian,
    network_maps,
)

DISEASES, SIZE = 5, 96


def images(count: int = 2, size: int = SIZE) -> torch.Tensor:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(1))


def classifier(architecture: str, head: str) -> ChestClassifier:
    torch.manual_seed(0)
    model, _ = build_classifier(architecture, DISEASES, head=head, seed=3)
    settled(model)
    return model


def backward_grad_cam(
    features: torch.Tensor, logits_of: Callable[[torch.Tensor], torch.Tensor], index: int
) -> torch.Tensor:
    """Grad-CAM as in its paper, one backward pass for each class."""
    activations = features.detach().clone().requires_grad_()
    (gradient,) = torch.autograd.grad(logits_of(activations)[:, index].sum(), activations)
    alpha = gradient.mean(dim=(2, 3), keepdim=True)
    return (alpha * activations).sum(dim=1).relu().detach()


@pytest.mark.parametrize("head", ["linear", "two_layer"])
def test_maps_of_a_network_that_pools_by_log_sum_exp_have_the_closed_form_too(head: str) -> None:
    model, _ = build_classifier("simple_cnn", DISEASES, head, seed=3, lse_r=10)
    features = torch.rand(2, 256, 4, 5, generator=torch.Generator().manual_seed(1))
    maps = class_activation_maps(model, features, range(DISEASES))
    for index in range(DISEASES):
        expected = backward_grad_cam(features, lambda a: model.classify(a).logits, index)
        torch.testing.assert_close(maps[:, index], expected, rtol=1e-4, atol=1e-7)
    assert maps.max() > 1e-4


@pytest.mark.parametrize("head", ["linear", "two_layer"])
@pytest.mark.parametrize("architecture", ["resnet18", "resnet34", "resnet50"])
def test_closed_form_equals_grad_cam_by_a_backward_pass(architecture: str, head: str) -> None:
    model = classifier(architecture, head)
    features: list[torch.Tensor] = []
    with model.backbone.register_forward_hook(lambda _m, _i, output: features.append(output)):
        output = model(images())
    maps = class_activation_maps(model, output.features, range(DISEASES))
    assert maps.max() > 1e-4
    for index in range(DISEASES):
        score = output.logits[:, index].sum()
        (gradient,) = torch.autograd.grad(score, features[0], retain_graph=True)
        alpha = gradient.mean(dim=(2, 3), keepdim=True)
        reference = (alpha * features[0]).sum(dim=1).relu().detach()
        torch.testing.assert_close(maps[:, index], reference, atol=1e-5, rtol=1e-5)


def stretched(heat: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """As the package does, before and after it scales the map to the image."""
    scaled: npt.NDArray[np.float32] = (heat - heat.min()) / (1e-7 + (heat - heat.min()).max())
    return scaled


class _Logits(nn.Module):
    """What the public package expects: a network that returns logits alone."""

    def __init__(self, model: ChestClassifier) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.model(x).logits
        return logits


@pytest.mark.parametrize("head", ["linear", "two_layer"])
def test_closed_form_equals_the_public_package(head: str) -> None:
    model, batch = classifier("resnet18", head), images()
    with torch.no_grad():
        maps = class_activation_maps(model, model(batch).features, [0, 3])
    with GradCAM(model=_Logits(model), target_layers=[model.backbone]) as public:
        for column, index in enumerate([0, 3]):
            public_maps = public(input_tensor=batch, targets=[ClassifierOutputTarget(index)] * 2)
            for row in range(2):
                large = cv2.resize(stretched(maps[row, column].numpy()), (SIZE, SIZE))
                closed_form = stretched(large.astype(np.float32))
                np.testing.assert_allclose(closed_form, public_maps[row], atol=1e-5)


def test_a_hand_computed_map_of_a_linear_head() -> None:
    model = nn.Module()
    model.head = nn.Linear(2, 2)
    model.head.weight.data = torch.tensor([[1.0, -1.0], [2.0, 4.0]])
    features = torch.tensor([[[[1.0, 4.0]], [[3.0, 2.0]]]])  # two channels of 1 x 2 cells
    maps = class_activation_maps(model, features, [1, 0])
    assert maps.tolist() == [[[[7.0, 8.0]], [[0.0, 1.0]]]]  # (2*1+4*3)/2, (2*4+4*2)/2; relu(-2/2)


def test_a_hand_computed_jacobian_of_a_two_layer_head() -> None:
    head = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1))
    head[0].weight.data = torch.tensor([[1.0, 2.0], [3.0, -4.0]])
    head[0].bias.data = torch.tensor([0.0, 0.5])
    head[2].weight.data = torch.tensor([[10.0, 100.0]])
    pooled = torch.tensor(
        [[1.0, 1.0], [1.0, 0.0], [-1.0, 0.0]]
    )  # hidden: (3, -.5), (1, 3.5), (-1, -2.5)
    assert head_jacobian(head, pooled, [0])[:, 0].tolist() == [[10, 20], [310, -380], [0, 0]]


def test_any_other_head_is_differentiated_alone() -> None:
    model = classifier("resnet18", "linear")
    model.head = nn.Sequential(nn.Linear(512, 16), nn.GELU(), nn.Linear(16, DISEASES))
    output = model(images())
    maps = class_activation_maps(model, output.features, [1, 4])
    for column, index in enumerate([1, 4]):
        reference = backward_grad_cam(
            output.features, lambda a: model.head(a.mean(dim=(2, 3))), index
        )
        torch.testing.assert_close(maps[:, column], reference, atol=1e-6, rtol=1e-5)


def test_dropout_in_a_head_changes_nothing() -> None:
    linear = nn.Linear(4, 3)
    pooled = torch.ones(2, 4)
    with_dropout = head_jacobian(nn.Sequential(nn.Dropout(0.5), linear), pooled, [2])
    assert with_dropout.tolist() == head_jacobian(linear, pooled, [2]).tolist()


def test_maps_of_bfloat16_features_are_computed_in_float32() -> None:
    model = classifier("resnet18", "two_layer")
    features = model(images()).features.detach().bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        maps = class_activation_maps(model, features, [0, 1])
    assert maps.dtype == torch.float32
    torch.testing.assert_close(maps, class_activation_maps(model, features.float(), [0, 1]))


def test_features_of_inference_mode_are_welcome() -> None:
    model = classifier("resnet18", "linear")
    model.head = nn.Sequential(nn.Linear(512, DISEASES), nn.Sigmoid())
    with torch.inference_mode():
        features = model(images()).features
        inside = class_activation_maps(model, features, range(DISEASES))
    outside = class_activation_maps(model, features.clone(), range(DISEASES))
    torch.testing.assert_close(inside, outside)
    assert inside.max() > 0


def densenet_tail(network: nn.Module, activations: torch.Tensor) -> torch.Tensor:
    pooled = nn.functional.adaptive_avg_pool2d(activations, 1).flatten(1)
    return network.classifier(pooled)  # type: ignore[no-any-return, operator]


def test_autograd_fallback_takes_densenets_map_after_the_relu() -> None:
    torch.manual_seed(0)
    network = settled(torchvision.models.densenet121(weights=None, num_classes=4))
    batch = images(2, 64)
    logits, maps = autograd_maps(network, batch, [3, 1, 0, 2])
    with torch.no_grad():
        features = network.get_submodule("features")(batch).relu()
        torch.testing.assert_close(logits, network(batch))
    for column, index in enumerate([3, 1, 0, 2]):
        reference = backward_grad_cam(features, lambda a: densenet_tail(network, a), index)
        torch.testing.assert_close(maps[:, column], reference, atol=1e-5, rtol=1e-5)
    assert maps.max() > 1e-4


def test_autograd_fallback_goes_through_a_head_that_is_no_mean() -> None:
    """VGG pools to 7 x 7 and has three dense layers: alpha is no row of a weight matrix."""
    torch.manual_seed(0)
    network = torchvision.models.vgg11(weights=None, num_classes=3).eval()
    batch = images(1, 64)
    _, maps = autograd_maps(network, batch, [2])
    with torch.no_grad():
        features = network.get_submodule("features")(batch)
    reference = backward_grad_cam(
        features, lambda a: network.classifier(network.avgpool(a).flatten(1)), 2
    )
    torch.testing.assert_close(maps[:, 0], reference, atol=1e-6, rtol=1e-5)


def test_one_call_serves_every_network_and_both_ways_agree() -> None:
    model, batch = classifier("resnet18", "two_layer"), images()
    logits, closed = network_maps(model, batch, [0, 2])
    slow_logits, slow = autograd_maps(_Logits(model), batch, [0, 2])
    torch.testing.assert_close(closed, slow, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(logits, slow_logits)
    network = settled(torchvision.models.resnet18(weights=None, num_classes=3))
    _, maps = network_maps(network, batch, [1])
    torch.testing.assert_close(maps, autograd_maps(network, batch, [1])[1])


def test_the_fallback_leaves_the_network_and_torch_as_they_were() -> None:
    network = settled(torchvision.models.resnet18(weights=None, num_classes=3))
    autograd_maps(network, images(1, 64), [0])
    assert all(not module._forward_hooks for module in network.modules())
    assert all(parameter.grad is None for parameter in network.parameters())
    assert torch.is_grad_enabled()
    assert torch.overrides._get_current_function_mode() is None  # type: ignore[no-untyped-call]
    with torch.no_grad():
        assert not network(images(1, 64)).requires_grad


def test_no_diseases_and_no_images_give_empty_maps() -> None:
    model = classifier("resnet18", "two_layer")
    features = torch.ones(2, 512, 3, 3)
    assert class_activation_maps(model, features, []).shape == (2, 0, 3, 3)
    assert class_activation_maps(model, features[:0], [1]).shape == (0, 1, 3, 3)


def test_errors_say_what_was_expected() -> None:
    model = classifier("resnet18", "linear")
    with pytest.raises(ValueError, match="class index 5, expected 0 to 4"):
        class_activation_maps(model, torch.ones(1, 512, 3, 3), [5])
    with pytest.raises(
        ValueError, match=r"features: expected shape \(N, C, h, w\), got \(512, 3, 3\)"
    ):
        class_activation_maps(model, torch.ones(512, 3, 3), [0])
    with pytest.raises(ValueError, match=r"Linear has no \.head; use network_maps"):
        class_activation_maps(nn.Linear(2, 2), torch.ones(1, 2, 3, 3), [0])
    with pytest.raises(ValueError, match=r"Linear pools no \(N, C, h, w\) feature map"):
        autograd_maps(nn.Linear(8, 2), torch.ones(1, 8), [0])
