"""Compare an exported network with the one in torch, and write it if it computes the same."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cxrloc.classification.bundle.onnx_file import write_onnx
from cxrloc.datasets.phantoms.drawing.chest import render_image
from cxrloc.datasets.radiograph import LoadedImage
from cxrloc.localization.boxes import iou
from cxrloc.localization.localizer import Localization

IMAGES = 20
# Rounding in another order changes a float32 by about 1e-6 of itself in each layer
PROBABILITY = 1e-4  # largest difference of a probability or score
HEAT = 1e-3  # largest difference of a cell, as a share of the hottest cell of the image
SAME_BOX = 0.98  # least IoU of two boxes that count as the same
# how squares are made, for the metadata
FIT = (
    "scale the grey image so that its longer side is S (cv2.INTER_AREA to shrink, INTER_LINEAR to "
    "enlarge), place it at the top left of a black square, round to whole grey levels 0 to 255"
)
_SHAPES = ((512, 512), (512, 400), (400, 512), (512, 250), (250, 512))


@dataclass(frozen=True)
class Agreement:
    """What was compared, and the largest differences.

    Attributes:
        images: number of images.
        probabilities: largest difference of a gate's probabilities, or of a detector's scores.
        boxes: number of boxes in torch.
        least_iou: of a box in torch and its counterpart, 0 if one of them has none.
        heat_maps: largest difference of a cell, as a share of the image's hottest; of a detector,
            largest difference of a mask's probability.
    """

    images: int
    probabilities: float
    boxes: int
    least_iou: float
    heat_maps: float

    def __str__(self) -> str:
        return (
            f"on {self.images} images probabilities differ by {self.probabilities:.1g} at most, "
            f"maps or masks by {self.heat_maps:.1g}, and {self.boxes} boxes overlap theirs with an "
            f"IoU of {self.least_iou:.4f} or more"
        )

    def check(self, what: str) -> None:
        """Raise ValueError beyond the tolerance, or if there was nothing to compare."""
        within = (
            self.probabilities <= PROBABILITY
            and self.heat_maps <= HEAT
            and self.least_iou >= SAME_BOX
        )
        if not within:  # NaN too
            raise ValueError(
                f"{what} does not compute what torch computes: {self}; expected at most "
                f"{PROBABILITY:g}, {HEAT:g}, and at least {SAME_BOX:g}. Nothing was written"
            )


def write_checked(
    out: Path,
    network: Any,
    metadata: Mapping[str, Any],
    compare: Callable[[Path], Agreement],
    what: str,
) -> Agreement:
    """Write an exported network that computes what torch computes, and the agreement in it.

    Args:
        network, metadata: as for `write_onnx`; the metadata have an entry `export`.
        compare: takes the file of the network.
        what: the network, to begin the message.

    Raises:
        ValueError: if it does not compute the same; nothing is written.
    """
    with tempfile.TemporaryDirectory() as folder:
        unchecked = Path(folder) / out.name
        write_onnx(unchecked, network, metadata)
        agreement = compare(unchecked)
    agreement.check(what)
    export = {**metadata["export"], "checked": vars(agreement)}
    write_onnx(out, network, {**metadata, "export": export})
    return agreement


def drawn_images(count: int = IMAGES) -> Iterator[LoadedImage]:
    """Drawn chests in frames of several shapes, some of 16 bits."""
    for number in range(count):
        height, width = _SHAPES[number % len(_SHAPES)]
        pixels = np.ascontiguousarray(render_image(seed=number).pixels[:height, :width])
        deep = pixels.astype(np.uint16) * 257 if number % 4 == 3 else None
        yield LoadedImage(
            f"{number}.png",
            pixels,
            pixels.shape,
            view="PA" if number % 2 else "AP",
            sex="F" if number % 3 else "",
            age_years=20.0 + 3 * number,
            deep=deep,
        )


def least_overlap(expected: Sequence[Localization], found: Sequence[Localization]) -> float:
    """Least IoU of the boxes of one image with their counterparts, 1 without any box.

    Boxes of a disease are counterparts in the order of their scores; 0 if one is left over.
    """
    least = 1.0
    for disease in {box.disease for box in (*expected, *found)}:
        ours, theirs = ([b for b in boxes if b.disease == disease] for boxes in (expected, found))
        if len(ours) != len(theirs):
            return 0.0
        pairs = [[box.box_xyxy for box in boxes] for boxes in (ours, theirs)]
        least = min(least, float(iou(*pairs).min()))
    return least
