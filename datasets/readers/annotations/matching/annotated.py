"""What a file of annotations says about one image, before its file is looked for."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class DrawnBox:
    """A box as it is written.

    Attributes:
        name: of the finding, in the file's own words.
        box_xyxy: left, top, right, bottom, in pixels of the frame or in shares of it.
        where: file and line or entry, for messages.
        polygons: outlines in the same unit, each x1, y1, x2, y2, ...
    """

    name: str
    box_xyxy: tuple[float, float, float, float]
    where: str
    polygons: tuple[tuple[float, ...], ...] = ()

    def __post_init__(self) -> None:
        x1, y1, x2, y2 = self.box_xyxy
        if not (all(map(math.isfinite, self.box_xyxy)) and x2 > x1 and y2 > y1):
            raise ValueError(
                f"{self.where}: {self.name}: expected a box with left < right and top < bottom, "
                f"got {x1:g}, {y1:g}, {x2:g}, {y2:g}; correct or delete it"
            )


@dataclass(frozen=True)
class AnnotatedImage:
    """One image with its boxes.

    Attributes:
        name: of the image, as written; it may have folders, and no ending.
        where: file and line or entry, for messages.
        boxes: all boxes.
        present: findings stated for the image without a box.
        normal: the file states that there is no finding.
        frame_wh: width and height that the boxes refer to, if the file states them.
        shares: whether the boxes are shares of the frame, 0 to 1.
        patient: as written; empty if the file does not tell.
        part: train, valid or test if the file tells.
        folder: of the annotations; of two images with one name, the nearer is meant.
        path: the image file, where the format finds annotations by the image.
    """

    name: str
    where: str
    boxes: tuple[DrawnBox, ...] = ()
    present: tuple[str, ...] = ()
    normal: bool = False
    frame_wh: tuple[float, float] | None = None
    shares: bool = False
    patient: str = ""
    part: str = ""
    folder: Path = field(default_factory=Path)
    path: Path | None = None
    view: str = ""
    sex: str = ""
    age_years: float = math.nan


@dataclass(frozen=True)
class Annotations:
    """All that the files say.

    Attributes:
        images: in the order of the files.
        names: findings in the order in which the files list them; a name may have no box.
        sources: every file that was read.
    """

    images: tuple[AnnotatedImage, ...]
    names: tuple[str, ...]
    sources: tuple[Path, ...]
