"""Export a gate with its heat maps to ONNX, and check it against torch before it is written."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from cxrloc.classification.bundle.classifier import ClassifierBundle, load_classifier
from cxrloc.classification.bundle.file import read_metadata
from cxrloc.classification.bundle.onnx_file import runtime_package
from cxrloc.classification.inference.exported_gate import (
    DEMOGRAPHICS,
    HEAT_MAPS,
    PROBABILITIES,
    SQUARES,
    ExportedGate,
)
from cxrloc.classification.inference.gate import Gate
from cxrloc.classification.inference.onnx_export import exported_program
from cxrloc.datasets.files.manifest import file_sha256
from cxrloc.datasets.labels.names import NO_FINDING
from cxrloc.localization.cam.export.agreement import (
    FIT,
    Agreement,
    drawn_images,
    least_overlap,
    write_checked,
)
from cxrloc.localization.cam.export.gate_network import GateNetwork, example_inputs
from cxrloc.localization.cam.guided import map_localizer


def export_gate(path: Path, out: Path) -> Agreement:
    """Write the gate of a bundle as one ONNX file.

    Returns:
        How far it is from torch.

    Raises:
        FileNotFoundError, ValueError: for a bundle that cannot be read, or a network that the
            exporter cannot express; if the exported network does not compute the same.
        ImportError: without the packages, with the install command.
    """
    runtime_package()
    bundle = load_classifier(path)
    names = [SQUARES, DEMOGRAPHICS] if bundle.model.demographics else [SQUARES]
    inputs = dict(zip(names, example_inputs(bundle), strict=True))
    network = exported_program(
        GateNetwork(bundle).eval(), inputs, [PROBABILITIES, HEAT_MAPS], batches=True
    ).model_proto
    # the bundle's own entries, as they are in its file
    metadata = {**read_metadata(path), "export": _description(bundle, path)}
    return write_checked(
        out,
        network,
        metadata,
        lambda unchecked: compare(bundle, ExportedGate(unchecked)),
        f"{path}, exported,",
    )


def _description(bundle: ClassifierBundle, path: Path) -> dict[str, Any]:
    """What another program has to know to run the file."""
    side = bundle.preprocessing.size
    enhanced = bundle.preprocessing.input == "enhanced"
    inputs = {SQUARES: f"uint8, ({'N, 3' if enhanced else 'N'}, {side}, {side}): {FIT}"}
    if bundle.model.demographics:
        inputs[DEMOGRAPHICS] = "float32, (N, E), as classification/network/demographics.py says"
    localizer = map_localizer(Gate(bundle, "cpu", "fp32")).name
    return {
        "made_from": {"file": path.name, "sha256": file_sha256(path)},
        "inputs": inputs,
        "outputs": {
            PROBABILITIES: "float32, (N, D), in the order of `diseases`; present from `thresholds`",
            HEAT_MAPS: f"float32, (N, D, h, w), of {localizer}; cells tile the square",
        },
        "standardisation": "part of the network: do not subtract a mean",
    }


def compare(bundle: ClassifierBundle, exported: ExportedGate) -> Agreement:
    """Probabilities, maps and boxes of all diseases, on drawn images."""
    gate = Gate(bundle, "cpu", "fp32")
    localizers = map_localizer(gate), map_localizer(exported)
    diseases = [disease for disease in bundle.diseases if disease != NO_FINDING]
    images = list(drawn_images())
    probability = heat = 0.0
    overlap, boxes = 1.0, 0
    for image in images:
        outputs = gate([image]), exported([image])
        ours, theirs = (
            localizer.localize_output([image], output, diseases)
            for localizer, output in zip(localizers, outputs, strict=True)
        )
        probability = max(probability, _largest(*(output.probabilities for output in outputs)))
        heat = max(heat, _heat(ours.maps or {}, theirs.maps or {}))
        overlap = min(overlap, least_overlap(ours.boxes, theirs.boxes))
        boxes += len(ours.boxes)
    return Agreement(len(images), probability, boxes, overlap, heat)


def _heat(ours: Mapping[Any, Any], theirs: Mapping[Any, Any]) -> float:
    """Largest difference, as a share of the hottest cell."""
    hottest = max(float(cells.max()) for cells in ours.values())
    largest = max(_largest(cells, theirs[pair]) for pair, cells in ours.items())
    return largest / hottest if hottest else largest


def _largest(ours: np.ndarray[Any, Any], theirs: np.ndarray[Any, Any]) -> float:
    return float(np.abs(ours.astype(np.float64) - theirs).max())
