"""CheXlocalize: outlines as they were drawn, labels of the other images, faults."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cxrloc.datasets.readers.box_sets.chexlocalize import index
from datasets.readers.box_sets.layouts import SQUARE, TRIANGLE, chexlocalize

IMAGE = "patient64541_study1_view1_frontal"


def _write(root: Path, content: Any, name: str = "gt_annotations_val.json") -> Path:
    (root / name).write_text(json.dumps(content))
    return root


def test_every_outline_is_a_box_in_the_original_frame(tmp_path: Path) -> None:
    chexlocalize(tmp_path)
    found = index(tmp_path, strict=True)
    first, second = found.radiographs
    assert first.size_hw == (1000, 1200)  # the file has 50 x 60
    assert [box.polygons for box in first.boxes] == [
        (tuple(float(v) for point in outline for v in point),) for outline in (SQUARE, TRIANGLE)
    ]
    assert first.positives == ("Lung Opacity",)
    assert (second.image_id, second.positives, second.boxes) == (
        "valid/patient64542/study1/view1_frontal.jpg",
        ("Cardiomegaly",),
        (),
    )
    assert [r.patient_id for r in found.radiographs] == ["patient64541", "patient64542"]
    assert set(found.official.values()) == {"test"}


def test_without_labels_only_the_outlined_images_are_listed(tmp_path: Path) -> None:
    chexlocalize(tmp_path)
    (tmp_path / "CheXpert" / "val_labels.csv").unlink()
    found = index(tmp_path)
    assert len(found.radiographs) == 1
    assert found.radiographs[0].labels["Cardiomegaly"] == 0
    kind = "no label file of a part; its images without an outline are left out"
    assert found.warnings[kind] == 1


def test_another_group_of_radiologists_is_read_by_name(tmp_path: Path) -> None:
    chexlocalize(tmp_path)
    _write(
        tmp_path,
        {"patient64800_study1_view1_frontal": {"img_size": [9, 9], "Edema": [SQUARE[:2]]}},
        "hb_annotations_test.json",
    )
    (image,) = index(tmp_path, label_file=Path("hb_annotations_test.json")).radiographs
    assert image.image_id == "test/patient64800/study1/view1_frontal.jpg"
    assert (image.path, image.boxes) == (None, ())  # a line is no outline


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], r"expected an object \{image: \{task: outlines\}\}"),
        ({"a.jpg": {"img_size": [9, 9]}}, "image 'a.jpg', expected a name such as patient64541"),
        ({IMAGE: {"Edema": [SQUARE]}}, "has img_size None, expected .* file of segmentations"),
        ({IMAGE: {"img_size": [9, 9], "Cyst": [SQUARE]}}, "unknown task 'Cyst'"),
        ({IMAGE: {"img_size": [9, 9], "Edema": [SQUARE]}}, "lies outside of the 9 x 9 frame"),
        ({IMAGE: {"img_size": [9, 9], "Edema": [[[1], [2], [3]]]}}, r"is not a list of \[x, y\]"),
    ],
)
def test_a_faulty_file_is_named(content: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=rf"gt_annotations_val.json.*{message}"):
        index(_write(tmp_path, content))


def test_the_download_is_named_where_it_is_missing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="they are part of CheXlocalize's download"):
        index(tmp_path)


def test_a_faulty_label_row_is_named(tmp_path: Path) -> None:
    chexlocalize(tmp_path)
    path = tmp_path / "CheXpert" / "val_labels.csv"
    path.write_text(path.read_text().replace("64542/study1/view1_frontal.jpg,0", "64542/s/v.jpg,2"))
    with pytest.raises(ValueError, match=r"data row 2: Enlarged Cardiomediastinum is '2'"):
        index(tmp_path)
