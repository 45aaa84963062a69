"""Summary statistics of the 984 boxes in NIH's BBox_List_2017.csv, used by the phantom (no rows).

They cover all boxes of each disease in the 1024 frame: mean and standard deviation of ln(width) and
ln(height), their correlation, mean and standard deviation of the box centre's y. Findings per image
and pairs of diseases are counts over its 880 images. (Wang et al. 2017, CVPR, 3462-3471.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cxrloc.datasets.labels.names import NIH_BOXED_DISEASES
from cxrloc.datasets.radiograph import FloatArray


@dataclass(frozen=True)
class BoxStatistics:
    """Summary of one disease's boxes.

    Attributes:
        boxes: number of boxes in the list.
        log_width, log_height: (mean, standard deviation) of the natural logarithm.
        correlation: correlation of ln(width) and ln(height).
        centre_y: (mean, standard deviation) of the centre's y.
        width_limits, height_limits: what fits into one lung or defines the sign (a nodule is under
            3 cm, about 80 px). Samples are clipped to them, which cuts NIH's tails that span both
            lungs.
    """

    boxes: int
    log_width: tuple[float, float]
    log_height: tuple[float, float]
    correlation: float
    centre_y: tuple[float, float]
    width_limits: tuple[float, float]
    height_limits: tuple[float, float]


BOX_STATISTICS: dict[str, BoxStatistics] = {
    "Atelectasis": BoxStatistics(
        180, (5.221, 0.545), (4.808, 0.509), 0.33, (582, 118), (100, 280), (52, 270)
    ),
    "Cardiomegaly": BoxStatistics(
        146, (6.167, 0.111), (5.932, 0.150), 0.48, (583, 66), (380, 580), (290, 490)
    ),
    "Effusion": BoxStatistics(
        153, (5.267, 0.541), (5.536, 0.723), 0.24, (575, 122), (130, 290), (160, 480)
    ),
    "Infiltration": BoxStatistics(
        123, (5.545, 0.492), (5.591, 0.471), 0.55, (538, 118), (138, 290), (133, 480)
    ),
    "Mass": BoxStatistics(
        85, (4.935, 0.575), (5.052, 0.601), 0.84, (462, 118), (92, 300), (92, 340)
    ),
    "Nodule": BoxStatistics(
        79, (4.231, 0.306), (4.201, 0.329), 0.86, (494, 157), (46, 88), (46, 88)
    ),
    "Pneumonia": BoxStatistics(
        120, (5.510, 0.436), (5.615, 0.458), 0.63, (569, 107), (140, 290), (132, 480)
    ),
    "Pneumothorax": BoxStatistics(
        98, (5.175, 0.524), (5.260, 0.735), 0.46, (332, 191), (100, 280), (110, 520)
    ),
}
FINDINGS_PER_IMAGE: dict[int, int] = {1: 787, 2: 83, 3: 9}
PAIRS: dict[tuple[str, str], int] = {
    ("Effusion", "Infiltration"): 25,
    ("Atelectasis", "Effusion"): 20,
    ("Infiltration", "Pneumonia"): 13,
    ("Atelectasis", "Mass"): 11,
    ("Atelectasis", "Infiltration"): 6,
    ("Effusion", "Mass"): 6,
    ("Cardiomegaly", "Pneumonia"): 5,
    ("Cardiomegaly", "Infiltration"): 4,
    ("Effusion", "Pneumothorax"): 4,
    ("Infiltration", "Mass"): 4,
    ("Effusion", "Pneumonia"): 3,
    ("Mass", "Pneumonia"): 3,
    ("Mass", "Pneumothorax"): 3,
    ("Nodule", "Pneumothorax"): 3,
    ("Cardiomegaly", "Effusion"): 2,
    ("Pneumonia", "Pneumothorax"): 2,
    ("Cardiomegaly", "Pneumothorax"): 1,
    ("Infiltration", "Pneumothorax"): 1,
}


def sample_size(rng: np.random.Generator, disease: str) -> tuple[float, float]:
    """Width and height of a box of `disease`: correlated log-normal, clipped to the limits."""
    numbers = BOX_STATISTICS[disease]
    first, second = rng.standard_normal(2)
    second = numbers.correlation * first + np.sqrt(1 - numbers.correlation**2) * second
    width = np.exp(numbers.log_width[0] + numbers.log_width[1] * first)
    height = np.exp(numbers.log_height[0] + numbers.log_height[1] * second)
    return float(np.clip(width, *numbers.width_limits)), float(
        np.clip(height, *numbers.height_limits)
    )


def sample_diseases(rng: np.random.Generator) -> tuple[str, ...]:
    """Sample the findings of an abnormal image from NIH's counts and pairs, alphabetically."""
    counts = np.array(list(FINDINGS_PER_IMAGE.values()), float)
    number = int(rng.choice(list(FINDINGS_PER_IMAGE), p=counts / counts.sum()))
    weights = np.array([BOX_STATISTICS[d].boxes for d in NIH_BOXED_DISEASES], float)
    if number > 1:  # the first of several must occur in pairs
        weights = np.array([_company(d, ()).sum() for d in NIH_BOXED_DISEASES], float)
    chosen: list[str] = []
    for _ in range(number):
        chosen.append(str(rng.choice(NIH_BOXED_DISEASES, p=weights / weights.sum())))
        weights = np.prod([_company(d, chosen) for d in chosen], axis=0)
        if not weights.any():
            break
    return tuple(sorted(chosen))


def _company(disease: str, taken: Sequence[str]) -> FloatArray:
    """How often each disease occurs together with `disease` on an image; 0 for those taken."""
    counts = [
        0 if other in taken else PAIRS.get((min(disease, other), max(disease, other)), 0)
        for other in NIH_BOXED_DISEASES
    ]
    return np.array(counts, dtype=np.float64)
