"""Data of the detector's tests: squares of noise with one bright rectangle per image."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from cxrloc.datasets.radiograph import Box, Radiograph
from cxrloc.detection.config import AugmentConfig, DetectorConfig, ModelConfig, TrainConfig
from cxrloc.detection.data import DetectionSet

SIZE = 128
DISEASES = ("Effusion", "Mass")


def _image(number: int, rng: np.random.Generator) -> tuple[Radiograph, np.ndarray]:
    tall = number % 2
    width, height = rng.uniform(0.2, 0.3), rng.uniform(0.35, 0.5)
    if not tall:
        width, height = height, width
    x, y = rng.uniform(0.02, 0.95 - width), rng.uniform(0.02, 0.95 - height)
    x1, y1, x2, y2 = (int(v * SIZE) for v in (x, y, x + width, y + height))
    pixels = cv2.GaussianBlur(rng.normal(70, 12, (SIZE, SIZE)), (0, 0), 1)
    pixels[y1:y2, x1:x2] += 60 if tall else 110
    disease, other = ("Mass", "Effusion") if tall else ("Effusion", "Mass")
    scale = 1024 / SIZE
    box = Box(disease, (x1 * scale, y1 * scale, x2 * scale, y2 * scale))
    labels = {disease: 1.0, other: 0.0}
    radiograph = Radiograph(f"{number:08d}_000.png", None, str(number), "PA", labels, (box,))
    return radiograph, np.clip(pixels, 0, 255).astype(np.uint8)


@pytest.fixture(scope="session")
def rectangles() -> DetectionSet:
    """16 images: an upright rectangle is a Mass, a brighter lying one an Effusion."""
    rng = np.random.default_rng(0)
    images = [_image(number, rng) for number in range(16)]
    squares = {radiograph.image_id: pixels for radiograph, pixels in images}
    return DetectionSet(tuple(radiograph for radiograph, _ in images), squares, SIZE, DISEASES)


@pytest.fixture(scope="session")
def small_config() -> DetectorConfig:
    """A detector that trains on `rectangles` in seconds."""
    model = ModelConfig(
        fpn_levels=(3, 4, 5),
        anchor_sizes=(0.12, 0.24, 0.4, 0.7),
        fpn_channels=64,
        box_hidden=128,
        mask_channels=32,
    )
    train = TrainConfig(
        epochs=2,
        lr=1e-3,
        warmup_steps=5,
        precision="fp32",
        device="cpu",
        augment=AugmentConfig(0, 0, 0, 0),
    )
    return DetectorConfig(size=SIZE, diseases=DISEASES, model=model, train=train)
