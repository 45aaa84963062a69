"""The NIH reader on small trees: quirks, faults, and what is counted."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from cxrloc.datasets.labels.names import NIH_DISEASES, canonical_label
from cxrloc.datasets.radiograph import Box
from cxrloc.datasets.readers import nih
from datasets.readers.nih_rows import LISTS, ROWS, A, B, C


def test_a_clean_tree_is_read_without_a_warning(nih_tree: Any) -> None:
    boxes = [(A, "Infiltrate", 10.5, 20, 30, 40.25)]
    index = nih.index(nih_tree(ROWS, boxes, LISTS, [f"images/{A}"]), strict=True)
    first, second, third = index.radiographs
    assert first.path is not None
    assert first.path.name == A
    assert first.path.is_absolute()
    assert first.patient_id == second.patient_id == "1"
    assert first.positives == ("Infiltration", "Mass")
    assert first.boxes == (Box("Infiltration", (10.5, 20.0, 40.5, 60.25)),)
    assert (first.view, first.sex, first.age_years) == ("PA", "M", 58.0)
    assert first.size_hw == (1024, 1024)
    assert second.path is None
    assert second.labels == dict.fromkeys(NIH_DISEASES, 0.0)
    assert third.positives == ("Pleural_Thickening",)
    assert index.official == {A: "train_val", B: "train_val", C: "test"}
    assert dict(index.warnings) == {"labels under another name": 1}
    assert index.warnings.examples["labels under another name"] == ["Infiltrate = Infiltration"]
    assert [path.name for path in index.sources] == [
        "Data_Entry_2017_v2020.csv",
        "BBox_List_2017.csv",
        "train_val_list.txt",
        "test_list.txt",
    ]


def test_the_first_version_of_the_label_file_has_ages_with_units_and_a_trailing_comma(
    nih_tree: Any,
) -> None:
    header = (
        "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,"
        "View Position,OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],"
    )
    ages = {"058Y": 58.0, "006M": 0.5, "411": math.nan, "": math.nan}
    rows = [
        f"0000000{i}_000.png,Mass,0,{i},{age},F,AP,2682,2749,0.143,0.143,"
        for i, age in enumerate(ages, start=1)
    ]
    names = [row.partition(",")[0] for row in rows]
    root = nih_tree(rows, (), (names, ()), label_file="Data_Entry_2017.csv", header=header)
    index = nih.index(root, strict=True)  # an absurd age is NIH's own: a note, not a warning
    read = [r.age_years for r in index.radiographs]
    assert read[:2] == [58.0, 0.5]
    assert all(math.isnan(age) for age in read[2:])
    assert dict(index.warnings) == {"ages not stated": 1, "ages over 120 years, read as unknown": 1}
    assert index.radiographs[0].patient_id == "1"


@pytest.mark.parametrize("age", ["old", "9" * 400, "9" * 5000])
def test_an_age_that_is_no_age_is_counted(nih_tree: Any, age: str) -> None:
    row = f"{A},Mass,0,1,{age},F,AP,2682,2749,0.143,0.143"
    index = nih.index(nih_tree([row], (), ((A,), ())))
    assert math.isnan(index.radiographs[0].age_years)
    assert dict(index.warnings) == {"unreadable ages": 1}


@pytest.mark.parametrize("column", [0, 3])
def test_an_absurdly_long_name_is_refused_with_the_files_name(nih_tree: Any, column: int) -> None:
    cells = [A, "Mass", "0", "1", "40", "F", "AP", "2682", "2749", "0.143", "0.143"]
    cells[column] = "x" * 1500
    with pytest.raises(ValueError, match=r"Data_Entry_2017_v2020\.csv: .*over 1000 characters"):
        nih.index(nih_tree([",".join(cells)], (), ((cells[0],), ())))


def test_with_both_label_files_the_newer_is_read_and_said(nih_tree: Any) -> None:
    root = nih_tree([(A, "Mass")], (), ((A,), ()), label_file="Data_Entry_2017.csv")
    nih_tree([(A, "Nodule")], (), ((A,), ()))
    index = nih.index(root)
    assert index.sources[0].name == "Data_Entry_2017_v2020.csv"
    assert index.radiographs[0].positives == ("Nodule",)
    (kind,) = index.warnings
    assert "Data_Entry_2017_v2020.csv, which is read" in kind
    assert index.warnings.examples[kind] == ["Data_Entry_2017.csv"]
    chosen = nih.index(root, label_file=Path("Data_Entry_2017.csv"), strict=True)
    assert chosen.radiographs[0].positives == ("Mass",)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("Infiltrate", "Infiltration"),
        ("Pleural Thickening", "Pleural_Thickening"),
        (" mass ", "Mass"),
        ("no finding", "No Finding"),
    ],
)
def test_label_aliases_become_the_canonical_name(written: str, meant: str) -> None:
    assert canonical_label(written) == meant


def test_a_list_without_rows_is_an_empty_index(nih_tree: Any) -> None:
    index = nih.index(nih_tree([]))
    assert index.radiographs == []
    assert index.official == {}


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ([f"images/{A}"], f"images/{A}"),
        ([A], A),
        ([f"images_007/images/{A}"], f"images_007/images/{A}"),
        ([f"images_007/{A}"], f"images_007/{A}"),
        ([f"images_002/images/{A}", "images/00000001_000.jpg"], f"images_002/images/{A}"),
        (["images/00000001_000.jpg"], "images/00000001_000.jpg"),
        (["images/00000001_000.JPEG"], "images/00000001_000.JPEG"),
        (["images/00000001_000.PNG", "images/00000001_000.jpg"], "images/00000001_000.jpg"),
        (["images/00000001_000.PNG"], "images/00000001_000.PNG"),
        (["images/00000001_000.txt", f"images/._{A}"], None),
        ([f"elsewhere/{A}"], None),
        ([], None),
    ],
)
def test_a_image_is_found_under_its_listed_name_then_as_another_ending(
    nih_tree: Any, files: list[str], found: str | None
) -> None:
    root: Path = nih_tree([(A, "Mass")], (), ((A,), ()))
    for name in files:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"never read by the index")
    expected = None if found is None else (root / found).absolute()
    assert nih.index(root, strict=True).radiographs[0].path == expected


def test_a_listed_jpeg_does_not_stand_for_a_listed_png(nih_tree: Any) -> None:
    other = A.replace(".png", ".jpg")
    root = nih_tree([(A, "Mass"), (other, "Mass")], (), ((A, other), ()), [f"images/{other}"])
    png, jpg = nih.index(root).radiographs
    assert png.path is None
    assert jpg.path is not None


def test_an_image_file_that_no_label_row_names_is_counted_not_dropped_silently(
    nih_tree: Any,
) -> None:
    root = nih_tree([(A, "Mass")], (), ((A,), ()), [f"images/{A}", "images/99990001_000.png"])
    assert nih.index(root).warnings["image files without a label row, left out"] == 1
    with pytest.raises(ValueError, match=r"without a label row.*99990001_000\.png"):
        nih.index(root, strict=True)


def test_another_copy_of_a_listed_image_is_no_stray(nih_tree: Any) -> None:
    files = [f"images/{A}", f"images/{A.replace('.png', '.jpg')}"]
    assert len(nih.index(nih_tree([(A, "Mass")], (), ((A,), ()), files), strict=True).radiographs)


def test_a_blank_patient_number_is_taken_from_the_images_name(nih_tree: Any) -> None:
    rows = [
        "00000011_000.png,Mass,0,,50,M,PA,1,1,1,1",
        "00000011_001.png,Mass,1,11,50,M,PA,1,1,1,1",
    ]
    index = nih.index(nih_tree(rows, (), None))
    assert [r.patient_id for r in index.radiographs] == ["11", "11"]
    assert index.warnings["no patient number; read from the image's name"] == 1
