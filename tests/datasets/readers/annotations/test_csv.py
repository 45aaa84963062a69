"""Tables of boxes with the column names of several tools and data sets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from cxrloc.datasets.radiograph import Box
from cxrloc.datasets.readers.annotations import csv

Folder = Callable[..., Path]
EFFUSION = Box("Effusion", (80, 30, 120, 70))


@pytest.mark.parametrize(
    "table",
    [
        "filename,width,height,class,xmin,ymin,xmax,ymax\na.png,200,100,Effusion,80,30,120,70\n",
        "image_id,class_name,x_min,y_min,x_max,y_max\na,Effusion,80,30,120,70\n",  # VinDr
        "Path;Label;x;y;width;height\nscans/a.png;Effusion;80,0;30,0;40,0;40,0\n",
        "image\tdisease\tx_center\ty_center\tw\th\na.png\tEffusion\t100\t50\t40\t40\n",
        'image,label,bbox\na.png,Effusion,"[80, 30, 40, 40]"\n',
        'image,label,bbox_xyxy\na.png,Effusion,"80 30 120 70"\n',
        "Image Index,Finding Label,Bbox [x,y,w,h]\na.png,Effusion,80,30,40,40\n",  # NIH
        "ImageID,LabelName,XMin,XMax,YMin,YMax\na.png,Effusion,0.4,0.6,0.3,0.7\n",  # shares
        "\ufefffile,finding,x1,y1,x2,y2\nC:\\scans\\a.png,Effusion,80,30,120,70\n",
    ],
)
def test_each_common_form_gives_the_same_box(folder: Folder, table: str) -> None:
    index = csv.index(folder("images/a.png", {"annotations.csv": table}))
    assert [(r.image_id, r.size_hw) for r in index.radiographs] == [("a.png", (100, 200))]
    (box,) = index.radiographs[0].boxes
    assert box.disease == EFFUSION.disease
    assert box.box_xyxy == pytest.approx(EFFUSION.box_xyxy)


HEAD = "image,class,xmin,ymin,xmax,ymax"


def test_odd_facts_about_patients_are_counted_by_every_reader(folder: Folder) -> None:
    people = ["F,40,PA", "diverse,400,oblique", "M,-5,AP", ",inf,", "f,0,LL"]
    rows = [f"{n}.png,Mass,1,1,9,9,{facts}" for n, facts in zip("abcde", people, strict=True)]
    table = "\n".join((f"{HEAD},sex,age,view", *rows))
    index = csv.index(folder(*(f"{n}.png" for n in "abcde"), {"boxes.csv": table}))
    ages = [r.age_years for r in index.radiographs]
    assert [str(age) for age in ages] == ["40.0", "nan", "nan", "nan", "0.0"]
    counts = dict(index.warnings)
    assert counts["ages that are no number from 0 to 120, read as unknown"] == 3
    assert counts["sexes other than F and M, as written"] >= 1
    assert counts["views by other names than the usual ones, as written"] >= 1


def test_rows_without_a_box_state_findings_of_the_whole_image(folder: Folder) -> None:
    rows = ["a.png,Effusion,80,30,120,70", "a.png,Mass,80,30,90,70", "b.png,Mass|Nodule,,,,"]
    rows += ["c.png,No finding,,,,", "d.png,,,,,", "e.png,No finding,0,0,1,1"]
    root = folder(*(f"{n}.png" for n in "abcde"), {"boxes.csv": "\n".join((HEAD, *rows))})
    index = csv.index(root, strict=True)
    labels = {r.image_id[0]: list(r.labels.values()) for r in index.radiographs}
    assert index.diseases == ("Effusion", "Mass", "Nodule")
    assert labels == {"a": [1, 1, 0], "b": [0, 1, 1], "c": [0] * 3, "d": [0] * 3, "e": [0] * 3}
    assert index.boxed_diseases == ("Effusion", "Mass")
    unknown = csv.index(root, unboxed="unknown").radiographs
    assert [str(list(r.labels.values())) for r in unknown] == [
        "[1.0, 1.0, nan]",
        "[nan, 1.0, 1.0]",
        "[0.0, 0.0, 0.0]",
        "[nan, nan, nan]",
        "[0.0, 0.0, 0.0]",
    ]


@pytest.mark.parametrize("age", ["", "null", "n/a", "nan"])
def test_an_age_that_is_not_stated_is_counted(folder: Folder, age: str) -> None:
    table = f"{HEAD},age\na.png,Effusion,80,30,120,70,{age}\n"
    index = csv.index(folder("a.png", {"a.csv": table}))
    assert dict(index.warnings)["ages not stated"] == 1


def test_the_patient_comes_from_the_named_column_and_similar_columns_are_mentioned(
    folder: Folder,
) -> None:
    table = f"{HEAD},subject_id,patient,split,sex,age,view\n"
    table += "a.png,Effusion,80,30,120,70,013,P1,train,male,58,PA\n"
    table += "b.png,Effusion,80,30,120,70,13.0,P2,test,F,60Y,AP\n"
    root = folder("a.png", "b.png", {"a.csv": table})
    index = csv.index(root, patient_column="subject_id")
    assert [(r.patient_id, r.patient_known) for r in index.radiographs] == [("13", True)] * 2
    assert [(r.sex, r.age_years, r.view) for r in index.radiographs] == [
        ("M", 58, "PA"),
        ("F", 60, "AP"),
    ]
    assert index.official == {"a.png": "train_val", "b.png": "test"}
    assert dict(index.warnings) == {
        "columns that are not read": 1,
        "patients in both parts of the split": 1,
    }
    assert index.warnings.examples["columns that are not read"] == ["patient"]
    without = csv.index(root)
    assert [(r.patient_id, r.patient_known) for r in without.radiographs] == [
        ("image a", False),
        ("image b", False),
    ]
    (note,) = without.warnings
    assert without.warnings.examples[note] == ["subject_id", "patient"]


def test_roboflow_writes_a_table_for_each_part(folder: Folder) -> None:
    head = "filename,width,height,class,xmin,ymin,xmax,ymax\n"
    tables = {
        f"{part}/_annotations.csv": f"{head}{name},200,100,Effusion,80,30,120,70\n"
        for part, name in (("train", "a.png"), ("valid", "b.png"), ("test", "a.png"))
    }
    index = csv.index(folder("train/a.png", "valid/b.png", "test/a.png", tables), strict=True)
    assert index.official == {
        "train/a.png": "train_val",
        "b.png": "train_val",
        "test/a.png": "test",
    }


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("a.png,80,30,120,70,Effusion\n", "has no header: its first line is a.png,80"),
        ("image,score\na.png,1\n", "no column for the finding and the box; its header is image"),
        (f"{HEAD}\na.png,Mass,80,30,,70\n", "line 2: 3 of 4 coordinates in xmin, ymin, xmax, ymax"),
        (f"{HEAD}\na.png,Mass,80,30,9o,70\n", "line 2: '9o' is no number"),
        (f"{HEAD}\na.png,,80,30,90,70\n", "line 2: a box without a finding in column 'class'"),
        (f"{HEAD}\n,Mass,80,30,90,70\n", "line 2: no image in column 'image'"),
        (f"{HEAD}\na.png,Mass,80,30,390,70\n", "line 2: Mass: the box .* lies outside a.png"),
        (f"{HEAD},split\na.png,Mass,8,3,39,7,fold1\n", "line 2: part 'fold1'; expected train"),
        (
            f"{HEAD},split\na.png,Mass,8,3,39,7,train\na.png,Mass,8,3,40,7,test\n",
            "line 3: image a.png has part 'test', and 'train' in .*line 2",
        ),
        (f"{HEAD}\na.png,,,,,\n", "1 annotated images without any box or finding"),
        (f"{HEAD}\nz.png,Mass,8,3,39,7\n", "none of the 1 annotated images is below .*names z.png"),
    ],
)
def test_a_faulty_row_is_named(folder: Folder, table: str, message: str) -> None:
    root = folder("a.png", {"a.csv": table})
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        csv.index(root)
    with pytest.raises(ValueError, match="has no column 'person'; its header is"):
        csv.index(folder({"a.csv": f"{HEAD}\n"}), patient_column="person")


def test_a_row_that_ends_early_is_counted(folder: Folder) -> None:
    rows = ["a.png,Effusion,80,30,120,70", "a.png,Mass", ""]
    index = csv.index(folder("a.png", {"boxes.csv": "\n".join((HEAD, *rows, ""))}))
    assert index.warnings["rows with fewer fields than the header"] == 1
