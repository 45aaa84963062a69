"""Predict with a trained torchvision Mask R-CNN: images in, detections out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from cxrloc.classification.bundle.preprocessing import Preprocessing
from cxrloc.classification.network.precision import resolve_device, resolve_precision
from cxrloc.datasets.images.transforms import boxes_in_frame, fit_square, fitted, square_scale
from cxrloc.datasets.radiograph import LoadedImage
from cxrloc.detection.mask_rcnn import Candidates, Detections
from cxrloc.detection.torchvision_backend.network import MaskRCNN


class TorchvisionPredictor:
    """A trained network that predicts images.

    Args:
        model: network with its weights.
        diseases: the name of class i is at position i - 1.
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

    @torch.inference_mode()
    def predict(self, images: Sequence[LoadedImage]) -> list[Detections]:
        """Detections of each image in its original frame, in input order."""
        detections = []
        for start in range(0, len(images), self.batch_size):
            some = images[start : start + self.batch_size]
            outputs = self.model(self._squares(some), None, self._inner(some))
            detections += [self._detections(*pair) for pair in zip(some, outputs, strict=True)]
        return detections

    @torch.inference_mode()
    def candidates(self, images: Sequence[LoadedImage]) -> Iterator[Candidates]:
        """What is considered on each image, see `Candidates`."""
        for image in images:
            parts = self.model.candidates(self._squares([image]), self._inner([image]))
            proposals, boxes, scores = (part.double().cpu().numpy() for part in parts)
            scale = square_scale(image.size_hw, self.preprocessing.size)
            yield Candidates(proposals / scale, boxes / scale, scores)

    def _squares(self, images: Sequence[LoadedImage]) -> Tensor:
        squares = np.stack([fit_square(image.finest, self.preprocessing.size) for image in images])
        return self.preprocessing.to_tensor(squares).to(self.device)

    def _inner(self, images: Sequence[LoadedImage]) -> list[tuple[int, int]]:
        """Height and width of each image inside its square."""
        return [fitted(image.size_hw, self.preprocessing.size)[::-1] for image in images]

    def _detections(self, image: LoadedImage, output: Mapping[str, Tensor]) -> Detections:
        boxes = output["boxes"].double().cpu().numpy()
        return Detections(
            image_id=image.image_id,
            size_hw=image.size_hw,
            boxes_xyxy=boxes_in_frame(boxes, image.size_hw, self.preprocessing.size),
            scores=output["scores"].double().cpu().numpy(),
            diseases=tuple(self.diseases[int(label) - 1] for label in output["labels"]),
            masks=output["masks"][:, 0].float().cpu().numpy(),
        )
