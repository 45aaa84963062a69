"""Export a folded backbone to ONNX for other programs, at first use and with a cache."""

from __future__ import annotations

import importlib
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import torch
from torch import nn

from cxrloc.classification.bundle.classifier import fingerprint
from cxrloc.classification.network.classifier import ChestClassifier
from cxrloc.classification.network.int8 import Int8Backbone
from cxrloc.datasets.files.atomic import whole_file

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
        with whole_file(path) as temporary, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the exporter's notes are for its own developers
            _export(network(), shape, temporary)
    return path


def cache_folder() -> Path:
    """Cache of exported networks: `cxrloc` in XDG_CACHE_HOME, by default in ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cxrloc"


def _export(backbone: nn.Module, shape: Shape, path: Path) -> None:
    package("onnx", "onnx")
    package("onnxscript", "onnx")
    example = torch.zeros(1, *shape, device=next(backbone.parameters()).device)
    torch.onnx.export(
        backbone,
        (example,),
        path,
        input_names=["x"],
        output_names=["features"],
        dynamo=True,
        external_data=False,
        verbose=False,
    )


def package(module: str, runtime: str) -> ModuleType:
    """Import the module; raise ImportError with the install command if it is missing."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(
            f"runtime {runtime} needs {module}, which is not installed: "
            'pip install "cxrloc[runtimes]"'
        ) from error
