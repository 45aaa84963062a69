"""Find the patient of each image: from a pattern, a column or key, or NIH's names.

Where nothing tells, an image is its own patient, and copies that Roboflow augmented from one image
share one. Every result then says that patients are unknown.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cxrloc.datasets.readers.annotations.matching.files import stem_of
from cxrloc.datasets.readers.index import ReaderWarnings

_NIH_NAME = re.compile(r"(\d{8})_\d{3}")
_ROBOFLOW = re.compile(r"^(?P<source>.+?)(?:_(?:png|jpe?g|dcm))?\.rf\.[0-9A-Za-z]{6,}$")


@dataclass(frozen=True)
class Patients:
    """Image id -> patient, and whether that is known."""

    patient_of: Mapping[str, str]
    known: Mapping[str, bool]


def patient_pattern(text: str) -> re.Pattern[str]:
    """Compile a pattern of the command line.

    Raises:
        ValueError: if it is not a regular expression with one group.
    """
    try:
        pattern = re.compile(text)
    except re.error as error:
        raise ValueError(f"--patient {text!r} is not a regular expression: {error}") from error
    if pattern.groups != 1:
        raise ValueError(
            f"--patient {text!r} has {pattern.groups} groups, expected one: the part of the file's "
            r"name that is the patient, such as '^(\d+)_'"
        )
    return pattern


def find_patients(
    written: Mapping[str, str],
    paths: Mapping[str, str],
    pattern: re.Pattern[str] | None,
    warnings: ReaderWarnings,
) -> Patients:
    """Find the patient of every image.

    Args:
        written: image id -> patient in the annotations, empty where they do not tell.
        paths: image id -> its file below the root, or its written name.

    Raises:
        ValueError: for an image without a match of the pattern.
    """
    if pattern is not None:
        matches = {image: _match(pattern, image, paths[image]) for image in written}
        return Patients(matches, dict.fromkeys(matches, True))
    sources = {image: source_stem(image) for image in written}
    if not any(written.values()):
        nih = {i: _NIH_NAME.fullmatch(stem.rpartition("/")[2]) for i, stem in sources.items()}
        numbers = {i: match[1].lstrip("0") or "0" for i, match in nih.items() if match}
        if len(numbers) == len(written):
            warnings.note("images named as in NIH; the number is the patient", list(written))
            return Patients(numbers, dict.fromkeys(numbers, True))
        return Patients(sources, dict.fromkeys(sources, False))
    unknown = [image for image, patient in written.items() if not patient]
    warnings.warn("images without a patient, each taken as its own", unknown)
    taken = {image: written[image] or f"image {sources[image]}" for image in written}
    return Patients(taken, {image: bool(patient) for image, patient in written.items()})


def source_stem(image_id: str) -> str:
    """The image's name without its ending; for Roboflow's copies the name before the upload."""
    stem = stem_of(image_id)
    match = _ROBOFLOW.match(stem)
    return match["source"] if match else stem


def _match(pattern: re.Pattern[str], image: str, path: str) -> str:
    match = pattern.search(Path(path).name) or pattern.search(path)
    patient = match[1] if match else None
    if not patient:
        raise ValueError(
            f"--patient {pattern.pattern!r} finds no patient in {path}; expected a pattern that "
            f"fits the name of every image (this one is {image})"
        )
    return patient


def in_both_parts(patient_of: Mapping[str, str], official: Mapping[str, str]) -> list[str]:
    """Patients with images in both parts of the official split."""
    parts: dict[str, set[str]] = {}
    for image, part in official.items():
        parts.setdefault(patient_of[image], set()).add(part)
    return [patient for patient, names in parts.items() if len(names) > 1]
