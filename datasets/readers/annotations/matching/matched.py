"""Find the file of every annotated image, and give each image its name."""

from __future__ import annotations

import filecmp
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cxrloc.datasets.readers.annotations.matching.annotated import AnnotatedImage
from cxrloc.datasets.readers.annotations.matching.files import (
    ImageFinder,
    clean_name,
    image_ids,
)
from cxrloc.datasets.readers.find_images import stem_of
from cxrloc.datasets.readers.index import ReaderWarnings


@dataclass(frozen=True)
class MatchedImage:
    """An annotated image with its file.

    Attributes:
        image_id: the file's name, with folders where two files share a stem.
        image: what the annotations say.
        path: the file; None if it is missing.
        place: the file below the root, or the written name of a missing one.
    """

    image_id: str
    image: AnnotatedImage
    path: Path | None
    place: str


def match(
    root: Path, images: Sequence[AnnotatedImage], paths: Sequence[Path], warnings: ReaderWarnings
) -> list[MatchedImage]:
    """Match images with the files below `root`.

    Raises:
        FileNotFoundError: if none of the images has a file.
        ValueError: for a name that fits several files, or an image annotated twice in two ways.
    """
    finder = ImageFinder(root, paths)
    rows = [
        (image, image.path or finder.find(image.name, image.where, image.folder))
        for image in images
    ]
    if images and all(path is None for _, path in rows):
        raise FileNotFoundError(
            f"none of the {len(images):,} annotated images is below {root}: "
            f"{images[0].where} names {images[0].name}, the folder holds {paths[0].name} and "
            f"{len(paths) - 1:,} others; is it the folder of the images?"
        )
    rows = _once(rows, warnings)
    rows, copies = _without_copies(rows)
    used = [path for _, path in rows if path is not None]
    warnings.warn("copies of an image, the first is used", [*finder.copies, *copies])
    _tell_unlisted(root, paths, used, (*finder.copies, *copies), warnings)
    names = image_ids(root, used)
    return [
        MatchedImage(clean_name(image.name), image, None, clean_name(image.name))
        if path is None
        else MatchedImage(names[path], image, path, path.relative_to(root).as_posix())
        for image, path in rows
    ]


_Rows = list[tuple[AnnotatedImage, Path | None]]


def _once(rows: _Rows, warnings: ReaderWarnings) -> _Rows:
    """Each image once; equal entries are dropped."""
    first: dict[str, AnnotatedImage] = {}
    kept: _Rows = []
    equal = []
    for image, path in rows:
        key = clean_name(image.name) if path is None else str(path)
        other = first.setdefault(key, image)
        if other is image:
            kept.append((image, path))
        elif _content(other) == _content(image):
            equal.append(image.name)
        else:
            raise ValueError(
                f"{image.name} is annotated twice in different ways, in {other.where} and in "
                f"{image.where}; keep one, or name the file that counts with --annotations"
            )
    warnings.warn("equal entries of an image dropped", equal)
    return kept


def _content(image: AnnotatedImage) -> AnnotatedImage:
    """What is said about an image, wherever it is said."""
    boxes = tuple(replace(box, where="") for box in image.boxes)
    return replace(image, name="", where="", boxes=boxes, folder=Path(), part="")


def _without_copies(rows: _Rows) -> tuple[_Rows, list[str]]:
    """Drop files that are byte for byte another one of the same stem: they would leak."""
    by_stem: dict[str, list[Path]] = {}
    kept: _Rows = []
    copies = []
    for image, path in rows:
        others = by_stem.setdefault(stem_of(path.name), []) if path is not None else []
        if path is not None and any(filecmp.cmp(path, other, shallow=False) for other in others):
            copies.append(f"{path.parent.name}/{path.name}")
            continue
        if path is not None:
            others.append(path)
        kept.append((image, path))
    return kept, copies


def _tell_unlisted(
    root: Path,
    paths: Sequence[Path],
    used: Sequence[Path],
    copies: Sequence[str],
    warnings: ReaderWarnings,
) -> None:
    known = {*used, *(root / copy for copy in copies)}
    unlisted = [path.relative_to(root).as_posix() for path in paths if path not in known]
    warnings.warn("image files that no annotation names, left out", unlisted)
