"""RSNA pneumonia: rows per box, ids that are images, three classes, faults."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from builders import write_image
from cxrloc.datasets.readers.box_sets.rsna import index
from datasets.readers.box_sets.layouts import NORMAL_ID, OPACITY_ID, OTHER_ID, rsna

HEADER = "patientId,x,y,width,height,Target"


def test_the_three_classes_are_two_labels_and_neither_is_normal(tmp_path: Path) -> None:
    rsna(tmp_path)
    found = index(tmp_path, strict=True)
    labels = {r.image_id: tuple(r.labels.values()) for r in found.radiographs}
    assert found.diseases == ("Lung Opacity", "No Lung Opacity / Not Normal")
    assert found.boxed_diseases == ("Lung Opacity",)
    assert labels == {OTHER_ID: (0, 1), NORMAL_ID: (0, 0), OPACITY_ID: (1, 0)}
    normal = {r.image_id: r.label("No Finding") for r in found.radiographs}
    assert normal == {OTHER_ID: 0, NORMAL_ID: 1, OPACITY_ID: 0}


def test_an_id_is_an_image_of_a_patient_of_nih(tmp_path: Path) -> None:
    rsna(tmp_path)
    patients = {r.image_id: r.patient_id for r in index(tmp_path).radiographs}
    assert patients == {OPACITY_ID: "19124", NORMAL_ID: "29180", OTHER_ID: "11702"}
    (tmp_path / "stage_2_train_labels.csv").write_text(f"{HEADER}\nx1,,,,,0\n")
    (tmp_path / "stage_2_detailed_class_info.csv").unlink()
    (image,) = index(tmp_path).radiographs
    assert (image.patient_id, image.patient_known) == ("x1", False)


def test_two_ids_of_one_nih_image_are_noted(tmp_path: Path) -> None:
    ids = "4ef21681-b5be-4f2e-9f00-504446bb4ded", "502c2b00-1c60-44db-a1b7-a3ae9f23d968"
    rows = "".join(f"{image},,,,,0\n" for image in ids)
    (tmp_path / "stage_2_train_labels.csv").write_text(f"{HEADER}\n{rows}")
    found = index(tmp_path)
    assert {r.patient_id for r in found.radiographs} == {"8875"}
    assert found.warnings["NIH images under two ids, read twice by RSNA's readers"] == 1


def test_without_the_class_file_normal_is_unknown(tmp_path: Path) -> None:
    rsna(tmp_path)
    (tmp_path / "stage_2_detailed_class_info.csv").unlink()
    found = index(tmp_path)
    by_id = {r.image_id: r for r in found.radiographs}
    assert math.isnan(by_id[NORMAL_ID].labels["No Lung Opacity / Not Normal"])
    assert math.isnan(by_id[NORMAL_ID].label("No Finding") or 0)
    assert by_id[OPACITY_ID].labels["Lung Opacity"] == 1
    assert found.warnings["no class file, so which images are normal is unknown"] == 1


def test_nihs_images_stand_in(tmp_path: Path) -> None:
    labels = tmp_path / "labels"
    labels.mkdir()
    rsna(labels)
    path = write_image(tmp_path / "nih" / "images" / "00019124_092.jpg")
    found = index(tmp_path / "nih", label_file=labels)
    assert {r.image_id: r.path for r in found.radiographs}[OPACITY_ID] == path
    assert found.warnings["images read from NIH's copies"] == 1


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("a,1,2,3,4,0", "Target '0' with x, y, width, height .*expected 1 with a box or 0 without"),
        ("a,,,,,1", "Target '1' with"),
        ("a,,,,,yes", "Target 'yes' with"),
        ("a,1,2,x,4,1", "could not convert string to float"),
        ("a,1,2,3,,1", "could not convert string to float"),
        ("a,1,2,-3,4,1", "expected finite left < right"),
        (",,,,,0", "no patientId"),
    ],
)
def test_a_faulty_row_is_named(row: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "stage_2_train_labels.csv").write_text(f"{HEADER}\nb,,,,,0\n{row}\n")
    with pytest.raises(ValueError, match=f"data row 2 .*{message}"):
        index(tmp_path)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("a,Normal\na,Lung Opacity\n", "class Lung Opacity, but Normal in an earlier row"),
        ("a,Lung Opacity\n", "class Lung Opacity with 0 boxes"),
        ("c,Normal\n", "stage_2_train_labels.csv has no row of this image"),
        ("a,normal\n", "class 'normal', expected Lung Opacity"),
    ],
)
def test_classes_that_contradict_the_boxes_are_refused(
    rows: str, message: str, tmp_path: Path
) -> None:
    (tmp_path / "stage_2_train_labels.csv").write_text(f"{HEADER}\na,,,,,0\n")
    (tmp_path / "stage_2_detailed_class_info.csv").write_text(f"patientId,class\n{rows}")
    with pytest.raises(ValueError, match=message):
        index(tmp_path)


def test_a_copy_with_semicolons_is_told_from_the_published_file(tmp_path: Path) -> None:
    (tmp_path / "stage_2_train_labels.csv").write_text(HEADER.replace(",", ";") + "\na;;;;;0\n")
    with pytest.raises(ValueError, match=r"has no column .*expected commas between patientId"):
        index(tmp_path)


def test_the_real_rows_are_found_among_nihs_images(shared_data: Path) -> None:
    found = index(shared_data / "nih", label_file=shared_data / "second_readers" / "rsna")
    boxed = [r for r in found.radiographs if r.boxes]
    assert (len(found.radiographs), len(boxed)) == (315, 103)
    assert sum(len(r.boxes) for r in boxed) == 151
    assert all(r.path is not None and r.patient_known for r in found.radiographs)
