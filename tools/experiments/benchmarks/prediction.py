"""Time a prediction against other packages, and show where the time goes: tables of one run.

How sides are measured: `timing`. Without a classifier the networks have random weights, which cost
what trained ones cost, but in INT8: there a trained network may keep more convolutions in float.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from cxrloc.classification.bundle.classifier import ClassifierBundle, load_classifier
from cxrloc.classification.bundle.int8 import load_int8
from cxrloc.classification.bundle.preprocessing import Preprocessing
from cxrloc.classification.inference.gate import Gate
from cxrloc.classification.inference.int8_calibration import calibrate
from cxrloc.classification.inference.runtimes import INT8, RUNTIMES
from cxrloc.classification.network.classifier import build_classifier
from cxrloc.datasets.files.manifest import write_json
from cxrloc.datasets.images.read import read_image
from cxrloc.datasets.labels.names import NIH_BOXED_DISEASES, NO_FINDING
from cxrloc.detection.config import ModelConfig
from cxrloc.detection.torchvision_backend.network import MaskRCNN
from cxrloc.detection.torchvision_backend.predictor import TorchvisionPredictor
from cxrloc.localization.cam.localizer import GradCamLocalizer
from cxrloc.localization.diagnosis.diagnoser import Diagnoser
from cxrloc.localization.diagnosis.drawing import draw_boxes, draw_heat_maps
from cxrloc.localization.diagnosis.to_json import to_json
from cxrloc.tools.experiments.benchmarks.timing import Sides, compare, cost_table

PRESENT = 3  # diseases that pass the gate, each with a map and a box
_IMAGE_SIDE = 1024
_CALIBRATED = 256  # pixels at which an untrained network's INT8 weights are calibrated
_MASK_RCNN_SIDE = 800  # which torchvision makes the shorter side of every image


def prediction_tables(size: int, repeats: int, classifier: Path | None = None) -> str:
    """The four tables: maps of all diseases, whole predictions, stages of one, Mask R-CNN.

    Args:
        size: side of the gate's input, pixels.
        repeats: measured rounds, after one that is not.
        classifier: bundle of the gate, with its INT8 weights; None is an untrained ResNet-18.

    Raises:
        ImportError: when a peer or a runtime is not installed.
        FileNotFoundError, ValueError: for a bundle or INT8 weights that are missing or damaged.
    """
    threads = torch.get_num_threads()
    cv2.setNumThreads(threads)  # its own setting does not follow OMP_NUM_THREADS
    with tempfile.TemporaryDirectory() as folder:
        image = _image_file(Path(folder))
        bundle = _untrained(size, image) if classifier is None else _trained(size, classifier)
        whole: dict[str, Callable[[], object]] = {}
        whole["textbook: PIL, grad-cam, matplotlib"] = partial(_textbook, image, bundle)
        missing = ""
        for runtime in RUNTIMES:
            try:
                whole[f"ours, {runtime}"] = _predictor(image, _diagnoser(bundle, runtime))
            except ValueError as error:  # of INT8 alone: a CPU without VNNI
                if runtime != INT8:
                    raise
                missing += f"\nleft out: {error}"
        parts = [
            cost_table(
                f"maps and boxes of {len(bundle.diseases)} diseases",
                compare(_map_sides(image, bundle), repeats),
            ),
            cost_table(
                f"file to boxes, {PRESENT} maps, pictures, JSON; no Mask R-CNN",
                compare(whole, repeats),
            ),
            cost_table("stages of ours, torch", compare(_stage_sides(image, bundle), repeats)),
            cost_table(
                f"Mask R-CNN, ResNet-50 at {_MASK_RCNN_SIDE} px",
                compare(_mask_rcnn_sides(image, _MASK_RCNN_SIDE), repeats),
            ),
        ]
    assert bundle.int8 is not None
    title = (
        f"{bundle.model.architecture} at {size} px, image of {_IMAGE_SIDE} px, {threads} "
        f"thread(s), medians of {repeats}\nINT8: {len(bundle.int8.layers)} convolutions; left in "
        f"float: {', '.join(bundle.int8.left) or 'none'}"
    )
    return "\n\n".join([title + missing, *parts])


def _map_sides(path: Path, bundle: ClassifierBundle) -> Sides:
    """One forward pass against maps of all diseases by us and by others, from the same tensor."""
    from captum.attr import LayerGradCam
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    image, diagnoser = read_image(path), _diagnoser(bundle, "torch")
    gate = diagnoser.gate
    x = bundle.preprocessing.from_images([image]).contiguous()
    squares = bundle.preprocessing.squares([image])
    network = _Logits(bundle.model)
    layer = _last(bundle.model)
    grad_cam, captum = GradCAM(network, [layer]), LayerGradCam(network, layer)
    indices = range(len(bundle.diseases))

    def ours() -> None:
        output = gate([image])
        diagnoser.cam.localize_output([image], output, bundle.diseases)

    return {
        "forward pass alone, prepared as ours": lambda: gate.forward_squares(squares),
        f"ours: gate, {len(bundle.diseases)} maps, boxes": ours,
        "forward pass alone, as built": lambda: _forward(bundle.model, x),
        "grad-cam, a backward pass for each": lambda: [
            grad_cam(x, [ClassifierOutputTarget(i)]) for i in indices
        ],
        "captum LayerGradCam": lambda: [captum.attribute(x, target=i) for i in indices],
    }


def _mask_rcnn_sides(path: Path, size: int) -> Sides:
    """torchvision's own call against our network in both number formats, on one image.

    Not the same network: ours has smaller heads, 100 proposals for 1,000, and at most 4 boxes of a
    disease.
    """
    from torchvision.models.detection import maskrcnn_resnet50_fpn

    image, diseases = read_image(path), tuple(NIH_BOXED_DISEASES)
    plain = maskrcnn_resnet50_fpn(
        weights=None, weights_backbone=None, num_classes=len(diseases) + 1
    ).eval()
    ours = {}
    for precision in ("fp32", "bf16"):
        network = MaskRCNN(ModelConfig("resnet50"), len(diseases), size).eval()
        network.fold_norms()
        ours[precision] = TorchvisionPredictor(network, diseases, size, precision, "cpu")
    pixels = torch.from_numpy(image.pixels).expand(3, -1, -1)
    return {
        "torchvision's, called plainly": lambda: _forward(plain, [pixels / 255]),
        "ours (smaller heads), fp32": lambda: ours["fp32"].predict([image]),
        "ours, bf16 (torch-bf16, openvino, -int8)": lambda: ours["bf16"].predict([image]),
    }


def _stage_sides(path: Path, bundle: ClassifierBundle) -> Sides:
    image, diagnoser = read_image(path), _diagnoser(bundle, "torch")
    [diagnosis] = diagnoser([image])
    output = diagnoser.gate([image])
    boxes, heat = draw_boxes(image, diagnosis), draw_heat_maps(image, diagnosis)
    folder, preprocessing = path.parent, diagnoser.gate.bundle.preprocessing
    squares = preprocessing.squares([image])

    def maps_and_boxes() -> None:
        cam = diagnoser.cam.localize_output([image], output, diagnosis.present)
        diagnoser.cam.heat_maps(image, cam)

    def save() -> None:
        boxes.save(folder / "boxes.jpg")
        heat.save(folder / "heat.jpg")

    outside: dict[str, Callable[[], object]] = {
        "decode": lambda: read_image(path),
        "network input": lambda: preprocessing.from_images([image]),
        "maps and boxes": maps_and_boxes,
        "draw boxes": lambda: draw_boxes(image, diagnosis),
        "draw heat maps": lambda: draw_heat_maps(image, diagnosis),
        "encode and write two JPEGs": save,
        "JSON": lambda: write_json(folder / "image.json", to_json(diagnosis)),
    }
    return {
        "network": lambda: diagnoser.gate.forward_squares(squares),
        **outside,
        "all but the network": lambda: [run() for run in outside.values()],
    }


def _predictor(path: Path, diagnoser: Diagnoser) -> Callable[[], None]:
    def predict() -> None:
        image = read_image(path)
        [diagnosis] = diagnoser([image])
        draw_boxes(image, diagnosis).save(path.with_suffix(".boxes.jpg"))
        draw_heat_maps(image, diagnosis).save(path.with_suffix(".heat.jpg"))
        write_json(path.with_suffix(".json"), to_json(diagnosis))

    return predict


def _textbook(path: Path, bundle: ClassifierBundle) -> None:
    """The way of tutorials: a backward pass for each map, regions of it, matplotlib's pictures."""
    from matplotlib import pyplot as plt
    from matplotlib.patches import Rectangle
    from PIL import Image
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
    from torchvision import transforms

    size = bundle.preprocessing.size
    network, layer = _Logits(bundle.model), _last(bundle.model)
    image = Image.open(path).convert("RGB")
    steps = [transforms.Resize((size, size)), transforms.ToTensor()]
    mean, std = bundle.preprocessing.mean, bundle.preprocessing.std
    x = transforms.Compose([*steps, transforms.Normalize(mean, std)])(image).unsqueeze(0)
    with torch.no_grad():
        probabilities = torch.sigmoid(network(x))[0].tolist()
    record = []
    for index in range(PRESENT):
        heat = GradCAM(network, [layer])(x, [ClassifierOutputTarget(index)])[0]
        rows, columns = np.nonzero(heat >= 180 / 255 * heat.max())
        box = [int(v) for v in (columns.min(), rows.min(), columns.max(), rows.max())]
        record.append({"probability": probabilities[index], "box": box})
        figure, axis = plt.subplots(figsize=(10, 10))
        axis.imshow(image)
        axis.imshow(heat, cmap="jet", alpha=0.4, extent=(0, *image.size, 0))
        axis.add_patch(Rectangle((box[0], box[1]), box[2] - box[0], box[3] - box[1], fill=False))
        figure.savefig(path.with_name(f"textbook{index}.png"))
        plt.close(figure)
    path.with_name("textbook.json").write_text(json.dumps(record))


class _Logits(torch.nn.Module):
    """A classifier as others expect it: its output is only the logits."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.model(x).logits
        return logits


def _last(model: torch.nn.Module) -> torch.nn.Module:
    """The layer whose output is pooled."""
    return list(model.get_submodule("backbone").children())[-1]


@torch.inference_mode()
def _forward(model: Callable[[Any], object], x: Any) -> Any:
    return model(x)


def _diagnoser(bundle: ClassifierBundle, runtime: str) -> Any:
    precision = "fp32" if runtime == "torch" else "auto"
    gate = Gate(bundle, "cpu", precision, batch_size=1, runtime=runtime)
    return Diagnoser(gate, GradCamLocalizer(gate))


def untrained_bundle(size: int) -> ClassifierBundle:
    """A ResNet-18 of the 8 boxed diseases, of which `PRESENT` pass on every image."""
    diseases = tuple(NIH_BOXED_DISEASES)
    model = build_classifier("resnet18", len(diseases))[0].eval()
    return ClassifierBundle(model, diseases, _thresholds(diseases), Preprocessing(size), {}, {}, {})


def _untrained(size: int, image: Path) -> ClassifierBundle:
    """As `untrained_bundle`; its INT8 weights are calibrated on the image alone."""
    bundle = untrained_bundle(_CALIBRATED)
    int8 = calibrate(bundle, bundle.preprocessing.squares([read_image(image)]))
    return replace(bundle, preprocessing=Preprocessing(size), int8=int8)


def _trained(size: int, classifier: Path) -> ClassifierBundle:
    bundle = load_classifier(classifier)
    diseases = [disease for disease in bundle.diseases if disease != NO_FINDING]
    plain = bundle.preprocessing.channels == 3 and bundle.preprocessing.grey_affine is not None
    if len(diseases) < PRESENT or not plain:
        raise ValueError(
            f"{classifier}: this benchmark is for gates of {PRESENT} diseases and more that take a "
            "grey image in three channels, as the packages beside them do"
        )
    return replace(
        bundle,
        preprocessing=replace(bundle.preprocessing, size=size),
        thresholds=_thresholds(bundle.diseases),
        int8=load_int8(classifier),
    )


def _thresholds(diseases: Sequence[str]) -> dict[str, float | None]:
    """With which the first `PRESENT` diseases pass on every image."""
    passing = [disease for disease in diseases if disease != NO_FINDING][:PRESENT]
    return {disease: 0.0 if disease in passing else None for disease in diseases}


def _image_file(folder: Path) -> Path:
    """An image of smooth fields and noise, as hard to decode as a real one (some 450 kB)."""
    rng = np.random.default_rng(0)
    coarse = rng.normal(110, 45, (9, 9)).astype(np.float32)
    field = cv2.resize(coarse, (_IMAGE_SIDE, _IMAGE_SIDE), interpolation=cv2.INTER_CUBIC)
    pixels = np.clip(field + rng.normal(0, 1.2, field.shape), 0, 255).astype(np.uint8)
    path = folder / "image.png"
    cv2.imwrite(str(path), pixels, [cv2.IMWRITE_PNG_COMPRESSION, 6])
    return path
