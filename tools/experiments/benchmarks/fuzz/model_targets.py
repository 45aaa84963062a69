"""Model files: bundles of ours, exported networks, and weights of other programs."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from onnx import ModelProto, TensorProto, helper
from safetensors.torch import save_file
from torch import nn

from cxrloc.classification.bundle.classifier import (
    ClassifierBundle,
    load_classifier,
    save_classifier,
)
from cxrloc.classification.bundle.file import read_bundle, read_metadata, write_bundle
from cxrloc.classification.bundle.int8 import int8_path, load_int8, save_int8
from cxrloc.classification.bundle.onnx_file import NETWORK_BYTES, with_metadata, write_onnx
from cxrloc.classification.bundle.preprocessing import Preprocessing
from cxrloc.classification.inference.exported_gate import ExportedBundle, ExportedGate
from cxrloc.classification.network.classifier import build_classifier
from cxrloc.classification.network.content_hash import METADATA
from cxrloc.classification.network.int8 import GreyInput, Int8Backbone, Int8Layer
from cxrloc.classification.network.weights import load_partial, read_weights
from cxrloc.detection.config import DetectorConfig
from cxrloc.detection.mask_rcnn import bundle_metadata
from cxrloc.detection.torchvision_backend.export.exported_predictor import ExportedPredictor
from cxrloc.tools.experiments.benchmarks.fuzz.campaign import Target
from cxrloc.tools.experiments.benchmarks.fuzz.mutations import (
    TENSORS,
    Mutation,
    absurd_json,
    damaged,
)

_DISEASES = ("Mass", "Nodule")
_SIDE = 64


_read_detector = partial(read_bundle, kind="maskrcnn")


def model_targets(folder: Path) -> list[Target]:
    """A file of each kind, in `folder`."""
    gate = _gate(folder / "classifier.safetensors")
    ours: dict[str, tuple[Path, Callable[[Path], Any]]] = {
        "bundle of a gate": (gate, load_classifier),
        "bundle as initial weights": (gate, read_weights),
        "bundle of a detector": (_detector(folder / "maskrcnn.safetensors"), _read_detector),
        "INT8 weights": (_int8(gate), lambda path: load_int8(gate)),
    }
    made = [Target(name, *loader, TENSORS, hashed=True) for name, loader in ours.items()]
    return [*made, *_exported(gate), *_foreign(folder)]


def _gate(path: Path) -> Path:
    model, _ = build_classifier("simple_cnn", len(_DISEASES))
    bundle = ClassifierBundle(
        model,
        _DISEASES,
        {"Mass": 0.5, "Nodule": None},
        Preprocessing(_SIDE),
        {"Mass": (0.5, 0.25)},
        {"config": {"data": {"prepared": "data"}}, "hashes": {"folds": "ab"}},
        {"fold": 1, "k": 3},
    )
    save_classifier(path, bundle)
    return path


def _detector(path: Path) -> Path:
    config = DetectorConfig(diseases=_DISEASES, size=_SIDE)
    weights = {"a.weight": torch.rand(8, 8), "a.count": torch.tensor(3)}
    write_bundle(path, weights, bundle_metadata(config, {"fold": 1, "k": 3}))
    return path


def _int8(gate: Path) -> Path:
    weight = torch.randint(-127, 128, (4, 1, 3, 3), dtype=torch.int8)
    layers = {"conv1": Int8Layer(weight, torch.rand(4), 0.02, 128)}
    grey = GreyInput("conv1", (0.017, 0.017, 0.017), (-2.1, -2.0, -1.8))
    save_int8(int8_path(gate), Int8Backbone(layers, grey, ("fc",), "0" * 16, {}))
    return int8_path(gate)


def _exported(gate: Path) -> list[Target]:
    """An exported gate and detector, with networks that hand on their input."""
    detector = gate.with_name("maskrcnn.safetensors")
    loads: dict[Path, Callable[[Path], Any]] = {
        gate: lambda path: _used(ExportedGate(path).bundle),
        detector: lambda path: [ExportedPredictor(path).metadata[k] for k in ("size", "diseases")],
    }
    targets = []
    for bundle, load in loads.items():
        ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1]) for n in ("in", "out")]
        node = helper.make_node("Identity", ["in"], ["out"])
        graph = helper.make_graph([node], "network", ends[:1], ends[1:])
        imports = [helper.make_opsetid("", 17)]
        network = helper.make_model(graph, opset_imports=imports, ir_version=8)
        path = bundle.with_suffix(".onnx")
        write_onnx(path, network, read_metadata(bundle))
        name = f"exported {bundle.stem}"
        targets.append(Target(name, path, load, (_absurd_metadata, damaged)))
    return targets


def _used(bundle: ExportedBundle) -> list[Any]:
    """What predictions depend on."""
    thresholds = [bundle.thresholds, bundle.examination_thresholds]
    inputs = [bundle.preprocessing, bundle.demographics]
    return [bundle.diseases, bundle.mean_box_sizes, *thresholds, *inputs]


def _absurd_metadata(data: bytes, rng: random.Random) -> bytes:
    """An exported network with an absurd value in its metadata, and the hash of that."""
    stated = {p.key: p.value for p in ModelProto.FromString(data).metadata_props}
    text = absurd_json(stated[METADATA].encode(), rng).decode("utf-8", "replace")
    return with_metadata(data[: int(stated[NETWORK_BYTES])], text)


def _foreign(folder: Path) -> list[Target]:
    """Weights in the formats of other programs, loaded into a network."""
    network = nn.ModuleDict({"conv": nn.Conv2d(1, 8, 3), "norm": nn.BatchNorm2d(8)})
    weights = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    torch.save({"epoch": 3, "state_dict": weights}, folder / "foreign.pth")
    torch.save(weights, folder / "old.pth", _use_new_zipfile_serialization=False)
    save_file(weights, folder / "foreign.safetensors", {"format": "pt"})

    def load(path: Path) -> Any:
        for tensor in network.state_dict().values():
            tensor.zero_()
        print(load_partial(network, read_weights(path), str(path)))
        return network.state_dict()

    kinds: dict[str, Sequence[Mutation]] = {
        "foreign.pth": (damaged,),
        "old.pth": (damaged,),
        "foreign.safetensors": TENSORS,
    }
    return [
        Target(f"weights, {name}", folder / name, load, mutations, unbounded=True)
        for name, mutations in kinds.items()
    ]
