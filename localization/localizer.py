"""Define a localizer: given images and disease names, it returns the boxes of the diseases."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from cxrloc.datasets.radiograph import LoadedImage

Pair = tuple[str, str]  # image_id, disease
Cells = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Localization:
    """One predicted box of one disease on one image.

    Attributes:
        image_id: the image.
        disease: disease of the box.
        box_xyxy: left, top, right, bottom in absolute pixels of the ORIGINAL image.
        score: confidence; comparable within one localizer and disease only.
        mask: (H, W) bool in the original frame, or None.
    """

    image_id: str
    disease: str
    box_xyxy: tuple[float, float, float, float]
    score: float
    mask: npt.NDArray[np.bool_] | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        x1, y1, x2, y2 = self.box_xyxy
        if not (np.isfinite(self.box_xyxy).all() and x2 > x1 and y2 > y1):
            raise ValueError(
                f"{self.image_id}, {self.disease}: expected finite x1 < x2 and y1 < y2, "
                f"got {self.box_xyxy}"
            )
        if not np.isfinite(self.score):
            raise ValueError(f"{self.image_id}, {self.disease}: score {self.score} is not finite")


def best_by_score(
    boxes: Iterable[Localization],
    disease_of: Callable[[Localization], str] = operator.attrgetter("disease"),
) -> dict[tuple[str, str], Localization]:
    """(image_id, disease) -> its box with the highest score, the first among equals.

    Args:
        boxes: boxes of any images and diseases.
        disease_of: replaces a box's disease; boxes with the same result compete.
    """
    best: dict[tuple[str, str], Localization] = {}
    for box in boxes:
        key = (box.image_id, disease_of(box))
        if key not in best or box.score > best[key].score:
            best[key] = box
    return best


@dataclass(frozen=True)
class LocalizerOutput:
    """Predictions of a localizer for some images and diseases.

    Attributes:
        boxes: any number per pair of image and disease, including none.
        maps: (h, w) heat map per pair, as the network gives it; None for a localizer without heat
            maps.
        facts: JSON-ready values about the boxes of a pair, for example the gate's decision.
    """

    boxes: tuple[Localization, ...]
    maps: Mapping[Pair, Cells] | None = field(default=None, repr=False, compare=False)
    facts: Mapping[Pair, Mapping[str, Any]] = field(default_factory=dict, repr=False)


@runtime_checkable
class Localizer(Protocol):
    """Boxes only the requested diseases on images."""

    @property
    def name(self) -> str: ...

    def localize(
        self, images: Sequence[LoadedImage], diseases: Sequence[str]
    ) -> LocalizerOutput: ...
