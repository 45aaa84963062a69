"""What a network is given of an image: channels, standardisation, and both in the bundle."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from cxrloc.classification.bundle.classifier import (
    ClassifierBundle,
    load_classifier,
    save_classifier,
)
from cxrloc.classification.bundle.preprocessing import Preprocessing
from cxrloc.classification.config import ClassifierConfig, ModelConfig
from cxrloc.classification.inference.gate import Gate
from cxrloc.classification.network.classifier import build_classifier
from cxrloc.classification.train_config import TrainConfig
from cxrloc.classification.training.batches import ImageBatches, augment, fit_preprocessing
from cxrloc.classification.training.gate_training import GateTraining
from cxrloc.datasets.images.mean_image import MeanImage
from cxrloc.datasets.radiograph import LoadedImage, Radiograph
from cxrloc.localization.cam.localizer import GradCamLocalizer

KINDS = ("grey", "single", "enhanced")
STILL = TrainConfig(rotation_degrees=0, shift=0, scale=0, brightness=0)


def noise(count: int) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(4).integers(0, 200, (count, 64, 64), dtype=np.uint8)


def batches(squares: npt.NDArray[np.uint8], kind: str, clahe_clip: float = 0.0) -> ImageBatches:
    images = [Radiograph(f"i{n}", None, f"p{n}", "", {"Mass": n % 2}) for n in range(len(squares))]
    cache = {image.image_id: square for image, square in zip(images, squares, strict=True)}
    return ImageBatches(cache, images, ("Mass",), clahe_clip, kind)  # type: ignore[arg-type]


def test_a_single_channel_takes_the_mean_of_imagenets_constants() -> None:
    x = Preprocessing(64, input="single").to_tensor(np.full((1, 64, 64), 255, np.uint8))
    assert x.shape == (1, 1, 64, 64)
    expected = (1 - (0.485 + 0.456 + 0.406) / 3) / ((0.229 + 0.224 + 0.225) / 3)
    torch.testing.assert_close(x[0, 0, 3, 3].item(), expected)


def test_an_enhanced_input_normalises_each_channel_by_its_own_constants() -> None:
    squares = np.zeros((1, 3, 64, 64), np.uint8)
    squares[0, 1] = 255
    x = Preprocessing(64, input="enhanced").to_tensor(squares)
    torch.testing.assert_close(
        x[0, :, 0, 0], torch.tensor([-0.485 / 0.229, 0.544 / 0.224, -1.8044444])
    )
    assert x.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("clahe_clip", [0.0, 2.0])
def test_training_gives_a_network_what_prediction_gives_it(kind: str, clahe_clip: float) -> None:
    pixels = noise(1)[0]
    preprocessing = Preprocessing(64, clahe_clip=clahe_clip, input=kind)
    later = preprocessing.from_images([LoadedImage("a", pixels, (64, 64))])
    squares, _ = batches(pixels[None], kind, clahe_clip)[[0]]
    changed = augment(squares.float(), STILL, np.random.default_rng(0))
    torch.testing.assert_close(preprocessing.normalise(changed), later, atol=1e-3, rtol=0)


def test_a_mean_image_standardises_every_pixel_by_its_own_figures() -> None:
    squares = np.zeros((3, 64, 64), np.uint8)
    squares[:, 0, 0] = [51, 102, 153]  # 0.2, 0.4, 0.6: deviation 0.2 sqrt(2/3)
    squares[:, 0, 1] = 51  # never changes
    mean = squares.mean(axis=0) / 255
    preprocessing = Preprocessing(64, image=MeanImage(mean, squares.std(axis=0) / 255))
    x = preprocessing.to_tensor(squares)
    z = 1 / (2 / 3) ** 0.5
    for channel in range(3):
        torch.testing.assert_close(x[:, channel, 0, 0], torch.tensor([-z, 0.0, z]))
    assert x[:, :, 0, 1].abs().max() < 1e-6
    assert x.isfinite().all()
    other = np.full((1, 64, 64), 102, np.uint8)
    torch.testing.assert_close(preprocessing.to_tensor(other)[0, 0, 0, 1].item(), 0.2)


def test_at_half_size_the_mean_image_is_halved_too() -> None:
    rows = np.repeat([0.2, 0.4], 32)[:, None] * np.ones((64, 64))
    preprocessing = Preprocessing(64, input="single", image=MeanImage(rows, np.full((64, 64), 0.5)))
    x = preprocessing.normalise(torch.full((1, 32, 32), 255.0))
    torch.testing.assert_close(x[0, 0, [0, 31], 5], torch.tensor([1.6, 1.2]))


@pytest.mark.parametrize("kind", KINDS)
def test_the_mean_image_is_of_the_training_images_and_is_not_computed_again(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = ModelConfig(size=64, input=kind, standardise="image")  # type: ignore[arg-type]
    images = batches(noise(9), kind)
    first = fit_preprocessing(config, images, tmp_path)
    assert first.image is not None
    squares = images.squares(range(9)) / 255
    np.testing.assert_allclose(first.image.mean, squares.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(first.image.deviation, squares.std(axis=0), atol=1e-6)
    monkeypatch.setattr(ImageBatches, "squares", None)  # whoever looks at an image again fails
    assert fit_preprocessing(config, images, tmp_path) == first


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("standardise", ["imagenet", "image"])
def test_a_bundle_keeps_its_input_and_predicts_the_same(
    kind: str, standardise: str, tmp_path: Path
) -> None:
    squares = noise(3)
    config = ModelConfig(size=64, input=kind, standardise=standardise)  # type: ignore[arg-type]
    preprocessing = fit_preprocessing(config, batches(squares, kind), tmp_path)
    model, _ = build_classifier("simple_cnn", 1, in_channels=preprocessing.channels)
    bundle = ClassifierBundle(model, ("Mass",), {"Mass": 0.5}, preprocessing, {}, {}, {})
    save_classifier(tmp_path / "a.safetensors", bundle)
    back = load_classifier(tmp_path / "a.safetensors")
    assert back.preprocessing == preprocessing
    images = [LoadedImage(str(n), square, (64, 64)) for n, square in enumerate(squares)]
    predicted, trained = (
        Gate(back)(images),
        Gate(bundle).forward_squares(batches(squares, kind).squares(range(3))),
    )
    np.testing.assert_array_equal(predicted.probabilities, trained[0])
    boxes = GradCamLocalizer(Gate(back)).localize(images, ["Mass"]).boxes
    assert all(len(box.box_xyxy) == 4 for box in boxes)


def test_a_training_step_runs_for_every_input_also_at_half_size() -> None:
    for kind in KINDS:
        preprocessing = Preprocessing(64, input=kind)
        model, _ = build_classifier("simple_cnn", 1, in_channels=preprocessing.channels)
        seen: list[torch.Size] = []
        model.register_forward_pre_hook(lambda _, inputs, seen=seen: seen.append(inputs[0].shape))
        config = replace(STILL, epochs=2, small_share=0.5)
        module = GateTraining(model, preprocessing, config, 1)
        module.log = lambda *a, **k: None  # type: ignore[method-assign]
        module.training_step(batches(noise(2), kind)[[0, 1]], 0)
        assert seen == [(2, preprocessing.channels, 32, 32)]


@pytest.mark.parametrize("architecture", ["resnet18", "googlenet", "convnext_tiny"])
def test_one_channel_computes_what_the_image_thrice_gives(architecture: str) -> None:
    thrice, _ = build_classifier(architecture, 2, seed=3)
    once, _ = build_classifier(architecture, 2, seed=3, in_channels=1)
    if architecture == "googlenet":  # its own constants differ by channel; alike for this
        for layer in (thrice, once):
            layer.get_buffer("backbone.rescale.scale").fill_(0.4)
            layer.get_buffer("backbone.rescale.shift").fill_(0.1)
    image = torch.rand(1, 1, 64, 64, generator=torch.manual_seed(0))
    with torch.inference_mode():
        expected = thrice.eval()(image.expand(1, 3, 64, 64)).logits
        torch.testing.assert_close(once.eval()(image).logits, expected, atol=1e-4, rtol=1e-4)


def test_weights_of_three_channels_are_added_up_into_one(tmp_path: Path) -> None:
    thrice, _ = build_classifier("simple_cnn", 1, seed=5)
    none: dict[str, float | None] = {"Mass": None}
    path = tmp_path / "a.safetensors"
    save_classifier(path, ClassifierBundle(thrice, ("Mass",), none, Preprocessing(64), {}, {}, {}))
    once, report = build_classifier("simple_cnn", 1, weights=path, in_channels=1)
    assert report.mismatched == report.missing == ()
    kernels = thrice.get_parameter("backbone.block1.0.weight")
    kernel = once.get_parameter("backbone.block1.0.weight")
    torch.testing.assert_close(kernel, kernels.sum(1, keepdim=True))


def test_a_wrong_input_is_refused() -> None:
    with pytest.raises(
        ValueError, match="unknown input 'rgb'; expected one of grey, single, enhanced"
    ):
        Preprocessing(64, input="rgb")
    with pytest.raises(ValueError, match=r"mean image of shape \(32, 32\), expected \(64, 64\)"):
        Preprocessing(64, image=MeanImage(np.zeros((32, 32)), np.ones((32, 32))))
    with pytest.raises(ValueError, match=r"model\.input: got 'rgb', expected one of grey, single"):
        ModelConfig(input="rgb")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"model\.standardise: got 'no', expected one of imagenet"):
        ModelConfig(standardise="no")  # type: ignore[arg-type]
    assert ClassifierConfig().model.input == "grey"


def test_a_network_sees_more_than_eight_bits_up_to_its_square() -> None:
    deep = np.full((128, 128), 25826, np.uint16)  # 100.49 of 255
    deep[::2, ::2] = 26060  # 101.4: the mean is 100.7
    image = LoadedImage("a", np.rint(deep / 257).astype(np.uint8), (128, 128), deep=deep)
    assert np.unique(Preprocessing(64).squares([image])).tolist() == [101]
    assert np.unique(Preprocessing(64).squares([replace(image, deep=None)])).tolist() == [100]


def test_markers_go_before_the_image_is_fitted_and_the_bundle_remembers(tmp_path: Path) -> None:
    pixels = np.full((256, 256), 90, np.uint8)
    pixels[16:48, 20:26] = pixels[42:48, 20:40] = 240  # an L
    image = LoadedImage("a", pixels, (256, 256))
    model, _ = build_classifier("simple_cnn", 1)
    fields = ClassifierBundle(model, ("Mass",), {"Mass": 0.5}, Preprocessing(64), {}, {}, {})
    for how, brightest in (("keep", 240), ("mask", 90), ("inpaint", 90)):
        changed = replace(fields, preprocessing=Preprocessing(64, markers=how))
        save_classifier(tmp_path / how, changed)
        restored = load_classifier(tmp_path / how).preprocessing
        assert restored == changed.preprocessing
        assert abs(int(restored.squares([image]).max()) - brightest) < 40
    with pytest.raises(ValueError, match=r"model\.markers.*keep, mask, inpaint"):
        ModelConfig(markers="blur")  # type: ignore[arg-type]
