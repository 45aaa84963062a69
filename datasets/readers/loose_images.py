"""Find image files among a user's files and folders, and name their results."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cxrloc.datasets.images.read import IMAGE_SUFFIXES, is_image_file, passed_over
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
        paths: image files, each once.
        failures: a message for every input without any.
        passed_over: a sentence for every folder that also holds files that are no images.
    """

    paths: list[Path]
    failures: list[str]
    passed_over: list[str]


def images_below(inputs: Sequence[Path], out: Path | None = None) -> FoundImages:
    """Find the image files among the inputs.

    Folders are searched recursively, in sorted order. Hidden files are skipped, and so are outputs
    of `cxrloc predict`: pictures and objects next to their image's JSON, and everything in `out`,
    where an interrupted run may have left them without it.
    """
    images: dict[Path, Path] = {}
    failures, sentences = [], []
    for given in inputs:
        below, others = _images_of(given, out)
        sentence = passed_over(given, others, len(below))
        if sentence and below:
            sentences.append(sentence)
        if not below:
            reason = "no images in this folder" if given.is_dir() else "no such file or folder"
            expected = f"{given}: {reason}; expected {', '.join(IMAGE_SUFFIXES)} or DICOM"
            failures.append(f"{expected}. {sentence}" if sentence else expected)
        for path in below:
            images.setdefault(path.resolve(), path)
    return FoundImages(list(images.values()), failures, sentences)


def images_of(
    tool: str, inputs: Sequence[Path], out: Path | None = None
) -> tuple[list[Path], list[str]]:
    """Images and failures of `images_below`; says what was passed over, in the tool's name.

    Raises:
        ValueError: if there is no image.
    """
    found = images_below(inputs, out)
    if not found.paths:
        raise ValueError("; ".join(found.failures))
    for sentence in found.passed_over:
        print(f"{tool}: {sentence}", file=sys.stderr)
    return found.paths, found.failures


def _images_of(given: Path, out: Path | None) -> tuple[list[Path], list[Path]]:
    """The images and the other files of an input, without hidden ones and outputs."""
    if given.is_file():
        return [given], []
    images, others = [], []
    for path in sorted(given.rglob("*")):
        if path.name.startswith(".") or not path.is_file() or _is_output(path, out):
            continue
        if is_image_file(path):
            images.append(path)
        elif not _is_ours(path, out):
            others.append(path)
    return images, others


def _is_ours(path: Path, out: Path | None) -> bool:
    """Whether a file that is no image was written by `cxrloc predict`."""
    if out is not None and out.resolve() in path.resolve().parents:
        return True
    if path.suffix == ".json":
        return b'"manifest"' in path.read_bytes()
    return path.name == STUDIES


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
        short = name = _shortened(stem_of(image_name(path).replace("/", "_")))
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
