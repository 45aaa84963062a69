"""Export a Mask R-CNN to ONNX, and check it against torch before it is written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from cxrloc.classification.bundle.file import read_metadata
from cxrloc.classification.bundle.onnx_file import runtime_package
from cxrloc.classification.inference.onnx_export import exported_program
from cxrloc.datasets.files.manifest import file_sha256
from cxrloc.detection.mask_rcnn import MaskRCNNLocalizer, load_predictor
from cxrloc.detection.torchvision_backend.export.detector_network import (
    OPERATORS,
    DetectorNetwork,
)
from cxrloc.detection.torchvision_backend.export.exported_predictor import (
    BOXES,
    COUNT,
    INNER,
    LABELS,
    MASKS,
    SCORES,
    SQUARE,
    ExportedPredictor,
)
from cxrloc.detection.torchvision_backend.predictor import TorchvisionPredictor
from cxrloc.localization.cam.export.agreement import (
    FIT,
    Agreement,
    drawn_images,
    least_overlap,
    write_checked,
)


def export_detector(path: Path, out: Path) -> Agreement:
    """Write the Mask R-CNN of a bundle as one ONNX file.

    Returns:
        How far it is from torch.

    Raises:
        FileNotFoundError, ValueError: for a bundle that cannot be read or is of the detectron2
            backend, or a network that the exporter cannot express; if the exported network does not
            compute the same.
        ImportError: without the packages, with the install command.
    """
    runtime_package()
    metadata = read_metadata(path, "maskrcnn")
    if metadata.get("backend") != "torchvision":
        raise ValueError(
            f"{path} is of the backend {metadata.get('backend')}: only the Mask R-CNNs of the "
            "backend torchvision are exported; cxrloc predict takes the bundle itself"
        )
    predictor, _ = load_predictor(path, "cpu", "fp32")
    assert isinstance(predictor, TorchvisionPredictor)
    size = int(metadata["size"])
    inputs = {
        SQUARE: torch.zeros(1, size, size, dtype=torch.uint8),
        INNER: torch.tensor([size, size]),
    }
    network = exported_program(
        DetectorNetwork(predictor.model, size).eval(),
        inputs,
        [COUNT, BOXES, SCORES, LABELS, MASKS],
        operators=OPERATORS,
    ).model_proto
    return write_checked(
        out,
        network,
        {**metadata, "export": _description(path, size)},
        lambda unchecked: compare(predictor, ExportedPredictor(unchecked, with_masks=True)),
        f"{path}, exported,",
    )


def _description(path: Path, size: int) -> dict[str, object]:
    """What another program has to know to run the file."""
    return {
        "made_from": {"file": path.name, "sha256": file_sha256(path)},
        "inputs": {
            SQUARE: f"uint8, (1, {size}, {size}): {FIT}",
            INNER: "int64, (2,): height and width of the image inside the square",
        },
        "outputs": {
            COUNT: "int64: the rows of the others that are detections",
            BOXES: "float32, (M, 4): x1, y1, x2, y2 in pixels of the square",
            SCORES: "float32, (M,), descending",
            LABELS: "int64, (M,): 1 is the first of `diseases`",
            MASKS: "float32, (M, 28, 28): probabilities over each box",
        },
        "standardisation": "part of the network: do not subtract a mean",
    }


def compare(predictor: TorchvisionPredictor, exported: ExportedPredictor) -> Agreement:
    """Scores, boxes and masks of all diseases, on drawn images."""
    overlap, difference, mask, boxes, count = 1.0, 0.0, 0.0, 0, 0
    for image in drawn_images():
        ours, theirs = (each.predict([image])[0] for each in (predictor, exported))
        localized = [
            list(MaskRCNNLocalizer(predictor).from_detections(each, predictor.diseases))
            for each in (ours, theirs)
        ]
        overlap = min(overlap, least_overlap(*localized))
        count, boxes = count + 1, boxes + len(ours)
        if ours.diseases == theirs.diseases and ours.masks is not None and len(ours):
            assert theirs.masks is not None
            difference = max(difference, float(np.abs(ours.scores - theirs.scores).max()))
            mask = max(mask, float(np.abs(ours.masks - theirs.masks).max()))
        else:
            overlap = min(overlap, float(len(ours) == len(theirs) == 0))
    return Agreement(count, difference, boxes, overlap, mask)
