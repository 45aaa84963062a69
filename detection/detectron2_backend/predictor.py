"""Predict with a trained detectron2 Mask R-CNN: images in, detections out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from cxrloc.datasets.images.transforms import boxes_in_frame, fit_square, square_scale
from cxrloc.datasets.radiograph import LoadedImage
from cxrloc.detection.config import DETECTIONS_PER_DISEASE, SCORE_THRESHOLD
from cxrloc.detection.detectron2_backend.network import (
    as_input,
)
from cxrloc.detection.mask_rcnn import Detections

_IMAGES_AT_ONCE = 8


class Detectron2Predictor:
    """A trained network that predicts images, with boxes in their original frames.

    Args:
        network: result of `build_network`, with its precision already set.
        diseases: names of the classes, in the network's order.
        size: side of the input square in pixels.
        runtime: name of the runtime, for the records.
    """

    def __init__(
        self,
        network: nn.Module,
        diseases: Sequence[str],
        size: int,
        runtime: str = "detectron2",
    ) -> None:
        self.network: Any = network
        self.diseases = tuple(diseases)
        self.size = size
        self.runtime = runtime

    def predict(self, images: Sequence[LoadedImage]) -> list[Detections]:
        """Detections of each image, in input order and in the image's original frame."""
        detections: list[Detections] = []
        for start in range(0, len(images), _IMAGES_AT_ONCE):
            detections += self._batch(images[start : start + _IMAGES_AT_ONCE])
        return detections

    @torch.no_grad()
    def _batch(self, images: Sequence[LoadedImage]) -> list[Detections]:
        inputs = [{"image": as_input(fit_square(image.finest, self.size))} for image in images]
        network, heads = self.network.eval(), self.network.roi_heads
        batch = network.preprocess_image(inputs)
        features = network.backbone(batch.tensor)
        proposals, _ = network.proposal_generator(batch, features, None)
        instances = heads._forward_box(features, proposals)
        strongest = [
            self._strongest(candidates, image)
            for candidates, image in zip(instances, images, strict=True)
        ]
        strongest = heads.forward_with_given_boxes(features, strongest)
        return [
            self._detections(candidates, image)
            for candidates, image in zip(strongest, images, strict=True)
        ]

    def _strongest(self, instances: Any, image: LoadedImage) -> Any:
        """Each disease's best box inside the image, and its others above the score threshold."""
        scale = square_scale(image.size_hw, self.size)
        instances.pred_boxes.clip((image.size_hw[0] * scale, image.size_hw[1] * scale))
        instances = instances[instances.pred_boxes.nonempty(threshold=1.0)]
        instances = instances[instances.scores.argsort(descending=True, stable=True)]
        rows = []
        for disease in range(len(self.diseases)):
            of_disease = torch.nonzero(instances.pred_classes == disease)[:, 0]
            enough = instances.scores[of_disease] > SCORE_THRESHOLD
            enough[:1] = True
            rows.append(of_disease[enough][:DETECTIONS_PER_DISEASE])
        return instances[torch.cat(rows).sort().values]

    def _detections(self, instances: Any, image: LoadedImage) -> Detections:
        boxes = instances.pred_boxes.tensor.double().cpu().numpy()
        return Detections(
            image_id=image.image_id,
            size_hw=image.size_hw,
            boxes_xyxy=boxes_in_frame(boxes, image.size_hw, self.size),
            scores=instances.scores.double().cpu().numpy(),
            diseases=tuple(self.diseases[int(label)] for label in instances.pred_classes),
            masks=instances.pred_masks[:, 0].float().cpu().numpy(),
        )
