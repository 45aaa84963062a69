"""What runs the gate's backbone: torch, or its export in ONNX Runtime or OpenVINO.

    torch       any device; float32, or bfloat16 autocast as `precision` says
    torch-bf16  any device; weights and maps in bfloat16, the fastest that torch itself does on CPUs
    onnx        ONNX Runtime on the CPU, float32
    openvino    OpenVINO on the CPU; "auto" is bfloat16 where the CPU computes with it, else float32

Batch normalisation is folded into the convolutions, but not under bfloat16 autocast, which would
round the folded biases. To round nothing but them costs the probabilities .011 in the mean, to
round everything .013; so torch-bf16 keeps them in float32 on CPUs where oneDNN computes with
bfloat16 (for 1 % more time; OpenVINO rounds them, and so does torch-bf16 elsewhere). The mean over
the map, the head and the class activation maps stay torch's, in float32: they cost nothing, and so
every runtime gives both the probabilities and the map. ONNX Runtime and OpenVINO share one ONNX
file, exported at first use and kept in a cache.

Differences to torch in float32, measured on a CPU with AVX-512 BF16: a ResNet-18 trained at 320 px
on NIH films, 8 diseases, on 114 films of 98 patients that it had not been trained on (912
decisions). Boxes: overlap (IoU) of the Grad-CAM boxes of diseases present in both, 311 to 318 of
them; "regions" is the share of these maps whose number of regions over the threshold differs.

                   probabilities    decisions  IoU of boxes                      regions
                   largest  mean    turned     median  5 %   least  > .8   > .9  differ
    torch, autocast   .032  .0040    9         .978   .903   0      .971   .949  .039
    torch-bf16        .031  .0037    8         .978   .896   0      .978   .946  .032
    (biases rounded)  .054  .013    13         .957   .795   0      .946   .848  .054
    openvino, bf16    .054  .013    13         .957   .809   0      .952   .867  .057
    onnx              2e-6  2e-7     0        1.000  1.000  1.000  1.000  1.000  0
    openvino, fp32    7e-8  1e-8     0        1.000  1.000  1.000  1.000  1.000  0

torch-bf16 is with biases in float32, the line below it as it is elsewhere. A box whose IoU is 0
(1 to 3 % in bfloat16) is another region of the same map: rounding changed which one is chosen.

INT8 was tried and is not offered. OpenVINO ran the network, quantised by ONNX Runtime (weights by
channel, activations calibrated on 64 training films), in .52 of its time in bfloat16 at 1,024 px.
But of the 960 decisions of such a ResNet-18 on 120 held-out films 24 to 45 turned (bfloat16: 20),
and 54 to 77 % of the boxes kept an IoU over .8 (92 %), 85 % with a quarter of the convolutions left
in bfloat16.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import warnings
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import nn

from cxrloc.classification.models import ChestClassifier
from cxrloc.classification.precision import (
    PRECISIONS,
    Precision,
    autocast,
    resolve_device,
    resolve_precision,
)
from cxrloc.datasets.files import whole_file

Shape = tuple[int, int, int]


@dataclass(frozen=True)
class Runtime:
    """A backbone that is ready to run.

    Attributes:
        name: program, number format and device, for the records.
        precision: the number format that it computes in.
        device: where the input is to be and the features are.
        backbone: (N, C, S, S) float32 -> features (N, K, S/32, S/32) of any float type.
    """

    name: str
    precision: Precision
    device: torch.device
    backbone: Callable[[torch.Tensor], torch.Tensor]


def load_runtime(
    name: str, model: ChestClassifier, shape: Shape, device: str = "auto", precision: str = "auto"
) -> Runtime:
    """The model's backbone in the runtime of that name; the model itself is left as it is.

    Args:
        name: a key of `RUNTIMES`.
        model: in evaluation mode.
        shape: (C, S, S) of one image's input.
        device: "auto", "cpu", "cuda" or "cuda:0"; onnx and openvino run on the CPU alone.
        precision: "auto", "fp32" or "bf16", as the runtime has them.

    Raises:
        ValueError: for an unknown name, or a device or precision that the runtime does not have.
        ImportError: when the runtime is not installed, with the way to install it.
    """
    if name not in RUNTIMES:
        raise ValueError(f"unknown runtime {name!r}; known are {', '.join(RUNTIMES)}")
    if precision not in PRECISIONS:
        raise ValueError(f"precision {precision!r}, expected one of {', '.join(PRECISIONS)}")
    return RUNTIMES[name](model, shape, device, precision)


def _torch(model: ChestClassifier, shape: Shape, device: str, precision: str) -> Runtime:
    place = resolve_device(device)
    number = resolve_precision(precision, place)
    copy = folded if number == "fp32" else deepcopy
    backbone = copy(model.backbone).to(place)
    backbone = backbone.to(memory_format=torch.channels_last)

    def run(x: torch.Tensor) -> torch.Tensor:
        with autocast(number, place):
            features: torch.Tensor = backbone(x)
        return features

    return Runtime(f"torch {number} on {place}", number, place, run)


def _torch_bf16(model: ChestClassifier, shape: Shape, device: str, precision: str) -> Runtime:
    if precision == "fp32":
        raise ValueError("runtime torch-bf16 computes in bfloat16: for fp32 use runtime torch")
    place = resolve_device(device)
    network = folded(model.backbone)
    if place.type == "cpu" and torch.ops.mkldnn._is_mkldnn_bf16_supported():
        network = _with_float32_biases(network)
    backbone = network.to(place, torch.bfloat16).to(memory_format=torch.channels_last)
    return Runtime(f"torch-bf16 on {place}", "bf16", place, lambda x: backbone(x.bfloat16()))


class _Float32Bias(nn.Module):
    """A bfloat16 convolution whose bias stays in float32: oneDNN takes that, `nn.Conv2d` not.

    The operator is the one that torch's own compiler calls on CPUs, under a private name.
    """

    def __init__(self, layer: nn.Conv2d) -> None:
        super().__init__()
        self.layer = layer
        # in a tuple, not a buffer: `.to(torch.bfloat16)` would round it
        self.bias = (None if layer.bias is None else layer.bias.detach().float().clone(),)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        layer = self.layer
        found: torch.Tensor = torch.ops.mkldnn._convolution_pointwise(
            x.contiguous(memory_format=torch.channels_last), layer.weight, self.bias[0],
            layer.padding, layer.stride, layer.dilation, layer.groups, "none", [], "",
        )  # fmt: skip
        return found


def _with_float32_biases(network: nn.Module) -> nn.Module:
    for name, layer in list(network.named_modules()):
        if isinstance(layer, nn.Conv2d) and layer.padding_mode == "zeros":
            network.set_submodule(name, _Float32Bias(layer))
    return network


def _onnx(model: ChestClassifier, shape: Shape, device: str, precision: str) -> Runtime:
    if precision == "bf16":
        raise ValueError("runtime onnx computes in float32: use openvino or torch-bf16 for bf16")
    _check_cpu("onnx", device)
    program = _package("onnxruntime", "onnx")
    options = program.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = program.InferenceSession(
        str(exported(model, shape)), options, providers=["CPUExecutionProvider"]
    )
    run = _by_image(lambda x: session.run(None, {"x": x})[0])
    return Runtime("onnx fp32 on cpu", "fp32", torch.device("cpu"), run)


def _openvino(model: ChestClassifier, shape: Shape, device: str, precision: str) -> Runtime:
    _check_cpu("openvino", device)
    core = _package("openvino", "openvino").Core()
    able = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    bf16 = able if precision == "auto" else precision == "bf16"
    number: Precision = "bf16" if bf16 else "fp32"
    settings = {
        "INFERENCE_PRECISION_HINT": {"fp32": "f32", "bf16": "bf16"}[number],
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "CACHE_DIR": str(cache_folder() / "openvino"),
    }
    network = core.compile_model(str(exported(model, shape)), "CPU", settings)
    run = _by_image(lambda x: network([x])[0])
    return Runtime(f"openvino {number} on cpu", number, torch.device("cpu"), run)


RUNTIMES: dict[str, Callable[[ChestClassifier, Shape, str, str], Runtime]] = {
    "torch": _torch,
    "torch-bf16": _torch_bf16,
    "onnx": _onnx,
    "openvino": _openvino,
}


def folded(backbone: nn.Module) -> nn.Module:
    """A copy with every batch normalisation that follows a convolution folded into it."""
    from torch.fx.experimental.optimization import fuse

    with torch.no_grad():
        network: nn.Module = fuse(backbone)
    return network


def exported(model: ChestClassifier, shape: Shape) -> Path:
    """ONNX file of the folded backbone for one image of that shape; made at first use."""
    key = _fingerprint(model.backbone, torch.__version__)
    path = cache_folder() / f"{model.architecture}_{shape[-1]}px_{key}.onnx"
    if not path.is_file():
        with whole_file(path) as temporary, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the exporter's notes to its own developers
            _export(folded(model.backbone), shape, temporary)
    return path


def cache_folder() -> Path:
    """Where exported networks are kept: `cxrloc` in XDG_CACHE_HOME, by default in ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cxrloc"


def _export(backbone: nn.Module, shape: Shape, path: Path) -> None:
    _package("onnx", "onnx")
    _package("onnxscript", "onnx")
    example = torch.zeros(1, *shape, device=next(backbone.parameters()).device)
    torch.onnx.export(
        backbone, (example,), path, input_names=["x"], output_names=["features"], dynamo=True,
        external_data=False, verbose=False,
    )  # fmt: skip


def _fingerprint(backbone: nn.Module, version: str) -> str:
    digest = hashlib.sha256(version.encode())
    for name, tensor in backbone.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().data)
    return digest.hexdigest()[:16]


def _by_image(run: Callable[[Any], Any]) -> Callable[[torch.Tensor], torch.Tensor]:
    """A network of one image as one of a batch: on a CPU a batch is no faster than its images."""

    def batch(x: torch.Tensor) -> torch.Tensor:
        maps = [
            torch.from_numpy(np.array(run(one.contiguous().numpy()))) for one in torch.split(x, 1)
        ]
        return torch.cat(maps)

    return batch


def _check_cpu(name: str, device: str) -> None:
    if device not in ("auto", "cpu"):
        raise ValueError(f"runtime {name} runs on the CPU, not on {device!r}: use runtime torch")


def _package(module: str, runtime: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(
            f"runtime {runtime} needs {module}, which is not installed: "
            "pip install -e '.[runtimes]'"
        ) from error
