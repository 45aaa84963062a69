"""Faults of NIH's lists: which are errors, which are counted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cxrloc.datasets.radiograph import Box
from cxrloc.datasets.readers import nih
from datasets.readers.nih_rows import LISTS, ROWS, A, B, C

SCAN_LISTS = ((A, B), ("scan_1.png",))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([(A, "Mass|Fracture")], f"image {A}: unknown label 'Fracture'; expected Atelectasis"),
        ([(A, "")], f"image {A}: unknown label ''"),
        ([(A, "No Finding|Mass")], "contains No Finding and a finding"),
        ([(A, "Mass"), (A, "Nodule")], f"image {A} has contradictory rows"),
        ([(A, "Mass"), ",Mass,0,1,58,M,PA,1,1,1,1"], "data row 2: no image name"),
        ([f"{A}"], f"image {A}: unknown label ''"),
    ],
)
def test_a_faulty_label_row_is_an_error_that_names_it(
    nih_tree: Any, rows: list[Any], message: str
) -> None:
    with pytest.raises(ValueError) as error:
        nih.index(nih_tree(rows))
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("box", "message"),
    [
        ((A, "Mass", 1, 2, -3, 4), "data row 1 (00000001_000.png, Mass): expected finite x, y and"),
        ((A, "Mass", 1, 2, 3, 0), "positive w, h, got 1.0, 2.0, 3.0, 0.0"),
        ((A, "Mass", 1, 2, 3, "nan"), "expected finite"),
        ((A, "Mass", 1, "two", 3, 4), "could not convert string to float: 'two'"),
        ((A, "Fracture", 1, 2, 3, 4), "unknown label 'Fracture'"),
        ((A, "No Finding", 1, 2, 3, 4), "a box for No Finding"),
        ((A, "Mass", 2000, 2, 30, 40), "lies outside the 1024 x 1024 frame"),
        ((A, "Mass", 5, -40, 30, 40), "lies outside the 1024 x 1024 frame"),
    ],
)
def test_a_faulty_box_is_an_error_that_names_its_row(
    nih_tree: Any, box: tuple[Any, ...], message: str
) -> None:
    with pytest.raises(ValueError) as error:
        nih.index(nih_tree([(A, "Mass")], [box]))
    assert message in str(error.value)


COUNTED = [
    pytest.param(
        {"rows": [*ROWS, ROWS[0]]},
        "equal duplicate label rows dropped",
        [A],
        id="equal label rows",
    ),
    pytest.param(
        {"boxes": [(A, "Mass", -10, 1000, 30, 40)]},
        "boxes clipped to the frame",
        [f"{A} Mass"],
        id="box partly outside",
    ),
    pytest.param(
        {"boxes": [("00000009_000.png", "Mass", 1, 2, 3, 4)]},
        "boxes of images without a label row left out",
        ["00000009_000.png Mass"],
        id="boxed image without label row",
    ),
    pytest.param(
        {"boxes": [(A, "Nodule", 1, 2, 3, 4)]},
        "boxes for a disease missing from the label row",
        [f"{A} Nodule"],
        id="box against the label",
    ),
    pytest.param(
        {"boxes": [(A, "Mass", 1, 2, 3, 4), (A, "Mass", 1, 2, 3, 4)]},
        "equal duplicate boxes dropped",
        [f"{A} Mass"],
        id="equal boxes",
    ),
    pytest.param(
        {"boxes": [(A, "Mass", 1, 2, 3, 4), (A, "Mass", 9, 9, 9, 9)]},
        "additional boxes for the same image and disease",
        [f"{A} Mass"],
        id="two boxes of a disease",
    ),
    pytest.param(
        {"boxes": None},
        "no box list, so nothing to localize",
        ["BBox_List_2017.csv"],
        id="no box list",
    ),
    pytest.param(
        {"lists": None},
        "no official list",
        ["train_val_list.txt", "test_list.txt"],
        id="no official lists",
    ),
    pytest.param(
        {"lists": ((A, B, "00000009_000.png"), (C,))},
        "listed images without a label row",
        ["00000009_000.png"],
        id="listed without label row",
    ),
    pytest.param(
        {"lists": ((A, B), ())}, "images in no official list", [C], id="in no official list"
    ),
    pytest.param(
        {"rows": [*ROWS[:2], "scan_1.png,Mass,0,7,58,M,PA,1,1,1,1"], "lists": SCAN_LISTS},
        "patient number differs from the image's name; the column counts",
        ["scan_1.png"],
        id="patient unlike name",
    ),
    pytest.param(
        {"images": [f"images_001/images/{A}", f"images_002/images/{A}"]},
        "images in two folders, the first is used",
        [A],
        id="in two folders",
    ),
]


@pytest.mark.parametrize(("change", "kind", "examples"), COUNTED)
def test_a_tolerable_fault_is_counted_and_an_error_only_when_strict(
    nih_tree: Any, change: dict[str, Any], kind: str, examples: list[str]
) -> None:
    root = nih_tree(**{"rows": ROWS, "lists": LISTS, **change})
    index = nih.index(root)
    assert dict(index.warnings) == {kind: len(examples)}
    assert index.warnings.examples[kind] == examples
    assert index.warnings.lines() == [f"{len(examples):>7} x {kind}: {', '.join(examples)}"]
    with pytest.raises(ValueError, match=r"^strict: ") as error:
        nih.index(root, strict=True)
    assert kind in str(error.value)
    assert examples[0] in str(error.value)


def test_what_is_made_of_tolerable_faults(nih_tree: Any) -> None:
    boxes = [
        (A, "Mass", -10, 1000, 30, 40),  # clipped
        (A, "Nodule", 1, 2, 3, 4),  # kept though the label row has no Nodule
        (A, "Mass", 1, 2, 3, 4),  # a second Mass
        (A, "Mass", 1, 2, 3, 4),  # the same again
    ]
    row = "scan_1.png,Mass,0,007.0,58,M,PA,1,1,1,1"
    first, _, third = nih.index(nih_tree([*ROWS[:2], row], boxes, SCAN_LISTS)).radiographs
    assert first.boxes == (
        Box("Mass", (0.0, 1000.0, 20.0, 1024.0)),
        Box("Nodule", (1.0, 2.0, 4.0, 6.0)),
        Box("Mass", (1.0, 2.0, 4.0, 6.0)),
    )
    assert first.labels["Nodule"] == 0
    assert third.patient_id == "7"


def test_a_patient_that_contradicts_an_nih_name_is_refused_by_row(nih_tree: Any) -> None:
    rows = [*ROWS[:2], f"{C},Mass,0,7,58,M,PA,1,1,1,1"]
    with pytest.raises(ValueError, match=rf"Data_Entry.*, data row 3: image {C} has patient '7'"):
        nih.index(nih_tree(rows, (), LISTS))


def test_an_image_in_both_official_lists_is_an_error(nih_tree: Any) -> None:
    with pytest.raises(ValueError, match=f"in both official lists, e\\.g\\. {A}"):
        nih.index(nih_tree(ROWS, (), ((A, B), (A, C))))


def test_missing_folders_and_files_are_named(nih_tree: Any, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no folder .*nowhere"):
        nih.index(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"expected Data_Entry_2017_v2020.csv or"):
        nih.index(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"--label-file: no file mine\.csv"):
        nih.index(nih_tree(ROWS), label_file=Path("mine.csv"))
    root = nih_tree(ROWS, header="a,b")
    with pytest.raises(ValueError, match=r"has no column \['imageindex', 'findinglabels'\]"):
        nih.index(root)
    (root / "Data_Entry_2017_v2020.csv").write_text("")
    with pytest.raises(ValueError, match=r"cannot read .*v2020\.csv as CSV"):
        nih.index(root)


def test_a_list_that_is_no_text_is_named(nih_tree: Any) -> None:
    root = nih_tree([(A, "Mass")])
    (root / "test_list.txt").write_bytes(b"00000001_000.png\xe9")
    with pytest.raises(ValueError, match=r"test_list\.txt is not a text file in UTF-8"):
        nih.index(root)
