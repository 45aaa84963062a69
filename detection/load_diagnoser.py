"""Trained bundles to a `Diagnoser`, ready to judge films.

from cxrloc.datasets.image_files import read_film
from cxrloc.detection.load_diagnoser import load_diagnoser

diagnoser = load_diagnoser("classifier.safetensors", "maskrcnn.safetensors")
[found] = diagnoser([read_film("film.png")])
print(found.message, found.boxes)
"""

from __future__ import annotations

from pathlib import Path

from cxrloc.classification.gate import Gate
from cxrloc.classification.models import load_classifier
from cxrloc.classification.precision import resolve_device
from cxrloc.detection.mask_rcnn import MaskRCNNLocalizer, load_predictor
from cxrloc.localization.diagnose import Diagnoser
from cxrloc.localization.grad_cam import GradCamLocalizer
from cxrloc.localization.localizer import Localizer

_GPU_BATCH = 8


def load_diagnoser(
    classifier: str | Path,
    maskrcnn: str | Path | None = None,
    device: str = "auto",
    precision: str = "auto",
) -> Diagnoser:
    """The engine of `tools/predict.py`, the HTTP API and the page.

    Args:
        classifier: bundle of the gate (`classifier.safetensors`); Grad-CAM comes from it too.
        maskrcnn: bundle of the second localizer; None leaves it out.
        device: "cpu", "cuda", "cuda:0", or "auto": the first GPU if there is one.
        precision: "auto", "fp32" or "bf16".

    Raises:
        FileNotFoundError, ValueError, ImportError: for a bundle that is missing, damaged or of
            another kind, an unknown device or precision, or a backend that is not installed.
    """
    # a batch of large films does not fit a CPU's cache and takes longer than its films one by one
    batch_size = 1 if resolve_device(device).type == "cpu" else _GPU_BATCH
    gate = Gate(load_classifier(Path(classifier)), device, precision, batch_size)
    detectors: list[Localizer] = []
    if maskrcnn is not None:
        predictor = load_predictor(Path(maskrcnn), device, precision)[0]
        detectors.append(MaskRCNNLocalizer(predictor))
    return Diagnoser(gate, GradCamLocalizer(gate), detectors)
