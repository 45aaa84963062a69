"""Find the patient of each image: from a pattern, a column or key, or NIH's names.

Where nothing tells, an image is its own patient, and copies that Roboflow augmented from one image
share one. Every result then says that patients are unknown.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cxrloc.datasets.files.keys import (
    check_nih_patient,
    name_without_ending,
    nih_patient,
    patient_key,
)
from cxrloc.datasets.readers.index import ReaderWarnings


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
        raise ValueError(f"--patient '{text}' is not a regular expression: {error}") from error
    if pattern.groups != 1:
        raise ValueError(
            f"--patient '{text}' has {pattern.groups} groups, expected one: the part of the file's "
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
        ValueError: for an image without a match of the pattern, or a patient that contradicts the
            name of an NIH image.
    """
    told = {image: patient_key(patient) for image, patient in written.items()}
    if pattern is not None:
        told = {image: _match(pattern, image, paths[image]) for image in written}
    for image, patient in told.items():
        check_nih_patient(image, patient, "patients")
    by_name = {image: nih_patient(image) for image, patient in told.items() if not patient}
    nih = [image for image, patient in by_name.items() if patient]
    warnings.note("images named as in NIH; the number in the name is the patient", nih)
    told |= by_name
    unknown = [image for image, patient in told.items() if not patient]
    if len(unknown) < len(told):
        warnings.warn("images without a patient, each taken as its own", unknown)
    own = {image: f"image {name_without_ending(image)}" for image in unknown}
    return Patients(told | own, {image: image not in own for image in told})


def _match(pattern: re.Pattern[str], image: str, path: str) -> str:
    match = pattern.search(Path(path).name) or pattern.search(path)
    patient = patient_key(match[1]) if match else ""
    if not patient:
        raise ValueError(
            f"--patient '{pattern.pattern}' finds no patient in {path}; expected a pattern that "
            f"fits the name of every image (this one is {image})"
        )
    return patient


def in_both_parts(patient_of: Mapping[str, str], official: Mapping[str, str]) -> list[str]:
    """Patients with images in both parts of the official split."""
    parts: dict[str, set[str]] = {}
    for image, part in official.items():
        parts.setdefault(patient_of[image], set()).add(part)
    return [patient for patient, names in parts.items() if len(names) > 1]
