"""Read and write a gate's INT8 weights, made by `int8_calibration`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import torch

from cxrloc.classification.bundle.classifier import ClassifierBundle, fingerprint
from cxrloc.classification.bundle.file import read_bundle, write_bundle
from cxrloc.classification.bundle.preprocessing import stored
from cxrloc.classification.network.int8 import (
    GreyInput,
    Int8Backbone,
    Int8Layer,
)

KIND = "int8"


def bundle_fingerprint(bundle: ClassifierBundle) -> str:
    """Fingerprint of what INT8 weights depend on: backbone, map and preprocessing without size."""
    values, tensors = stored(bundle.preprocessing)
    values = {name: value for name, value in values.items() if name != "size"}
    network = bundle.model
    settings = f"{values} {network.map_stride}"
    return fingerprint({**network.backbone.state_dict(), **tensors}, settings)


def int8_path(classifier: Path) -> Path:
    """Path of a bundle's INT8 weights: `classifier.int8.safetensors` next to it."""
    return classifier.with_name(f"{classifier.name.removesuffix('.safetensors')}.int8.safetensors")


def save_int8(path: Path, int8: Int8Backbone) -> None:
    """Write one `.safetensors` file (atomic)."""
    tensors: dict[str, torch.Tensor] = {}
    inputs: dict[str, dict[str, float]] = {}
    for name, layer in int8.layers.items():
        tensors |= {f"{name}.weight": layer.weight, f"{name}.scale": layer.scale}
        inputs[name] = {"step": layer.step, "zero": layer.zero}
    write_bundle(
        path,
        tensors,
        {
            **int8.metadata,
            "kind": KIND,
            "inputs": inputs,
            "grey": int8.grey and asdict(int8.grey),
            "left": list(int8.left),
            "fingerprint": int8.fingerprint,
        },
    )


def load_int8(classifier: Path) -> Int8Backbone:
    """Read the INT8 weights made for a bundle.

    Args:
        classifier: the bundle's own file, `classifier.safetensors`.

    Raises:
        FileNotFoundError, ValueError: if they are missing or damaged.
    """
    path = int8_path(classifier)
    if not path.is_file():
        raise FileNotFoundError(
            f"no INT8 weights at {path}: make them with "
            f"`cxrloc quantize --gate {classifier} IMAGES`"
        )
    tensors, meta = read_bundle(path, KIND)
    try:
        layers = {
            name: Int8Layer(
                tensors[f"{name}.weight"], tensors[f"{name}.scale"], entry["step"], entry["zero"]
            )
            for name, entry in meta["inputs"].items()
        }
        grey = meta["grey"] and GreyInput(
            meta["grey"]["layer"], tuple(meta["grey"]["scale"]), tuple(meta["grey"]["shift"])
        )
        return Int8Backbone(layers, grey, tuple(meta["left"]), meta["fingerprint"], meta)
    except KeyError as error:
        raise ValueError(
            f"{path}: {error} is missing; make the file again (cxrloc quantize)"
        ) from error
