"""What holds for every format: files, copies, frames, patients, labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from builders import write_image
from cxrloc.datasets.radiograph import Box
from cxrloc.datasets.readers.annotations.matching.annotated import (
    AnnotatedImage,
    Annotations,
    DrawnBox,
)
from cxrloc.datasets.readers.annotations.matching.to_index import Choices, to_index
from cxrloc.datasets.readers.index import DatasetIndex, ReaderWarnings
from datasets.dicom.builders import write_dicom

BOX = DrawnBox("Effusion", (80, 30, 120, 70), "boxes.txt, line 1")


def image(name: str, *boxes: DrawnBox, **facts: Any) -> AnnotatedImage:
    return AnnotatedImage(name, f"boxes.txt, {name}", boxes, **facts)


def index_of(
    root: Path, *images: AnnotatedImage, strict: bool = False, **choices: Any
) -> DatasetIndex:
    placed = [AnnotatedImage(**{**vars(i), "folder": root}) for i in images]
    found = Annotations(tuple(placed), (), ())
    return to_index(root, found, Choices(**choices), ReaderWarnings(strict))


def test_two_images_of_one_name_keep_their_folders_and_the_written_folder_decides(
    tmp_path: Path,
) -> None:
    for number, folder in enumerate(("one", "two")):
        write_image(tmp_path / folder / "a.png", 50 + number, (100, 200), corner=0)
    index = index_of(tmp_path, image("scans/two/a.png", BOX), image(r"one\a.png"))
    assert [(r.image_id, len(r.boxes)) for r in index.radiographs] == [
        ("two/a.png", 1),
        ("one/a.png", 0),
    ]
    with pytest.raises(ValueError, match=r"boxes.txt, a.png: a.png may be .*one/a.png or .*two/a"):
        index_of(tmp_path, image("a.png", BOX))


def test_a_copy_in_another_folder_is_not_a_second_image(tmp_path: Path) -> None:
    for folder in ("train", "valid"):
        write_image(tmp_path / folder / "a.png", 50, (100, 200), corner=0)
    kind = "copies of an image, the first is used"
    once = index_of(tmp_path, image("a.png", BOX))
    twice = index_of(tmp_path, image("train/a.png", BOX), image("valid/a.png", BOX))
    for index in (once, twice):
        assert [r.image_id for r in index.radiographs] == ["a.png"]
        assert dict(index.warnings) == {kind: 1}


def test_an_image_annotated_twice_counts_once_if_both_say_the_same(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", shape=(100, 200), corner=0)
    index = index_of(tmp_path, image("a.png", BOX), image("a", BOX))
    assert len(index.radiographs) == 1
    with pytest.raises(ValueError, match="a is annotated twice in different ways, in boxes"):
        index_of(tmp_path, image("a.png", BOX), image("a"))


def test_a_missing_image_is_listed_without_a_file(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", shape=(100, 200), corner=0)
    index = index_of(tmp_path, image("a.png", BOX), image("x/b.png", BOX, frame_wh=(200, 100)))
    assert [(r.image_id, r.path is None, len(r.boxes)) for r in index.radiographs] == [
        ("a.png", False, 1),
        ("x/b.png", True, 1),
    ]


def test_dicom_and_turned_jpegs_have_the_frame_in_which_they_are_read(tmp_path: Path) -> None:
    write_dicom(tmp_path / "a.dcm", np.zeros((100, 200), np.uint16))
    write_dicom(tmp_path / "IM0001", np.zeros((60, 40), np.uint16))
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    Image.new("L", (30, 20)).save(tmp_path / "b.jpg", exif=exif)
    index = index_of(tmp_path, image("a.dcm", BOX), image("IM0001"), image("b.jpg"))
    assert [r.size_hw for r in index.radiographs] == [(100, 200), (60, 40), (30, 20)]


def test_equal_boxes_count_once_and_boxes_over_the_edge_are_clipped(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", shape=(100, 200), corner=0)
    over = DrawnBox("Mass", (-6, 95, 20, 104), "line 3", ((-6, 95, 20, 95, 20, 104),))
    index = index_of(tmp_path, image("a.png", BOX, BOX, over))
    assert index.radiographs[0].boxes == (
        Box("Effusion", (80, 30, 120, 70)),
        Box("Mass", (0, 95, 20, 100), ((0, 95, 20, 95, 20, 100),)),
    )
    assert dict(index.warnings) == {
        "boxes clipped to the frame": 1,
        "equal duplicate boxes dropped": 1,
    }


@pytest.mark.parametrize(
    ("names", "pattern", "patients", "known"),
    [
        (("p1_a.png", "p1_b.png"), r"^(p\d+)_", ["p1", "p1"], True),
        (("7/a.png", "8/b.png"), r"(\d+)/", ["7", "8"], True),  # in the path below the root
        (("00000013_000.png", "00000013_001_png.rf.0a1b2c.jpg"), "", ["13", "13"], True),
        (("x_png.rf.0a1b2c.jpg", "x_png.rf.3d4e5f.jpg"), "", ["image x"] * 2, False),
    ],
)
def test_the_patient_is_found_by_a_pattern_or_by_the_name(
    tmp_path: Path, names: tuple[str, ...], pattern: str, patients: list[str], known: bool
) -> None:
    for number, name in enumerate(names):
        write_image(tmp_path / name, 50 + number, (100, 200), corner=0)
    index = index_of(tmp_path, *(image(name, BOX) for name in names), patient=pattern)
    assert [r.patient_id for r in index.radiographs] == patients
    assert {r.patient_known for r in index.radiographs} == {known}


def test_images_without_a_patient_beside_others_are_counted(tmp_path: Path) -> None:
    for number, name in enumerate("ab"):
        write_image(tmp_path / f"{name}.png", 50 + number, (100, 200), corner=0)
    index = index_of(tmp_path, image("a.png", BOX, patient="nan"), image("b.png", patient="05"))
    assert [(r.patient_id, r.patient_known) for r in index.radiographs] == [
        ("image a", False),
        ("5", True),
    ]
    assert dict(index.warnings) == {"images without a patient, each taken as its own": 1}
    nih = image("00000013_000.png", BOX, patient="14")
    write_image(tmp_path / nih.name, 60, (100, 200), corner=0)
    with pytest.raises(ValueError, match="NIH's names start with the patient's number, here 13"):
        index_of(tmp_path, nih)


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"patient": r"(\d+)"}, r"--patient '\(\\d\+\)' finds no patient in a.png"),
        ({"patient": r"\d+"}, "has 0 groups, expected one"),
        ({"patient": "(a"}, r"--patient '\(a' is not a regular expression"),
        ({"unboxed": "none"}, "--unboxed none: expected negative or unknown"),
    ],
)
def test_a_wrong_choice_is_refused(tmp_path: Path, choices: dict[str, Any], message: str) -> None:
    write_image(tmp_path / "a.png", shape=(100, 200), corner=0)
    with pytest.raises(ValueError, match=message):
        index_of(tmp_path, image("a.png", BOX), **choices)


def test_names_are_kept_in_their_first_spelling_and_a_map_names_its_gap(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", shape=(100, 200), corner=0)
    other = DrawnBox("effusion ", (1, 1, 9, 9), "boxes.txt, line 2")
    index = index_of(tmp_path, image("a.png", BOX, other))
    assert [box.disease for box in index.radiographs[0].boxes] == ["Effusion"] * 2
    (tmp_path / "map.yaml").write_text("Mass: Mass\n")
    with pytest.raises(ValueError, match=r"boxes.txt, line 1: the name 'Effusion' is not in .*map"):
        index_of(tmp_path, image("a.png", BOX), labels=tmp_path / "map.yaml")


def test_a_stated_normal_image_with_a_finding_has_it(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", shape=(100, 200), corner=0)
    index = index_of(tmp_path, image("a.png", BOX, normal=True))
    assert index.radiographs[0].labels == {"Effusion": 1.0}
    assert dict(index.warnings) == {"images stated to have no finding that have one; it counts": 1}


def test_unreadable_and_foreign_files_are_counted(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", shape=(100, 200), corner=0)
    (tmp_path / "b.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    assert cv2.imwrite(str(tmp_path / "c.bmp"), np.zeros((4, 4), np.uint8))
    index = index_of(tmp_path, image("a.png", BOX), image("b.png", BOX))
    assert [(r.image_id, r.path is None) for r in index.radiographs] == [
        ("a.png", False),
        ("b.png", True),
    ]
    assert dict(index.warnings) == {
        "images in a format that is not read; convert them to PNG": 1,
        "unreadable image headers, left out": 1,
    }
    with pytest.raises(FileNotFoundError, match=r"no folder .*nowhere; expected the folder of the"):
        index_of(tmp_path / "nowhere", image("a.png", BOX))
