"""What MURA's published paths say, such as train/XR_ELBOW/patient00011/study1_negative/image1.png.

The word behind a study's number is missing where labels are not given away.
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
