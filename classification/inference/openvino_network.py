"""Run networks in OpenVINO: compiled once per process, on CPUs that compute them correctly."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch

from cxrloc.classification.inference.onnx_export import package
from cxrloc.classification.network.precision import Precision
from cxrloc.datasets.files.addresses import cache_folder

Backbone = Callable[[torch.Tensor], torch.Tensor]


@cache
def _core(openvino: ModuleType) -> Any:
    """Return this process's only OpenVINO core, which is never released.

    When a core first uses the CPU, OpenVINO 2026.4 gives the thread a stack for signal handlers;
    when the core ends, it restores the previous stack. With two cores, if the first ends first, the
    end of the second restores the first's stack, whose memory is already free. Python's next signal
    (an interrupt, a child's end) would then overwrite whatever is there.
    """
    return openvino.Core()


def compile_network(export: Callable[[], Path], precision: str) -> tuple[Backbone, Precision]:
    """Compile an ONNX file with OpenVINO; also return the number format of the non-INT8 part."""
    core = _core(package("openvino", "openvino"))
    able = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    bf16 = able if precision == "auto" else precision == "bf16"
    number: Precision = "bf16" if bf16 else "fp32"
    settings = {
        "INFERENCE_PRECISION_HINT": {"fp32": "f32", "bf16": "bf16"}[number],
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "CACHE_DIR": str(cache_folder() / "openvino"),
    }
    network = core.compile_model(str(export()), "CPU", settings)
    return by_image(lambda x: network([x])[0]), number


def by_image(run: Callable[[Any], Any]) -> Backbone:
    """Run a batch image by image: on a CPU a batch is no faster than its images."""

    def batch(x: torch.Tensor) -> torch.Tensor:
        maps = [
            torch.from_numpy(np.array(run(image.contiguous().numpy())))
            for image in torch.split(x, 1)
        ]
        return torch.cat(maps)

    return batch


@cache
def check_vnni(runtime: str) -> None:
    """Refuse CPUs without VNNI instructions: their 16-bit sums of products saturate at 32,767.

    OpenVINO does not report which CPUs these are, so we run one convolution of the largest numbers.
    """
    program, ops, channels = package("openvino", runtime), package("openvino.opset13", runtime), 64
    x = ops.parameter([1, channels, 4, 4], np.float32)
    weight = ops.constant(np.full((channels, channels, 1, 1), 127, np.float32))
    zero, least, largest, most = (np.float32(number) for number in (0, -127, 127, 255))
    given = ops.fake_quantize(x, zero, most, zero, most, 256)
    kernel = ops.fake_quantize(weight, least, largest, least, largest, 255)
    sums = ops.convolution(given, kernel, [1, 1], [0, 0], [0, 0], [1, 1])
    network = _core(program).compile_model(program.Model([sums], [x]), "CPU")
    computed = network([np.full((1, channels, 4, 4), 255, np.float32)])[0]
    if not np.allclose(computed, channels * 255 * 127, rtol=0.01):
        raise ValueError(
            f"runtime {runtime}: this CPU's 8-bit products overflow (it has no VNNI instructions), "
            "so its results would be wrong: use runtime openvino"
        )
