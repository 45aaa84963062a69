"""Which paths and names are MURA's and CheXpert's, and what they say."""

from __future__ import annotations

from pathlib import Path

import pytest

from cxrloc.datasets.readers.layouts import (
    CHEXPERT,
    MURA,
    PublishedName,
    published_name,
    study_of,
)


@pytest.mark.parametrize("above", ["MURA-v1.1/train", "MURA-v1.1/test", "somewhere/else", ""])
@pytest.mark.parametrize("number", ["study1_positive", "study2_negative", "study13"])
def test_the_three_folders_above_an_image_name_its_study(above: str, number: str) -> None:
    study = study_of(Path("/data", above, "XR_HAND", "patient00011", number, "image3.png"))
    assert study is not None
    assert (study.body_part, study.patient, study.number) == ("XR_HAND", "patient00011", number)
    assert study.name == f"XR_HAND/patient00011/{number}"
    assert study.folder == Path("/data", above, "XR_HAND", "patient00011", number)


def test_two_folders_are_two_studies_though_their_names_are_the_same() -> None:
    tail = "XR_HAND/patient00011/study1_positive/image1.png"
    assert study_of(Path("/a", tail)) != study_of(Path("/b", tail))


def test_a_path_is_looked_at_from_where_one_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "XR_WRIST/patient7/study1_negative"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    study = study_of(Path("image1.png"))
    assert study is not None
    assert study.folder == folder


@pytest.mark.parametrize(
    "path",
    [
        "image1.png",
        "patient00011/study1_positive/image1.png",
        "XR_FOOT/patient00011/study1_positive/image1.png",
        "XR_HAND/patientX/study1_positive/image1.png",
        "XR_HAND/patient00011/study1_unknown/image1.png",
        "XR_HAND/patient00011/study1_positive/again/image1.png",
        "CheXpert-v1.0-small/train/patient00011/study1/view1_frontal.jpg",
    ],
)
def test_other_paths_name_no_study(path: str) -> None:
    assert study_of(Path("/", path)) is None


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
