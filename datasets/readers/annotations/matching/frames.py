"""Bring boxes into pixels of one frame per image, and check them against it.

Frame: the size that the annotations state, else the size of the image file. A file of another size
is a resized copy; the boxes stay in the stated frame, into which every later step scales the image.
A copy of another shape is refused: nobody knows what was cut off.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from cxrloc.datasets.readers.annotations.matching.annotated import AnnotatedImage, DrawnBox
from cxrloc.datasets.readers.index import ReaderWarnings

_SHAPE_TOLERANCE = 0.01
_ROUNDING = 1.0  # pixels by which tools that count from 1 or to the last pixel overhang
_OVERHANG = 0.1  # share of the frame; nobody draws further outside of an image
_Size = tuple[int, int]


@dataclass
class Frames:
    """Places boxes; what was odd is counted in `tell`."""

    clipped: list[str] = field(default_factory=list)
    resized: list[str] = field(default_factory=list)

    def tell(self, warnings: ReaderWarnings) -> None:
        warnings.warn("boxes clipped to the frame", self.clipped)
        warnings.note(
            "images of another size than their annotations state; boxes stay in the stated frame",
            self.resized,
        )

    def size_hw(self, image: AnnotatedImage, file_hw: _Size | None) -> _Size | None:
        """Height and width of the image's frame; None if neither is known.

        Raises:
            ValueError: if the file has another shape than the stated frame.
        """
        if image.frame_wh is None or image.shares:
            return file_hw
        width, height = (round(side) for side in image.frame_wh)
        if min(width, height) < 1:  # some tools write 0 x 0
            return file_hw
        if file_hw is None or file_hw == (height, width):
            return height, width
        if abs(width * file_hw[0] / (height * file_hw[1]) - 1) > _SHAPE_TOLERANCE:
            hint = (
                "was it turned since, by its EXIF orientation? Boxes belong to the upright image"
                if file_hw == (width, height)
                else "was it cropped? Use the images that the boxes were drawn on"
            )
            raise ValueError(
                f"{image.where}: {image.name} is {width} x {height} in the annotations and "
                f"{file_hw[1]} x {file_hw[0]} on disk, another shape: boxes would be misplaced; "
                + hint
            )
        self.resized.append(f"{image.name} {width} x {height}, file {file_hw[1]} x {file_hw[0]}")
        return height, width

    def placed(self, image: AnnotatedImage, size_hw: _Size) -> list[DrawnBox]:
        """The image's boxes in pixels, clipped to the frame.

        Raises:
            ValueError: for a box outside the frame, or so far over its edge that it belongs to
                another frame.
        """
        height, width = size_hw
        scale = (float(width), float(height)) if image.shares else (1.0, 1.0)
        return [self._clip(_scaled(box, scale), width, height, image) for box in image.boxes]

    def _clip(self, box: DrawnBox, width: int, height: int, image: AnnotatedImage) -> DrawnBox:
        x1, y1, x2, y2 = box.box_xyxy
        overhang = max(-x1 / width, x2 / width - 1, -y1 / height, y2 / height - 1)
        if x1 >= width or y1 >= height or x2 <= 0 or y2 <= 0 or overhang > _OVERHANG:
            raise ValueError(
                f"{box.where}: {box.name}: the box {x1:g}, {y1:g}, {x2:g}, {y2:g} lies outside "
                f"{image.name}, which is {width} x {height}; were boxes and images resized "
                "differently? Use the images that the boxes were drawn on, or correct the box"
            )
        inside = max(x1, 0.0), max(y1, 0.0), min(x2, float(width)), min(y2, float(height))
        if max(-x1, x2 - width, -y1, y2 - height) > _ROUNDING:
            self.clipped.append(f"{image.name} {box.name}")
        outlines = tuple(_clipped_outline(points, width, height) for points in box.polygons)
        return DrawnBox(box.name, inside, box.where, outlines)


def _scaled(box: DrawnBox, scale_xy: tuple[float, float]) -> DrawnBox:
    if scale_xy == (1.0, 1.0):
        return box
    x, y = scale_xy
    x1, y1, x2, y2 = box.box_xyxy
    outlines = tuple(
        tuple(value * scale_xy[i % 2] for i, value in enumerate(points)) for points in box.polygons
    )
    return DrawnBox(box.name, (x1 * x, y1 * y, x2 * x, y2 * y), box.where, outlines)


def _clipped_outline(points: Sequence[float], width: int, height: int) -> tuple[float, ...]:
    sides = (float(width), float(height))
    return tuple(min(max(value, 0.0), sides[i % 2]) for i, value in enumerate(points))
