"""Find the image files below a folder, and the one that an annotation means.

A name in an annotation may be `00000001_000.png`, have other folders than the disk, backslashes, no
ending or another one (a JPEG copy of a PNG), be the address of a labelling tool's local file, or
start with what Label Studio puts before an uploaded file. The longest agreement counts; two files
that fit equally well are an error, unless they are copies of each other.
"""

from __future__ import annotations

import filecmp
import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

from cxrloc.datasets.images.read import IMAGE_SUFFIXES, is_image_file
from cxrloc.datasets.readers.find_images import (
    NO_IMAGES,
    OTHER_PICTURES,
    copy_rank,
    is_other_picture,
    stem_of,
)
from cxrloc.datasets.readers.index import ReaderWarnings

_OWN_OUTPUTS = (".boxes.jpg", ".heat.jpg", ".sr.dcm", ".pr.dcm", ".sc.dcm")
_UPLOAD = re.compile(r"^[0-9a-f]{8}(?:-|__)(?=.)")
_ADDRESS = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]+:/+")  # one letter alone is a drive
_LOCAL_FILE = re.compile(r"^.*[?&]d=")


def image_files(root: Path, warnings: ReaderWarnings) -> list[Path]:
    """All image files in a folder and its subfolders, sorted; hidden ones are left out.

    Raises:
        FileNotFoundError: if there is no such folder, or no image in it.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"no folder {root}; expected the folder of the images as --root")
    images: list[Path] = []
    others: list[str] = []
    rest: list[Path] = []
    for folder, below, names in os.walk(root, followlinks=True):
        below[:] = sorted(name for name in below if not name.startswith("."))
        for name in sorted(names):
            path = Path(folder, name)
            if is_other_picture(name):
                others.append(path.relative_to(root).as_posix())
            elif _may_be_image(name):
                (images if is_image_file(path) else rest).append(path)
    warnings.warn(OTHER_PICTURES, others)
    warnings.note(NO_IMAGES, [path.relative_to(root).as_posix() for path in rest])
    if not images:
        raise FileNotFoundError(
            f"no image below {root}; expected {', '.join(IMAGE_SUFFIXES)} or DICOM files"
        )
    return images


def _may_be_image(name: str) -> bool:
    return not name.startswith(".") and not name.lower().endswith(
        (*_OWN_OUTPUTS, ".txt", ".xml", ".json", ".csv", ".yaml", ".yml")
    )


def clean_name(written: str) -> str:
    """A written name with forward slashes, without the address of a labelling tool's server."""
    name = written.strip().replace("\\", "/")
    if _LOCAL_FILE.match(name):
        name = unquote(_LOCAL_FILE.sub("", name))
    elif _ADDRESS.match(name):
        name = unquote(_ADDRESS.sub("", name).partition("?")[0])
    return "/".join(part for part in name.split("/") if part not in ("", ".", ".."))


@dataclass
class ImageFinder:
    """The files below a folder, by name.

    Attributes:
        root: the folder.
        paths: its image files.
    """

    root: Path
    paths: Sequence[Path]

    def __post_init__(self) -> None:
        self._keys: list[tuple[Callable[[str], str], dict[str, list[Path]]]] = [
            (key, _grouped(self.paths, key))
            for key in (str, str.casefold, _stem, _stem_without_upload)
        ]
        self.copies: list[str] = []

    def find(self, written: str, where: str, folder: Path) -> Path | None:
        """The file that is meant; None if there is none.

        Args:
            where: file and entry, for messages.
            folder: of the annotations.

        Raises:
            ValueError: if several different files fit.
        """
        name = clean_name(written)
        if not name:
            raise ValueError(f"{where}: {written!r} is no name of an image")
        for key, by_key in self._keys:
            candidates = by_key.get(key(PurePosixPath(name).name), [])
            if candidates:
                return self._best(name, candidates, where, folder)
        return None

    def _best(self, name: str, candidates: list[Path], where: str, folder: Path) -> Path:
        if len(candidates) == 1:
            return candidates[0]

        def fit(path: Path) -> tuple[int, int]:
            return _shared_end(path, name), len(os.path.commonpath([path, folder]))

        top = max(map(fit, candidates))
        best = sorted(
            (p for p in candidates if fit(p) == top), key=lambda p: (copy_rank(p.name), p)
        )
        for other in best[1:]:
            same_place = other.parent == best[0].parent  # one image in two formats
            if not same_place and not filecmp.cmp(best[0], other, shallow=False):
                raise ValueError(
                    f"{where}: {name} may be {best[0]} or {other}; write its folder into the "
                    "annotation, or give one of the folders as --root"
                )
            self.copies.append(other.relative_to(self.root).as_posix())
        return best[0]


def _grouped(paths: Iterable[Path], key: Callable[[str], str]) -> dict[str, list[Path]]:
    groups: dict[str, list[Path]] = {}
    for path in paths:
        groups.setdefault(key(path.name), []).append(path)
    return groups


def _stem(name: str) -> str:
    return stem_of(name).casefold()


def _stem_without_upload(name: str) -> str:
    return without_upload(_stem(name))


def without_upload(stem: str) -> str:
    """A stem without what Label Studio puts before the name of an uploaded file."""
    return _UPLOAD.sub("", stem)


def _shared_end(path: Path, name: str) -> int:
    """How many folders before the name agree, from the last on."""
    ours, theirs = path.parts[-2::-1], name.split("/")[-2::-1]
    pairs = enumerate(zip(ours, theirs, strict=False))
    return next((i for i, (a, b) in pairs if a != b), min(len(ours), len(theirs)))


def image_ids(root: Path, paths: Sequence[Path]) -> dict[Path, str]:
    """A name for each file: its own, or with its folders where two files share a stem."""
    by_stem = _grouped(paths, stem_of)
    return {
        path: path.name if len(by_stem[stem_of(path.name)]) == 1 else _below(root, path)
        for path in paths
    }


def _below(root: Path, path: Path) -> str:
    return path.relative_to(root).as_posix()
