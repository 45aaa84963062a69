"""Hold one localizer's predicted boxes as parallel columns: a million fit in a few arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from cxrloc.localization.localizer import Localization

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class BoxColumns:
    """Boxes in file order.

    Attributes:
        image_ids, diseases: one entry per box (M).
        boxes_xyxy: (M, 4) absolute pixels of the original image.
        scores: (M,) comparable within one localizer and disease only.
    """

    image_ids: Sequence[str] = field(repr=False)
    diseases: Sequence[str] = field(repr=False)
    boxes_xyxy: FloatArray = field(repr=False)
    scores: FloatArray = field(repr=False)

    def __post_init__(self) -> None:
        lengths = {len(self.image_ids), len(self.diseases), len(self.scores)}
        if lengths != {len(self.boxes_xyxy)} or self.boxes_xyxy.shape[1:] != (4,):
            raise ValueError(
                f"expected columns of one length and boxes (M, 4), got {len(self.image_ids)} "
                f"images, {len(self.diseases)} diseases, boxes {self.boxes_xyxy.shape} and "
                f"{len(self.scores)} scores"
            )

    def __len__(self) -> int:
        return len(self.scores)

    @classmethod
    def of(cls, localizations: Sequence[Localization]) -> BoxColumns:
        """Build from a list; drops masks."""
        return cls(
            [box.image_id for box in localizations],
            [box.disease for box in localizations],
            np.array([box.box_xyxy for box in localizations], dtype=np.float64).reshape(-1, 4),
            np.array([box.score for box in localizations], dtype=np.float64),
        )
