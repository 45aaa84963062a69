"""Turn attenuation into a grey image, with exposure, contrast and grain sampled from ranges."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cxrloc.datasets.phantoms.drawing.canvas import Array


@dataclass(frozen=True)
class Exposure:
    """Ranges from which an image's exposure is sampled.

    Attributes:
        gain, gamma: parameters of the curve from attenuation to grey.
        floor, white: grey values of air and of the densest parts.
    """

    gain: tuple[float, float]
    gamma: tuple[float, float]
    floor: tuple[float, float]
    white: tuple[float, float]


def expose(
    depth: Array, ranges: Exposure, rng: np.random.Generator, noise: np.random.Generator
) -> npt.NDArray[np.uint8]:
    """Grey pixels (H, W) from attenuation; `rng` samples the exposure, `noise` the grain."""
    gain, gamma = rng.uniform(*ranges.gain), rng.uniform(*ranges.gamma)
    floor, white = rng.uniform(*ranges.floor), rng.uniform(*ranges.white)
    grey = floor + (white - floor) * (1 - np.exp(-gain * depth)) ** gamma
    grain = noise.standard_normal(depth.shape, dtype=np.float32)
    grey += rng.uniform(2.0, 4.5) * grain * (0.5 + 0.5 * grey / 255)
    return np.asarray(np.clip(np.round(grey), 0, 255), dtype=np.uint8)
