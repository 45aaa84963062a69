"""Compute INT8 weights from a trained classifier and some images, without labels or training.

For every convolution (with one group) the images provide the range of its input and the second
moments of its input patches. The quantised range is the part of the input's range with the least
mean square rounding error. Weights are rounded by GPTQ: weights not yet rounded compensate the
error of those already rounded, as given by the moments. That matters here: radiographs are smooth,
so a kernel's inputs are nearly equal, and edge kernels, whose weights add up to 0, would pass on
the error of the sum. Rounding weights one by one costs a ResNet-18's features an error of -23 dB of
their power; GPTQ costs -34 dB. Convolutions whose inputs do not tolerate 8 bits stay in float.

We tried libraries for this on 205 held-out images of one gate, with all else in float32. Our method
keeps 98 % of the boxes there (94 % over five gates; see `runtimes` for the measure). NNCF 3.4
rounds weights one by one and kept 73 %, or 89 % with the first two convolutions in float32.
Brevitas 0.13 has GPTQ for convolutions; with the second convolution in float it kept 88 %, took
about three times as long, and only runs with an old release of one of its requirements.

Source of GPTQ: Frantar et al., GPTQ: accurate post-training quantization for generative pre-trained
transformers, ICLR 2023, algorithm 1, here applied to convolutions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional as F

from cxrloc.classification.bundle.classifier import ClassifierBundle
from cxrloc.classification.bundle.int8 import bundle_fingerprint
from cxrloc.classification.inference.onnx_export import folded
from cxrloc.classification.network.int8 import (
    LARGEST,
    LEVELS,
    GreyInput,
    Int8Backbone,
    Int8Layer,
    on_grey_levels,
)
from cxrloc.datasets.progress import progress

Squares = npt.NDArray[np.uint8]

# Largest error of the features from 8-bit inputs, relative to their power, in dB: a ResNet-18 in
# OpenVINO's bfloat16 has -27.
ERROR_DB = -30.0
# Largest total error, including weights, before INT8 is refused
WORST_DB = -20.0
CALIBRATION_IMAGES = 96  # for calibration; more change little
_PROBED = 16  # images on which the error is measured
_PATCHES = 128  # per image and convolution
_VALUES = 4096
_DAMPING = 0.01  # relative to the moments' mean diagonal, as in the paper
_BLOCK = 128


@dataclass
class _Seen:
    """Statistics of one convolution's input over the images."""

    moments: torch.Tensor
    values: list[torch.Tensor] = field(default_factory=list)
    lowest: float = 0.0
    highest: float = 0.0


@torch.inference_mode()
def calibrate(bundle: ClassifierBundle, squares: Squares, *, seed: int = 0) -> Int8Backbone:
    """Compute INT8 weights for the bundle's backbone; shows a progress bar.

    Runs each image once, and 16 images per convolution. On two cores a ResNet-18 takes a minute and
    a half at 320 px, a DenseNet-121 with its 120 convolutions at 512 px about 20 minutes.

    Args:
        bundle: any classifier.
        squares: (N, S, S) or (N, 3, S, S) from `Preprocessing.squares`, for images like those to
            predict later. About a hundred are enough.
        seed: seed for the choice of patches and values.

    Raises:
        ValueError: without images, or if INT8 does not work for this network.
    """
    if not len(squares):
        raise ValueError("no images to calibrate INT8 on")
    network = folded(bundle.model.backbone)
    prepare = bundle.preprocessing.to_tensor
    probes = [prepare(square[None]) for square in squares[:_PROBED]]
    exact = [network(x) for x in probes]
    int8 = Int8Backbone(
        {},
        _grey_input(bundle, network, probes[0]),
        (),
        bundle_fingerprint(bundle),
        {"diseases": list(bundle.diseases)},
    )
    on_grey_levels(network, int8.grey)
    inputs = (int8.inputs(prepare(each[None])) for each in progress(squares, "calibrating"))
    seen = _look(network, inputs, torch.Generator().manual_seed(seed))
    ranges = {
        name: _input_range(statistics)
        for name, statistics in seen.items()
        if statistics.lowest < statistics.highest
    }
    if int8.grey is not None:
        ranges[f"{int8.grey.layer}.conv"] = 1.0, int8.grey.zero
    probes = [int8.inputs(x) for x in probes]
    layers = {}
    names = _bearing(network, ranges, probes, exact)
    for name in progress(names, "rounding weights", unit="layer"):
        layer = network.get_submodule(name)
        assert isinstance(layer, nn.Conv2d)
        weight, scale = gptq(layer.weight.flatten(1), seen[name].moments)
        layers[name] = Int8Layer(weight.view_as(layer.weight), scale, *ranges[name])
    left = tuple(
        name
        for name, layer in network.named_modules()
        if isinstance(layer, nn.Conv2d) and name not in layers
    )
    int8 = replace(int8, layers=layers, left=left)
    error = _error(int8.network(folded(bundle.model.backbone)), probes, exact)
    if not (layers and error < 10 ** (WORST_DB / 10)):  # NaN too
        raise ValueError(
            f"INT8 does not work for this network ({bundle.model.architecture}): {len(layers)} "
            f"convolutions allow it, and the error of the features is {error:.3g} of their power"
        )
    return int8


def gptq(weight: torch.Tensor, moments: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Round weights such that their products with inputs of these moments change least.

    Args:
        weight: (O, K) float.
        moments: (K, K), the sum of x x^T over inputs x (K,).

    Returns:
        (O, K) int8 of -127 to 127, and the scale (O,) of each row: its largest weight / 127.
    """
    peak = weight.abs().amax(1)
    scale = torch.where(peak > 0, peak / LARGEST, torch.ones_like(peak)).float()
    order = torch.argsort(moments.diagonal(), descending=True)
    hessian = moments.double()[order][:, order]
    mean = float(hessian.diagonal().mean())
    hessian.diagonal().add_(_DAMPING * mean if mean > 0 else 1.0)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(hessian))
    factor = torch.linalg.cholesky(inverse, upper=True).float()
    left, rounded = weight.float()[:, order], torch.zeros_like(weight, dtype=torch.int8)
    for start in range(0, weight.shape[1], _BLOCK):
        stop = min(start + _BLOCK, weight.shape[1])
        block, triangle = left[:, start:stop].clone(), factor[start:stop, start:stop]
        errors = torch.zeros_like(block)
        for k in range(stop - start):
            whole = torch.clamp(torch.round(block[:, k] / scale), -LARGEST, LARGEST)
            rounded[:, start + k] = whole.to(torch.int8)
            errors[:, k] = (block[:, k] - whole * scale) / triangle[k, k]
            block[:, k:] -= errors[:, k, None] * triangle[k, k:]
        left[:, stop:] -= errors @ factor[start:stop, stop:]
    ordered_back = torch.empty_like(rounded)
    ordered_back[:, order] = rounded
    return ordered_back, scale


def _grey_input(bundle: ClassifierBundle, network: nn.Module, x: torch.Tensor) -> GreyInput | None:
    """The grey input, if one convolution takes the network's input (not so in GoogLeNet)."""
    affine = bundle.preprocessing.grey_affine
    called: list[str] = []

    def note(name: str, layer: nn.Conv2d, given: torch.Tensor) -> None:
        if given is x:
            called.append(name)

    with _watched(network, note):
        network(x)
    return GreyInput(called[0], *affine) if affine and len(called) == 1 else None


@contextmanager
def _watched(
    network: nn.Module, watch: Callable[[str, nn.Conv2d, torch.Tensor], None]
) -> Iterator[None]:
    """Call `watch(name, layer, input)` before every convolution that supports INT8."""
    handles = [
        layer.register_forward_pre_hook(
            lambda module, given, name=name: watch(name, module, given[0])
        )
        for name, layer in network.named_modules()
        if isinstance(layer, nn.Conv2d)
        and layer.groups == 1
        and layer.padding_mode == "zeros"
        and not isinstance(layer.padding, str)
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _look(
    network: nn.Module, inputs: Iterable[torch.Tensor], generator: torch.Generator
) -> dict[str, _Seen]:
    seen: dict[str, _Seen] = {}

    def look(name: str, layer: nn.Conv2d, x: torch.Tensor) -> None:
        patches, values = _patches(x, layer, generator), x.flatten()
        size = patches.shape[1]
        statistics = seen.setdefault(name, _Seen(torch.zeros(size, size)))
        statistics.moments += patches.T @ patches
        statistics.values.append(
            values[torch.randint(len(values), (_VALUES,), generator=generator)]
        )
        statistics.lowest = min(statistics.lowest, float(values.min()))
        statistics.highest = max(statistics.highest, float(values.max()))

    with _watched(network, look):
        for x in inputs:
            network(x)
    return seen


def _patches(x: torch.Tensor, layer: nn.Conv2d, generator: torch.Generator) -> torch.Tensor:
    """(at most _PATCHES, I * h * w) from one image's input (1, I, H, W)."""
    assert not isinstance(layer.padding, str)  # see `_watched`
    above, left = layer.padding
    padded = F.pad(x, (left, left, above, above))
    windows = padded
    for axis, (side, step, apart) in enumerate(
        zip(layer.kernel_size, layer.stride, layer.dilation, strict=True), start=2
    ):
        windows = windows.unfold(axis, (side - 1) * apart + 1, step)[..., ::apart]
    columns = windows.shape[3]
    some = torch.randperm(windows.shape[2] * columns, generator=generator)[:_PATCHES]
    return windows[0, :, some // columns, some % columns].transpose(0, 1).flatten(1)


def _input_range(seen: _Seen) -> tuple[float, int]:
    """Best step and zero of the input, among 33 parts of its range from a fifth to all of it."""
    values = torch.cat(seen.values)
    best = (float("inf"), 1.0, 0)
    for part in np.linspace(0.2, 1, 33):
        step = max((seen.highest - seen.lowest) * float(part) / LEVELS, 1e-12)
        zero = min(max(round(-seen.lowest * float(part) / step), 0), LEVELS)
        rounded = torch.fake_quantize_per_tensor_affine(values, step, zero, 0, LEVELS)
        best = min(best, (float((rounded - values).square().mean()), step, zero))
    return best[1:]


def _bearing(
    network: nn.Module,
    ranges: Mapping[str, tuple[float, int]],
    inputs: Sequence[torch.Tensor],
    exact: Sequence[torch.Tensor],
) -> list[str]:
    """Convolutions that tolerate 8-bit inputs: those of least error that together keep `ERROR_DB`.

    Each error is measured with all other convolutions exact; errors of different layers add up.
    """
    errors = {}
    for name in progress(ranges, "choosing", unit="layer"):
        step, zero = ranges[name]
        handle = network.get_submodule(name).register_forward_pre_hook(
            lambda _, given, step=step, zero=zero: (
                torch.fake_quantize_per_tensor_affine(given[0], step, zero, 0, LEVELS),
            )
        )
        errors[name] = _error(network, inputs, exact)
        handle.remove()
    ordered = sorted(errors, key=errors.__getitem__)
    bearable = np.cumsum([errors[name] for name in ordered]) <= 10 ** (ERROR_DB / 10)
    chosen = {name for name, bears in zip(ordered, bearable, strict=True) if bears}
    return [name for name in ranges if name in chosen]


def _error(
    network: nn.Module, inputs: Sequence[torch.Tensor], exact: Sequence[torch.Tensor]
) -> float:
    """Power of the network's error, relative to the power of the exact output."""
    pairs = zip(inputs, exact, strict=True)
    error = sum(float((network(x) - output).square().sum()) for x, output in pairs)
    power = sum(float(output.square().sum()) for output in exact)
    return error / power if power else float("nan")
