"""Names and patients of two lists, compared whatever data set and tool wrote them."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from cxrloc.datasets.provenance.image_lists import ImageList, image_list
from cxrloc.datasets.provenance.leakage import CLEAN, LEAKED, NOT_KNOWN, audit
from cxrloc.datasets.provenance.names import common_key, nih_names, patients_by_name

RSNA = "0004cfab-14fd-4e49-80ba-63a80b6bddd6"  # NIH's 00019124_092


def test_the_folder_belongs_to_the_name_where_files_alone_are_not_unique() -> None:
    studies = ["p1/view1.jpg", "p2/view1.jpg"]
    key = common_key(studies, ["p3/view1.png"])
    assert [key(name) for name in studies] == ["p1/view1", "p2/view1"]
    assert key("p3/view1.png") == "p3/view1"
    assert key("p3\\view1.png") == "p3/view1"
    assert common_key(["x/a.png", "y/b.png"], [])("z/a.jpg") == "a"


def test_the_release_before_published_names_is_no_part_of_the_name() -> None:
    ours = [
        "train/XR_HAND/p1/study1_negative/image1.png",
        "valid/XR_HAND/p2/study1_positive/image1.png",
    ]
    published = [f"MURA-v1.1/{name}" for name in ours]
    key = common_key(ours, published, [])
    assert [key(name) for name in published] == [key(name) for name in ours]
    assert key(ours[0]) != key(ours[1])
    # a name that is too short to tell the others apart leaves them whole
    short = common_key([*ours, "image9.png"], published)
    assert short(published[0]) == published[0].removesuffix(".png")


def test_names_of_nih_rsna_mura_and_chexpert_tell_the_patient_in_lists_of_mixed_origin_too() -> (
    None
):
    expected = {
        "MURA-v1.1/train/XR_HAND/patient00002/study1_negative/image1.png": "patient00002",
        "MURA-v1.1/train/XR_FOREARM/patient00002/study1_positive/": "patient00002",
        "CheXpert-v1.0-small/train/patient00003/study1/view1_frontal.jpg": "patient00003",
        "images/00000013_000.png": "13",
        f"stage_2_train_images/{RSNA}.dcm": "19124",
        f"{RSNA.upper()}_png.rf.0a1b.jpg": "19124",
        "scan_001.png": "",
        "20190101_001.png": "",  # a date: NIH has 30,805 patients
        "36199.png": "",  # five digits are ChestX-Det's only where its other names are
    }
    assert patients_by_name([*expected]) == expected


def test_names_in_published_layouts_are_never_compared_by_the_file_alone() -> None:
    first, second = (f"train/patient0000{n}/study1/view1_frontal.jpg" for n in (1, 2))
    key = common_key([first], [f"CheXpert-v1.0/{second}"], ["00000013_000.png"])
    assert key(f"CheXpert-v1.0/{first}") == key(first) != key(second)
    assert key("images/00000013_000.jpg") == "00000013_000"


def test_chestx_det_is_known_by_a_list_of_its_names() -> None:
    names = [f"train/{number}.png" for number in (36199, 36200, 36201)]
    assert list(nih_names(names).values()) == ["00000003_003", "00000004_000", "00000005_006"]
    assert nih_names([*names, *(f"{number}.png" for number in range(9))]) == {}


def test_renamed_images_of_nih_are_a_leak_and_known_as_its_patients() -> None:
    nih = image_list([("00019124_092.png", "19124", "train"), ("00000004_007.png", "4", "train")])
    rsna = image_list([(RSNA, "", "")])
    assert audit(nih, rsna).shared_images == (RSNA,)
    assert audit(rsna, nih).shared_patients == ("19124",)
    assert audit(nih, rsna).evaluated_as_nih == (RSNA,)
    det = audit(nih, image_list([("36200.png", "", ""), ("36201.png", "", "")]))
    assert (det.shared_images, det.shared_patients) == ((), ("4",))


def test_a_pseudonym_hides_neither_the_patient_of_an_nih_image_nor_his_other_images() -> None:
    nih = image_list([("00000013_000.png", "", "train")])
    assert audit(nih, image_list([("00000013_004.png", "P7", "")])).status == LEAKED


def test_numbers_of_other_data_sets_are_neither_a_leak_nor_clean() -> None:
    nih = image_list([("00000013_000.png", "13", "train")])
    for other in (image_list([("scan.png", "0013", "")]), ImageList({"scan.png": "13.0"})):
        result = audit(nih, other)
        assert (result.status, result.ambiguous_patients) == (NOT_KNOWN, ("13",))
        assert audit(other, nih).status == NOT_KNOWN
    assert audit(nih, ImageList({"scan.png": "14"})).status == CLEAN
    assert audit(ImageList({"a.png": "13"}), ImageList({"b.png": "013"})).status == LEAKED
    assert audit(nih, ImageList({"scan.png": ""})).status == NOT_KNOWN


def test_chestx_dets_own_split_shares_271_of_its_429_test_patients(shared_data: Path) -> None:
    table = shared_data / "second_readers" / "chestx_det" / "chestxdet_to_nih.csv"
    with table.open(newline="", encoding="utf-8") as handle:
        rows = list(csv.DictReader(handle))
    train, test = (
        image_list([(row["file_name"], "", "") for row in rows if row["part"] == part])
        for part in ("train", "test")
    )
    result = audit(train, test)
    assert len(set(test.patient_of.values())) == 429
    assert (len(result.shared_patients), result.shared_images) == (271, ())
    assert result.status == LEAKED


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            [("00000013_004.png", "13", ""), ("b.png", "14", ""), ("00000013_005.png", "14", "")],
            r"list, row 3: image 00000013_005.png has patient '14', .* here 13; correct the row",
        ),
        (
            [("00000013_004.png", "A", ""), ("x/00000013_004 (1).jpg", "B", "")],
            r"row 2: image x/00000013_004 \(1\).jpg, which is 00000013_004.png, has patients 'A'",
        ),
    ],
)
def test_one_image_of_two_patients_is_refused_by_row(
    rows: list[tuple[str, str, str]], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        image_list(rows, "list")


def test_the_same_patient_written_twice_is_one_and_a_blank_is_filled() -> None:
    rows = [("00000013_004.png", "13.0", ""), ("00000013_004.png", "00000013", "")]
    assert image_list([*rows, ("a.png", "", ""), ("a.png", "R13", "")]).patient_of == {
        "00000013_004.png": "00000013",
        "a.png": "R13",
    }
