"""VinDr-CXR and VinBigData: layouts, readers kept apart, original sizes of copies, faults."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from builders import write_image
from cxrloc.datasets.readers.box_sets.vindr import index
from datasets.dicom.builders import write_dicom
from datasets.readers.box_sets.layouts import KAGGLE, VINDR_IDS, vindr

HEART, NORMAL = VINDR_IDS
JOINED = "boxes drawn by the readers, joined by {}"


def _boxes(root: Path, **options: str) -> dict[str, list[tuple[float, ...]]]:
    found = index(root, **options)  # type: ignore[arg-type]
    image = next(r for r in found.radiographs if r.image_id == HEART)
    boxes: dict[str, list[tuple[float, ...]]] = {}
    for box in image.boxes:
        boxes.setdefault(box.disease, []).append(box.box_xyxy)
    return boxes


def test_each_rule_joins_the_readers_its_way(tmp_path: Path) -> None:
    vindr(tmp_path)
    opacity = [(10.0, 20.0, 60.0, 80.0)]
    mean, first, second = ((100, 100, right, 160) for right in (210, 200, 220))
    assert _boxes(tmp_path) == _boxes(tmp_path, readers="majority") == {"Cardiomegaly": [mean]}
    lungs = {"Infiltration": opacity, "Lung Opacity": opacity}
    assert _boxes(tmp_path, readers="wbf") == {"Cardiomegaly": [mean], **lungs}
    assert _boxes(tmp_path, readers="union") == {"Cardiomegaly": [first, second], **lungs}
    assert _boxes(tmp_path, readers="R10") == lungs


def test_labels_follow_the_rule(tmp_path: Path) -> None:
    vindr(tmp_path)
    by_rule = {}
    for rule in ("majority", "union", "R10"):
        found = index(tmp_path, readers=rule)
        by_rule[rule] = {r.image_id: tuple(r.labels.values()) for r in found.radiographs}
    assert found.diseases == ("Cardiomegaly", "Infiltration", "Lung Opacity")
    assert by_rule == {
        "majority": {HEART: (1, 0, 0), NORMAL: (0, 0, 0)},
        "union": {HEART: (1, 1, 1), NORMAL: (0, 0, 0)},
        "R10": {HEART: (0, 1, 1)},  # who never read the normal image
    }
    assert found.warnings["images that R10 did not read, left out"] == 1


def test_agreement_is_on_the_diseases_of_the_label_map(tmp_path: Path) -> None:
    vindr(tmp_path)
    names = tmp_path / "labels.yaml"
    names.write_text("Cardiomegaly: null\nInfiltration: Opacity\nLung Opacity: Opacity\n")
    assert _boxes(tmp_path, readers="union", labels=str(names)) == {"Opacity": [(10, 20, 60, 80)]}
    assert _boxes(tmp_path, labels=str(names)) == {}  # one reader under two names is no majority


def test_patients_are_unknown_and_the_note_says_how_readers_were_joined(tmp_path: Path) -> None:
    vindr(tmp_path)
    found = index(tmp_path, strict=True)
    assert [(r.patient_id, r.patient_known, r.view) for r in found.radiographs] == [
        (image, False, "PA") for image in VINDR_IDS
    ]
    assert found.official == dict.fromkeys(VINDR_IDS, "train_val")
    kind = JOINED.format("majority")
    assert (found.warnings[kind], found.warnings.examples[kind]) == (4, ["1 boxes of 4"])


def test_vindr_cxr_has_a_test_part_of_one_consensus(tmp_path: Path) -> None:
    folder = tmp_path / "annotations"
    folder.mkdir()
    (folder / "annotations_train.csv").write_text(
        "image_id,rad_id,class_name,x_min,y_min,x_max,y_max\n"
        "a1,R1,Rib fracture,1,2,30,40\na1,R2,Rib fracture,1,2,30,40\na1,R3,No finding,,,,\n"
    )
    (folder / "annotations_test.csv").write_text(
        "image_id,class_name,x_min,y_min,x_max,y_max\nb2,Enlarged PA,5,6,70,80\nb3,No finding,,,,\n"
    )
    for name, shape in (("train/a1", (120, 100)), ("test/b2", (90, 80)), ("test/b3", (90, 80))):
        write_dicom(tmp_path / f"{name}.dicom", np.zeros(shape, np.uint8))
    found = index(tmp_path, strict=True)
    assert found.official == {"a1": "train_val", "b2": "test", "b3": "test"}
    assert [r.size_hw for r in found.radiographs] == [(120, 100), (90, 80), (90, 80)]
    assert [[(b.disease, b.box_xyxy) for b in r.boxes] for r in found.radiographs] == [
        [("Rib fracture", (1, 2, 30, 40))],
        [("Enlarged PA", (5, 6, 70, 80))],
        [],
    ]
    with pytest.raises(ValueError, match=r"R9: no such reader; the files have R1, R2, R3, consens"):
        index(tmp_path, readers="R9")


def _copies(root: Path, shape: tuple[int, int]) -> None:
    for image in VINDR_IDS:
        write_image(root / "train" / f"{image}.png", shape=shape)


def test_copies_keep_the_original_frame_that_a_table_states(tmp_path: Path) -> None:
    vindr(tmp_path, f"{KAGGLE},width,height", more=",300,200")
    _copies(tmp_path, (20, 30))
    (image, _) = index(tmp_path).radiographs
    assert image.size_hw == (200, 300)
    assert list(image.boxes[0].box_xyxy) == [100, 100, 210, 160]
    vindr(tmp_path)
    _copies(tmp_path, (20, 30))
    meta = "".join(f"{name},200,300\n" for name in VINDR_IDS)
    (tmp_path / "train_meta.csv").write_text(f"image_id,dim0,dim1\n{meta}")
    found = index(tmp_path)
    assert found.radiographs[0] == image
    assert tmp_path / "train_meta.csv" in found.sources


def test_boxes_are_stretched_with_copies_that_were(tmp_path: Path) -> None:
    vindr(tmp_path, f"{KAGGLE},width,height", more=",300,200")
    _copies(tmp_path, (100, 100))
    found = index(tmp_path)
    assert found.radiographs[0].size_hw == (100, 100)
    assert found.radiographs[0].boxes[0].box_xyxy == pytest.approx((100 / 3, 50, 70, 80))
    assert found.warnings["copies stretched to another shape; boxes are stretched with them"] == 2


def test_copies_of_unknown_original_size_are_refused(tmp_path: Path) -> None:
    vindr(tmp_path)
    _copies(tmp_path, (64, 64))
    with pytest.raises(ValueError, match=r"leaves the image file of 64 x 64 .* train_meta.csv"):
        index(tmp_path)


def test_a_missing_image_is_listed_without_its_boxes_unless_its_size_is_stated(
    tmp_path: Path,
) -> None:
    vindr(tmp_path)
    (tmp_path / "train" / f"{HEART}.png").unlink()
    found = index(tmp_path)
    assert (found.radiographs[0].path, found.radiographs[0].boxes) == (None, ())
    assert found.warnings["images whose size is unknown, without their boxes"] == 1
    vindr(tmp_path, f"{KAGGLE},width,height", more=",300,200")
    (tmp_path / "train" / f"{HEART}.png").unlink()
    assert len(index(tmp_path).radiographs[0].boxes) == 1


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("x,Cardiomegaly,3,R8,,,,", "Cardiomegaly with x_min, .*expected four numbers"),
        ("x,No finding,14,R8,5,5,9,9", "No finding with a box"),
        ("x,Cardiomegaly,3,R8,9,5,5,9", "expected finite left < right"),
        ("x,Cardiomegaly,3,R8,-9,-9,-5,-5", "lies outside of the 300 x 200 frame"),
    ],
)
def test_a_faulty_row_is_named(row: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text(f"{KAGGLE}\ny,No finding,14,R8,,,,\n{row}\n")
    for image in "xy":
        write_image(tmp_path / f"{image}.png", shape=(200, 300))
    with pytest.raises(ValueError, match=rf"data row 2 \(x\).*{message}"):
        index(tmp_path)


def test_a_reader_who_contradicts_herself_is_counted(tmp_path: Path) -> None:
    rows = "x,Cardiomegaly,3,R8,5,5,9,9\nx,No finding,14,R8,,,,\n"
    (tmp_path / "train.csv").write_text(f"{KAGGLE}\n{rows}")
    write_image(tmp_path / "x.png")
    found = index(tmp_path)
    assert len(found.radiographs[0].boxes) == 1
    assert found.warnings["readers who state a finding and No finding; the finding counts"] == 1


def test_a_row_without_an_image_is_named(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text(
        f"{KAGGLE}\ny,No finding,14,R8,,,,\n,No finding,14,R8,,,,\n"
    )
    with pytest.raises(ValueError, match=r"data row 2 .*no image_id"):
        index(tmp_path)


def test_both_label_files_are_told_apart(tmp_path: Path) -> None:
    vindr(tmp_path)
    (tmp_path / "annotations_train.csv").write_text((tmp_path / "train.csv").read_text())
    found = index(tmp_path)
    assert found.sources == (tmp_path / "annotations_train.csv",)
    kind = "label files besides annotations_train.csv, which is read; choose with --label-file"
    assert found.warnings[kind] == 1
    (tmp_path / "other").mkdir()
    with pytest.raises(FileNotFoundError, match=r"annotations_train.csv and .*train.csv \(VinBig"):
        index(tmp_path / "other")
