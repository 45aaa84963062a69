"""Load trained bundles into a `Diagnoser`, ready to predict images.

from cxrloc.datasets.images.read import read_image
from cxrloc.detection.load_diagnoser import load_diagnoser

diagnoser = load_diagnoser("classifier.safetensors", "maskrcnn.safetensors")
[found] = diagnoser([read_image("image.png")])
print(found.message, found.boxes)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from cxrloc.classification.bundle.classifier import load_classifier
from cxrloc.classification.bundle.int8 import int8_path, load_int8
from cxrloc.classification.inference.gate import Gate
from cxrloc.classification.inference.runtimes import INT8, require_int8
from cxrloc.datasets.labels.map import read_label_map
from cxrloc.detection.mask_rcnn import MaskRCNNLocalizer, load_predictor
from cxrloc.localization.cam.guided import map_localizer
from cxrloc.localization.diagnosis.diagnoser import Detector, Diagnoser
from cxrloc.localization.diagnosis.relabelled import RelabelledDiagnoser
from cxrloc.localization.predictions.relabelled import Counterparts, counterparts


def load_diagnoser(
    classifier: str | Path,
    maskrcnn: str | Path | None = None,
    device: str = "auto",
    precision: str = "auto",
    runtime: str = "torch",
    labels: str | Path | None = None,
) -> Diagnoser:
    """Load the engine behind `cxrloc predict`, the HTTP API and the page.

    Args:
        classifier: bundle of the gate (`classifier.safetensors`), also used for
            Grad-CAM, or guided_cam if it was trained with boxes.
        maskrcnn: bundle of the second localizer; None leaves it out.
        device: "cpu", "cuda", "cuda:0", or "auto": the first GPU if there is one.
        precision: "auto", "fp32" or "bf16".
        runtime: runtime of the gate's network (see `cxrloc.classification.inference.runtimes`). The
            Mask R-CNN always runs in torch, in the number format of the gate's runtime.
        labels: label map (YAML) from the gate's diseases to the names in the diagnoses; None keeps
            the gate's (see `cxrloc.localization.diagnosis.relabelled`).

    Raises:
        FileNotFoundError, ValueError, ImportError: for a missing or damaged bundle or one of
            another kind, an unknown device, precision or runtime, a runtime or backend that is not
            installed, or a label map that does not fit the gate.
    """
    bundle = load_classifier(Path(classifier))
    names = None if labels is None else _new_names(bundle.diseases, Path(labels))
    if runtime == INT8:
        require_int8(device)
        bundle = replace(bundle, int8=load_int8(Path(classifier)))
    gate = Gate(bundle, device, precision, runtime=runtime)
    # a batch of large images exceeds a CPU's cache and takes longer than single images
    gate.batch_size = 1 if gate.device.type == "cpu" else gate.batch_size
    detectors: list[Detector] = []
    if maskrcnn is not None:
        predictor = load_predictor(Path(maskrcnn), device, gate.network.precision)[0]
        detectors.append(MaskRCNNLocalizer(predictor))
    diagnoser = Diagnoser(gate, map_localizer(gate), detectors)
    return diagnoser if names is None else RelabelledDiagnoser(diagnoser, names)


def _new_names(diseases: Sequence[str], path: Path) -> Counterparts:
    labels = read_label_map(path)
    names = counterparts(diseases, labels.diseases, labels)
    if not names.sources:
        raise ValueError(f"{path} leaves out all diseases of the gate: {', '.join(diseases)}")
    return names


def bundle_files(
    classifier: str | Path, maskrcnn: str | Path | None = None, runtime: str = "torch"
) -> dict[str, Path]:
    """Return kind -> path of each file that `load_diagnoser` reads."""
    files = {"classifier": Path(classifier)}
    if runtime == INT8:
        files["int8"] = int8_path(Path(classifier))
    return files if maskrcnn is None else files | {"maskrcnn": Path(maskrcnn)}
