"""Find image files among a user's files and folders, and name their results."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import overload

from cxrloc.datasets.files.runs.shown_paths import as_text
from cxrloc.datasets.files.storage import Storage
from cxrloc.datasets.images.read import (
    FIRST_BYTES,
    IMAGE_SUFFIXES,
    is_image_data,
    is_image_file,
    is_image_name,
    passed_over,
)
from cxrloc.datasets.readers.find_images import stem_of
from cxrloc.datasets.readers.layouts import PATIENT, STUDY

# the last folders of a path, with MURA's body part if present
_STUDY_FOLDERS = re.compile(rf"(?<![^/])(?:XR_[A-Z]+/)?{PATIENT}/{STUDY}$")
_STEM_BYTES = 200
# written by cxrloc predict
STUDIES = "study_predictions.csv"
_OWN_IMAGES = (".boxes.jpg", ".heat.jpg", ".sr.dcm", ".pr.dcm", ".sc.dcm")


@dataclass(frozen=True)
class FoundImages:
    """What a user's files and folders hold.

    Attributes:
        files: image files, each once: paths or, in a store, URLs. Texts, since there may be a
            million of them, and a Path takes several times the memory.
        failures: a message for every input without any.
        passed_over: a sentence for every folder that also holds files that are no images.
    """

    files: list[str]
    failures: list[str]
    passed_over: list[str]

    @property
    def paths(self) -> list[Path]:
        return [Path(file) for file in self.files]


def images_below(inputs: Sequence[Path | str], out: Path | None = None) -> FoundImages:
    """Find the image files among the inputs.

    Folders are searched recursively, in sorted order. Hidden files are skipped, and so are outputs
    of `cxrloc predict`: pictures and objects next to their image's JSON, and everything in `out`,
    where an interrupted run may have left them without it. An input may be a URL that fsspec knows.
    """
    found = FoundImages([], [], [])
    own = None if out is None else os.path.realpath(out)
    twice = len(inputs) > 1  # whether a file may be there a second time
    for given in map(str, inputs):
        before, others = len(found.files), list[Path]()
        if "://" in given:
            found.files.extend(_images_in_store(given))
        else:
            twice |= _add_images(given, own, found, others)
        images = len(found.files) - before
        sentence = passed_over(Path(given), others, images)
        if sentence and images:
            found.passed_over.append(sentence)
        if not images:
            folder = "://" in given or os.path.isdir(given)
            reason = "no images in this folder" if folder else "no such file or folder"
            expected = f"{given}: {reason}; expected {', '.join(IMAGE_SUFFIXES)} or DICOM"
            found.failures.append(f"{expected}. {sentence}" if sentence else expected)
    if twice:
        found.files[:] = _each_once(found.files)
    return found


def images_of(
    tool: str, inputs: Sequence[Path | str], out: Path | None = None
) -> tuple[list[Path], list[str]]:
    """Images and failures of `found_images`."""
    found = found_images(tool, inputs, out)
    return found.paths, found.failures


def found_images(tool: str, inputs: Sequence[Path | str], out: Path | None = None) -> FoundImages:
    """As `images_below`; says what was passed over, in the tool's name.

    Raises:
        ValueError: if there is no image.
    """
    found = images_below(inputs, out)
    if not found.files:
        raise ValueError("; ".join(found.failures))
    for sentence in found.passed_over:
        print(f"{tool}: {sentence}", file=sys.stderr)
    return found


def _add_images(given: str, out: str | None, found: FoundImages, others: list[Path]) -> bool:
    """Add the images of a file or folder, without hidden ones and outputs; note other files.

    Returns:
        Whether there were symbolic links, which may name a file a second time.
    """
    if os.path.isfile(given):
        found.files.append(given)
        return False
    links = False
    for file, is_link in _files_below(given, found.failures):
        links |= is_link
        if _is_output(file, out):
            continue
        if is_image_file(Path(file)):
            found.files.append(file)
        elif not _is_ours(Path(file), out):
            others.append(Path(file))
    return links


def _files_below(folder: str, failures: list[str]) -> Iterator[tuple[str, bool]]:
    """Each file that is not hidden, and whether it is a link, in the order of sorted paths."""
    try:
        with os.scandir(folder) as entries:
            kinds = {
                each.name: (each.is_dir(follow_symlinks=False), each.is_symlink())
                for each in entries
                if each.is_dir(follow_symlinks=False) or not each.name.startswith(".")
            }
    except OSError as error:
        if os.path.isdir(folder):
            failures.append(f"{folder}: cannot be listed ({error.strerror})")
        return
    for name in sorted(kinds):
        path = os.path.join(folder, name)
        is_folder, is_link = kinds.pop(name)
        if is_folder:
            yield from _files_below(path, failures)
        elif os.path.isfile(path):
            yield path, is_link


def _images_in_store(url: str) -> Iterator[str]:
    """URLs of the images below a URL, in sorted order; DICOM files without ending included."""
    storage = Storage.at(url)
    for name in storage.files_below():
        file = storage.url_of(name)
        base = file.rpartition("/")[2]
        if base.startswith((".", "_")) or base.endswith(_OWN_IMAGES):
            continue
        if is_image_name(base) or is_image_data(_first_bytes(storage, name), base):
            yield file


def _first_bytes(storage: Storage, name: str) -> bytes:
    with storage.open(name) as file:
        return file.read(FIRST_BYTES)


def _each_once(files: Sequence[str]) -> Iterator[str]:
    seen = set[str]()
    for file in files:
        place = file if "://" in file else os.path.realpath(file)
        if place not in seen:
            seen.add(place)
            yield file


def _is_ours(path: Path, out: str | None) -> bool:
    """Whether a file that is no image was written by `cxrloc predict`."""
    if out is not None and os.path.realpath(path).startswith(f"{out}{os.sep}"):
        return True
    if path.suffix == ".json":
        return b'"manifest"' in path.read_bytes()
    return path.name == STUDIES


def _is_output(file: str, out: str | None) -> bool:
    folder = _whole_folder(os.path.dirname(file))
    if out is not None and f"{folder}{os.sep}".startswith(f"{out}{os.sep}export_"):
        return True  # a copy for a tool of annotation
    ending = next((ending for ending in _OWN_IMAGES if file.endswith(ending)), None)
    if ending is None:
        return False
    if folder == out:
        return True
    try:
        record = Path(f"{file.removesuffix(ending)}.json").read_bytes()
    except OSError:
        return False
    return b'"manifest"' in record


@lru_cache(maxsize=64)  # a folder's files come one after the other
def _whole_folder(folder: str) -> str:
    return os.path.realpath(folder)


class ResultNames(Sequence[str]):
    """Stems of the outputs of images: their own names, with _2, _3 appended if that is taken.

    Names that differ only in case count as equal, since some file systems do not distinguish them.
    Only what is appended is kept: the names themselves would be the listing a second time.
    """

    def __init__(self, files: Sequence[str]) -> None:
        self._files = files
        self._numbers: dict[int, int] = {}
        taken: set[str] = set()
        last: dict[str, int] = {}  # last number used per name: 100,000 images may share one
        for place, file in enumerate(files):
            short = name = result_stem(image_name(file))
            key = short.casefold()
            while name.casefold() in taken:
                last[key] = last.get(key, 1) + 1
                name = f"{short}_{last[key]}"
            taken.add(name.casefold())
            if name != short:
                self._numbers[place] = last[key]

    @overload
    def __getitem__(self, place: int) -> str: ...

    @overload
    def __getitem__(self, place: slice) -> list[str]: ...

    def __getitem__(self, place: int | slice) -> str | list[str]:
        if isinstance(place, slice):
            return [self[each] for each in range(*place.indices(len(self)))]
        stem, number = result_stem(image_name(self._files[place])), self._numbers.get(place)
        return stem if number is None else f"{stem}_{number}"

    def __len__(self) -> int:
        return len(self._files)


def result_stem(name: str) -> str:
    """Stem of an image's outputs where no other image has it; `name` is its `image_name`."""
    return _shortened(stem_of(name.replace("/", "_")))


def _shortened(stem: str) -> str:
    """Shorten a stem to leave room for suffixes: file systems allow 255 bytes in a name."""
    encoded = os.fsencode(stem)
    return stem if len(encoded) <= _STEM_BYTES else encoded[:_STEM_BYTES].decode(errors="ignore")


def image_name(file: str | Path) -> str:
    """The file's name, prefixed by its study in MURA's and CheXpert's layouts.

    All files there have names such as image1.png and view1_frontal.jpg. Bytes that are no UTF-8
    are escaped.
    """
    folder, _, name = as_text(str(file)).rpartition("/")
    if "://" not in folder:
        folder = Path(folder).absolute().as_posix()
    match = _STUDY_FOLDERS.search(folder)
    return name if match is None else f"{match[0]}/{name}"
