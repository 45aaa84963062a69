"""Doubt that an image is a frontal chest radiograph, from statistics of its grey alone.

    distance = chest_distance(pixels)

Twelve statistics of the image at 64 x 64 pixels are compared with their mean and deviation over
real chest radiographs. None of them depends on brightness, contrast or a plain border. The chests
alone were fitted; other images (photographs, limbs, CT slices, text, noise) only served to choose
the statistics and to measure the result (docs/explanation/is_it_a_chest.md).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from cxrloc.datasets.labels.names import ABNORMAL, CHEXPERT_LABELS, NIH_DISEASES, NO_FINDING

Grey = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]

# Statistic -> mean and deviation over 1,026 images of NIH ChestX-ray14 (`cxrloc fit-chest-check`).
# wave R C: how strongly the image varies with R half waves from top to bottom and C from left to
# right (cosine transform).
CHESTS: dict[str, tuple[float, float]] = {
    "wave 0 2": (-0.338, 0.162),
    "wave 1 0": (-0.415, 0.185),
    "wave 1 2": (0.213, 0.126),
    "wave 2 0": (-0.021, 0.122),
    "wave 3 1": (-0.013, 0.046),
    "wave 3 2": (-0.140, 0.055),
    "wave 4 1": (-0.009, 0.034),
    "wave 4 2": (-0.075, 0.051),
    "wave 4 3": (0.010, 0.038),
    "entropy": (4.738, 0.154),
    "asymmetry": (-2.309, 0.954),
    "detail": (-1.379, 0.253),
}
REFUSED, DOUBTED = 34.2, 27.2  # distances that .8 % and 2.5 % of these images exceed, out of fold

_WAVES = ((0, 2), (1, 0), (1, 2), (2, 0), (3, 1), (3, 2), (4, 1), (4, 2), (4, 3))
_FEW = 6  # waves in each direction that tell symmetry
_LONG_SIDE, _SIDE = 256, 64
_PLAIN = 8  # grey values in a row or column of a border
_LEAST_RANGE = 8.0  # grey values; what varies less is not stretched to black and white
_LEVELS = 32
_FARTHEST = 25.0  # 5 deviations, squared: one odd statistic alone does not decide
# labels of the chest's data sets that other regions have too
_ANYWHERE = (ABNORMAL, NO_FINDING, "Fracture", "Support Devices")
_OF_CHESTS = {
    name.casefold() for name in (*NIH_DISEASES, *CHEXPERT_LABELS) if name not in _ANYWHERE
}
_CHEST_WORDS = re.compile(
    "lung|pulmon|pleur|cardi|heart|thora|chest|mediast|aort|effusion|pneum|atelect|infiltrat"
    "|consolid|edema|emphysem|fibros|tubercul|covid",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class ChestDoubt:
    """Why an image may not be a frontal chest radiograph.

    Attributes:
        sentence: for the person who supplied the image.
        refused: the image is to be refused; otherwise it is predicted, with the sentence.
    """

    sentence: str
    refused: bool


def chest_doubt(pixels: Grey) -> ChestDoubt | None:
    """Doubt about grey pixels (H, W), bright = dense; None for what looks like a chest."""
    distance = chest_distance(pixels)
    if distance <= DOUBTED:
        return None
    refused = distance > REFUSED
    share, limit = ("99.2 %", REFUSED) if refused else ("97.5 %", DOUBTED)
    measured = f"distance {distance:.1f}, {share} of chest radiographs have less than {limit:.1f}"
    if refused:
        what = "a photograph, another part of the body, a slice, a page, a negative, turned?"
        return ChestDoubt(f"Not like a frontal chest radiograph ({measured}): {what}", True)
    return ChestDoubt(f"Unusual for a frontal chest radiograph ({measured}): is it one?", False)


def chest_distance(pixels: Grey) -> float:
    """Sum of the squared deviations of the statistics from those of chests, each at most 25."""
    mean, deviation = np.array(list(CHESTS.values())).T
    return float(distances(chest_statistics(pixels)[None], mean, deviation)[0])


def distances(statistics: Floats, mean: Floats, deviation: Floats) -> Floats:
    """(N,) distances of statistics (N, K)."""
    squared = ((statistics - mean) / deviation) ** 2
    return np.asarray(np.minimum(squared, _FARTHEST).sum(axis=1))


def judges_chests(diseases: Sequence[str]) -> bool:
    """Whether a gate with these diseases expects chests, not limbs (MURA) or another region."""
    return any(d.casefold() in _OF_CHESTS or _CHEST_WORDS.search(d) for d in diseases)


def chest_statistics(pixels: Grey) -> Floats:
    """(K,) in the order of `STATISTICS`."""
    image = _stretched(_small(pixels))
    standard = (image - image.mean()) / (image.std() + 0.02)
    waves = np.asarray(cv2.dct(standard)) / _SIDE
    few = waves[:_FEW, :_FEW] ** 2
    asymmetry = np.log((few[:, 1::2].sum() + 1e-3) / (few[:, 0::2].sum() + 1e-3))
    detail = np.log(np.abs(cv2.Laplacian(standard, cv2.CV_64F)).mean() + 0.01)
    return np.array([*(waves[place] for place in _WAVES), _entropy(image), asymmetry, detail])


STATISTICS = (*(f"wave {row} {column}" for row, column in _WAVES), "entropy", "asymmetry", "detail")


def _small(pixels: Grey) -> Floats:
    """The image without plain borders, 64 x 64."""
    scale = min(1.0, _LONG_SIDE / max(pixels.shape))
    size = [max(1, round(side * scale)) for side in pixels.shape[::-1]]
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    rows = np.flatnonzero(np.ptp(small, axis=1) > _PLAIN)
    columns = np.flatnonzero(np.ptp(small, axis=0) > _PLAIN)
    if len(rows) and len(columns):
        small = small[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    square = cv2.resize(small, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    return np.asarray(square, dtype=np.float64)


def _stretched(square: Floats) -> Floats:
    low, high = np.percentile(square, (1, 99))
    return np.asarray(np.clip((square - low) / max(high - low, _LEAST_RANGE), 0.0, 1.0))


def _entropy(image: Floats) -> float:
    """Bits that a grey value of 32 holds."""
    counts = np.bincount(np.minimum((image * _LEVELS).astype(int), _LEVELS - 1).ravel())
    shares = counts[counts > 0] / image.size
    return float(-(shares * np.log2(shares)).sum())
