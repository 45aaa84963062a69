"""Small things that many tests need: images, ground truth, prepared folders, bundles.

What needs torch imports it when called, so that tests without it stay quick.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import numpy.typing as npt

from cxrloc.classification.inference.gate_table import GateRow
from cxrloc.datasets.prepared.folder import write_prepared
from cxrloc.datasets.radiograph import Radiograph
from cxrloc.localization.localizer import Localization

if TYPE_CHECKING:
    from torch import nn

    from cxrloc.classification.bundle.classifier import ClassifierBundle
    from cxrloc.localization.evaluation.comparison import Comparison
    from cxrloc.localization.evaluation.detections import Detections
    from cxrloc.localization.evaluation.evaluated import Evaluated
    from cxrloc.localization.evaluation.gate_decisions import GateDecisions
    from cxrloc.localization.evaluation.ground_truth import GroundTruth, ImageTable


def write_image(
    path: Path, value: int = 100, shape: tuple[int, int] = (16, 16), corner: int | None = None
) -> Path:
    """A small grey image of one value; with `corner`, its first pixel, of enough contrast."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.full(shape, value, np.uint8)
    if corner is not None:
        pixels[:, : shape[1] // 8] = 0
        pixels[0, 0] = corner
    assert cv2.imwrite(str(path), pixels)
    return path


@functools.cache
def _chest(seed: int) -> npt.NDArray[np.uint8]:
    from cxrloc.datasets.phantoms.drawing.chest import render_image

    return render_image(seed=seed, image_size=128).pixels


def chest_pixels(seed: int = 0, size_hw: tuple[int, int] = (120, 100)) -> npt.NDArray[np.uint8]:
    """A drawn chest, which no check doubts, squeezed into the size."""
    return np.asarray(cv2.resize(_chest(seed), size_hw[::-1], interpolation=cv2.INTER_AREA))


def read_pixels(path: Path, mode: int = cv2.IMREAD_COLOR) -> npt.NDArray[np.uint8]:
    """An 8-bit image as OpenCV reads it, which must succeed."""
    pixels = cv2.imread(str(path), mode)
    assert pixels is not None, path
    assert pixels.dtype == np.uint8, path
    return pixels.astype(np.uint8, copy=False)


def coco_ground_truth(
    diseases: Sequence[str],
    boxes: Sequence[tuple[str, str, Sequence[float]]],
    *,
    images: Sequence[str] = (),
    size_wh: tuple[int, int] = (64, 64),
    patient_of: Callable[[str], object] = str,
) -> dict[str, Any]:
    """COCO annotations: `boxes` are (image, disease, [x, y, width, height]).

    Each image is of a patient of its own unless `patient_of` says otherwise; `images` are those
    without a box.
    """
    names = list(dict.fromkeys([*(image for image, *_ in boxes), *images]))
    numbers = {disease: number for number, disease in enumerate(diseases, start=1)}
    width, height = size_wh
    return {
        "images": [
            {"id": i, "file_name": name, "width": width, "height": height}
            | {"patient_id": patient_of(name)}
            for i, name in enumerate(names)
        ],
        "categories": [{"id": number, "name": disease} for disease, number in numbers.items()],
        "annotations": [
            {
                "id": n,
                "image_id": names.index(image),
                "category_id": numbers[disease],
                "bbox": list(box),
            }
            for n, (image, disease, box) in enumerate(boxes, start=1)
        ],
    }


def evaluated(
    coco: Mapping[str, Any] | GroundTruth,
    predictions: Mapping[str, Sequence[Localization]],
    gate: Mapping[tuple[str, str], bool] | None = None,
    **inputs: Any,
) -> Evaluated:
    """Predictions as the analyses take them; `inputs` are those of `ComparisonInputs`."""
    from cxrloc.localization.evaluation.detections import place
    from cxrloc.localization.evaluation.evaluated import ComparisonInputs, Evaluated
    from cxrloc.localization.evaluation.ground_truth import GroundTruth, ground_truth_from_coco

    truth = coco if isinstance(coco, GroundTruth) else ground_truth_from_coco(coco)
    placed = {name: place(truth, boxes) for name, boxes in predictions.items()}
    decided = None if gate is None else decisions(truth.images, gate)
    return Evaluated(ComparisonInputs(truth, placed, **{"gate": decided, "resamples": 50} | inputs))


def comparison(*arguments: Any, **inputs: Any) -> Comparison:
    """Every localizer beside the others and the controls, of the arguments of `evaluated`."""
    return evaluated(*arguments, **inputs).comparison


def decisions(images: ImageTable, gate: Mapping[tuple[str, str], bool]) -> GateDecisions:
    """(image, disease) -> whether it is to be examined, with a probability of 1 or 0."""
    from cxrloc.localization.evaluation.gate_decisions import gate_decisions

    pairs = gate.items()
    rows = [GateRow(image, "", name, float(yes), 0.5, yes) for (image, name), yes in pairs]
    return gate_decisions(images, rows)


def detections_list(detections: Detections) -> list[Localization]:
    """Detections as the boxes that they were placed from."""
    ids = np.array(detections.truth.images.image_ids)[detections.image].tolist()
    diseases = np.array(detections.truth.images.diseases)[detections.disease].tolist()
    boxes = map(tuple, detections.boxes_xyxy.tolist())
    return list(map(Localization, ids, diseases, boxes, detections.score.tolist()))


def prepared_images(folder: Path, images: Sequence[Mapping[str, Any]], **entries: Any) -> Path:
    """A prepared folder of 64 x 64 images of noise.

    An image is a dict: its `labels`, `patient`, `fold`, what its `block` adds to the grey of a part
    of it, and its `boxes` if any. `entries` are those of `prepare`.
    """
    rng, radiographs, folds = np.random.default_rng(0), [], {}
    for n, image in enumerate(images):
        pixels = rng.integers(0, 100, (64, 64), dtype=np.uint8)
        pixels[8:40, 8:24] += np.uint8(image["block"])
        path = folder / f"{n:02d}.png"
        assert cv2.imwrite(str(path), pixels)
        labels, boxes = image["labels"], image.get("boxes", ())
        radiographs.append(Radiograph(path.name, path, image["patient"], "PA", labels, boxes))
        folds[path.name] = image["fold"]
    return prepare(folder / "prepared", radiographs, folds, **entries)


def prepare(
    out: Path, radiographs: Sequence[Radiograph], folds: Mapping[str, int], **entries: Any
) -> Path:
    """`write_prepared` in three folds, without boxes and official lists unless `entries` say so."""
    defaults: dict[str, Any] = {
        "boxed_diseases": (),
        "k": 3,
        "official": {},
        "summary": "",
        "manifest": {},
    }
    write_prepared(out, radiographs, folds=folds, **defaults | entries)
    return out


def tiny_classifier(
    diseases: Sequence[str],
    threshold: float | None = 0.5,
    *,
    architecture: str = "simple_cnn",
    size: int = 64,
    seed: int = 0,
    **fields: Any,
) -> ClassifierBundle:
    """An untrained classifier with one threshold for all diseases; `fields` are the bundle's."""
    from cxrloc.classification.bundle.classifier import ClassifierBundle
    from cxrloc.classification.bundle.preprocessing import Preprocessing
    from cxrloc.classification.network.classifier import build_classifier

    defaults: dict[str, Any] = {
        "model": build_classifier(architecture, len(diseases), seed=seed)[0].eval(),
        "diseases": tuple(diseases),
        "thresholds": dict.fromkeys(diseases, threshold),
        "preprocessing": Preprocessing(size),
        "mean_box_sizes": {},
        "manifest": {},
        "metadata": {},
    }
    return ClassifierBundle(**defaults | fields)


def write_tiny_detector(path: Path, diseases: Sequence[str], **facts: object) -> Path:
    """The bundle of an untrained Mask R-CNN of few channels, with further metadata."""
    from cxrloc.classification.bundle.file import write_bundle
    from cxrloc.detection.config import DetectorConfig, Init, ModelConfig
    from cxrloc.detection.mask_rcnn import bundle_metadata
    from cxrloc.detection.torchvision_backend.initial_weights import build_detector

    network = ModelConfig(
        fpn_levels=(4, 5), anchor_sizes=(0.2, 0.4, 0.6), fpn_channels=16, box_hidden=16
    )
    config = DetectorConfig(size=96, diseases=tuple(diseases), model=network)
    detector = build_detector(config, Init())[0].eval()
    detector.fold_norms()
    write_bundle(path, detector.state_dict(), bundle_metadata(config, facts))
    return path


def settled(network: nn.Module, seed: int = 0) -> nn.Module:
    """In evaluation mode, with statistics and scales that are not the trivial 0, 1 and 1e-6."""
    import torch
    from torch import nn
    from torchvision.models.convnext import CNBlock

    torch.manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d | nn.LayerNorm):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.1)
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
        if isinstance(module, CNBlock):
            nn.init.uniform_(module.layer_scale, 0.1, 0.5)
    return network.eval()
