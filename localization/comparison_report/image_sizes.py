"""Sizes of image files, where a ground truth lacks them or says others."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from cxrloc.datasets.files.coco.images import SizeOf
from cxrloc.datasets.images import sizes
from cxrloc.localization.evaluation.ground_truth import ImageTable

_LOOKED_AT = 200


def sizes_in(folder: Path) -> SizeOf:
    """Look up (height, width) of an image in a folder by its name, with or without folders."""

    def size_of(name: str) -> tuple[int, int] | None:
        paths = (folder / name, folder / PurePosixPath(name).name)
        return next((size_hw(path) for path in paths if path.is_file()), None)

    return size_of


def size_hw(path: Path) -> tuple[int, int] | None:
    """Height and width of an image file; None for what is no image."""
    try:
        return sizes.size_hw(path)
    except (OSError, ValueError):
        return None


def size_notes(images: ImageTable, paths: Mapping[str, Path]) -> list[str]:
    """Say where image files have another size than the ground truth says of them."""
    listed = dict(zip(images.image_ids, images.sizes_hw, strict=True))
    named = [(name, path) for name, path in paths.items() if name in listed][:_LOOKED_AT]
    found = {name: size for name, path in named if (size := size_hw(path)) is not None}
    # a camera's file may be stored on its side
    other = [name for name in found if found[name] not in (listed[name], listed[name][::-1])]
    if not other:
        return []
    (height, width), (truth_height, truth_width) = found[other[0]], listed[other[0]]
    return [
        f"CHECK the sizes of the images: {len(other)} of {len(found)} files that were looked at "
        f"have another size than the ground truth says, for example {other[0]}: {width} x {height} "
        f"pixels in the file, {truth_width} x {truth_height} in the ground truth. Boxes are scored "
        "in the frame that the ground truth says"
    ]
