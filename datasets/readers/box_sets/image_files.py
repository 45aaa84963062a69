"""Find the images of a set by name, in whatever folders a download or a converter has put them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cxrloc.datasets.readers.find_images import (
    OTHER_PICTURES,
    copy_rank,
    is_other_picture,
    may_be_image,
    stem_of,
)
from cxrloc.datasets.readers.index import ReaderWarnings


@dataclass(frozen=True)
class ImageFiles:
    """The image files below a folder.

    Attributes:
        by_stem: name without its ending -> the file; of several copies the JPEG, then the PNG, then
            the DICOM file, as for NIH.
        twice: name -> files of that name beyond the one in `by_stem`.
        others: pictures in formats that are not read.
    """

    by_stem: Mapping[str, Path] = field(repr=False)
    twice: Mapping[str, tuple[Path, ...]] = field(repr=False)
    others: tuple[str, ...] = field(repr=False)

    def find(self, names: Sequence[str], warnings: ReaderWarnings) -> list[Path | None]:
        """The file of each name, given with or without an image's ending; None if there is none."""
        stems = [bare_stem(name) for name in names]
        doubled = [name for name, stem in zip(names, stems, strict=True) if stem in self.twice]
        warnings.warn("images in two folders, the first is used", doubled)
        warnings.warn(OTHER_PICTURES, self.others)
        return [self.by_stem.get(stem) for stem in stems]


def image_files(root: Path) -> ImageFiles:
    """List the image files in a folder and below it; hidden files are skipped.

    Raises:
        FileNotFoundError: if there is no such folder.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"no folder {root}; expected the folder with the set's images")
    by_stem: dict[str, Path] = {}
    twice: dict[str, tuple[Path, ...]] = {}
    images, others = _images_below(root)
    for path in sorted(images, key=_preference):
        stem = stem_of(path.name)
        first = by_stem.setdefault(stem, path)
        if first is not path and copy_rank(first.name) == copy_rank(path.name):
            twice[stem] = (*twice.get(stem, ()), path)
    return ImageFiles(by_stem, twice, tuple(sorted(others)))


def _images_below(root: Path) -> tuple[list[Path], list[str]]:
    """The image files, and the names of pictures in formats that are not read."""
    images, others = [], []
    for folder, below, names in os.walk(root.absolute(), followlinks=True):
        below[:] = sorted(name for name in below if not name.startswith("."))
        seen = (Path(folder, name) for name in names if not name.startswith("."))
        for path in seen:
            if may_be_image(path.name, path):
                images.append(path)
            elif is_other_picture(path.name):
                others.append(path.name)
    return images, others


def bare_stem(name: str) -> str:
    """The name without folders and an image's ending."""
    return stem_of(name.replace("\\", "/").rpartition("/")[2])


def _preference(path: Path) -> tuple[int, str]:
    return copy_rank(path.name), str(path)
