"""Runtimes of the gate: each gives float32's probabilities and maps, within what it states."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from cxrloc.classification.bundle.classifier import ClassifierBundle
from cxrloc.classification.bundle.preprocessing import Preprocessing
from cxrloc.classification.inference import onnx_export as exporting
from cxrloc.classification.inference.gate import Gate
from cxrloc.classification.inference.gate_output import GateOutput
from cxrloc.classification.inference.int8_calibration import calibrate
from cxrloc.classification.inference.onnx_export import exported, folded
from cxrloc.classification.inference.runtimes import INT8, RUNTIMES, load_runtime
from cxrloc.classification.network.classifier import ChestClassifier, build_classifier
from cxrloc.datasets.radiograph import LoadedImage

DISEASES = ("Mass", "Nodule", "Effusion")
# runtime, precision -> its name in the records, and the largest difference to float32
CASES = {
    ("torch", "fp32"): ("torch fp32 on cpu", 1e-5),
    ("torch", "bf16"): ("torch bf16 on cpu", 0.03),
    ("torch-bf16", "auto"): ("torch-bf16 on cpu", 0.03),
    ("onnx", "auto"): ("onnx fp32 on cpu", 1e-5),
    ("openvino", "fp32"): ("openvino fp32 on cpu", 1e-5),
    ("openvino", "bf16"): ("openvino bf16 on cpu", 0.03),
    ("openvino-int8", "fp32"): ("openvino int8 and fp32 on cpu", 0.03),
    ("openvino-int8", "bf16"): ("openvino int8 and bf16 on cpu", 0.03),
}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def _own_cache(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))


@pytest.fixture(scope="module")
def model(normalised_resnet: Callable[[int], ChestClassifier]) -> ChestClassifier:
    return normalised_resnet(len(DISEASES))


def _images() -> list[LoadedImage]:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 255, (3, 90, 80), dtype=np.uint8)
    return [LoadedImage(f"{i}.png", image, (90, 80)) for i, image in enumerate(pixels)]


@pytest.fixture(scope="module")
def bundle(model: ChestClassifier) -> ClassifierBundle:
    """With INT8 weights, of other images of noise."""
    thresholds = dict.fromkeys(DISEASES, 0.5)
    plain = ClassifierBundle(model, DISEASES, thresholds, Preprocessing(64), {}, {}, {})
    others = np.random.default_rng(1).integers(0, 255, (8, 64, 64), dtype=np.uint8)
    return replace(plain, int8=calibrate(plain, others))


def _predicted(bundle: ClassifierBundle, runtime: str, precision: str) -> tuple[str, GateOutput]:
    gate = Gate(bundle, precision=precision, runtime=runtime)
    return gate.runtime, gate(_images())


@pytest.mark.parametrize("case", CASES, ids=" ".join)
def test_probabilities_and_maps_are_those_of_float32_within_the_stated_tolerance(
    bundle: ClassifierBundle, case: tuple[str, str], request: pytest.FixtureRequest
) -> None:
    """In bfloat16: .03, about sqrt(51) / 256, is what 51 roundings of random sign, by up to 2^-8
    each, add up to: 17 convolutions in a row that round weights, biases and maps.

    INT8 has the same bound: 8 bits of a layer's range, on average, are coarser than bfloat16's of
    each number, but its weights are rounded to make up for each other (see `int8_calibration`).

    It shows that no layer is left out, folded wrongly or run in a coarser format. It does not show
    how far a trained gate's probabilities move: an untrained head's logits are small, a trained
    one's larger, and so are their errors: up to .066 on real images (see `runtimes`).
    """
    if case[0] == INT8:
        request.getfixturevalue("int8_cpu")
    with torch.inference_mode():
        expected = bundle.model(Preprocessing(64).from_images(_images()))

    name, output = _predicted(bundle, *case)

    assert name == CASES[case][0]
    tolerance = CASES[case][1]
    probabilities = torch.sigmoid(expected.logits.double()).numpy()
    np.testing.assert_allclose(output.probabilities, probabilities, atol=tolerance)
    assert output.features is not None
    assert output.features.dtype == torch.float32
    error = (output.features - expected.features).abs().max() / expected.features.abs().max()
    assert error < tolerance


@pytest.mark.skipif(
    not torch.ops.mkldnn._is_mkldnn_bf16_supported(), reason="oneDNN has no bfloat16 on this CPU"
)
def test_torch_bf16_leaves_biases_in_float32() -> None:
    """-1 + (1 + 2^-9) is 2^-9; with the bias rounded to bfloat16, which is 1, it would be 0."""
    layer = nn.Conv2d(1, 1, 32)
    nn.init.constant_(layer.weight, -1 / 1024)
    nn.init.constant_(layer.bias, 1 + 2**-9)  # type: ignore[arg-type]
    model = build_classifier("simple_cnn", 1)[0].eval()
    model.backbone = nn.Sequential(layer)
    with torch.inference_mode():
        output = load_runtime("torch-bf16", model, (1, 32, 32), "cpu").backbone(
            torch.ones(1, 1, 32, 32)
        )
    assert output.dtype == torch.bfloat16
    assert output.item() == 2**-9


def test_every_runtime_is_among_the_cases() -> None:
    assert {runtime for runtime, _ in CASES} == set(RUNTIMES)


def test_folding_leaves_no_normalisation_behind_and_the_model_as_it_is(
    model: ChestClassifier,
) -> None:
    norms = [
        layer for layer in folded(model.backbone).modules() if isinstance(layer, nn.BatchNorm2d)
    ]
    assert norms == []
    assert any(isinstance(layer, nn.BatchNorm2d) for layer in model.backbone.modules())


def test_the_network_is_exported_once_and_again_for_other_weights(
    cache: Path, model: ChestClassifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = exported(model, (3, 64, 64))
    assert first.is_relative_to(cache)

    def refuse(*_: object) -> None:
        raise AssertionError("exported again")

    monkeypatch.setattr(exporting, "_export", refuse)
    assert exported(model, (3, 64, 64)) == first
    other = build_classifier("resnet18", 2, seed=9)[0].eval()
    with pytest.raises(AssertionError, match="exported again"):
        exported(other, (3, 64, 64))
    assert list(cache.rglob("*.tmp*")) == []


def test_a_network_of_one_grey_channel_is_exported_as_such() -> None:
    backbone = nn.Conv2d(1, 4, 32, 32)
    model = build_classifier("simple_cnn", 1)[0].eval()
    model.backbone = backbone
    x = torch.rand(2, 1, 64, 64)
    with torch.inference_mode():
        output = load_runtime("onnx", model, (1, 64, 64)).backbone(x)
        torch.testing.assert_close(output, backbone(x), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("runtime", "device", "precision", "message"),
    [
        (
            "tensorrt",
            "cpu",
            "auto",
            "unknown runtime 'tensorrt'; expected one of torch, torch-bf16, onnx",
        ),
        ("onnx", "cuda", "auto", "runtime onnx runs on the CPU, not on 'cuda'"),
        ("openvino", "cuda:0", "auto", "runtime openvino runs on the CPU"),
        ("onnx", "cpu", "bf16", "runtime onnx computes in float32"),
        ("torch-bf16", "cpu", "fp32", "runtime torch-bf16 computes in bfloat16"),
        ("openvino", "cpu", "int8", "precision 'int8', expected one of auto, fp32, bf16"),
    ],
)
def test_what_a_runtime_does_not_have_is_refused(
    model: ChestClassifier, runtime: str, device: str, precision: str, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        load_runtime(runtime, model, (3, 64, 64), device, precision)


@pytest.mark.parametrize(("runtime", "module"), [("onnx", "onnxruntime"), ("openvino", "openvino")])
def test_a_runtime_that_is_not_installed_says_how_to_install_it(
    model: ChestClassifier, runtime: str, module: str, without: Callable[[str], None]
) -> None:
    without(module)
    with pytest.raises(ImportError, match=rf'needs {module}.*pip install "cxrloc\[runtimes\]"'):
        load_runtime(runtime, model, (3, 64, 64))


def test_signals_are_handled_after_runtimes_ended_in_the_order_they_were_made(
    tmp_path: Path,
) -> None:
    """OpenVINO would leave the process a stack for signal handlers that is freed: see `_core`."""
    script = """
        import signal
        from cxrloc.classification.network.classifier import build_classifier
        from cxrloc.classification.inference.runtimes import load_runtime
        signal.signal(signal.SIGINT, lambda *_: print("handled"))
        model = build_classifier("simple_cnn", 1)[0].eval()
        first, second = (load_runtime("openvino", model, (3, 64, 64)) for _ in range(2))
        del first
        del second
        signal.raise_signal(signal.SIGINT)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        env={**os.environ, "XDG_CACHE_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (0, "handled\n"), done.stderr


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Makes a package look as if it were not installed."""
    return lambda module: monkeypatch.setitem(sys.modules, module, None)
