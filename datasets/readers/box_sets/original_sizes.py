"""Find the size of the original images behind copies, and put boxes into the copies' shape."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from cxrloc.datasets.images.sizes import sizes_hw
from cxrloc.datasets.readers.box_sets.findings import NamedBox
from cxrloc.datasets.readers.csv_text import read_text_columns
from cxrloc.datasets.readers.index import ReaderWarnings

META_FILES = ("train_meta.csv", "test_meta.csv")
_SAME_SHAPE = 0.01  # as in check_images
_OVERHANG = 0.01  # share of the frame by which a careless box may leave it
_Size = tuple[int, int]


@dataclass(frozen=True)
class Frame:
    """The frame of an image's boxes.

    Attributes:
        size_hw: height and width.
        scale_xy: factors from the published coordinates; not 1 where a copy was stretched.
        stated: whether a table states the original size, else it is the file's.
    """

    size_hw: _Size
    scale_xy: tuple[float, float] = (1.0, 1.0)
    stated: bool = True

    def place(self, box: NamedBox) -> NamedBox:
        """The box in this frame.

        Raises:
            ValueError: if it leaves a frame that no table states: the file is a smaller copy.
        """
        x1, y1, x2, y2 = box.box_xyxy
        height, width = self.size_hw
        over = max(x2 / width, y2 / height) - 1
        if not self.stated and over > _OVERHANG:
            raise ValueError(
                f"{box.where}: box {x1:g}, {y1:g} to {x2:g}, {y2:g} leaves the image file of "
                f"{width} x {height} pixels, so the file is a smaller copy, and boxes are in the "
                f"original frame. Put {META_FILES[0]} (image_id, dim0 = height, dim1 = width of "
                "the original) beside the label file, or give it columns width and height"
            )
        across, down = self.scale_xy
        return replace(box, box_xyxy=(x1 * across, y1 * down, x2 * across, y2 * down))


def stated_sizes(table: pd.DataFrame, label_file: Path) -> tuple[dict[str, _Size], list[Path]]:
    """Image -> (height, width) of the original, from columns width and height or a meta file.

    Returns:
        The sizes, and the files that they come from.

    Raises:
        ValueError: naming the row, for a size that is not a positive number.
    """
    if {"width", "height"} <= set(table.columns):
        return _sizes(table, "height", "width", label_file), []
    sizes: dict[str, _Size] = {}
    files = [label_file.with_name(name) for name in META_FILES]
    found = [path for path in files if path.is_file()]
    for path in found:
        meta = read_text_columns(path)
        missing = [name for name in ("image_id", "dim0", "dim1") if name not in meta]
        if missing:
            raise ValueError(f"{path} has no column {missing}; its header is {list(meta.columns)}")
        sizes |= _sizes(meta, "dim0", "dim1", path)
    return sizes, found


def _sizes(table: pd.DataFrame, height: str, width: str, path: Path) -> dict[str, _Size]:
    rows = table[["image_id", height, width]].drop_duplicates()
    sizes: dict[str, _Size] = {}
    for image, *sides in rows.itertuples(index=False):
        try:
            high, wide = (int(float(side)) for side in sides)
        except ValueError:
            high = wide = 0
        if min(high, wide) < 1 or sizes.setdefault(image, (high, wide)) != (high, wide):
            raise ValueError(
                f"{path}: image {image} has {height} and {width} {sides}, expected one positive "
                "size of the original"
            )
    return sizes


def frames(
    images: Sequence[str],
    paths: Sequence[Path | None],
    stated: Mapping[str, _Size],
    warnings: ReaderWarnings,
) -> list[Frame | None]:
    """The frame of each image; None if neither a table nor a file tells its size.

    A copy of the original's shape keeps the original frame, into which it is scaled later. A copy
    that was stretched to another shape gets its own frame.
    """
    there = [path for path in paths if path is not None]
    files = dict(zip(there, sizes_hw(there), strict=True))
    bad = [str(path) for path, size in files.items() if size is None]
    warnings.warn("unreadable image headers, images left out", bad)
    stretched: list[str] = []
    found: list[Frame | None] = []
    for image, path in zip(images, paths, strict=True):
        file_hw, original = None if path is None else files[path], stated.get(image)
        if path is not None and file_hw is None:
            found.append(None)
            continue
        if original is None or file_hw is None:
            size = original or file_hw
            found.append(None if size is None else Frame(size, stated=original is not None))
            continue
        down, across = file_hw[0] / original[0], file_hw[1] / original[1]
        if abs(down / across - 1) < _SAME_SHAPE:
            found.append(Frame(original))
        else:
            stretched.append(
                f"{image} {original[1]} x {original[0]} to {file_hw[1]} x {file_hw[0]}"
            )
            found.append(Frame(file_hw, (across, down)))
    warnings.note("copies stretched to another shape; boxes are stretched with them", stretched)
    return found
