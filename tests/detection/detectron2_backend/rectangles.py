"""Images of rectangles and a network small enough to learn them."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

from cxrloc.datasets.images.transforms import fit_square
from cxrloc.datasets.radiograph import Box, LoadedImage, Radiograph
from cxrloc.detection.config import AugmentConfig, DetectorConfig, ModelConfig, TrainConfig
from cxrloc.detection.data import DetectionSet

installed = importlib.util.find_spec("detectron2") is not None
needs_detectron2 = pytest.mark.skipif(
    not installed, reason="detectron2 is not installed (optional; docs/tutorials/nih.md says how)"
)
DISEASES = ("Mass", "Nodule")
SIZE = 64
MODEL = ModelConfig(
    fpn_levels=(2, 3, 4),
    fpn_channels=32,
    anchor_sizes=(0.15, 0.3, 0.45, 0.6),
    box_hidden=64,
    mask_channels=16,
    mask_layers=1,
    norm="batch",
)


def config(epochs: int = 2, **train: object) -> DetectorConfig:
    still = AugmentConfig(scale=0, translate=0, brightness=0, contrast=0)
    settings = {"lr": 3e-3, "warmup_steps": 4, "precision": "fp32", "augment": still, **train}
    schedule = TrainConfig(epochs=epochs, batch_size=4, device="cpu", **settings)  # type: ignore[arg-type]
    return DetectorConfig("detectron2", SIZE, DISEASES, seed=3, model=MODEL, train=schedule)


def rectangles(
    count: int, negatives: int = 0, frame_hw: tuple[int, int] = (128, 96)
) -> DetectionSet:
    """Images with a wide bright rectangle (Mass) left or a tall one (Nodule) right."""
    rng = np.random.default_rng(5)
    radiographs, squares = [], {}
    for number in range(count + negatives):
        pixels = rng.integers(10, 40, frame_hw, dtype=np.uint8)
        x, y = rng.integers(4, 16, 2)
        disease, box = ("Mass", (x, y, x + 56, y + 30)), (x + 40, y + 30, x + 66, y + 90)
        name, corners = disease if number % 2 else ("Nodule", box)
        boxes: tuple[Box, ...] = ()
        if number < count:
            x1, y1, x2, y2 = (int(v) for v in corners)
            pixels[y1:y2, x1:x2] = 220 if name == "Mass" else 140
            boxes = (Box(name, (x1, y1, x2, y2)),)
        image_id = f"{number:04d}.png"
        radiographs.append(
            Radiograph(image_id, None, str(number), "PA", {}, boxes, size_hw=frame_hw)
        )
        squares[image_id] = fit_square(pixels, SIZE)
    return DetectionSet(tuple(radiographs), squares, SIZE, DISEASES)


def image(data: DetectionSet, index: int) -> LoadedImage:
    radiograph = data.radiographs[index]
    return LoadedImage(
        radiograph.image_id,
        data.squares[radiograph.image_id][:, :48],
        radiograph.size_hw,
        radiograph.patient_id,
    )
