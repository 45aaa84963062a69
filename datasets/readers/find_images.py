"""Find the files of listed images, by scanning folders or by their listed paths."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from cxrloc.datasets.files.runs.workers import thread_pool
from cxrloc.datasets.images.read import IMAGE_SUFFIXES, is_image_file
from cxrloc.datasets.images.sizes import size_hw
from cxrloc.datasets.progress import progress
from cxrloc.datasets.readers.index import ReaderWarnings

_PREFERRED = ((".jpg", ".jpeg"), (".png",))

OTHER_PICTURES = "images in a format that is not read; convert them to PNG"
NO_IMAGES = "files among the images that are no images that are read"
_OTHER_FORMATS = (".bmp", ".tif", ".tiff", ".webp", ".gif", ".jp2", ".nii", ".nii.gz")
_TABLES = (".txt", ".xml", ".json", ".csv", ".yaml", ".yml")

_CHUNK = 500
_UNKNOWN_SIZE = (1, 1)  # for a missing image, which never has boxes
_Size = tuple[int, int]


def listed_files(
    root: Path, images: Sequence[str], warnings: ReaderWarnings
) -> tuple[list[Path | None], list[_Size]]:
    """Absolute path of each image, or None, and (height, width) from its header.

    Args:
        images: paths under `root`; a copy with another image suffix counts too.
    """
    names = [os.path.join(os.path.abspath(root), image) for image in images]
    chunks = [names[i : i + _CHUNK] for i in range(0, len(names), _CHUNK)]
    with thread_pool() as pool:  # one task per image would cost more than the work
        bar = progress(pool.map(_look, chunks), "image files", len(chunks), unit="chunk")
        files = [file for chunk in bar for file in chunk]
    bad = [str(path) for path, size in files if path is not None and size is None]
    warnings.warn("unreadable image headers", bad)
    return [path for path, _ in files], [size or _UNKNOWN_SIZE for _, size in files]


def _look(names: Sequence[str]) -> list[tuple[Path | None, _Size | None]]:
    paths = [_find(name) for name in names]
    return [(path, None if path is None else _size(path)) for path in paths]


def _find(path: str) -> Path | None:
    if os.path.isfile(path):
        return Path(path)
    stem = stem_of(path)
    return next((Path(stem + s) for s in IMAGE_SUFFIXES if os.path.isfile(stem + s)), None)


def _size(path: Path) -> _Size | None:
    try:
        return size_hw(path)
    except (OSError, ValueError):
        return None


def find_images(root: Path, ids: Sequence[str], warnings: ReaderWarnings) -> list[Path | None]:
    """Absolute path of each listed image under `root`, or None if there is no file.

    Searches `root/images`, `root/images_001/images` (or `root/images_001`) and so on, then `root`.
    The listed name comes first, then the same stem with another image suffix in upper or lower
    case: JPEG before PNG before DICOM (people keep re-encoded copies). Hidden files are skipped,
    and a listed file never stands in for another.
    """
    by_name: dict[str, Path] = {}
    twice: list[str] = []
    for folder in _folders(root):
        for path in folder.iterdir():  # several times faster than Path(text)
            if by_name.setdefault(path.name, path) is not path:
                twice.append(path.name)
    listed = set(ids)
    spare = _by_stem({name: path for name, path in by_name.items() if name not in listed})
    paths = [by_name.get(image) or spare.get(stem_of(image)) for image in ids]
    used = {path.name for path in paths if path is not None} if twice else set()
    warnings.warn("images in two folders, the first is used", sorted(used.intersection(twice)))
    warnings.warn("image files without a label row, left out", _unlisted(by_name, paths, ids))
    warnings.warn(OTHER_PICTURES, sorted(name for name in by_name if is_other_picture(name)))
    folders = {path.parent for path in paths if path is not None} - {root.absolute()}
    rest = [name for name, path in by_name.items() if path.parent in folders]
    warnings.note(NO_IMAGES, sorted(name for name in rest if _is_no_picture(by_name[name])))
    return paths


def _unlisted(
    by_name: Mapping[str, Path], paths: Sequence[Path | None], ids: Sequence[str]
) -> list[str]:
    """Image files that are neither listed nor another copy of a listed image."""
    if len(by_name) <= sum(path is not None for path in paths):
        return []
    stems = {stem_of(image) for image in ids}
    images = (name for name, path in by_name.items() if may_be_image(name, path))
    return sorted(
        name for name in images if not name.startswith(".") and stem_of(name) not in stems
    )


def _folders(root: Path) -> list[Path]:
    """Existing folders to search, absolute, in order of preference."""
    numbered = sorted(path for path in root.absolute().glob("images_*") if path.is_dir())
    nested = [folder for path in numbered for folder in (path / "images", path)]
    candidates = [root.absolute() / "images", *nested, root.absolute()]
    return [path for path in candidates if path.is_dir()]


def _by_stem(paths: Mapping[str, Path]) -> dict[str, Path]:
    """Image files by stem; among several the JPEG, then the PNG, then the DICOM file."""
    stems: dict[str, Path] = {}
    for name in sorted(paths, key=lambda name: (copy_rank(name), name)):
        if may_be_image(name, paths[name]) and not name.startswith("."):
            stems.setdefault(stem_of(name), paths[name])
    return stems


def may_be_image(name: str, path: Path) -> bool:
    """Whether a listed file is an image: by its suffix, or else by its first bytes."""
    lower = name.lower()
    return lower.endswith(IMAGE_SUFFIXES) or (
        not lower.endswith((*_TABLES, *_OTHER_FORMATS)) and path.is_file() and is_image_file(path)
    )


def is_other_picture(name: str) -> bool:
    """Whether the suffix is that of pictures in a format that is not read."""
    return name.lower().endswith(_OTHER_FORMATS) and not name.startswith(".")


def _is_no_picture(path: Path) -> bool:
    name = path.name
    if name.startswith(".") or is_other_picture(name) or may_be_image(name, path):  # no look at it
        return False
    return path.is_file()


def copy_rank(name: str) -> int:
    """Rank among copies: DICOM is last, as its window may differ from the one in the copies."""
    return next((i for i, ends in enumerate(_PREFERRED) if name.lower().endswith(ends)), 2)


def stem_of(name: str) -> str:
    """The name without an image's ending; other dots stay, as in the numbers of DICOM."""
    ending = next((s for s in IMAGE_SUFFIXES if name.lower().endswith(s)), "")
    return name[: -len(ending)] if ending and len(name) > len(ending) else name
