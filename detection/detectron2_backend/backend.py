"""Run Mask R-CNN in detectron2, the optional second backend of `cxrloc.detection.mask_rcnn`.

    cxrloc train-maskrcnn --config configs/x.yaml --backend detectron2

The trained model is saved as our bundle (safetensors and metadata) instead of detectron2's
checkpoint, and is rebuilt from it. detectron2 is imported inside functions only: it is optional,
and slow.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from cxrloc.classification.network.precision import resolve_device, resolve_precision
from cxrloc.detection.config import DetectorConfig, Init, ModelConfig
from cxrloc.detection.data import DetectionSet
from cxrloc.detection.detectron2_backend.network import (
    build_network,
    require_detectron2,
    set_precision,
)
from cxrloc.detection.detectron2_backend.predictor import Detectron2Predictor


def load(
    tensors: Mapping[str, Tensor],
    metadata: Mapping[str, Any],
    device: str = "auto",
    precision: str | None = None,
    size: int | None = None,
) -> Detectron2Predictor:
    """Build a predictor from the result of `read_bundle`; None means the training's.

    Raises:
        ImportError: with the install command, if detectron2 is missing.
        ValueError: if tensors and metadata do not match.
    """
    require_detectron2()
    model, where = ModelConfig.from_json(metadata["model"]), resolve_device(device)
    diseases, trained_at = tuple(metadata["diseases"]), int(metadata["size"])
    network = build_network(model, len(diseases), trained_at, str(where))
    try:
        network.load_state_dict(dict(tensors))
    except RuntimeError as error:
        raise ValueError(
            f"the bundle's tensors do not fit the network described by its metadata: {error}"
        ) from error
    number = resolve_precision(precision or str(metadata.get("precision", "auto")), where)
    set_precision(network, number)
    runtime = f"detectron2 {number} on {where}"
    return Detectron2Predictor(network, diseases, size or trained_at, runtime)


def train_detector(
    config: DetectorConfig,
    train_set: DetectionSet,
    validation_set: DetectionSet | None,
    out_dir: Path,
    init: Init,
    extra: Mapping[str, Any],
) -> Path:
    """Train with detectron2's trainer and hooks; see `cxrloc.detection.mask_rcnn.Backend`."""
    require_detectron2()
    from cxrloc.detection.detectron2_backend.trainer import train

    return train(config, train_set, validation_set, out_dir, init, extra)
