"""Export a folded backbone to ONNX for other programs, at first use and with a cache."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from cxrloc.classification.bundle.classifier import fingerprint
from cxrloc.classification.network.classifier import ChestClassifier
from cxrloc.classification.network.int8 import Int8Backbone
from cxrloc.datasets.files.addresses import cache_folder
from cxrloc.datasets.files.atomic import whole_file
from cxrloc.datasets.files.parse import one_line

Shape = tuple[int, int, int]


def folded(backbone: nn.Module) -> nn.Module:
    """Copy a network, folding every batch normalisation into the convolution before it."""
    from torch.fx.experimental.optimization import fuse

    with torch.no_grad():
        network: nn.Module = fuse(backbone)
    return network


def exported(model: ChestClassifier, shape: Shape) -> Path:
    """ONNX file of the folded backbone for one image of this shape; created at first use."""
    key = fingerprint(model.backbone.state_dict(), f"{torch.__version__} {model.map_stride}")
    return _cached(
        f"{model.architecture}_{shape[-1]}px_{key}", lambda: folded(model.backbone), shape
    )


def exported_int8(model: ChestClassifier, int8: Int8Backbone, shape: Shape) -> Path:
    """The same for the backbone in INT8, for one image from `Int8Backbone.inputs`."""
    network = int8.network(folded(model.backbone))
    inputs = [(name, layer.step, layer.zero) for name, layer in int8.layers.items()]
    more = f"{torch.__version__} {model.map_stride} {shape} {inputs} {int8.grey}"
    key = fingerprint(network.state_dict(), more)
    return _cached(f"{model.architecture}_int8_{shape[-1]}px_{key}", lambda: network, shape)


def _cached(name: str, network: Callable[[], nn.Module], shape: Shape) -> Path:
    path = cache_folder() / f"{name}.onnx"
    if not path.is_file():
        with whole_file(path) as temporary:
            _export(network(), shape, temporary)
    return path


def _export(backbone: nn.Module, shape: Shape, path: Path) -> None:
    example = {"x": torch.zeros(1, *shape, device=next(backbone.parameters()).device)}
    exported_program(backbone, example, ["features"]).save(path, external_data=False)


def exported_program(
    network: nn.Module,
    inputs: Mapping[str, torch.Tensor],
    outputs: Sequence[str],
    *,
    batches: bool = False,
    operators: Mapping[Any, Any] | None = None,
) -> Any:
    """The network as torch's `ONNXProgram`.

    Args:
        inputs: name -> an example, in the order of the network's arguments.
        outputs: their names, in order.
        batches: leave the number of images open; the examples then hold two or more.
        operators: operator of torch -> how it is written in ONNX, for those that are ours.

    Raises:
        ValueError: for a network that the exporter cannot express.
        ImportError: without its packages, with the install command.
    """
    package("onnx", "onnx")
    package("onnxscript", "onnx")
    first = {0: torch.export.Dim("N")}
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # the exporter's notes are for its own developers
        try:
            return torch.onnx.export(
                network,
                tuple(inputs.values()),
                input_names=list(inputs),
                output_names=list(outputs),
                dynamo=True,
                dynamic_shapes=(first,) * len(inputs) if batches else None,
                custom_translation_table=None if operators is None else dict(operators),
                verbose=False,
            )
        except torch.onnx.OnnxExporterError as error:
            fault = one_line(error)
            raise ValueError(f"torch cannot write this network as ONNX: {fault}") from error


def package(module: str, runtime: str) -> ModuleType:
    """Import the module; raise ImportError with the install command if it is missing."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(
            f"runtime {runtime} needs {module}, which is not installed: "
            'pip install "cxrloc[runtimes]"'
        ) from error
