"""Parse paths and names in MURA's and CheXpert's layouts, in published lists and in ours.

    MURA-v1.1/train/XR_ELBOW/patient00011/study1_negative/image1.png        an image, or its study
    CheXpert-v1.0-small/train/patient00011/study1/view1_frontal.jpg

The word after a study's number is missing where labels are withheld. A patient's number is unique
within its data set, across train and valid and MURA's body parts, but the two data sets use the
same numbers.
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
    """An examination as its folder names it.

    Attributes:
        folder: absolute folder with the images, unique to the examination.
        body_part: one of `BODY_PARTS`.
        patient: for example patient00011.
        number: for example study1_negative.
    """

    folder: Path
    body_part: str
    patient: str
    number: str

    @property
    def name(self) -> str:
        """For example XR_ELBOW/patient00011/study1_negative."""
        return f"{self.body_part}/{self.patient}/{self.number}"


def study_of(path: Path) -> MuraStudy | None:
    """The examination of an image according to its folders; None outside MURA's layout.

    Args:
        path: XR_PART/patientNNNNN/studyK[_word]/FILE in any folder; no file is read.
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
    """Parts of a name in one of the layouts.

    Attributes:
        dataset: one of `DATASETS`.
        patient: for example patient00011.
        name: without the release and its train or valid, which some lists omit.
    """

    dataset: str
    patient: str
    name: str


def published_name(name: str) -> PublishedName | None:
    """Parse the name of an image or examination; None if it follows neither layout."""
    match = _NAME.search(name)
    if match is None:
        return None
    dataset = MURA if match["part"] else CHEXPERT
    return PublishedName(dataset, match["mura"] or match["chexpert"], match["name"])
