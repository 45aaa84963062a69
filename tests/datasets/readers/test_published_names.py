"""Which names are of MURA and of CheXpert, and what they say."""

from __future__ import annotations

import pytest

from cxrloc.datasets.readers.layouts import CHEXPERT, MURA, PublishedName, published_name


@pytest.mark.parametrize("release", ["", "train/", "MURA-v1.1/valid/", "/data/MURA-v1.1/train/"])
@pytest.mark.parametrize("tail", ["study1_negative/image1.png", "study13/image2.png", "study1"])
def test_a_mura_name_is_the_same_behind_every_release(release: str, tail: str) -> None:
    name = f"XR_ELBOW/patient00011/{tail}"
    assert published_name(release + name) == PublishedName(MURA, "patient00011", name)


def test_a_chexpert_name_is_the_same_in_both_releases() -> None:
    name = "patient00011/study1/view1_frontal.jpg"
    expected = PublishedName(CHEXPERT, "patient00011", name)
    for release in ("", "train/", "CheXpert-v1.0/train/", "CheXpert-v1.0-small/train/"):
        assert published_name(release + name) == expected


def test_the_slash_behind_a_study_is_no_part_of_its_name() -> None:
    parsed = published_name("MURA-v1.1/train/XR_HAND/patient00002/study1_negative/")
    assert parsed == PublishedName(MURA, "patient00002", "XR_HAND/patient00002/study1_negative")


@pytest.mark.parametrize(
    "name",
    [
        "00000013_000.png",
        "patient00011.png",
        "patient00011/view1_frontal.jpg",
        "inpatient00011/study1/view1_frontal.jpg",
        "patient00011/study1/again/view1_frontal.jpg",
        "patientX/study1/view1_frontal.jpg",
    ],
)
def test_other_names_are_of_neither(name: str) -> None:
    assert published_name(name) is None
