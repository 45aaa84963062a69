"""A backbone for other programs: folded, exported to ONNX at first use, kept in a cache."""

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
    """A copy with every batch normalisation that follows a convolution folded into it."""
    from torch.fx.experimental.optimization import fuse

    with torch.no_grad():
        network: nn.Module = fuse(backbone)
    return network


def exported(model: ChestClassifier, shape: Shape) -> Path:
    """ONNX file of the folded backbone for one image of that shape; made at first use."""
    key = fingerprint(model.backbone.state_dict(), torch.__version__)
    return _cached(
        f"{model.architecture}_{shape[-1]}px_{key}", lambda: folded(model.backbone), shape
    )


def exported_int8(model: ChestClassifier, int8: Int8Backbone, shape: Shape) -> Path:
    """The same of the backbone in INT8, for one image of what `Int8Backbone.inputs` gives."""
    network = int8.network(folded(model.backbone))
    inputs = [(name, layer.step, layer.zero) for name, layer in int8.layers.items()]
    key = fingerprint(network.state_dict(), f"{torch.__version__} {shape} {inputs} {int8.grey}")
    return _cached(f"{model.architecture}_int8_{shape[-1]}px_{key}", lambda: network, shape)


def _cached(name: str, network: Callable[[], nn.Module], shape: Shape) -> Path:
    path = cache_folder() / f"{name}.onnx"
    if not path.is_file():
        with whole_file(path) as temporary, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the exporter's notes to its own developers
            _export(network(), shape, temporary)
    return path


def cache_folder() -> Path:
    """Where exported networks are kept: `cxrloc` in XDG_CACHE_HOME, by default in ~/.cache."""
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
    """The module, or ImportError with the way to install it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(
            f"runtime {runtime} needs {module}, which is not installed: "
            'pip install "cxrloc[runtimes]"'
        ) from error
