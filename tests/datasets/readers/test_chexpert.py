"""The CheXpert reader on small trees in the published layout: labels, quirks, faults."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from cxrloc.datasets.labels.names import CHEXPERT_LABELS
from cxrloc.datasets.prepared.check_images import check_images
from cxrloc.datasets.prepared.folder import load_prepared
from cxrloc.datasets.readers import chexpert
from cxrloc.tools.prepare_data import main

FRONTAL = "train/patient00001/study1/view1_frontal.jpg"
LATERAL = "train/patient00001/study1/view2_lateral.jpg"
SECOND = "train/patient00002/study2/view1_frontal.jpg"
HELD_OUT = "valid/patient64541/study1/view1_frontal.jpg"
# the 14 labels in the order of the file: no finding, enlarged cardiomediastinum, cardiomegaly, ...
NORMAL = "1.0,,,,,,,,,0.0,,,,1.0"
MIXED = ",,-1.0,1.0,,-1.0,-1.0,,-1.0,,-1.0,,1.0,"
REFERENCE = "0.0,1.0,1.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0"


def row(image: str, labels: str, who: str = "Female,68,Frontal,AP", top: str = "-small") -> str:
    return f"CheXpert-v1.0{top}/{image},{who},{labels}"


TRAIN = [
    row(FRONTAL, NORMAL),
    row(LATERAL, NORMAL, "Female,68,Lateral,"),
    row(SECOND, MIXED, "Male,87,Frontal,PA"),
]
VALID = [row(HELD_OUT, REFERENCE, "Male,73,Frontal,AP")]


def test_a_clean_tree_is_read_without_a_warning(chexpert_tree: Any) -> None:
    root = chexpert_tree(TRAIN, VALID, {FRONTAL: (32, 39), HELD_OUT: (30, 20)})
    index = chexpert.index(root, strict=True)
    first, second, third, held_out = index.radiographs
    assert [r.image_id for r in index.radiographs] == [FRONTAL, LATERAL, SECOND, HELD_OUT]
    assert first.path == root.absolute() / FRONTAL
    assert second.path is None
    assert (first.patient_id, third.patient_id) == ("patient00001", "patient00002")
    assert first.study_id == second.study_id == "patient00001/study1"
    assert (first.sex, first.age_years, first.view) == ("F", 68.0, "AP")
    assert (second.view, third.view) == ("Lateral", "PA")
    assert (first.size_hw, held_out.size_hw) == ((32, 39), (30, 20))
    assert index.official == {
        FRONTAL: "train_val",
        LATERAL: "train_val",
        SECOND: "train_val",
        HELD_OUT: "test",
    }
    assert [path.name for path in index.sources] == ["train.csv", "valid.csv"]


def test_present_absent_uncertain_and_blank_are_four_different_things(chexpert_tree: Any) -> None:
    normal, _, mixed, reference = chexpert.index(chexpert_tree(TRAIN, VALID)).radiographs
    assert list(mixed.labels) == list(CHEXPERT_LABELS)
    assert mixed.positives == ("Lung Opacity", "Fracture")
    assert mixed.uncertain == (
        "Cardiomegaly",
        "Edema",
        "Consolidation",
        "Atelectasis",
        "Pleural Effusion",
    )
    assert math.isnan(mixed.labels["Edema"])
    assert math.isnan(mixed.labels["Pneumonia"])
    assert (normal.labels["Pneumothorax"], normal.uncertain) == (0.0, ())
    assert normal.label("No Finding") == 1.0
    assert normal.positives == ("Support Devices",)  # "No Finding" is no disease
    assert sum(reference.labels.values()) == 2
    assert reference.uncertain == ()


def test_what_the_release_itself_does_not_know_is_a_note(chexpert_tree: Any) -> None:
    rows = [row(FRONTAL, NORMAL, "Unknown,0,Frontal,AP"), row(SECOND, MIXED, "Male,44,Frontal,LL")]
    index = chexpert.index(chexpert_tree(rows, VALID), strict=True)
    assert index.radiographs[0].sex == ""
    assert math.isnan(index.radiographs[0].age_years)
    assert index.radiographs[1].view == "LL"
    assert dict(index.warnings) == {
        "frontal images that are neither AP nor PA": 1,
        "sex unknown": 1,
        "age 0 taken as unknown": 1,
    }


def test_a_test_part_with_open_labels_is_warned_of(chexpert_tree: Any) -> None:
    blank = [row(HELD_OUT, REFERENCE.replace("1.0", "", 1), "Male,73,Frontal,AP")]
    index = chexpert.index(chexpert_tree(TRAIN, blank))
    assert dict(index.warnings) == {"images of the test part with blank or uncertain labels": 1}


def test_frontal_only_leaves_the_laterals_out(chexpert_tree: Any) -> None:
    index = chexpert.index(chexpert_tree(TRAIN, VALID), frontal_only=True)
    assert [r.image_id for r in index.radiographs] == [FRONTAL, SECOND, HELD_OUT]
    assert LATERAL not in index.official


@pytest.mark.parametrize("age", ["-inf", "-5", "old", "1e999"])
def test_an_age_that_is_no_age_is_counted(chexpert_tree: Any, age: str) -> None:
    rows = [row(FRONTAL, NORMAL, f"Female,{age},Frontal,AP")]
    index = chexpert.index(chexpert_tree(rows, VALID))
    assert math.isnan(index.radiographs[0].age_years)
    assert sum(count for kind, count in dict(index.warnings).items() if "ages" in kind) == 1


def test_the_full_release_names_its_images_as_the_small_one_does(chexpert_tree: Any) -> None:
    small = chexpert.index(chexpert_tree(TRAIN, VALID)).radiographs
    full = [line.replace("-small/", "/") for line in TRAIN]
    assert [r.image_id for r in chexpert.index(chexpert_tree(full, VALID)).radiographs] == [
        r.image_id for r in small
    ]


def test_another_label_file_takes_the_place_of_train_csv(chexpert_tree: Any) -> None:
    root = chexpert_tree(TRAIN, VALID)
    text = (root / "train.csv").read_text()
    (root / "train_cheXbert.csv").write_text(text.replace(NORMAL, MIXED))
    index = chexpert.index(root, label_file=Path("train_cheXbert.csv"))
    assert index.radiographs[0].positives == ("Lung Opacity", "Fracture")
    assert [path.name for path in index.sources] == ["train_cheXbert.csv", "valid.csv"]


def test_a_copy_of_another_format_and_a_missing_valid_csv(chexpert_tree: Any) -> None:
    copy = FRONTAL.replace(".jpg", ".png")
    index = chexpert.index(chexpert_tree(TRAIN, None, {copy: (16, 16)}))
    assert index.radiographs[0].path is not None
    assert index.radiographs[0].path.name == "view1_frontal.png"
    assert dict(index.warnings) == {"no label file of the official test part": 1}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            [row(FRONTAL, NORMAL.replace("0.0", "2.0"))],
            r"train\.csv, data row 1: Pneumothorax is '2.0', expected 1.0, 0.0, -1.0 or blank",
        ),
        (
            [row(FRONTAL, NORMAL), row(LATERAL, NORMAL.replace("0.0", "nan"))],
            r"train\.csv, data row 2: Pneumothorax is 'nan', expected",
        ),
        ([row(FRONTAL, NORMAL, "Female,68,Oblique,AP")], "Frontal/Lateral is 'Oblique'"),
        ([row(FRONTAL, NORMAL, "f,68,Frontal,AP")], "Sex is 'f', expected Male, Female"),
        (["patient1/view1.jpg,Male,5,Frontal,AP," + NORMAL], "data row 1: path 'patient1/view1"),
        ([row(FRONTAL, NORMAL), row(FRONTAL, MIXED)], f"image {FRONTAL} has contradictory rows"),
        ([], r"train\.csv has a header but no rows"),
        ([row(HELD_OUT, NORMAL)], "1 patients are in both of .*patient64541"),
    ],
)
def test_faults_of_the_files_are_named(chexpert_tree: Any, rows: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        chexpert.index(chexpert_tree(rows, VALID))


def test_the_labels_of_the_official_test_part_have_no_sex_age_or_view(
    chexpert_tree: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """As CheXlocalize's release has them: without the release's name before the path."""
    front, side = (f"test/patient64741/study1/view{v}.jpg" for v in ("1_frontal", "2_lateral"))
    root = chexpert_tree(TRAIN, VALID, {front: (32, 39), side: (39, 32)})
    header = ",".join(["Path", *CHEXPERT_LABELS])
    rows = [f"{front},{REFERENCE}", f"{side},{REFERENCE}"]
    (root / "test_labels.csv").write_text("\n".join([header, *rows]) + "\n")

    index = chexpert.index(root, label_file=Path("test_labels.csv"), strict=True)

    first, second = index.radiographs
    assert index.official == {front: "test", side: "test"}
    assert (first.view, second.view) == ("Frontal", "Lateral")
    assert (first.sex, math.isnan(first.age_years)) == ("", True)
    assert first.labels["Cardiomegaly"] == 1
    assert first.patient_id == "patient64741"
    assert (first.size_hw, second.size_hw) == ((32, 39), (39, 32))
    assert [
        r.image_id
        for r in chexpert.index(
            root, label_file=root / "test_labels.csv", frontal_only=True
        ).radiographs
    ] == [front]
    (root / "test_labels.csv").write_text(f"{header}\ntest/patient1/study1/a.jpg,{REFERENCE}\n")
    with pytest.raises(ValueError, match=r"data row 1, .*does not say frontal or lateral"):
        chexpert.index(root, label_file=Path("test_labels.csv"))
    (root / "train.csv").unlink()
    with pytest.raises(FileNotFoundError, match="official test part, are given with --label-file"):
        chexpert.index(root)


def test_a_broken_jpg_is_left_out_under_the_name_that_tells_it_from_all_others(
    chexpert_tree: Any,
) -> None:
    root = chexpert_tree(TRAIN, VALID, dict.fromkeys((FRONTAL, LATERAL, SECOND), (32, 39)))
    (root / FRONTAL).write_bytes(b"no image")
    index = chexpert.index(root)
    images = [r for r in index.radiographs if r.path is not None]
    unreadable = check_images(images, index.warnings, workers=1)
    assert list(unreadable) == [FRONTAL]
    (example,) = index.warnings.examples["unreadable images, left out"]
    assert example.startswith(f"{FRONTAL} (not an image")


def test_a_folder_without_label_file_says_what_was_expected(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"expected a folder with train\.csv"):
        chexpert.index(tmp_path)


def test_a_missing_column_is_named(chexpert_tree: Any) -> None:
    root = chexpert_tree([], header="Path,Sex,Age,Frontal/Lateral,AP/PA,No Finding")
    with pytest.raises(ValueError, match=r"no column .'Enlarged Cardiomediastinum'"):
        chexpert.index(root)


def test_the_prepared_folder_keeps_uncertain_labels_apart_from_blank_ones(
    chexpert_tree: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = dict.fromkeys((FRONTAL, LATERAL, SECOND, HELD_OUT), (32, 39))
    root, out = chexpert_tree(TRAIN, VALID, images), tmp_path / "prepared"
    arguments = ["--dataset", "chexpert", "--root", str(root), "--out", str(out), "--folds", "3"]
    assert main([*arguments, "--frontal-only", "--workers", "1"]) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "images in official test 1 1 0" in lines
    assert "label present absent uncertain blank" in lines
    assert "Edema 0 1 1 1" in lines  # of three frontal images
    # an image may have uncertain findings and no positive one: no image without finding
    assert "images without a positive 0 0 0" in lines
    prepared = load_prepared(out)
    _, mixed, _ = prepared.radiographs
    assert mixed.uncertain == (
        "Cardiomegaly",
        "Edema",
        "Consolidation",
        "Atelectasis",
        "Pleural Effusion",
    )
    assert math.isnan(mixed.labels["Pneumonia"])
    assert prepared.official[HELD_OUT] == "test"
    assert prepared.boxed_diseases[:2] == ("Enlarged Cardiomediastinum", "Cardiomegaly")


def test_frontal_only_is_refused_where_the_data_set_has_no_such_option(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--dataset", "nih", "--root", str(tmp_path), "--out", str(tmp_path / "out")]
    assert main([*arguments, "--frontal-only"]) == 2
    assert "--frontal-only: data set nih has no such option" in capsys.readouterr().err
