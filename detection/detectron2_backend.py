"""Mask R-CNN by detectron2: the optional second backend of `cxrloc.detection.mask_rcnn`.

    python tools/train_maskrcnn.py --config configs/x.yaml --backend detectron2

The trained model leaves detectron2's checkpoint for our bundle (safetensors and metadata), from
which it is built again. detectron2 is imported inside functions only: it is optional, and slow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cxrloc.classification.precision import resolve_device, resolve_precision
from cxrloc.datasets.radiograph import Film
from cxrloc.datasets.transforms import fit_square, square_scale
from cxrloc.detection.config import DetectorConfig, Init, ModelConfig
from cxrloc.detection.data import DetectionSet
from cxrloc.detection.detectron2_network import (
    as_input,
    build_network,
    require_detectron2,
    set_precision,
)
from cxrloc.detection.mask_rcnn import Detections

_FILMS_AT_ONCE = 8


class Detectron2Predictor:
    """A trained network that predicts films in their original frames.

    Args:
        network: as `build_network` makes it, in its precision already.
        diseases: names of the classes, in the network's order.
        size: side of the input square in pixels.
        runtime: what runs it, for the records.
    """

    def __init__(
        self,
        network: nn.Module,
        model: ModelConfig,
        diseases: Sequence[str],
        size: int,
        runtime: str = "detectron2",
    ) -> None:
        self.network: Any = network
        self.model = model
        self.diseases = tuple(diseases)
        self.size = size
        self.runtime = runtime

    def predict(self, films: Sequence[Film]) -> list[Detections]:
        """Detections of each film, in the given order, in each film's original frame."""
        found: list[Detections] = []
        for start in range(0, len(films), _FILMS_AT_ONCE):
            found += self._batch(films[start : start + _FILMS_AT_ONCE])
        return found

    @torch.no_grad()
    def _batch(self, films: Sequence[Film]) -> list[Detections]:
        inputs = [{"image": as_input(fit_square(film.pixels, self.size))} for film in films]
        network, heads = self.network.eval(), self.network.roi_heads
        images = network.preprocess_image(inputs)
        features = network.backbone(images.tensor)
        proposals, _ = network.proposal_generator(images, features, None)
        found = heads._forward_box(features, proposals)
        kept = [self._strongest(one, film) for one, film in zip(found, films, strict=True)]
        kept = heads.forward_with_given_boxes(features, kept)
        return [self._detections(one, film) for one, film in zip(kept, films, strict=True)]

    def _strongest(self, found: Any, film: Film) -> Any:
        """Inside the film: each disease's best box, and its others over the score threshold."""
        scale = square_scale(film.size_hw, self.size)
        found.pred_boxes.clip((film.size_hw[0] * scale, film.size_hw[1] * scale))
        found = found[found.pred_boxes.nonempty(threshold=1.0)]
        found = found[found.scores.argsort(descending=True, stable=True)]
        rows = []
        for disease in range(len(self.diseases)):
            of_disease = torch.nonzero(found.pred_classes == disease)[:, 0]
            enough = found.scores[of_disease] > self.model.score_threshold
            enough[:1] = True
            rows.append(of_disease[enough][: self.model.detections_per_disease])
        return found[torch.cat(rows).sort().values]

    def _detections(self, found: Any, film: Film) -> Detections:
        height, width = film.size_hw
        boxes = found.pred_boxes.tensor.double().cpu().numpy()
        boxes = boxes / square_scale(film.size_hw, self.size)
        return Detections(
            image_id=film.image_id,
            size_hw=film.size_hw,
            boxes_xyxy=np.clip(boxes, 0, [width, height, width, height]),
            scores=found.scores.double().cpu().numpy(),
            diseases=tuple(self.diseases[int(label)] for label in found.pred_classes),
            masks=found.pred_masks[:, 0].float().cpu().numpy(),
        )


def load(
    tensors: Mapping[str, Tensor],
    metadata: Mapping[str, Any],
    device: str = "auto",
    precision: str | None = None,
) -> Detectron2Predictor:
    """Predictor from what `read_bundle` gave.

    Raises:
        ImportError: with the way to install detectron2, where it is missing.
        ValueError: when tensors and metadata do not belong together.
    """
    require_detectron2()
    model, where = ModelConfig.from_json(metadata["model"]), resolve_device(device)
    diseases, size = tuple(metadata["diseases"]), int(metadata["size"])
    network = build_network(model, len(diseases), size, str(where))
    try:
        network.load_state_dict(dict(tensors))
    except RuntimeError as error:
        raise ValueError(
            f"the bundle's tensors do not fit the network that its metadata describes: {error}"
        ) from error
    number = resolve_precision(precision or str(metadata.get("precision", "auto")), where)
    set_precision(network, number)
    runtime = f"detectron2 {number} on {where}"
    return Detectron2Predictor(network, model, diseases, size, runtime)


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
    from cxrloc.detection.detectron2_trainer import train

    return train(config, train_set, validation_set, out_dir, init, extra)
