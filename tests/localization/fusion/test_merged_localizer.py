"""Several localizers of one kind, their boxes fused."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from cxrloc.datasets.radiograph import LoadedImage
from cxrloc.localization.fusion.merged_localizer import MergedLocalizer
from cxrloc.localization.localizer import Localization, Localizer, LocalizerOutput

Box = tuple[float, float, float, float]
IMAGES = [LoadedImage(name, np.zeros((100, 100), np.uint8), (100, 100)) for name in ("a", "b")]


class _Fixed:
    """Gives the same boxes whatever it is shown."""

    def __init__(self, *boxes: tuple[str, str, Box, float], name: str = "mask_rcnn") -> None:
        self.name, self.runtime = name, "torch fp32 on cpu"
        self.boxes = tuple(Localization(*box) for box in boxes)

    def localize(self, images: Sequence[LoadedImage], diseases: Sequence[str]) -> LocalizerOutput:
        return LocalizerOutput(tuple(box for box in self.boxes if box.disease in diseases))


def test_boxes_of_one_place_are_averaged_and_those_of_a_single_model_lose_score() -> None:
    first = _Fixed(
        ("a", "Mass", (10, 10, 30, 30), 0.6),
        ("a", "Nodule", (10, 10, 30, 30), 0.3),
        ("b", "Mass", (50, 50, 90, 90), 0.8),
    )
    second = _Fixed(("a", "Mass", (12, 10, 32, 30), 0.2), ("a", "Effusion", (0, 0, 9, 9), 0.9))
    merged = MergedLocalizer([first, second])
    assert isinstance(merged, Localizer)
    boxes = merged.localize(IMAGES, ("Mass", "Nodule")).boxes
    assert [(box.image_id, box.disease) for box in boxes] == [
        ("a", "Mass"),
        ("a", "Nodule"),
        ("b", "Mass"),
    ]
    assert boxes[0].box_xyxy == pytest.approx((10.5, 10, 30.5, 30))  # weighted by the scores
    assert [box.score for box in boxes] == pytest.approx([0.4, 0.15, 0.4])


def test_one_model_keeps_its_boxes_and_names_its_runtime() -> None:
    one = _Fixed(("a", "Mass", (10, 10, 30, 30), 0.6))
    merged = MergedLocalizer([one])
    assert merged.localize(IMAGES, ("Mass",)).boxes == one.boxes
    assert (merged.name, MergedLocalizer([one, one]).runtime) == (
        "mask_rcnn",
        "2 x torch fp32 on cpu",
    )


def test_localizers_of_two_kinds_are_refused() -> None:
    with pytest.raises(ValueError, match="grad_cam, mask_rcnn: expected one or more with the same"):
        MergedLocalizer([_Fixed(name="grad_cam"), _Fixed()])
