"""The default backend: trains and runs the network of `torchvision_backend/network.py`.

What bfloat16 gains and changes, measured on one thread of a CPU with AVX-512 BF16 and no AMX (CPU
time of a whole prediction; fp32 is 1): 1.6 to 1.7 times as fast with a ResNet-18 at 320 px, 1.9
times with a ResNet-50 at 512 px. Other ways to run backbone and pyramid, the heads in torch: ONNX
Runtime 1.1 and 1.1 times, OpenVINO in float32 1.1 and 1.0 times, OpenVINO in bfloat16 with heads in
bfloat16 1.9 and 1.9 times, so that they gain little or nothing over bfloat16 in torch and are not
offered. On 120 images of 75 patients that a ResNet-18 trained on NIH images had not seen, the best
box of each of 8 diseases (960) has a score that differs from fp32's by .0008 in the mean and .099
at most, and the same place (IoU over .8) in 96.6 % of cases; in 98.1 % of those scored .05 or more.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cxrloc.classification.bundle.file import read_bundle, write_bundle
from cxrloc.classification.bundle.preprocessing import Preprocessing
from cxrloc.classification.network.precision import resolve_device, resolve_precision
from cxrloc.classification.network.weights import LoadReport
from cxrloc.datasets.files.manifest import run_manifest
from cxrloc.datasets.images.transforms import fit_square, square_scale
from cxrloc.datasets.radiograph import LoadedImage
from cxrloc.detection.config import DetectorConfig, Init, ModelConfig
from cxrloc.detection.data import DetectionSet, class_counts
from cxrloc.detection.mask_rcnn import Detections, bundle_metadata
from cxrloc.detection.torchvision_backend.initial_weights import load_initial
from cxrloc.detection.torchvision_backend.network import MaskRCNN, Targets, freeze_stages
from cxrloc.detection.training import (
    Plan,
    Progress,
    epoch_order,
    is_finished,
    make_optimizer,
    run_mark,
    train,
)
from cxrloc.detection.validation import mean_best_iou

BUNDLE_NAME = "maskrcnn.safetensors"


def train_detector(
    config: DetectorConfig,
    train_set: DetectionSet,
    validation_set: DetectionSet | None,
    out_dir: Path,
    init: Init,
    extra: Mapping[str, Any],
) -> Path:
    """Train one detector; see `cxrloc.detection.mask_rcnn.Backend`. A finished one is not trained
    again.
    """
    started = time.time()
    bundle = out_dir / BUNDLE_NAME
    mark = run_mark(config, train_set, validation_set, init)
    if is_finished(bundle, mark):
        _note_settings(bundle, config)
        return bundle
    device = resolve_device(config.train.device)
    if config.train.threads:
        torch.set_num_threads(config.train.threads)
    model, report = build_detector(config, init)
    print(report, flush=True)
    model.to(device)
    plan = _plan(config, model, train_set, validation_set, mark, out_dir)
    progress = train(plan, make_optimizer(model, config.train, model.backbone.body))
    manifest = run_manifest(config, seed=config.seed, hashes={"run": mark}, started=started)
    facts = {
        "fingerprint": mark,
        "train_boxes": dict(class_counts(train_set)),
        "train_images": len(train_set),
        "weights": str(report).splitlines()[0],
        "manifest": manifest,
        **_outcome(progress),
    }
    model.eval().fold_norms()
    write_bundle(bundle, model.state_dict(), bundle_metadata(config, {**facts, **extra}))
    plan.checkpoint.unlink(missing_ok=True)
    return bundle


def build_detector(config: DetectorConfig, init: Init) -> tuple[MaskRCNN, LoadReport]:
    """A network with its first weights, ready to be trained, and the list of what was loaded."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        model = MaskRCNN(config.model, len(config.diseases), config.size)
    report = load_initial(model, init, config.model)
    if config.model.resolved_norm() == "frozen":
        model.fold_norms()
    freeze_stages(model, config.model.frozen_stages)
    device = resolve_device(config.train.device)
    model.set_precision(resolve_precision(config.train.precision, device))
    return model, report


def load(
    tensors: Mapping[str, Tensor],
    metadata: Mapping[str, Any],
    device: str = "auto",
    precision: str | None = None,
) -> TorchvisionPredictor:
    """Predictor from a bundle's tensors and metadata.

    Args:
        precision: None is that of the training.

    Raises:
        ValueError: when the tensors do not fit the network that the metadata describes.
    """
    diseases = tuple(metadata["diseases"])
    model = MaskRCNN(ModelConfig.from_json(metadata["model"]), len(diseases), metadata["size"])
    model.fold_norms()
    try:
        model.load_state_dict(dict(tensors))
    except RuntimeError as error:
        raise ValueError(f"the bundle's tensors do not fit its own metadata: {error}") from error
    precision = precision or metadata["precision"]
    return TorchvisionPredictor(model, diseases, metadata["size"], precision, device)


class TorchvisionPredictor:
    """A trained network that predicts images.

    Args:
        model: weights in place.
        diseases: name of class i at place i - 1.
        size: side of the input square.
        precision, device: as in `TrainConfig`.
        batch_size: images per forward pass.
    """

    def __init__(
        self,
        model: MaskRCNN,
        diseases: tuple[str, ...],
        size: int,
        precision: str = "auto",
        device: str = "auto",
        batch_size: int = 4,
    ) -> None:
        self.device = resolve_device(device)
        self.model = model.to(self.device).eval()
        number = resolve_precision(precision, self.device)
        self.model.set_precision(number)
        self.runtime = f"torch {number} on {self.device}"
        self.diseases, self.batch_size = diseases, batch_size
        self.preprocessing = Preprocessing(size)

    def predict(self, images: Sequence[LoadedImage]) -> list[Detections]:
        """Detections of each image in its original frame, in the given order."""
        found = []
        for start in range(0, len(images), self.batch_size):
            found += self._batch(images[start : start + self.batch_size])
        return found

    @torch.inference_mode()
    def _batch(self, images: Sequence[LoadedImage]) -> list[Detections]:
        size = self.preprocessing.size
        squares = np.stack([fit_square(image.pixels, size) for image in images])
        batch = self.preprocessing.to_tensor(squares).to(self.device)
        inner = [_inner_hw(image.size_hw, size) for image in images]
        found = self.model(batch, None, inner)
        return [self._detections(image, one) for image, one in zip(images, found, strict=True)]

    def _detections(self, image: LoadedImage, found: Mapping[str, Tensor]) -> Detections:
        height, width = image.size_hw
        boxes = found["boxes"].double().cpu().numpy() / square_scale(
            image.size_hw, self.preprocessing.size
        )
        boxes = np.clip(boxes, 0, np.array([width, height, width, height]))
        return Detections(
            image_id=image.image_id,
            size_hw=image.size_hw,
            boxes_xyxy=boxes,
            scores=found["scores"].double().cpu().numpy(),
            diseases=tuple(self.diseases[int(label) - 1] for label in found["labels"]),
            masks=found["masks"][:, 0].float().cpu().numpy(),
        )


def _inner_hw(size_hw: tuple[int, int], size: int) -> tuple[int, int]:
    scale = square_scale(size_hw, size)
    return max(1, round(size_hw[0] * scale)), max(1, round(size_hw[1] * scale))


def _plan(
    config: DetectorConfig,
    model: MaskRCNN,
    train_set: DetectionSet,
    validation_set: DetectionSet | None,
    mark: str,
    out_dir: Path,
) -> Plan:
    batch = min(config.train.batch_size, len(train_set))
    if not batch:
        raise ValueError(
            "there is no training image: no radiograph of the training folds has a box"
        )
    per_epoch = len(train_set) // batch
    device = next(model.parameters()).device

    def losses(step: int) -> dict[str, Tensor]:
        epoch, place = divmod(step, per_epoch)
        order = epoch_order(config.seed, epoch, len(train_set))
        images, targets = training_batch(
            train_set, order[place * batch : (place + 1) * batch], config, epoch
        )
        moved = [{k: v.to(device) for k, v in target.items()} for target in targets]
        found: dict[str, Tensor] = model(images.to(device), moved)
        return found

    def score() -> float:
        assert validation_set is not None
        predictor = TorchvisionPredictor(
            model, config.diseases, config.size, config.train.precision, str(device)
        )
        return mean_best_iou(predictor, validation_set)

    return Plan(
        model=model,
        losses=losses,
        score=score if validation_set else None,
        steps=per_epoch * config.train.epochs,
        steps_per_epoch=per_epoch,
        config=config.train,
        seed=config.seed,
        fingerprint=mark,
        out_dir=out_dir,
    )


def training_batch(
    data: DetectionSet, indices: Sequence[int], config: DetectorConfig, epoch: int
) -> tuple[Tensor, Targets]:
    """Network input (B, 3, S, S) and targets; the mask of a box is its filled rectangle."""
    squares, targets = [], []
    for index in indices:
        rng = np.random.default_rng([config.seed, epoch, index])
        square, boxes, labels = data.sample(index, config.train.augment, rng)
        squares.append(square)
        targets.append(
            {
                "boxes": torch.from_numpy(boxes),
                "labels": torch.from_numpy(labels),
                "masks": rectangle_masks(boxes, data.size),
            }
        )
    return Preprocessing(data.size).to_tensor(np.stack(squares)), targets


def rectangle_masks(boxes: np.ndarray[Any, Any], size: int) -> Tensor:
    """(n, size, size) uint8 masks of boxes (n, 4) xyxy; a pixel is in when its centre is."""
    centres = torch.arange(size) + 0.5
    corners = torch.as_tensor(boxes, dtype=torch.float32)[:, :, None]
    across = (centres >= corners[:, 0]) & (centres < corners[:, 2])
    down = (centres >= corners[:, 1]) & (centres < corners[:, 3])
    return (down[:, :, None] & across[:, None, :]).to(torch.uint8)


def _note_settings(bundle: Path, config: DetectorConfig) -> None:
    """Settings that leave the weights as they are (box voting) may change: note the new ones."""
    tensors, metadata = read_bundle(bundle, "maskrcnn")
    wanted = json.loads(json.dumps(dataclasses.asdict(config.model)))
    if metadata["model"] != wanted:
        write_bundle(bundle, tensors, {**metadata, "model": wanted})


def _outcome(progress: Progress) -> dict[str, Any]:
    if progress.best_step < 0:
        return {"kept": "last", "steps": progress.step}
    return {
        "kept": f"best of validation, step {progress.best_step}",
        "steps": progress.step,
        "validation_mean_iou": progress.best_score,
    }
