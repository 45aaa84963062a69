"""Several localizers that look at the same images as one: their boxes, fused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from cxrloc.datasets.radiograph import LoadedImage
from cxrloc.localization.fusion.weighted_boxes import fuse_boxes
from cxrloc.localization.localizer import Localization, Localizer, LocalizerOutput


class _Timed(Localizer, Protocol):
    """A localizer that names its runtime."""

    @property
    def runtime(self) -> str: ...


class MergedLocalizer:
    """The boxes of one kind of localizer, trained several times or looking at several sizes.

    The boxes of each image and disease are merged by weighted boxes fusion, with equal weights: the
    scores must be comparable, as they are between models of one design. A box that not all of them
    have gets a lower score. Masks and heat maps are not merged, so there are none.
    """

    def __init__(self, localizers: Sequence[_Timed]) -> None:
        if not localizers or len({one.name for one in localizers}) > 1:
            names = ", ".join(one.name for one in localizers) or "none"
            raise ValueError(f"localizers {names}: expected one or more with the same name")
        self.localizers = tuple(localizers)

    @property
    def name(self) -> str:
        return self.localizers[0].name

    @property
    def runtime(self) -> str:
        """The runtime of them all, for the records."""
        runtimes = dict.fromkeys(one.runtime for one in self.localizers)
        return f"{len(self.localizers)} x {' and '.join(runtimes)}"

    def localize(self, images: Sequence[LoadedImage], diseases: Sequence[str]) -> LocalizerOutput:
        """All fused boxes of the requested diseases, by descending score within an image."""
        outputs = [one.localize(images, diseases).boxes for one in self.localizers]
        fused = [
            box
            for image in images
            for box in sorted(
                (box for disease in diseases for box in _fused(outputs, image.image_id, disease)),
                key=lambda box: -box.score,
            )
        ]
        return LocalizerOutput(tuple(fused))


def _fused(
    outputs: Sequence[Sequence[Localization]], image_id: str, disease: str
) -> list[Localization]:
    same = [
        [b for b in boxes if (b.image_id, b.disease) == (image_id, disease)] for boxes in outputs
    ]
    fused = fuse_boxes(
        [[b.box_xyxy for b in boxes] for boxes in same],
        [[b.score for b in boxes] for boxes in same],
    )
    pairs = zip(fused.boxes_xyxy.tolist(), fused.scores.tolist(), strict=True)
    return [Localization(image_id, disease, tuple(box), score) for box, score in pairs]
