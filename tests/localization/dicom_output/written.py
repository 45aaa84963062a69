"""DICOM objects about a drawn image, written and read back."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom import Dataset

from cxrloc.datasets.images.read import read_image
from cxrloc.datasets.radiograph import LoadedImage
from cxrloc.localization.diagnosis.diagnoser import Diagnosis, Finding
from cxrloc.localization.dicom_output.origin import Origin
from cxrloc.localization.dicom_output.output import (
    DICOM_ENDINGS,
    dicom_objects,
    write_dicom_objects,
)
from cxrloc.localization.dicom_output.source import parse_source
from cxrloc.localization.localizer import Localization

STORED = (np.arange(60 * 80).reshape(60, 80) % 4096).astype(np.uint16)
WINDOWED = {"WindowCenter": [2000, 1], "WindowWidth": [4000, 1]}


@dataclass(frozen=True)
class Written:
    """Source file and the three objects about it, read back."""

    source: Dataset
    image: LoadedImage
    stem: Path

    def __getitem__(self, kind: str) -> Dataset:
        return pydicom.dcmread(self.path(kind))

    def path(self, kind: str) -> Path:
        return self.stem.with_name(f"{self.stem.name}.{kind}.dcm")


def diagnosis_of(image: LoadedImage, *, nothing: bool = False) -> Diagnosis:
    findings = (
        Finding("Mass", 0.8125, 0.5, not nothing),
        Finding("Pneumonia", 0.25, 0.5, False),
        Finding("Hernia", 0.1, None, False),
    )

    def box(corners: tuple[float, float, float, float], score: float) -> Localization:
        return Localization(image.image_id, "Mass", corners, score)

    boxes = {
        "grad_cam": (box((10, 20, 30, 25), 0.75), box((1, 2, 3, 4), 0.5)),
        "mask_rcnn": (box((11.5, 21, 29, 26), 0.9),),
    }
    boxes_of = dict.fromkeys(boxes, ()) if nothing else boxes
    return Diagnosis(
        image.image_id,
        image.size_hw,
        findings,
        boxes_of,
        {},
        "torch fp32",
        image.spacing,
        image.warnings,
    )


def written(path: Path, *, nothing: bool = False) -> Written:
    image = read_image(path)
    diagnosis = diagnosis_of(image, nothing=nothing)
    objects = dicom_objects(
        image,
        diagnosis,
        parse_source(path.read_bytes(), path.name),
        Origin({"classifier": "abc123"}),
    )
    assert tuple(objects) == DICOM_ENDINGS
    stem = path.parent / path.stem
    write_dicom_objects(objects, stem)
    return Written(pydicom.dcmread(path), image, stem)


def texts(dataset: Dataset) -> list[str]:
    """Every text in an object, at any depth."""
    return [str(e.value) for e in dataset.iterall() if e.VR in ("LO", "LT", "ST", "UT")]


def check_by_dciodvfy(written: Written, kind: str) -> None:
    """The test is skipped where the program is missing."""
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy is not installed (Debian: apt-get install dicom3tools)")
    command = ["dciodvfy", "-new", str(written.path(kind))]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    errors = [line for line in checked.stderr.splitlines() if line.startswith("Error")]
    assert errors == []
    assert "ComprehensiveSR" in checked.stderr or kind != "sr"
