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
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from cxrloc.classification.bundle import onnx_file
from cxrloc.classification.inference.exported_gate import ExportedGate, check_runtime
from cxrloc.classification.run_folder import bundle_at, bundles_at
from cxrloc.datasets.labels.map import read_label_map
from cxrloc.detection.config import check_size
from cxrloc.detection.mask_rcnn import MaskRCNNLocalizer, load_predictor
from cxrloc.detection.run_config import MASK_RCNN
from cxrloc.localization.cam.guided import map_localizer
from cxrloc.localization.diagnosis.diagnoser import Detector, Diagnoser
from cxrloc.localization.diagnosis.relabelled import RelabelledDiagnoser
from cxrloc.localization.fusion.merged_localizer import MergedLocalizer
from cxrloc.localization.predictions.relabelled import Counterparts, counterparts

# torch is imported with the models that need it: exported ones do not
if TYPE_CHECKING:
    import argparse

    from cxrloc.classification.inference.gate import Gate

_INT8 = "openvino-int8"  # runtimes.INT8, of a module that needs torch


def load_diagnoser(
    classifier: str | Path,
    maskrcnn: str | Path | Sequence[str | Path] | None = None,
    device: str = "auto",
    precision: str = "auto",
    runtime: str | None = None,
    labels: str | Path | None = None,
    sizes: Sequence[int] = (),
) -> Diagnoser:
    """Load the engine behind `cxrloc predict`, the HTTP API and the page.

    Args:
        classifier: bundle of the gate (`classifier.safetensors`), also used for Grad-CAM, or for
            guided_cam if it was trained with boxes; or what `cxrloc export` made of it.
        maskrcnn: bundle of the second localizer, or several, whose boxes are fused; None leaves it
            out. Exported ones, too. With exported models alone, torch is not imported.
        device: "cpu", "cuda", "cuda:0", or "auto": the first GPU if there is one.
        precision: "auto", "fp32" or "bf16".
        runtime: runtime of the gate's network (see `cxrloc.classification.inference.runtimes`);
            None is torch. The Mask R-CNN runs in torch, in the number format of the gate's runtime.
            Exported models run in ONNX Runtime, in float32.
        labels: label map (YAML) from the gate's diseases to the names in the diagnoses; None keeps
            the gate's (see `cxrloc.localization.diagnosis.relabelled`).
        sizes: sides of the squares that the Mask R-CNN looks at, whose boxes are fused; none means
            the training's.

    Raises:
        FileNotFoundError, ValueError, ImportError: for a missing or damaged bundle or one of
            another kind, an unknown device, precision or runtime, a runtime or backend that is not
            installed, or a label map that does not fit the gate.
    """
    gate = _load_gate(Path(classifier), device, precision, runtime)
    names = None if labels is None else _new_names(gate.bundle.diseases, Path(labels))
    detectors: list[Detector] = []
    if paths := _paths(maskrcnn):
        detectors.append(load_mask_rcnn(paths, device, gate.precision, sizes))
    diagnoser = Diagnoser(gate, map_localizer(gate), detectors)
    return diagnoser if names is None else RelabelledDiagnoser(diagnoser, names)


def detectors_at(
    path: Path | str | None, ensemble: bool, sizes: Sequence[int]
) -> Path | list[Path] | None:
    """The trained Mask R-CNNs that a path on the command line means: one, or all for an ensemble.

    Raises:
        FileNotFoundError, ValueError: for no model, several without `ensemble`, and options
            without a path.
    """
    if path is None and (ensemble or sizes):
        raise ValueError("--ensemble and --sizes are for the detector; give --maskrcnn too")
    if path is None:
        return None
    bundles = bundles_at(path, MASK_RCNN)
    if not ensemble and len(bundles) > 1:
        raise ValueError(
            f"{path} holds {len(bundles)} trained models; name one, such as {bundles[0]}, or give "
            "--ensemble to fuse the boxes of all, on images of patients that none was trained on"
        )
    return bundles if ensemble else bundles[0]


def diagnoser_of(arguments: argparse.Namespace) -> tuple[Diagnoser, dict[str, Path]]:
    """Load the engine of a server, and return its `bundle_files` with it.

    Args:
        arguments: those of `add_model_options` and `add_any_image`.

    Raises:
        OSError, ValueError, ImportError: for models that `bundle_at` or `load_diagnoser` refuses.
    """
    gate, maskrcnn, runtime = bundle_at(arguments.gate), arguments.maskrcnn, arguments.runtime
    maskrcnn = None if maskrcnn is None else bundle_at(maskrcnn, MASK_RCNN)
    diagnoser = load_diagnoser(gate, maskrcnn, arguments.device, arguments.precision, runtime)
    diagnoser.any_image = arguments.any_image
    return diagnoser, bundle_files(gate, maskrcnn, runtime)


def _load_gate(path: Path, device: str, precision: str, runtime: str | None) -> Gate | ExportedGate:
    if path.suffix == onnx_file.SUFFIX:
        check_runtime(path, runtime)
        return ExportedGate(path, device, precision)

    from cxrloc.classification.bundle.classifier import load_classifier
    from cxrloc.classification.bundle.int8 import load_int8
    from cxrloc.classification.inference.gate import Gate
    from cxrloc.classification.inference.runtimes import require_int8

    bundle = load_classifier(path)
    if runtime == _INT8:
        require_int8(device)
        bundle = replace(bundle, int8=load_int8(path))
    gate = Gate(bundle, device, precision, runtime=runtime or "torch")
    # a batch of large images exceeds a CPU's cache and takes longer than single images
    gate.batch_size = 1 if gate.device.type == "cpu" else gate.batch_size
    return gate


def _new_names(diseases: Sequence[str], path: Path) -> Counterparts:
    labels = read_label_map(path)
    names = counterparts(diseases, labels.diseases, labels)
    if not names.sources:
        raise ValueError(f"{path} leaves out all diseases of the gate: {', '.join(diseases)}")
    return names


def bundle_files(
    classifier: str | Path,
    maskrcnn: str | Path | Sequence[str | Path] | None = None,
    runtime: str | None = None,
) -> dict[str, Path]:
    """Return kind -> path of each file that `load_diagnoser` reads."""
    files = {"classifier": Path(classifier)}
    if runtime == _INT8:
        from cxrloc.classification.bundle.int8 import int8_path

        files["int8"] = int8_path(Path(classifier))
    paths = _paths(maskrcnn)
    names = [f"maskrcnn_{number}" for number in range(len(paths))]
    return files | dict(zip(names if len(paths) > 1 else ["maskrcnn"], paths, strict=False))


def _paths(maskrcnn: str | Path | Sequence[str | Path] | None) -> list[Path]:
    if maskrcnn is None:
        return []
    return [Path(p) for p in ([maskrcnn] if isinstance(maskrcnn, str | Path) else maskrcnn)]


def load_mask_rcnn(
    bundles: Sequence[Path],
    device: str = "auto",
    precision: str | None = None,
    sizes: Sequence[int] = (),
    box_from: Literal["box", "mask"] = "box",
) -> MaskRCNNLocalizer | MergedLocalizer:
    """Load trained Mask R-CNNs as one localizer; several models or sizes have their boxes fused.

    Args:
        sizes: sides of the squares to look at; none means the training's.

    Raises:
        FileNotFoundError, ValueError, ImportError: for what `load_predictor` refuses, a size that
            no pyramid has, or models of different diseases.
    """
    for size in sizes:
        check_size(size, "sizes")
    localizers, diseases = list[MaskRCNNLocalizer](), dict[str, Path]()
    for bundle, size in product(bundles, dict.fromkeys(sizes) or (None,)):
        predictor, metadata = load_predictor(bundle, device, precision, size)
        localizers.append(MaskRCNNLocalizer(predictor, box_from))
        diseases.setdefault(", ".join(sorted(metadata["diseases"])), bundle)
    if len(diseases) > 1:
        known = "; ".join(f"{path}: {names}" for names, path in diseases.items())
        raise ValueError(f"models of different diseases are not fused: {known}")
    return localizers[0] if len(localizers) == 1 else MergedLocalizer(localizers)
