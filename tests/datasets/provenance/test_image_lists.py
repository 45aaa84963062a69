"""Lists of images from every kind of file, on hand-made ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cxrloc.datasets.provenance.image_lists import (
    TRAINING_IMAGES,
    image_list,
    read_boxed_images,
    read_csv,
    read_ground_truth,
    read_text_list,
    read_training_images,
    write_training_images,
)
from cxrloc.datasets.radiograph import Radiograph

BOX_LIST = (
    "Image Index,Finding Label,Bbox [x,y,w,h],,,\n"
    "00000013_001.png,Mass,1,2,3,4\n00000013_001.png,Nodule,1,2,3,4\n00000020_000.png,Mass,1,2,3,4\n"
)


def image(image_id: str, patient: str) -> Radiograph:
    return Radiograph(image_id, None, patient, "PA", {"Mass": 1.0})


CHEXPERT_LIST = (
    "Path,Sex,Age,Frontal/Lateral,AP/PA,No Finding\n"
    "CheXpert-v1.0-small/train/patient00001/study1/view1_frontal.jpg,Female,68,Frontal,AP,1.0\n"
    "CheXpert-v1.0-small/train/patient00001/study1/view2_lateral.jpg,Female,68,Lateral,,1.0\n"
)
MURA_IMAGES = (
    "MURA-v1.1/train/XR_HAND/patient00002/study1_negative/image1.png\n"
    "MURA-v1.1/train/XR_FOREARM/patient00002/study1_positive/image1.png\n"
)
MURA_STUDIES = (
    "MURA-v1.1/train/XR_HAND/patient00002/study1_negative/,0\n"
    "MURA-v1.1/train/XR_FOREARM/patient00002/study1_positive/,1\n"
)


@pytest.mark.parametrize(
    ("text", "patient"),
    [
        (CHEXPERT_LIST, "patient00001"),
        (MURA_IMAGES, "patient00002"),
        (MURA_STUDIES, "patient00002"),
    ],
)
def test_published_lists_are_read_as_they_are_with_their_patients(
    tmp_path: Path, text: str, patient: str
) -> None:
    (tmp_path / "list.csv").write_text(text)
    images = read_csv(tmp_path / "list.csv")
    assert list(images.patient_of.values()) == [patient, patient]  # no row was taken for a header


def test_a_text_list_has_one_name_a_line(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_bytes(b"\xef\xbb\xbf00000001_000.png\r\n00000002_000.png\r\n\r\n")  # as from Windows
    images = read_text_list(path)
    assert images.patient_of == {"00000001_000.png": "1", "00000002_000.png": "2"}
    assert not images.patients_unknown
    path.write_text("one.png\ntwo.png\n")
    assert read_text_list(path).patients_unknown


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (BOX_LIST, {"00000013_001.png": "13", "00000020_000.png": "20"}),
        ("Image Index,Patient ID\n00000013_001.png,13\n", {"00000013_001.png": "13"}),
        ("# a remark\nimage_id,patient_id,disease\na,p,Mass\na,p,Nodule\n", {"a": "p"}),
        ("image_id\na.png\n", {"a.png": ""}),
        ("# a remark\nimage_id,patient_id\n#1.png,#1\n", {"#1.png": "#1"}),
    ],
)
def test_a_table_needs_a_column_of_images_and_may_name_patients(
    tmp_path: Path, text: str, expected: dict[str, str]
) -> None:
    (tmp_path / "images.csv").write_text(text)
    assert read_csv(tmp_path / "images.csv").patient_of == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "file,label\na,b\n",
            "no column image_id, Image Index, file_name or Path; its header is",
        ),
        ("patientId,x\np1,3\n", "no column image_id"),  # RSNA's patientId names an image: a UUID
        ("image_id,patient_id\na,p\na,q\n", "image a has patients 'p' and 'q'"),
        ("image_id,patient_id\n,p\n", "row 1: the row lacks an image name"),
        ("image_id,patient_id\n", "lists no image"),
    ],
)
def test_a_faulty_table_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "images.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_csv(tmp_path / "images.csv")


def test_a_ground_truth_lists_all_its_images_and_which_have_a_box(tmp_path: Path) -> None:
    images = [
        {"id": i, "file_name": name, "width": 9, "height": 9, "patient_id": patient}
        for i, (name, patient) in enumerate([("a.png", "p"), ("b.png", None)])
    ]
    box = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 2, 2]}
    coco = {"images": images, "annotations": [box], "categories": [{"id": 1, "name": "Mass"}]}
    path = tmp_path / "truth.json"
    path.write_text(json.dumps(coco))
    assert read_ground_truth(path).patient_of == {"a.png": "p", "b.png": ""}
    assert read_boxed_images(path) == ("b.png",)
    (tmp_path / "boxes.csv").write_text(BOX_LIST)
    assert read_boxed_images(tmp_path / "boxes.csv") == ("00000013_001.png", "00000020_000.png")


def test_training_images_come_back_with_their_parts(tmp_path: Path) -> None:
    bundle = tmp_path / "fold0" / "classifier.safetensors"
    parts = {"train": [image("b", "q"), image("a", "p")], "validation": [image("c", "r")]}
    path = write_training_images(bundle, parts)
    assert path == tmp_path / "fold0" / TRAINING_IMAGES
    assert path.read_text() == "image_id,patient_id,part\nb,q,train\na,p,train\nc,r,validation\n"
    images = read_training_images(path)
    assert images.patient_of == {"a": "p", "b": "q", "c": "r"}
    assert images.parts == {"train": ("b", "a"), "validation": ("c",)}
    assert images.unlisted == ()


def test_the_images_of_the_gate_that_a_detector_began_from_count_as_well(tmp_path: Path) -> None:
    gate = tmp_path / "gate" / "classifier.safetensors"
    write_training_images(gate, {"train": [image("a", "p"), image("z", "s")]})
    parts = {"train": [image("a", "p")]}
    path = write_training_images(tmp_path / "maskrcnn.safetensors", parts, {"gate": gate})
    images = read_training_images(path)
    assert images.patient_of == {"a": "p", "z": "s"}
    assert images.parts == {"train": ("a",), "gate": ("a", "z")}


def test_a_gate_without_a_list_leaves_a_gap_that_is_handed_on(tmp_path: Path) -> None:
    parts = {"train": [image("a", "p")]}
    gate = tmp_path / "gate" / "classifier.safetensors"
    first = tmp_path / "first" / "maskrcnn.safetensors"
    images = read_training_images(write_training_images(first, parts, {"gate": gate}))
    assert images.unlisted == (str(gate),)
    assert images.patient_of == {"a": "p"}
    second = write_training_images(tmp_path / "maskrcnn.safetensors", parts, {"weights": first})
    assert read_training_images(second).unlisted == (str(gate),)


def test_a_missing_list_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="run the training's command again"):
        read_training_images(tmp_path / TRAINING_IMAGES)
    (tmp_path / TRAINING_IMAGES).write_text("image_id\na\n")
    with pytest.raises(ValueError, match="no image has a part; expected columns image_id, patient"):
        read_training_images(tmp_path / TRAINING_IMAGES)


def test_an_image_may_be_in_two_parts() -> None:
    images = image_list([("a", "p", "train"), ("a", "p", "gate"), ("a", "p", "gate")])
    assert images.parts == {"train": ("a",), "gate": ("a",)}
    assert len(images) == 1
