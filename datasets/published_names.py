"""Names of films in MURA's and CheXpert's layouts, as the published lists and ours write them.

    MURA-v1.1/train/XR_ELBOW/patient00011/study1_negative/image1.png        an image, or its study
    CheXpert-v1.0-small/train/patient00011/study1/view1_frontal.jpg

A patient's number is unique within its data set, over train and valid and MURA's body parts; the
two data sets number alike.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from cxrloc.datasets.mura_paths import BODY_PARTS, PATIENT, STUDY

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
    found = _NAME.search(name)
    if found is None:
        return None
    dataset = MURA if found["part"] else CHEXPERT
    return PublishedName(dataset, found["mura"] or found["chexpert"], found["name"])
