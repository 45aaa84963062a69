"""INT8 weights: how they are rounded, what stays in float, what is kept on disk and refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import nn

from cxrloc.classification.bundle.classifier import ClassifierBundle
from cxrloc.classification.bundle.file import read_bundle, write_bundle
from cxrloc.classification.bundle.int8 import int8_path, load_int8, save_int8
from cxrloc.classification.bundle.preprocessing import Preprocessing
from cxrloc.classification.inference import onnx_export, openvino_network
from cxrloc.classification.inference.gate import Gate
from cxrloc.classification.inference.int8_calibration import _patches, calibrate, gptq
from cxrloc.classification.inference.onnx_export import exported_int8, folded
from cxrloc.classification.inference.runtimes import load_runtime
from cxrloc.classification.network.classifier import ChestClassifier, build_classifier
from cxrloc.classification.network.int8 import GreyConv2d, GreyInput, Int8Backbone, Int8Conv2d
from cxrloc.datasets.images.mean_image import MeanImage
from cxrloc.datasets.phantoms.drawing.chest import render_image

SIDE = 64


def _squares(count: int, first: int = 0) -> npt.NDArray[np.uint8]:
    """Drawn images, which are smooth as real ones are."""
    drawn = [render_image(("Mass",), seed=first + n, image_size=SIDE).pixels for n in range(count)]
    return np.stack(drawn)


@pytest.fixture(scope="module")
def bundle(normalised_resnet: Callable[[int], ChestClassifier]) -> ClassifierBundle:
    settings = Preprocessing(SIDE)
    return ClassifierBundle(normalised_resnet(1), ("Mass",), {"Mass": 0.5}, settings, {}, {}, {})


@pytest.fixture(scope="module")
def int8(bundle: ClassifierBundle) -> Int8Backbone:
    return calibrate(bundle, _squares(12))


def _of(backbone: nn.Module, preprocessing: Preprocessing | None = None) -> ClassifierBundle:
    model = build_classifier("simple_cnn", 1)[0].eval()
    model.backbone = backbone.eval()
    settings = preprocessing or Preprocessing(SIDE)
    return ClassifierBundle(model, ("Mass",), {"Mass": 0.5}, settings, {}, {}, {})


def _image(mean: float) -> MeanImage:
    return MeanImage(np.full((SIDE, SIDE), mean), np.full((SIDE, SIDE), 0.2))


def _decibels(found: torch.Tensor, exact: torch.Tensor) -> float:
    return float(10 * torch.log10((found - exact).square().mean() / exact.square().mean()))


@pytest.mark.parametrize("channels", ["grey", "single"])
@pytest.mark.parametrize("bias", [True, False])
def test_the_first_layer_on_grey_levels_gives_the_same_to_the_last_border_pixel(
    channels: str, bias: bool
) -> None:
    preprocessing = Preprocessing(SIDE, (0.2, 0.5, 0.7), (0.2, 0.3, 0.1), input=channels)
    affine = preprocessing.grey_affine
    assert affine is not None
    layer = nn.Conv2d(preprocessing.channels, 4, (7, 5), (2, 1), (3, 1), bias=bias)
    x = preprocessing.to_tensor(_squares(2))
    grey = GreyInput("", *affine)

    with torch.inference_mode():
        levels = grey.levels(x)
        output = GreyConv2d(grey.fold(layer))(levels)
        torch.testing.assert_close(output, layer(x), atol=1e-4, rtol=1e-4)
    np.testing.assert_array_equal(levels[:, 0] + grey.zero, _squares(2))
    assert torch.equal(levels.bfloat16().float(), levels)


def test_a_preprocessing_whose_channels_or_pixels_differ_has_no_grey_levels() -> None:
    assert Preprocessing(SIDE, image=_image(0.5)).grey_affine is None
    assert Preprocessing(SIDE, input="enhanced").grey_affine is None


def test_weights_of_unrelated_inputs_are_rounded_to_the_nearest() -> None:
    weight = torch.randn(5, 200, generator=torch.Generator().manual_seed(0))
    rounded, scale = gptq(weight, torch.eye(200))
    torch.testing.assert_close(scale, weight.abs().amax(1) / 127)
    torch.testing.assert_close(rounded.float(), torch.round(weight / scale[:, None]))


def test_weights_of_related_inputs_make_up_for_each_others_rounding() -> None:
    """Of an edge kernel on smooth inputs: the error of its output falls to a tenth."""
    generator = torch.Generator().manual_seed(0)
    base = 10 + torch.randn(4000, 1, generator=generator)
    inputs = base + 0.1 * torch.randn(4000, 49, generator=generator)
    weight = torch.randn(16, 49, generator=generator)
    weight -= weight.mean(1, keepdim=True)
    nearest = (weight.abs().amax(1) / 127)[:, None]

    rounded, scale = gptq(weight, inputs.T @ inputs)

    error = (inputs @ (rounded.float() * scale[:, None] - weight).T).square().mean()
    plain = (inputs @ (torch.round(weight / nearest) * nearest - weight).T).square().mean()
    assert error < 0.1 * plain
    assert rounded.dtype == torch.int8
    assert int(rounded.abs().max()) == 127


def test_dead_inputs_and_dead_kernels_are_zeros() -> None:
    rounded, scale = gptq(torch.zeros(2, 3), torch.zeros(3, 3))
    assert rounded.tolist() == [[0, 0, 0], [0, 0, 0]]
    assert scale.tolist() == [1, 1]


def test_a_network_in_int8_gives_the_features_of_float32(
    bundle: ClassifierBundle, int8: Int8Backbone
) -> None:
    x = bundle.preprocessing.to_tensor(_squares(4, first=100))
    network = int8.network(folded(bundle.model.backbone))

    with torch.inference_mode():
        error = _decibels(network(int8.inputs(x)), bundle.model.backbone(x))

    assert (len(int8.layers), int8.left) == (20, ())
    assert error < -35  # -32 with weights rounded one by one, or by moments in another order
    assert sum(isinstance(m, Int8Conv2d) for m in network.modules()) == len(int8.layers)
    assert all(layer.weight.dtype == torch.int8 for layer in int8.layers.values())
    first = int8.layers["conv1.conv"]
    assert (first.step, first.weight.shape) == (1.0, (64, 3, 7, 7))


def test_a_layer_whose_input_cannot_bear_8_bits_stays_in_float() -> None:
    """Its kernels see differences alone, and its input is an offset with hardly any."""
    blur, edges = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3)
    nn.init.constant_(blur.weight, 0.002)
    nn.init.constant_(blur.bias, 1.0)  # type: ignore[arg-type]
    edges.weight.data -= edges.weight.data.mean((1, 2, 3), keepdim=True)
    nn.init.zeros_(edges.bias)  # type: ignore[arg-type]

    calibrated = calibrate(_of(nn.Sequential(blur, edges)), _squares(4))

    assert calibrated.left == ("1",)
    assert set(calibrated.layers) == {"0.conv"}


def test_layers_of_several_groups_and_of_channels_that_differ_are_dealt_with() -> None:
    layers = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3, groups=8))
    bundle = _of(layers, Preprocessing(SIDE, image=_image(0.4)))

    calibrated = calibrate(bundle, _squares(4))

    assert calibrated.grey is None
    assert "2" in calibrated.left
    x = bundle.preprocessing.to_tensor(_squares(2, first=50))
    with torch.inference_mode():
        network = calibrated.network(folded(layers))
        assert _decibels(network(calibrated.inputs(x)), layers(x)) < -25


def test_a_dilated_convolution_is_calibrated_on_the_pixels_that_it_sees() -> None:
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3, dilation=2, padding=2))
    patches = _patches(x := torch.rand(1, 8, 9, 7), layers[2], torch.Generator())  # type: ignore[arg-type]
    seen = nn.functional.unfold(x, 3, dilation=2, padding=2)[0]
    torch.testing.assert_close(patches.T @ patches, seen @ seen.T)
    calibrated = calibrate(bundle := _of(layers), _squares(4))
    assert "2" in calibrated.layers
    x = bundle.preprocessing.to_tensor(_squares(2, first=50))
    with torch.inference_mode():
        assert _decibels(calibrated.network(folded(layers))(calibrated.inputs(x)), layers(x)) < -25


def test_a_network_that_does_not_give_grey_levels_to_a_convolution_is_dealt_with() -> None:
    """GoogLeNet's first layer undoes ImageNet's standardisation."""
    bundle = _of(build_classifier("googlenet", 1, seed=0)[0].backbone)

    calibrated = calibrate(bundle, _squares(4))

    assert calibrated.grey is None
    x = bundle.preprocessing.to_tensor(_squares(2, first=50))
    with torch.inference_mode():
        network = calibrated.network(folded(bundle.model.backbone))
        assert _decibels(network(calibrated.inputs(x)), bundle.model.backbone(x)) < -25


def test_a_network_that_int8_is_wrong_for_is_refused_and_dead_inputs_stay_in_float() -> None:
    dead = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3))
    nn.init.zeros_(dead[0].weight)  # type: ignore[arg-type]
    nn.init.constant_(dead[0].bias, -1.0)  # type: ignore[arg-type]
    assert calibrate(_of(dead), _squares(4)).left == ("2",)
    nn.init.constant_(dead[2].bias, torch.nan)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"INT8 does not work.*nan of their power"):
        calibrate(_of(dead), _squares(4))


def test_the_export_is_anew_where_steps_alone_differ(
    bundle: ClassifierBundle, int8: Int8Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(onnx_export, "_export", lambda network, shape, path: path.touch())
    name = "layer4.1.conv2"
    coarser = replace(int8.layers[name], step=2 * int8.layers[name].step)
    other = replace(int8, layers={**int8.layers, name: coarser})
    paths = {exported_int8(bundle.model, layers, (1, SIDE, SIDE)) for layers in (int8, int8, other)}
    assert len(paths) == 2


def test_without_images_there_is_nothing_to_calibrate_on(bundle: ClassifierBundle) -> None:
    with pytest.raises(ValueError, match="no images to calibrate"):
        calibrate(bundle, _squares(1)[:0])


def test_a_file_gives_back_what_was_saved(int8: Int8Backbone, tmp_path: Path) -> None:
    classifier = tmp_path / "classifier.safetensors"
    save_int8(int8_path(classifier), replace(int8, metadata={"diseases": ["Mass"]}))

    loaded = load_int8(classifier)

    assert [path.name for path in tmp_path.iterdir()] == ["classifier.int8.safetensors"]
    assert (loaded.grey, loaded.left, loaded.fingerprint) == (
        int8.grey,
        int8.left,
        int8.fingerprint,
    )
    assert loaded.metadata["diseases"] == ["Mass"]
    assert list(loaded.layers) == list(int8.layers)
    for name, layer in loaded.layers.items():
        assert torch.equal(layer.weight, int8.layers[name].weight)
        assert torch.equal(layer.scale, int8.layers[name].scale)
        assert (layer.step, layer.zero) == (int8.layers[name].step, int8.layers[name].zero)


def test_missing_and_damaged_files_are_named(int8: Int8Backbone, tmp_path: Path) -> None:
    classifier = tmp_path / "classifier.safetensors"
    with pytest.raises(FileNotFoundError, match=r"classifier\.int8\.safetensors: make them with"):
        load_int8(classifier)
    path = int8_path(classifier)
    save_int8(path, int8)
    tensors, metadata = read_bundle(path)
    tensors.pop("layer4.1.conv2.scale")
    write_bundle(path, tensors, metadata)
    with pytest.raises(ValueError, match=r"'layer4\.1\.conv2\.scale' is missing"):
        load_int8(classifier)


def test_missing_weights_and_those_of_another_classifier_are_refused(
    bundle: ClassifierBundle, int8: Int8Backbone
) -> None:
    shape = (3, SIDE, SIDE)
    with pytest.raises(ValueError, match="openvino-int8 needs INT8 weights"):
        load_runtime("openvino-int8", bundle.model, shape)
    larger = replace(bundle.preprocessing, size=2 * SIDE)
    Gate(replace(bundle, int8=int8, preprocessing=larger), "cpu")  # of other images' size is fine
    for other in (
        replace(bundle, model=build_classifier("resnet18", 1, seed=2)[0].eval()),
        replace(bundle, preprocessing=Preprocessing(SIDE, std=(0.5, 0.5, 0.5))),
        replace(bundle, preprocessing=Preprocessing(SIDE, image=_image(0.5))),
    ):
        with pytest.raises(ValueError, match=r"another classifier, .*cxrloc quantize"):
            Gate(replace(other, int8=int8), "cpu", runtime="openvino-int8")
    with pytest.raises(ValueError, match="openvino-int8 runs on the CPU"):
        load_runtime("openvino-int8", bundle.model, shape, "cuda", int8=int8)


@pytest.mark.usefixtures("int8_cpu")
def test_openvino_computes_in_integers_what_is_computed_here_in_float32(
    bundle: ClassifierBundle, int8: Int8Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A layer alone exactly. In all of them a number near half way between two levels may go the
    other way, for sums of another order, by a whole step, and so may others behind it: hence -30 dB
    for the whole, which is within the rounding itself."""
    import openvino

    shape = (3, SIDE, SIDE)
    x = bundle.preprocessing.to_tensor(_squares(3, first=200))
    alone = [
        replace(int8, layers={name: int8.layers[name]}) for name in ("conv1.conv", "layer1.0.conv2")
    ]
    for number, (layers, bound) in enumerate(((alone[0], -90), (alone[1], -90), (int8, -30))):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / str(number)))
        runtime = load_runtime("openvino-int8", bundle.model, shape, precision="fp32", int8=layers)
        with torch.inference_mode():
            exact = layers.network(folded(bundle.model.backbone))(layers.inputs(x))
            assert _decibels(runtime.backbone(x), exact) < bound

    assert runtime.name == "openvino int8 and fp32 on cpu"
    [network] = tmp_path.glob("2/cxrloc/resnet18_int8_*.onnx")
    core = openvino_network._core(openvino)
    program = core.compile_model(str(network), "CPU", {"PERF_COUNT": True})
    request = program.create_infer_request()
    request.infer([int8.inputs(x[:1]).numpy()])
    facts = request.get_profiling_info()
    kinds = [fact.exec_type for fact in facts if fact.node_type == "Convolution"]
    # it leaves some of the three shortcuts, of one tap, in float32: exact too, and hardly slower
    assert sum("I8" in kind for kind in kinds) >= len(int8.layers) - 3
