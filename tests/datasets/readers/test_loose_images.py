"""Images among files and folders, and the names of what is made of them."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from pydicom.uid import ImplicitVRLittleEndian

from cxrloc.datasets.images.read import read_image
from cxrloc.datasets.images.sizes import size_hw
from cxrloc.datasets.readers.loose_images import ResultNames, images_below
from datasets.dicom.builders import write_dicom


def test_images_are_found_once_in_order_without_hidden_files_and_own_outputs(
    tmp_path: Path,
) -> None:
    """In `out` and, beside the JSON of their image, in another run's folder."""
    names = (
        "b.png",
        "sub/a.JPG",
        "sub/.hidden.png",
        "out/b.boxes.jpg",
        "out/b.heat.jpg",
        "run1/b.boxes.jpg",
        "run1/b.sr.dcm",
        "run1/b.json",
    )
    record = '{"manifest": {}}'
    for name in names:
        path = tmp_path / "x" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "x" / "notes.txt").write_text("no image")
    (tmp_path / "x" / "run1" / "b.json").write_text(record)
    out = tmp_path / "x" / "out"

    found = images_below([tmp_path / "x" / "b.png", tmp_path / "x"], out)

    assert [image.relative_to(tmp_path / "x").as_posix() for image in found.paths] == [
        "b.png",
        "sub/a.JPG",
    ]
    assert found.failures == []
    assert found.passed_over == [
        f"{tmp_path / 'x'}: 1 of 3 files are no images that are read: notes.txt"
    ]
    (out / "b.json").write_text(record)
    assert images_below([tmp_path / "x"]).paths == found.paths
    (out / "b.json").write_text("{}")  # pictures that are merely called so are images
    assert len(images_below([tmp_path / "x"]).paths) == 4
    (out / "b.json").unlink()
    assert len(images_below([tmp_path / "x"]).paths) == 4


def test_outputs_of_images_with_the_same_stem_do_not_overwrite_each_other() -> None:
    names = ResultNames(["x/a.png", "y/a.jpg", "y/a_2.png", "z/A.png", "b.tar.png"])

    assert list(names) == ["a", "a_2", "a_2_2", "A_3", "b.tar"]


def test_outputs_in_the_layouts_of_mura_and_chexpert_are_named_after_the_study() -> None:
    folders = "MURA-v1.1/valid/XR_HAND/patient00011/study1_positive", "valid/patient64541/study2"
    other = "inpatient12/study1"
    names = ResultNames([f"{folder}/a.png" for folder in (*folders, other)])

    assert list(names) == [
        "XR_HAND_patient00011_study1_positive_a",
        "patient64541_study2_a",
        "a",
    ]


def test_many_images_of_one_name_are_told_apart_at_once() -> None:
    names = ResultNames([f"{i}/a.png" for i in range(20_000)])

    assert len(set(names)) == 20_000
    assert names[19_999] == "a_20000"


def test_the_content_tells_an_image_and_what_was_passed_over_is_named(tmp_path: Path) -> None:
    pixels = np.arange(64, dtype=np.uint8).reshape(8, 8)
    for ending in (".png", ".jpg", ".tiff", ".bmp"):
        cv2.imwrite(str(tmp_path / f"x{ending}"), pixels)
    uid = "1.2.840.113619.2.5"  # not an ending
    (tmp_path / "x.jpg").rename(tmp_path / uid)
    (tmp_path / "x.png").rename(tmp_path / f"{uid}.17")
    write_dicom(tmp_path / "IM0001", pixels)
    write_dicom(tmp_path / "bare", pixels, meta=False, syntax=ImplicitVRLittleEndian)
    (tmp_path / "DICOMDIR").write_bytes(bytes(128) + b"DICM")
    for number in range(4):
        (tmp_path / f"{number}.txt").touch()
    (tmp_path / "empty").touch()

    found = images_below([tmp_path])

    names = [uid, f"{uid}.17", "IM0001", "bare"]
    assert [path.name for path in found.paths] == names
    assert found.passed_over == [
        f"{tmp_path}: 8 of 12 files are no images that are read: 0.txt, 1.txt, 2.txt, 3.txt, "
        "DICOMDIR and 3 more"
    ]
    assert list(ResultNames(found.files)) == names
    for path in found.paths:
        assert read_image(path).size_hw == size_hw(path) == (8, 8)
    for path in found.paths:
        path.unlink()
    (tmp_path / "DICOMDIR").unlink()
    alone = images_below([tmp_path])
    assert alone.passed_over == []
    assert "no images in this folder" in alone.failures[0]
    assert alone.failures[0].endswith("3.txt, empty and 2 more")


def test_pictures_in_other_formats_are_named_with_their_format(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.tiff"), np.zeros((4, 4), np.uint8))
    cv2.imwrite(str(tmp_path / "b.png"), np.zeros((4, 4), np.uint8))
    [sentence] = images_below([tmp_path]).passed_over
    assert sentence == f"{tmp_path}: 1 of 2 files are no images that are read: a.tiff (TIFF)"
