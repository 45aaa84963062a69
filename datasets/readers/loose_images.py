"""Find image files among a user's files and folders, and name their results."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from cxrloc.datasets.images.read import IMAGE_SUFFIXES, is_image_file
from cxrloc.datasets.readers.layouts import PATIENT, STUDY

# the last folders of a path, with MURA's body part if present
_STUDY_FOLDERS = re.compile(rf"(?<![^/])(?:XR_[A-Z]+/)?{PATIENT}/{STUDY}$")
_STEM_BYTES = 200
# written by cxrloc predict
_OWN_IMAGES = (".boxes.jpg", ".heat.jpg", ".sr.dcm", ".pr.dcm", ".sc.dcm")


def images_below(inputs: Sequence[Path], out: Path | None = None) -> tuple[list[Path], list[str]]:
    """Image files among the inputs, each once, and a message for every input without any.

    Folders are searched recursively, in sorted order. Hidden files are skipped, and so are outputs
    of `cxrloc predict`: pictures and objects next to their image's JSON, and everything in `out`,
    where an interrupted run may have left them without it.
    """
    images: dict[Path, Path] = {}
    failures = []
    for given in inputs:
        below = _images_of(given, out)
        if not below:
            reason = "no images in this folder" if given.is_dir() else "no such file or folder"
            failures.append(f"{given}: {reason}; expected {', '.join(IMAGE_SUFFIXES)} or DICOM")
        for path in below:
            images.setdefault(path.resolve(), path)
    return list(images.values()), failures


def _images_of(given: Path, out: Path | None) -> list[Path]:
    if given.is_file():
        return [given]
    return sorted(
        path
        for path in given.rglob("*")
        if not path.name.startswith(".")
        and path.is_file()
        and is_image_file(path)
        and not _is_output(path, out)
    )


def _is_output(path: Path, out: Path | None) -> bool:
    if out is not None and _in_export(path.resolve(), out.resolve()):
        return True
    ending = next((ending for ending in _OWN_IMAGES if path.name.endswith(ending)), None)
    if ending is None:
        return False
    if out is not None and path.resolve().parent == out.resolve():
        return True
    try:
        record = path.with_name(f"{path.name.removesuffix(ending)}.json").read_bytes()
    except OSError:
        return False
    return b'"manifest"' in record


def _in_export(path: Path, out: Path) -> bool:
    """Whether the image is a copy for a tool of annotation, in `out`/export_FORM."""
    return out in path.parents and path.relative_to(out).parts[0].startswith("export_")


def unique_names(paths: Sequence[Path]) -> dict[Path, str]:
    """Return path -> stem of its outputs: its own name, with _2, _3 appended if that is taken.

    Names that differ only in case count as equal, since some file systems do not distinguish them.
    """
    taken: set[str] = set()
    last: dict[str, int] = {}  # last number used per name: 100,000 images may share one
    names = {}
    for path in paths:
        short = name = _shortened(Path(image_name(path).replace("/", "_")).stem)
        number = last.get(short.casefold(), 1)
        while name.casefold() in taken:
            number += 1
            name = f"{short}_{number}"
        last[short.casefold()] = number
        taken.add(name.casefold())
        names[path] = name
    return names


def _shortened(stem: str) -> str:
    """Shorten a stem to leave room for suffixes: file systems allow 255 bytes in a name."""
    encoded = os.fsencode(stem)
    return stem if len(encoded) <= _STEM_BYTES else encoded[:_STEM_BYTES].decode(errors="ignore")


def image_name(path: Path) -> str:
    """The file's name, prefixed by its study in MURA's and CheXpert's layouts.

    All files there have names such as image1.png and view1_frontal.jpg.
    """
    match = _STUDY_FOLDERS.search(path.absolute().parent.as_posix())
    return path.name if match is None else f"{match[0]}/{path.name}"
