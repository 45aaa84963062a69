"""Run the gate's backbone in torch, or exported in ONNX Runtime or OpenVINO.

    torch          any device; float32, or bfloat16 autocast, depending on `precision`
    torch-bf16     any device; weights and maps in bfloat16, the fastest torch option on CPUs
    onnx           ONNX Runtime on the CPU, float32
    openvino       OpenVINO on the CPU; "auto" is bfloat16 if the CPU has it, otherwise float32
    openvino-int8  the same with most convolutions in INT8, on CPUs with VNNI instructions; needs
                   weights from cxrloc quantize (see `bundle/int8.py`,
                   `int8_calibration`)

Batch normalisation is folded into the convolutions, except under bfloat16 autocast, which would
round the folded biases and double the error of the probabilities. For the same reason torch-bf16
keeps them in float32 on CPUs where oneDNN computes with bfloat16 (for 1 % more time; OpenVINO
rounds them, and so does torch-bf16 elsewhere). The mean over the map, the head and the class
activation maps stay in torch, in float32: they cost nothing, and every runtime then gives both the
probabilities and the map. OpenVINO and ONNX Runtime share one ONNX file, exported at first use and
cached.

Differences from torch in float32, measured by cxrloc compare-runtimes on a CPU with
AVX-512 BF16 and VNNI, one thread: five ResNet-18s trained at 320 px on NIH images, 8 diseases, each
on its held-out fold: 1,026 images of 777 patients, 8,208 decisions. INT8 was calibrated on 96
training images and left one of 20 convolutions in float (five in one network). Boxes: overlap (IoU)
of the strongest Grad-CAM boxes for diseases present in both, 3,200 to 3,224 of them in the rows
with rounding. Brackets: 95 % intervals, patients resampled 10,000 times.

                     probabilities    decisions turned,   IoU of boxes
                     largest  mean    per thousand        median  > .8               0
    torch, autocast   .032   .0033     5.2 [3.8, 6.8]      .977   .948 [.940, .956]  .020
    torch-bf16        .036   .0033     6.0 [4.3, 7.8]      .976   .955 [.947, .962]  .017
    openvino, bf16    .066   .0069    11.1 [8.9, 13.3]     .964   .934 [.925, .942]  .024
    INT8 and bf16     .040   .0040     6.5 [4.7, 8.4]      .968   .936 [.927, .944]  .023
    INT8 and fp32     .032   .0032     5.8 [4.2, 7.7]      .974   .950 [.941, .958]  .019
    onnx               0      0        0                  1.000  1.000               0
    openvino, fp32     0      0        0                  1.000  1.000               0

Zero means below 5e-6. A box with IoU 0 is another region of the same map: rounding changed the
choice. The macro AUC over the 8 diseases, pooled over folds, is .711 in every row and differs from
float32's by at most .0005.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import nn

from cxrloc.classification.inference.onnx_export import (
    Shape,
    exported,
    exported_int8,
    folded,
    package,
)
from cxrloc.classification.inference.openvino_network import (
    Backbone,
    by_image,
    check_vnni,
    compile_network,
)
from cxrloc.classification.network.classifier import ChestClassifier
from cxrloc.classification.network.int8 import Int8Backbone
from cxrloc.classification.network.precision import (
    PRECISIONS,
    Precision,
    autocast,
    resolve_device,
    resolve_precision,
)

INT8 = "openvino-int8"


@dataclass(frozen=True)
class Runtime:
    """A backbone ready to run.

    Attributes:
        name: program, number format and device, for the records.
        precision: the number format of its computation; with INT8, of the rest.
        device: device of the input and the features.
        backbone: (N, C, S, S) float32 -> features (N, K, h, w) of any float type.
    """

    name: str
    precision: Precision
    device: torch.device
    backbone: Backbone


@dataclass(frozen=True)
class _Wanted:
    model: ChestClassifier
    shape: Shape
    device: str
    precision: str
    int8: Int8Backbone | None


def load_runtime(
    name: str,
    model: ChestClassifier,
    shape: Shape,
    device: str = "auto",
    precision: str = "auto",
    int8: Int8Backbone | None = None,
) -> Runtime:
    """Load the model's backbone in the named runtime; the model itself does not change.

    Args:
        name: a key of `RUNTIMES`.
        model: in evaluation mode.
        shape: (C, S, S) of one image's input.
        device: "auto", "cpu", "cuda" or "cuda:0"; onnx and openvino run only on the CPU.
        precision: "auto", "fp32" or "bf16", if the runtime supports it.
        int8: the model's INT8 weights, required by openvino-int8 (`Gate` checks that they match).

    Raises:
        ValueError: for an unknown name, an unsupported device or precision, a CPU on which
            openvino-int8 is wrong, or missing INT8 weights.
        ImportError: if the runtime is not installed, with the install command.
    """
    if name not in RUNTIMES:
        raise ValueError(f"unknown runtime {name!r}; expected one of {', '.join(RUNTIMES)}")
    if precision not in PRECISIONS:
        raise ValueError(f"precision {precision!r}, expected one of {', '.join(PRECISIONS)}")
    return RUNTIMES[name](_Wanted(model, shape, device, precision, int8))


def _torch(wanted: _Wanted) -> Runtime:
    place = resolve_device(wanted.device)
    number = resolve_precision(wanted.precision, place)
    copy = folded if number == "fp32" else deepcopy
    backbone = copy(wanted.model.backbone).to(place)
    backbone = backbone.to(memory_format=torch.channels_last)

    def run(x: torch.Tensor) -> torch.Tensor:
        with autocast(number, place):
            features: torch.Tensor = backbone(x)
        return features

    return Runtime(f"torch {number} on {place}", number, place, run)


def _torch_bf16(wanted: _Wanted) -> Runtime:
    if wanted.precision == "fp32":
        raise ValueError("runtime torch-bf16 computes in bfloat16: for fp32 use runtime torch")
    place = resolve_device(wanted.device)
    network = folded(wanted.model.backbone)
    if place.type == "cpu" and torch.ops.mkldnn._is_mkldnn_bf16_supported():
        network = _with_float32_biases(network)
    backbone = network.to(place, torch.bfloat16).to(memory_format=torch.channels_last)
    return Runtime(f"torch-bf16 on {place}", "bf16", place, lambda x: backbone(x.bfloat16()))


class _Float32Bias(nn.Module):
    """A bfloat16 convolution with a float32 bias, which oneDNN supports and `nn.Conv2d` does not.

    The operator is a private one that torch's own compiler uses on CPUs.
    """

    def __init__(self, layer: nn.Conv2d) -> None:
        super().__init__()
        self.layer = layer
        # in a tuple, not a buffer: `.to(torch.bfloat16)` would round it
        self.bias = (None if layer.bias is None else layer.bias.detach().float().clone(),)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        layer = self.layer
        output: torch.Tensor = torch.ops.mkldnn._convolution_pointwise(
            x.contiguous(memory_format=torch.channels_last),
            layer.weight,
            self.bias[0],
            layer.padding,
            layer.stride,
            layer.dilation,
            layer.groups,
            "none",
            [],
            "",
        )
        return output


def _with_float32_biases(network: nn.Module) -> nn.Module:
    for name, layer in list(network.named_modules()):
        if isinstance(layer, nn.Conv2d) and layer.padding_mode == "zeros":
            network.set_submodule(name, _Float32Bias(layer))
    return network


def _onnx(wanted: _Wanted) -> Runtime:
    if wanted.precision == "bf16":
        raise ValueError("runtime onnx computes in float32: use openvino or torch-bf16 for bf16")
    _check_cpu("onnx", wanted.device)
    program = package("onnxruntime", "onnx")
    options = program.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = program.InferenceSession(
        str(exported(wanted.model, wanted.shape)), options, providers=["CPUExecutionProvider"]
    )
    run = by_image(lambda x: session.run(None, {"x": x})[0])
    return Runtime("onnx fp32 on cpu", "fp32", torch.device("cpu"), run)


def _openvino(wanted: _Wanted) -> Runtime:
    _check_cpu("openvino", wanted.device)
    run, number = compile_network(lambda: exported(wanted.model, wanted.shape), wanted.precision)
    return Runtime(f"openvino {number} on cpu", number, torch.device("cpu"), run)


def _openvino_int8(wanted: _Wanted) -> Runtime:
    require_int8(wanted.device)
    int8 = wanted.int8
    if int8 is None:
        raise ValueError(f"runtime {INT8} needs INT8 weights: see cxrloc quantize")
    shape = wanted.shape if int8.grey is None else (1, *wanted.shape[1:])
    run, number = compile_network(
        lambda: exported_int8(wanted.model, int8, shape), wanted.precision
    )
    name = f"openvino int8 and {number} on cpu"
    return Runtime(name, number, torch.device("cpu"), lambda x: run(int8.inputs(x)))


RUNTIMES: dict[str, Callable[[_Wanted], Runtime]] = {
    "torch": _torch,
    "torch-bf16": _torch_bf16,
    "onnx": _onnx,
    "openvino": _openvino,
    INT8: _openvino_int8,
}


def require_int8(device: str = "auto") -> None:
    """Raise if openvino-int8 cannot run.

    Raises:
        ImportError: if openvino or its exporter is missing, with the install command.
        ValueError: for a device other than the CPU, or a CPU without VNNI instructions.
    """
    _check_cpu(INT8, device)
    for module in ("openvino", "onnx", "onnxscript"):
        package(module, INT8)
    check_vnni(INT8)


def _check_cpu(name: str, device: str) -> None:
    if device not in ("auto", "cpu"):
        raise ValueError(f"runtime {name} runs on the CPU, not on {device!r}: use runtime torch")
