"""ChestX-Det's and RSNA's names, and the NIH images behind them."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from cxrloc.datasets.readers.box_sets.nih_names.lookup import (
    chestx_det_parts,
    chestx_det_to_nih,
    nih_image_of_chestx_det,
    nih_image_of_rsna,
    nih_patient,
    rsna_to_nih,
)


@pytest.mark.parametrize(
    "name", ["36199.png", "36199", "test/36199.PNG", "test_data\\36199.jpg", " 36199.png "]
)
def test_an_image_of_chestx_det_is_found_under_its_name_in_any_folder(name: str) -> None:
    assert nih_image_of_chestx_det(name) == "00000003_003.png"


@pytest.mark.parametrize(
    "name",
    [
        "0004cfab-14fd-4e49-80ba-63a80b6bddd6",
        "stage_2_train_images/0004cfab-14fd-4e49-80ba-63a80b6bddd6.dcm",
        "0004CFAB-14FD-4E49-80BA-63A80B6BDDD6.png",
    ],
)
def test_an_id_of_rsna_is_found_under_its_file_too(name: str) -> None:
    assert nih_image_of_rsna(name) == "00019124_092.png"


@pytest.mark.parametrize("name", ["", "1.png", "00000003_003.png", "0004cfab"])
def test_what_the_tables_lack_has_no_nih_image(name: str) -> None:
    assert nih_image_of_chestx_det(name) is None
    assert nih_image_of_rsna(name) is None


def test_rsnas_ids_are_images_of_fewer_patients() -> None:
    images = rsna_to_nih().values()
    assert (len(images), len(set(images))) == (26_684, 26_663)
    assert len({nih_patient(image) for image in images}) == 11_439


def test_most_test_patients_of_chestx_det_are_in_its_train_part_too() -> None:
    parts, nih = chestx_det_parts(), chestx_det_to_nih()
    of = {
        part: {nih_patient(nih[name]) for name, p in parts.items() if p == part}
        for part in ("train", "test")
    }
    assert (len(nih), len(of["test"]), len(of["test"] & of["train"])) == (3_543, 429, 271)


def test_the_tables_are_the_published_ones(shared_data: Path) -> None:
    second = shared_data / "second_readers"
    with (second / "chestx_det" / "chestxdet_to_nih.csv").open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert chestx_det_to_nih() == {r["file_name"]: r["nih_image_index"] for r in rows}
    assert chestx_det_parts() == {r["file_name"]: r["part"] for r in rows}
    with (second / "rsna" / "rsna_to_nih.csv").open(newline="") as handle:
        assert rsna_to_nih() == {
            r["patientId"]: r["nih_image_index"] for r in csv.DictReader(handle)
        }
