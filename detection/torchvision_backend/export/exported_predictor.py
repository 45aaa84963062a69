"""Predict with an exported Mask R-CNN in ONNX Runtime: images in, detections out, without torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cxrloc.classification.bundle.onnx_file import check_keys, open_onnx, runtime_package
from cxrloc.classification.inference.exported_gate import check_device
from cxrloc.datasets.images.transforms import boxes_in_frame, fit_square, fitted
from cxrloc.datasets.radiograph import LoadedImage
from cxrloc.detection.mask_rcnn import Detections

# names of the network's inputs and outputs
SQUARE, INNER = "square", "inner_height_width"
BOXES, SCORES, LABELS, COUNT, MASKS = "boxes", "scores", "labels", "count", "masks"


class ExportedPredictor:
    """A Mask R-CNN that `cxrloc export` wrote.

    Args:
        path: the `.onnx` file.
        device: "auto" or "cpu".
        size: None, or the side of the square that it was exported with.
        with_masks: compute the masks too, in twice the time or so.

    Raises:
        FileNotFoundError, ValueError, ImportError: see `open_onnx`; ValueError for another device
            or size.
    """

    runtime = "onnx fp32 on cpu"

    def __init__(
        self, path: Path, device: str = "auto", size: int | None = None, *, with_masks: bool = False
    ) -> None:
        check_device(path, device)
        network = open_onnx(path, "maskrcnn")
        self.session, self.metadata = network.session, network.metadata
        check_keys(path, self.metadata, ("size", "diseases"))
        self.size, self.with_masks = int(self.metadata["size"]), with_masks
        if size not in (None, self.size):
            raise ValueError(
                f"{path} looks at squares of {self.size} px alone, not of {size}: leave out "
                "--sizes, or give the bundle that it was made from"
            )
        self._options = runtime_package().RunOptions()
        self._options.only_execute_path_to_fetches = True  # no masks unless they are asked for

    def predict(self, images: Sequence[LoadedImage]) -> list[Detections]:
        """Detections of each image in its original frame, in input order."""
        return [self._detections(image) for image in images]

    def _detections(self, image: LoadedImage) -> Detections:
        outputs = self._run(image)
        boxes = outputs[BOXES].astype(np.float64)
        diseases = self.metadata["diseases"]
        return Detections(
            image_id=image.image_id,
            size_hw=image.size_hw,
            boxes_xyxy=boxes_in_frame(boxes, image.size_hw, self.size),
            scores=outputs[SCORES].astype(np.float64),
            diseases=tuple(diseases[label - 1] for label in outputs[LABELS]),
            masks=outputs.get(MASKS),
        )

    def _run(self, image: LoadedImage) -> Mapping[str, Any]:
        """The outputs, without the rows that hold no detection."""
        inner = fitted(image.size_hw, self.size)[::-1]
        inputs = {
            SQUARE: fit_square(image.finest, self.size)[None],
            INNER: np.array(inner, np.int64),
        }
        names = [COUNT, BOXES, SCORES, LABELS, *([MASKS] if self.with_masks else [])]
        count, *outputs = self.session.run(names, inputs, self._options)
        rows = slice(int(count))
        return {name: output[rows] for name, output in zip(names[1:], outputs, strict=True)}
