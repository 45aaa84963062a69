"""Finer maps: their cells against the coarse map's, their weights, bundle, exports and errors."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn
from torchvision.ops import SqueezeExcitation

from builders import settled
from cxrloc.classification.bundle.classifier import (
    ClassifierBundle,
    load_classifier,
    save_classifier,
)
from cxrloc.classification.bundle.int8 import bundle_fingerprint
from cxrloc.classification.bundle.preprocessing import Preprocessing
from cxrloc.classification.choices import REFINABLE
from cxrloc.classification.config import ModelConfig
from cxrloc.classification.inference.onnx_export import exported
from cxrloc.classification.inference.runtimes import load_runtime
from cxrloc.classification.network.backbones import ARCHITECTURES
from cxrloc.classification.network.classifier import ChestClassifier, build_classifier

SIDE = 96


def classifier(name: str, map_stride: int = 32, diseases: int = 2) -> ChestClassifier:
    model, _ = build_classifier(name, diseases, seed=1, map_stride=map_stride)
    settled(model)
    return model


def image(height: int = SIDE, width: int = SIDE) -> torch.Tensor:
    return torch.randn(1, 3, height, width, generator=torch.Generator().manual_seed(1))


def bundle_of(model: ChestClassifier) -> ClassifierBundle:
    return ClassifierBundle(model, ("Mass",), {"Mass": 0.5}, Preprocessing(SIDE), {}, {}, {})


def without_excitation(model: ChestClassifier) -> ChestClassifier:
    """Its factors are means over the map, which a finer map changes."""
    for name, layer in list(model.named_modules()):
        if isinstance(layer, SqueezeExcitation):
            model.set_submodule(name, nn.Identity())
    return model


# the convolutions of stride 2 of Lite0 look at the second of two pixels: its coarse cells are last
@pytest.mark.parametrize(
    ("name", "last"),
    [
        ("resnet18", False),
        pytest.param("resnet50", False, marks=pytest.mark.slow),
        ("efficientnet_b0", False),
        ("efficientnet_lite0", True),
    ],
)
@pytest.mark.parametrize("map_stride", [16, 8])
def test_the_coarse_map_is_a_part_of_the_finer_one(name: str, last: bool, map_stride: int) -> None:
    step = 32 // map_stride
    first = step - 1 if last else 0
    with torch.inference_mode():
        pixels = image(SIDE, SIDE + 64).double()
        coarse = without_excitation(classifier(name)).double().backbone(pixels)
        fine = without_excitation(classifier(name, map_stride)).double().backbone(pixels)
    assert fine.shape[2:] == (SIDE // map_stride, (SIDE + 64) // map_stride)
    torch.testing.assert_close(fine[:, :, first::step, first::step], coarse)
    others = fine.clone()
    others[:, :, first::step, first::step] = torch.nan
    assert others.nanmean() > 0  # there is more than zeros between


def test_weights_of_a_coarse_network_start_a_finer_one(tmp_path: Path) -> None:
    coarse = classifier("resnet18", diseases=1)
    save_classifier(tmp_path / "a.safetensors", bundle_of(coarse))
    fine, report = build_classifier("resnet18", 1, weights=tmp_path / "a.safetensors", map_stride=8)
    assert report.missing == report.unexpected == report.mismatched == ()
    assert all(torch.equal(t, fine.state_dict()[n]) for n, t in coarse.state_dict().items())


def test_a_bundle_keeps_its_map_stride(tmp_path: Path) -> None:
    model = classifier("efficientnet_lite0", 16, diseases=1)
    save_classifier(tmp_path / "a.safetensors", bundle_of(model))
    back = load_classifier(tmp_path / "a.safetensors").model
    assert back.map_stride == 16
    with torch.inference_mode():
        assert torch.equal(back(image()).features, model(image()).features)


def test_networks_that_differ_in_their_map_alone_share_no_export_and_no_int8_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(
        "cxrloc.classification.inference.onnx_export._export", lambda _n, _s, path: path.touch()
    )
    models = [classifier("resnet18", stride, diseases=1) for stride in (32, 16)]
    assert len({exported(model, (3, SIDE, SIDE)) for model in models}) == 2
    assert len({bundle_fingerprint(bundle_of(model)) for model in models}) == 2


@pytest.mark.parametrize("runtime", ["torch", "onnx"])
def test_the_refined_network_runs_folded_and_exported(
    runtime: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    model = classifier("efficientnet_lite0", 16)
    with torch.inference_mode():
        maps = load_runtime(runtime, model, (3, SIDE, SIDE), "cpu", "fp32").backbone(image())
        torch.testing.assert_close(maps, model(image()).features, atol=1e-4, rtol=0)


def test_a_network_that_cannot_have_finer_maps_is_refused_with_those_that_can() -> None:
    with pytest.raises(
        ValueError,
        match=r"model\.map_stride: got 16, expected 32 with model\.architecture vgg16; resnet18, .*"
        r" can have 16 or 8",
    ):
        ModelConfig(architecture="vgg16", map_stride=16)
    with pytest.raises(ValueError, match=r"model\.map_stride: got 12, expected one of 32, 16, 8"):
        ModelConfig(map_stride=12)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="map_stride 8, expected 32 with densenet121"):
        build_classifier("densenet121", 1, map_stride=8)
    with pytest.raises(ValueError, match="map_stride 4, expected one of 32, 16, 8"):
        build_classifier("resnet18", 1, map_stride=4)


def test_the_settings_name_the_networks_that_can_have_finer_maps() -> None:
    assert set(REFINABLE) == {n for n, a in ARCHITECTURES.items() if a.family.refinable}
