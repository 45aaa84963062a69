"""MURA's four files: studies, patients, labels, and every fault that the reader names."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from cxrloc.datasets.prepared.splits import official_split
from cxrloc.datasets.readers import mura
from cxrloc.tools.prepare_data import main as prepare

Tree = Callable[..., Path]
ELBOW = "train/XR_ELBOW/patient00011/study1_negative"
ELBOW2 = "train/XR_ELBOW/patient00011/study2_positive"
HAND = "train/XR_HAND/patient00011/study1_positive"
WRIST = "valid/XR_WRIST/patient11185/study1_positive"
AGAIN = "valid/XR_HAND/patient00011/study9_positive"  # a patient of the train files
STUDIES = {ELBOW: 0, ELBOW2: 1, HAND: 1, WRIST: 1}
IMAGES = {ELBOW: ("image1.png", "image2.png", "image3.png"), WRIST: ("image1.png",)}


def test_every_image_has_its_patient_its_study_its_part_and_the_label_of_its_study(
    mura_tree: Tree,
) -> None:
    index = mura.index(mura_tree(STUDIES, IMAGES))
    rows = [(r.image_id, r.study_id, r.body_part, r.labels["Abnormal"]) for r in index.radiographs]
    assert rows == [
        *((f"{ELBOW}/image{n}.png", ELBOW, "XR_ELBOW", 0.0) for n in (1, 2, 3)),
        *((f"{ELBOW2}/image{n}.png", ELBOW2, "XR_ELBOW", 1.0) for n in (1, 2)),
        *((f"{HAND}/image{n}.png", HAND, "XR_HAND", 1.0) for n in (1, 2)),
        (f"{WRIST}/image1.png", WRIST, "XR_WRIST", 1.0),
    ]
    patients = {r.patient_id for r in index.radiographs}
    assert patients == {"patient00011", "patient11185"}  # one person, two parts, three studies
    assert all(r.path is not None and r.path.is_file() for r in index.radiographs)
    assert {r.size_hw for r in index.radiographs} == {(20, 12)}
    assert index.official[f"{ELBOW}/image1.png"] == "train_val"
    assert index.official[f"{WRIST}/image1.png"] == "test"
    assert not index.warnings
    assert [path.name for path in index.sources] == [
        "train_image_paths.csv",
        "train_labeled_studies.csv",
        "valid_image_paths.csv",
        "valid_labeled_studies.csv",
    ]


def test_one_body_part_alone_and_the_folder_above_the_release(mura_tree: Tree) -> None:
    root = mura_tree(STUDIES, IMAGES)
    index = mura.index(root.parent, body_part="XR_WRIST")
    assert [r.image_id for r in index.radiographs] == [f"{WRIST}/image1.png"]
    assert not index.warnings  # the studies of other parts are not missing
    with pytest.raises(ValueError, match="unknown body part 'ELBOW'; expected XR_ELBOW, XR_FING"):
        mura.index(root, body_part="ELBOW")


def test_colour_grey_and_16_bit_pngs_have_their_own_size(mura_tree: Tree, tmp_path: Path) -> None:
    root = mura_tree(STUDIES, IMAGES)
    cv2.imwrite(str(root / ELBOW / "image1.png"), np.zeros((512, 97, 3), np.uint8))
    cv2.imwrite(str(root / ELBOW / "image2.png"), np.zeros((300, 512), np.uint16))
    sizes = [r.size_hw for r in mura.index(root).radiographs]
    assert sizes[:3] == [(512, 97), (300, 512), (20, 12)]


def test_a_listed_image_without_a_file_has_no_path(mura_tree: Tree) -> None:
    root = mura_tree(STUDIES)
    (root / HAND / "image2.png").unlink()
    gone = [r for r in mura.index(root).radiographs if r.path is None]
    assert [r.image_id for r in gone] == [f"{HAND}/image2.png"]


@pytest.mark.parametrize(
    ("extra", "kind", "example"),
    [
        (
            {
                "train_labeled_studies.csv": [
                    "MURA-v1.1/train/XR_HAND/patient2/study1_positive/,0"
                ],
                "train_image_paths.csv": ["MURA-v1.1/train/XR_HAND/patient2/study1_positive/a.png"],
            },
            "folders that contradict a study's label, which counts",
            "train/XR_HAND/patient2/study1_positive",
        ),
        (
            {"train_image_paths.csv": ["MURA-v1.1/train/XR_HAND/patient2/study1_positive/a.png"]},
            "images without a label row for their study; label unknown",
            "train/XR_HAND/patient2/study1_positive/a.png",
        ),
        (
            {"train_labeled_studies.csv": ["MURA-v1.1/train/XR_HAND/patient2/study1_positive/,1"]},
            "labelled studies without an image",
            "train/XR_HAND/patient2/study1_positive",
        ),
        (
            {
                "valid_image_paths.csv": [f"MURA-v1.1/{AGAIN}/image1.png"],
                "valid_labeled_studies.csv": [f"MURA-v1.1/{AGAIN}/,1"],
            },
            "patients in train and in valid; the official split refuses them",
            "patient00011",
        ),
        (
            {"train_image_paths.csv": [f"MURA-v1.1/{ELBOW}/image1.png"]},
            "equal duplicate rows of train_image_paths.csv dropped",
            f"MURA-v1.1/{ELBOW}/image1.png",
        ),
        (
            {"train_image_paths.csv": [f"MURA-v1.0/{ELBOW}/image1.png"]},
            "equal duplicate rows of train_image_paths.csv dropped",
            f"MURA-v1.0/{ELBOW}/image1.png",
        ),
        (
            {"train_labeled_studies.csv": [f"MURA-v1.1/{ELBOW},0"]},
            "equal duplicate rows of train_labeled_studies.csv dropped",
            f"MURA-v1.1/{ELBOW}",
        ),
    ],
    ids=["contrary", "unlabelled", "no image", "both parts", "equal", "releases", "no slash"],
)
def test_a_fault_is_counted_and_an_error_when_strict(
    extra: dict[str, list[str]], kind: str, example: str, mura_tree: Tree
) -> None:
    root = mura_tree(STUDIES, extra=extra)
    index = mura.index(root)
    assert dict(index.warnings) == {kind: 1}
    assert index.warnings.examples[kind] == [example]
    with pytest.raises(ValueError, match=f"strict: {re.escape(kind)}"):
        mura.index(root, strict=True)


def test_the_label_file_counts_and_a_label_that_is_nowhere_is_unknown(mura_tree: Tree) -> None:
    contrary = "train/XR_HAND/patient2/study1_positive"
    unknown = "train/XR_HAND/patient3/study1_positive"
    extra = {
        "train_labeled_studies.csv": [f"MURA-v1.1/{contrary}/,0"],
        "train_image_paths.csv": [f"MURA-v1.1/{s}/image1.png" for s in (contrary, unknown)],
    }
    labels = {
        r.study_id: r.labels["Abnormal"]
        for r in mura.index(mura_tree(STUDIES, extra=extra)).radiographs
    }
    assert labels[contrary] == 0
    assert math.isnan(labels[unknown])


def test_what_macos_leaves_in_archives_is_no_image(mura_tree: Tree) -> None:
    extra = {"train_image_paths.csv": [f"MURA-v1.1/{ELBOW}/._image1.png"]}
    index = mura.index(mura_tree(STUDIES, extra=extra), strict=True)
    assert not any("._" in r.image_id for r in index.radiographs)
    assert dict(index.warnings) == {"hidden macOS files in the list, left out": 1}


@pytest.mark.parametrize(
    ("name", "line", "message"),
    [
        ("train_image_paths.csv", "XR_HAND/image1.png", r"row 7: path 'XR_HAND/image1.png', expe"),
        ("train_labeled_studies.csv", "MURA-v1.1/a/,1", r"row 4: path 'MURA-v1.1/a/', expected"),
        (
            "train_labeled_studies.csv",
            f"MURA-v1.1/{WRIST}/,2",
            r"label '2' of MURA.*expected 0 \(n",
        ),
        ("train_labeled_studies.csv", f"MURA-v1.1/{ELBOW}/,1", rf"study {ELBOW} has contradictory"),
        (
            "train_labeled_studies.csv",
            "MURA-v1.1/train/XR_FOOT/patient1/study1_positive/,1",
            r"row 4: unknown body part 'XR_FOOT' in 'MURA.*; expected one of XR_ELBOW, XR_FINGER",
        ),
        ("train_image_paths.csv", "a,b", "cannot read .* as CSV"),
    ],
)
def test_a_faulty_row_names_file_and_row(
    name: str, line: str, message: str, mura_tree: Tree
) -> None:
    with pytest.raises(ValueError, match=message):
        mura.index(mura_tree(STUDIES, extra={name: [line]}))


def test_missing_files_are_said(mura_tree: Tree, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no train_image_paths\.csv in .* nor in"):
        mura.index(tmp_path)
    root = mura_tree(STUDIES, parts=("train",))
    index = mura.index(root)
    assert index.warnings["no files of the official test part (valid)"] == 2
    assert set(index.official.values()) == {"train_val"}
    (root / "train_labeled_studies.csv").unlink()
    with pytest.raises(FileNotFoundError, match=r"no .*train_labeled_studies\.csv"):
        mura.index(root)


def test_the_official_split_keeps_valid_for_testing_and_patients_whole(mura_tree: Tree) -> None:
    studies = {f"train/XR_HAND/patient{n}/study1_negative": 0 for n in range(10, 20)}
    index = mura.index(mura_tree(studies | STUDIES))
    split = official_split(index.radiographs, index.official, 0.3, 0)
    assert {image.split("/")[2] for image in split.test} == {"patient11185"}
    train, validation = ({i.split("/")[2] for i in p} for p in (split.train, split.validation))
    assert validation
    assert not train & validation


def test_the_summary_counts_images_studies_and_patients_of_each_part(
    mura_tree: Tree, tmp_path: Path
) -> None:
    root = mura_tree({**STUDIES, "train/XR_HAND/patient00012/study1_negative": 0}, IMAGES)
    arguments = [f"--root={root}", f"--out={tmp_path / 'out'}", "--folds=3", "--workers=1"]
    assert prepare(["--dataset=mura", *arguments]) == 0
    summary = (tmp_path / "out" / "summary.txt").read_text()
    assert "unboxed" not in summary  # MURA has no boxes
    lines = [line.split() for line in summary.splitlines()]
    rows = {line[0]: line[1:] for line in lines if line and line[0].startswith("XR_")}
    assert rows == {
        "XR_ELBOW": ["5", "2", "1", "1"],  # images, studies, positive studies, patients
        "XR_HAND": ["4", "2", "1", "2"],
        "XR_WRIST": ["1", "1", "1", "1"],
    }


def test_prepare_data_reads_one_part_by_its_option(mura_tree: Tree, tmp_path: Path) -> None:
    studies = {f"train/XR_HAND/patient{n}/study1_negative": 0 for n in range(3)}
    root = mura_tree(studies | STUDIES)
    arguments = ["--dataset=mura", f"--root={root}", f"--out={tmp_path / 'out'}", "--folds=3"]
    assert prepare([*arguments, "--body-part=XR_HAND"]) == 0
    assert re.search(r"^images +8 +8 +0$", (tmp_path / "out/summary.txt").read_text(), re.M)
    assert prepare([*arguments, "--body-part=XR_NECK"]) == 2
    assert prepare(["--dataset=nih", *arguments[1:], "--body-part=XR_HAND"]) == 2
