"""Paths and names in MURA's and CheXpert's layouts, as the published lists and ours write them.

    MURA-v1.1/train/XR_ELBOW/patient00011/study1_negative/image1.png        an image, or its study
    CheXpert-v1.0-small/train/patient00011/study1/view1_frontal.jpg

The word behind a study's number is missing where labels are not given away. A patient's number is
unique within its data set, over train and valid and MURA's body parts; the two data sets number
alike.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

RELEASE = "MURA-v1.1"
BODY_PARTS: tuple[str, ...] = (
    "XR_ELBOW",
    "XR_FINGER",
    "XR_FOREARM",
    "XR_HAND",
    "XR_HUMERUS",
    "XR_SHOULDER",
    "XR_WRIST",
)
PATIENT = r"patient\d+"
STUDY = r"study\d+(?:_(positive|negative))?"


@dataclass(frozen=True)
class MuraStudy:
    """A study as its folder names it.

    Attributes:
        folder: with its images, absolute: no two studies have the same.
        body_part: one of `BODY_PARTS`.
        patient: such as patient00011.
        number: such as study1_negative.
    """

    folder: Path
    body_part: str
    patient: str
    number: str

    @property
    def name(self) -> str:
        """Such as XR_ELBOW/patient00011/study1_negative."""
        return f"{self.body_part}/{self.patient}/{self.number}"


def study_of(path: Path) -> MuraStudy | None:
    """The study that an image belongs to by its folders; None outside of MURA's layout.

    Args:
        path: XR_PART/patientNNNNN/studyK[_word]/FILE in any folder; no file is looked at.
    """
    folder = path.absolute().parent
    part, patient, number = ("", "", "", *folder.parts)[-3:]
    in_layout = re.fullmatch(PATIENT, patient) and re.fullmatch(STUDY, number)
    return MuraStudy(folder, part, patient, number) if in_layout and part in BODY_PARTS else None


MURA, CHEXPERT = "MURA", "CheXpert"
DATASETS = (MURA, CHEXPERT)
_NAME = re.compile(
    rf"(?<![^/])(?P<name>(?:(?P<part>{'|'.join(BODY_PARTS)})/(?P<mura>{PATIENT})/{STUDY}"
    rf"|(?P<chexpert>{PATIENT})/study\d+)(?:/[^/]+)?)/?$"
)


@dataclass(frozen=True)
class PublishedName:
    """What a name in one of the layouts says.

    Attributes:
        dataset: one of `DATASETS`.
        patient: such as patient00011.
        name: without the release and its train or valid, which not every list writes.
    """

    dataset: str
    patient: str
    name: str


def published_name(name: str) -> PublishedName | None:
    """What the name of an image or a study says; None in no layout of the two."""
    match = _NAME.search(name)
    if match is None:
        return None
    dataset = MURA if match["part"] else CHEXPERT
    return PublishedName(dataset, match["mura"] or match["chexpert"], match["name"])
