"""The classifier: its two heads, its map, its preprocessing and its bundle."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.models import resnet18

from cxrloc.classification.bundle.classifier import (
    ClassifierBundle,
    load_classifier,
    save_classifier,
)
from cxrloc.classification.bundle.file import read_bundle, write_bundle
from cxrloc.classification.bundle.preprocessing import Preprocessing
from cxrloc.classification.network.classifier import build_classifier, present_against_absent
from cxrloc.datasets.radiograph import LoadedImage


def test_logits_are_the_head_on_the_mean_of_the_map_and_the_map_is_rectified() -> None:
    model, _ = build_classifier("resnet18", 3, seed=1)
    model.eval()
    logits, features = model(torch.randn(2, 3, 64, 96, generator=torch.manual_seed(0)))
    assert features.shape == (2, 512, 2, 3)
    assert features.min() >= 0
    torch.testing.assert_close(logits, model.head(features.mean((2, 3))))


def test_log_sum_exp_pooling_is_that_of_wang_and_lies_between_mean_and_maximum() -> None:
    features = torch.tensor([0.0, 0.5, 1.0, 2.0]).view(1, 1, 2, 2).expand(1, 256, 2, 2)
    pooled = {}
    for r in (1e-3, 10.0, 1000.0):
        model, _ = build_classifier("simple_cnn", 3, seed=1, lse_r=r)
        pooled[r] = float(model.pool(features)[0, 0])
        torch.testing.assert_close(
            model.classify(features).logits, model.head(model.pool(features))
        )
    # eq. 1: the maximum + log(mean of exp(r (x - maximum))) / r, by hand for r = 10
    assert pooled[10.0] == pytest.approx(2 + math.log((1 + math.exp(-10)) / 4) / 10, abs=1e-6)
    assert pooled[1e-3] == pytest.approx(0.875, abs=1e-3)
    assert pooled[1000.0] == pytest.approx(2, abs=2e-3)
    with pytest.raises(ValueError, match=r"log-sum-exp \(r 1000\) are no mean over cells"):
        model.cell_logits(features)


def test_the_backbone_computes_what_torchvision_computes() -> None:
    reference = resnet18(weights=None).eval()
    model, _ = build_classifier("resnet18", 1000)
    state = reference.state_dict()
    model.backbone.load_state_dict({k: v for k, v in state.items() if not k.startswith("fc.")})
    model.head.load_state_dict({"weight": state["fc.weight"], "bias": state["fc.bias"]})
    x = torch.randn(1, 3, 64, 64, generator=torch.manual_seed(0))
    with torch.inference_mode():
        torch.testing.assert_close(model.eval()(x).logits, reference(x))


@pytest.mark.parametrize(
    ("architecture", "channels"), [("resnet18", 512), ("resnet34", 512), ("resnet50", 2048)]
)
def test_the_two_layer_head_is_linear_relu_linear(architecture: str, channels: int) -> None:
    model, _ = build_classifier(architecture, 4, "two_layer")
    first, relu, second = model.head.children()
    assert isinstance(first, torch.nn.Linear)
    assert isinstance(second, torch.nn.Linear)
    assert (first.in_features, first.out_features, second.out_features) == (channels, 256, 4)
    assert isinstance(relu, torch.nn.ReLU)
    with torch.inference_mode():
        output = model.eval()(torch.zeros(1, 3, 64, 64))
    assert output.features.shape == (1, channels, 2, 2)


def test_one_seed_gives_one_start_and_leaves_the_global_randomness_alone() -> None:
    torch.manual_seed(9)
    expected = torch.rand(1)
    torch.manual_seed(9)
    first, _ = build_classifier("resnet18", 2, seed=3)
    assert torch.rand(1) == expected
    second, _ = build_classifier("resnet18", 2, seed=3)
    third, _ = build_classifier("resnet18", 2, seed=4)
    a, b, c = (model.get_parameter("head.weight") for model in (first, second, third))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("vgg", 2), "unknown architecture 'vgg'; expected one of resnet18, resnet34, resnet50"),
        (("resnet18", 2, "three"), "unknown head 'three'; expected one of linear, two_layer"),
        (("resnet18", 0), "num_diseases 0, expected at least 1"),
    ],
)
def test_an_unknown_name_lists_the_known_ones(arguments: tuple[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_classifier(*arguments)


def test_grey_255_becomes_imagenet_white_in_three_channels() -> None:
    squares = np.zeros((1, 64, 64), np.uint8)
    squares[0, 0, 0] = 255
    x = Preprocessing(64).to_tensor(squares)
    assert x.shape == (1, 3, 64, 64)
    expected = torch.tensor([(1 - 0.485) / 0.229, (1 - 0.456) / 0.224, (1 - 0.406) / 0.225])
    torch.testing.assert_close(x[0, :, 0, 0], expected)
    torch.testing.assert_close(x[0, 0, 5, 5].item(), -0.485 / 0.229)
    assert x.is_contiguous(memory_format=torch.channels_last)


def test_a_wide_image_lies_at_the_top_of_the_square() -> None:
    image = LoadedImage("a", np.full((50, 100), 200, np.uint8), (500, 1000))
    square = Preprocessing(64).squares([image])[0]
    assert (square[:32] == 200).all()
    assert (square[32:] == 0).all()


def test_no_images_give_an_empty_batch() -> None:
    assert Preprocessing(64).from_images([]).shape == (0, 3, 64, 64)


@pytest.mark.parametrize("size", [32, 100, 1056])
def test_an_input_size_off_the_grid_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match=f"input size {size}, expected a multiple of 32"):
        Preprocessing(size)


def test_squares_of_another_size_are_refused() -> None:
    with pytest.raises(ValueError, match=r"expected squares of shape \(N, 64, 64\)"):
        Preprocessing(64).to_tensor(np.zeros((1, 96, 96), np.uint8))


def make_bundle(head: str = "linear", lse_r: float = 0.0) -> ClassifierBundle:
    model, _ = build_classifier("resnet18", 2, head, seed=2, lse_r=lse_r)
    return ClassifierBundle(
        model=model.eval(),
        diseases=("Mass", "Nodule"),
        thresholds={"Mass": 0.3, "Nodule": None},
        preprocessing=Preprocessing(64),
        mean_box_sizes={"Mass": (0.25, 0.5)},
        manifest={"seed": 2},
        metadata={"fold": 1, "k": 5},
    )


@pytest.mark.parametrize(("head", "lse_r"), [("linear", 0), ("two_layer", 0), ("linear", 10)])
def test_a_saved_classifier_comes_back_and_answers_the_same(
    tmp_path: Path, head: str, lse_r: float
) -> None:
    bundle = make_bundle(head, lse_r)
    save_classifier(tmp_path / "a.safetensors", bundle)
    back = load_classifier(tmp_path / "a.safetensors")
    assert back.diseases == ("Mass", "Nodule")
    assert back.thresholds == {"Mass": 0.3, "Nodule": None}
    assert back.preprocessing == Preprocessing(64)
    assert back.mean_box_sizes == {"Mass": (0.25, 0.5)}
    assert (back.metadata["fold"], back.metadata["k"], back.manifest["seed"]) == (1, 5, 2)
    x = torch.randn(1, 3, 64, 64, generator=torch.manual_seed(0))
    with torch.inference_mode():
        assert torch.equal(back.model(x).logits, bundle.model(x).logits)


def test_a_bundle_is_a_start_for_another_training_with_the_head_when_it_fits(
    tmp_path: Path,
) -> None:
    bundle = make_bundle()
    save_classifier(tmp_path / "a.safetensors", bundle)
    same, full = build_classifier("resnet18", 2, weights=tmp_path / "a.safetensors")
    assert full.missing == full.mismatched == full.unexpected == ()
    assert torch.equal(same.get_parameter("head.weight"), bundle.model.get_parameter("head.weight"))
    _, partial = build_classifier("resnet18", 3, weights=tmp_path / "a.safetensors")
    assert partial.mismatched == ("head.weight", "head.bias")


def test_thresholds_must_cover_exactly_the_diseases() -> None:
    bundle = make_bundle()
    with pytest.raises(ValueError, match=r"thresholds for \['Mass'\], expected exactly"):
        ClassifierBundle(
            bundle.model, bundle.diseases, {"Mass": 0.1}, bundle.preprocessing, {}, {}, {}
        )


def test_tensors_that_do_not_fit_the_metadata_are_an_error(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_classifier(path, make_bundle())
    tensors, metadata = read_bundle(path)
    write_bundle(path, {"head.weight": tensors["head.weight"]}, metadata)
    with pytest.raises(ValueError, match="tensors do not fit the stored architecture"):
        load_classifier(path)


def test_a_bundle_of_an_unknown_architecture_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_classifier(path, make_bundle())
    tensors, metadata = read_bundle(path)
    write_bundle(path, tensors, {**metadata, "architecture": "alexnet"})
    with pytest.raises(
        ValueError, match=r"architecture in .*a\.safetensors 'alexnet'; expected one of"
    ):
        load_classifier(path)


@pytest.mark.parametrize("head", ["linear", "two_layer"])
def test_three_classes_are_folded_into_one_output_of_the_same_probability(head: str) -> None:
    three, _ = build_classifier("simple_cnn", 3 * 2, head, seed=1)
    three.eval()
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        outputs = three(images).logits
        folded = torch.sigmoid(present_against_absent(three)(images).logits)
    absent_present = outputs.view(2, 2, 3)[..., :2]  # absent, present; uncertain left out
    torch.testing.assert_close(folded, absent_present.softmax(dim=-1)[..., 1])
    with torch.no_grad():
        assert three(images).logits.shape == (2, 6)  # the network itself stays as it was
