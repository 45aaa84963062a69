"""A trained detectron2 Mask R-CNN at work: images in, detections out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from cxrloc.datasets.images.transforms import fit_square, square_scale
from cxrloc.datasets.radiograph import LoadedImage
from cxrloc.detection.config import DETECTIONS_PER_DISEASE, SCORE_THRESHOLD
from cxrloc.detection.detectron2_backend.network import (
    as_input,
)
from cxrloc.detection.mask_rcnn import Detections

_IMAGES_AT_ONCE = 8


class Detectron2Predictor:
    """A trained network that predicts images in their original frames.

    Args:
        network: as `build_network` makes it, in its precision already.
        diseases: names of the classes, in the network's order.
        size: side of the input square in pixels.
        runtime: what runs it, for the records.
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
        """Detections of each image, in the given order, in each image's original frame."""
        found: list[Detections] = []
        for start in range(0, len(images), _IMAGES_AT_ONCE):
            found += self._batch(images[start : start + _IMAGES_AT_ONCE])
        return found

    @torch.no_grad()
    def _batch(self, images: Sequence[LoadedImage]) -> list[Detections]:
        inputs = [{"image": as_input(fit_square(image.pixels, self.size))} for image in images]
        network, heads = self.network.eval(), self.network.roi_heads
        batch = network.preprocess_image(inputs)
        features = network.backbone(batch.tensor)
        proposals, _ = network.proposal_generator(batch, features, None)
        found = heads._forward_box(features, proposals)
        kept = [self._strongest(one, image) for one, image in zip(found, images, strict=True)]
        kept = heads.forward_with_given_boxes(features, kept)
        return [self._detections(one, image) for one, image in zip(kept, images, strict=True)]

    def _strongest(self, found: Any, image: LoadedImage) -> Any:
        """Inside the image: each disease's best box, and its others over the score threshold."""
        scale = square_scale(image.size_hw, self.size)
        found.pred_boxes.clip((image.size_hw[0] * scale, image.size_hw[1] * scale))
        found = found[found.pred_boxes.nonempty(threshold=1.0)]
        found = found[found.scores.argsort(descending=True, stable=True)]
        rows = []
        for disease in range(len(self.diseases)):
            of_disease = torch.nonzero(found.pred_classes == disease)[:, 0]
            enough = found.scores[of_disease] > SCORE_THRESHOLD
            enough[:1] = True
            rows.append(of_disease[enough][:DETECTIONS_PER_DISEASE])
        return found[torch.cat(rows).sort().values]

    def _detections(self, found: Any, image: LoadedImage) -> Detections:
        height, width = image.size_hw
        boxes = found.pred_boxes.tensor.double().cpu().numpy()
        boxes = boxes / square_scale(image.size_hw, self.size)
        return Detections(
            image_id=image.image_id,
            size_hw=image.size_hw,
            boxes_xyxy=np.clip(boxes, 0, [width, height, width, height]),
            scores=found.scores.double().cpu().numpy(),
            diseases=tuple(self.diseases[int(label)] for label in found.pred_classes),
            masks=found.pred_masks[:, 0].float().cpu().numpy(),
        )
