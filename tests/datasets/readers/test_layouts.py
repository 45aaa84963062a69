"""Which paths are MURA's, and which study they name."""

from __future__ import annotations

from pathlib import Path

import pytest

from cxrloc.datasets.readers.layouts import study_of


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
