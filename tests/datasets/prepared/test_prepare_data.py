"""cxrloc prepare from the command line to the folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from builders import write_image
from cxrloc.datasets.prepared.folder import load_prepared
from cxrloc.tools.prepare_data import main

NAMES = [f"{patient:08d}_{image:03d}.png" for patient in range(1, 7) for image in range(2)]
ABSENT = "00000009_000.png"
LABELS = ["Mass|Nodule", "No Finding", "Effusion"]


@pytest.fixture
def root(nih_tree: Any) -> Path:
    """Six patients of two images; one more image is listed and boxed but has no file."""
    rows = [(name, LABELS[i % 3]) for i, name in enumerate(NAMES)] + [(ABSENT, "Mass")]
    boxes = [(NAMES[0], "Mass", 1, 2, 3, 4), (ABSENT, "Mass", 1, 2, 3, 4)]
    images = [f"images/{name}" for name in NAMES]
    tree: Path = nih_tree(rows, boxes, (NAMES, [ABSENT]), images)
    return tree


def run(root: Path, out: Path, *options: str) -> int:
    arguments = ["--dataset", "nih", "--root", str(root), "--out", str(out), "--folds", "3"]
    return main([*arguments, "--workers", "1", *options])


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def test_the_table_says_what_is_there_and_what_is_missing(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(root, tmp_path / "out") == 0
    printed = capsys.readouterr().out
    lines = {" ".join(line.split()) for line in printed.splitlines()}
    assert "Research use only, never a diagnosis." in lines
    assert "in the lists on disk missing" in lines
    assert "images 13 12 1" in lines
    assert "patients 7 6 1" in lines
    assert "boxed images 2 1 1" in lines
    assert "boxes 2 1 1" in lines
    assert "positive labels 13 12 1" in lines  # 4 x 2 + 4 x 1, and the absent one
    assert "images in official test 1 0 1" in lines
    assert "Missing: 1 images have no file (with 1 boxes); 0 files cannot be read." in lines
    assert "disease positives on disk boxes on disk unboxed* on disk" in lines
    assert "Mass 5 4 2 1 0 0" in lines
    assert "Nodule 4 4 0 0 1 1" in lines  # on the boxed image, without a box of its own
    assert "Hernia 0 0" in lines  # never boxed by NIH
    assert "* 1 positive labels on 1 boxed images have no box (1 on 1 on disk):" in lines
    assert "No warnings." in lines
    assert (tmp_path / "out" / "summary.txt").read_text() in printed


def test_the_folder_loads_and_its_folds_keep_patients_together(root: Path, tmp_path: Path) -> None:
    assert run(root, tmp_path / "out", "--seed", "5") == 0
    prepared = load_prepared(tmp_path / "out")
    assert [r.image_id for r in prepared.radiographs] == NAMES
    for first, second in zip(NAMES[::2], NAMES[1::2], strict=True):
        assert prepared.folds[first] == prepared.folds[second]
    assert sorted(prepared.folds.values()) == [0] * 4 + [1] * 4 + [2] * 4
    manifest = prepared.manifest
    assert manifest["seed"] == 5
    assert manifest["config"]["folds"] == 3
    assert {"Data_Entry_2017_v2020.csv", "BBox_List_2017.csv", "test_list.txt", "folds.csv"} <= (
        manifest["hashes"].keys()
    )
    assert manifest["counts"]["on disk"]["boxes"] == 1


def test_a_second_run_gives_the_same_files(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    names = ("index.json", "ground_truth.json", "folds.csv", "summary.txt")
    assert run(root, out) == 0
    first = {name: (out / name).read_bytes() for name in names}
    assert run(root, out) == 0
    assert {name: (out / name).read_bytes() for name in names} == first
    assert sorted(path.name for path in out.iterdir()) == sorted(
        (*names, "manifest.json", *(f"ground_truth_fold{k}.json" for k in range(3)))
    )


def test_an_unreadable_image_is_named_counted_and_left_out(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    truncate(root / "images" / NAMES[3])
    assert run(root, tmp_path / "out") == 0
    printed = capsys.readouterr().out
    assert "1 files cannot be read." in printed
    assert f"  {NAMES[3]}: truncated PNG: " in printed
    assert f"1 x unreadable images, left out: {NAMES[3]} (truncated PNG" in printed
    prepared = load_prepared(tmp_path / "out")
    assert len(prepared.radiographs) == 11
    assert NAMES[3] not in prepared.folds
    assert list(prepared.manifest["unreadable"]) == [NAMES[3]]


@pytest.mark.parametrize("strict", [["--strict", "true"], ["--strict"]])
def test_strict_stops_at_an_unreadable_image_and_writes_nothing(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], strict: list[str]
) -> None:
    truncate(root / "images" / NAMES[3])
    assert run(root, tmp_path / "out", *strict) == 2
    error = capsys.readouterr().err
    assert f"error: strict: unreadable images, left out: 1 x ({NAMES[3]}" in error
    assert not (tmp_path / "out").exists()


def test_the_check_of_pixels_can_be_left_out(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    truncate(root / "images" / NAMES[3])
    assert run(root, tmp_path / "out", "--no-check-pixels") == 0
    assert "files not checked." in capsys.readouterr().out
    assert len(load_prepared(tmp_path / "out").radiographs) == 12


def test_a_image_of_another_shape_than_the_frame_is_counted(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_image(root / "images" / NAMES[0], 9, (10, 20))
    assert run(root, tmp_path / "out") == 0
    expected = f"images shaped unlike their frame; boxes may be misplaced: {NAMES[0]} is 20 x"
    assert expected in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--dataset", "mimic"], "unknown data set 'mimic'; expected one of nih"),
        (["--folds", "40"], "cannot split 6 patients into 40 folds"),
        (["--label-file", "mine.csv"], "--label-file: no file mine.csv or "),
    ],
)
def test_what_cannot_be_done_is_said_with_status_1(
    root: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    message: str,
) -> None:
    assert run(root, tmp_path / "out", *options) == 2
    assert message in capsys.readouterr().err


def test_a_tree_without_images_says_where_they_were_looked_for(
    nih_tree: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = nih_tree([(NAMES[0], "Mass")], (), ((NAMES[0],), ()))
    assert run(root, tmp_path / "out") == 2
    captured = capsys.readouterr()
    assert "none of the 1 listed images is on disk; expected them in" in captured.err
    assert "Missing: 1 images have no file" in captured.out


def test_an_unknown_option_is_named(root: Path, tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as stopped:
        run(root, tmp_path / "out", "--frobnicate", "1")
    assert stopped.value.code == 2


@pytest.mark.slow
def test_the_real_tree_is_prepared_as_counted_by_hand(shared_data: Path, tmp_path: Path) -> None:
    arguments = [
        "--dataset",
        "nih",
        "--root",
        str(shared_data / "nih"),
        "--out",
        str(tmp_path / "out"),
    ]
    assert main([*arguments, "--strict"]) == 0
    lines = {
        " ".join(line.split()) for line in (tmp_path / "out/summary.txt").read_text().split("\n")
    }
    assert "images 112,120 1,026 111,094" in lines
    assert "patients with boxes 726 575 151" in lines
    assert "boxes 984 774 210" in lines
    assert "* 721 positive labels on 521 boxed images have no box (565 on 413 on disk):" in lines
    truth = json.loads((tmp_path / "out" / "ground_truth.json").read_text())
    assert (len(truth["images"]), len(truth["annotations"])) == (1026, 774)
    # Figures hang on these folds: nih-boxes-v1's for its patients, the same on every machine.
    manifest = load_prepared(tmp_path / "out").manifest
    assert manifest["protocol"] == "nih-boxes-v1"
    folds = manifest["hashes"]["folds.csv"]
    assert folds == "d43615062e8b567c84a052e4384209cdfe326f72b4025ca82d5a4628254d6e88"


def test_anyones_folder_is_prepared_and_the_summary_says_what_is_not_known(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [f"{name}.png,{'Effusion' if name in 'abc' else 'Mass'},2,2,9,9" for name in "abcd"]
    for number, name in enumerate("abcd"):
        write_image(tmp_path / "in" / f"{name}.png", 50 + number, corner=0)
    table = "\n".join(["image,label,x,y,width,height", *rows])
    (tmp_path / "in" / "boxes.csv").write_text(table)
    words = ["--dataset", "csv", "--root", str(tmp_path / "in"), "--out", str(tmp_path / "out")]
    assert main([*words, "--folds", "3"]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert (
        "The patient of 4 of 4 images is not known: each counts as a patient of its own" in printed
    )
    assert "Fewer patients than the 3 folds: Mass (1)." in printed
    data = load_prepared(tmp_path / "out")
    assert data.boxed_diseases == ("Effusion", "Mass")
    assert {(r.image_id, r.patient_known) for r in data.radiographs} == {
        (f"{name}.png", False) for name in "abcd"
    }
    truth = json.loads(data.files.ground_truth.read_bytes())
    assert not any("patient_id" in image for image in truth["images"])


def test_an_option_of_another_data_set_is_refused_with_those_that_take_it(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(root, tmp_path / "out", "--patient-column", "who") == 2
    assert "--patient-column: data set nih has no such option; it is for csv" in (
        capsys.readouterr().err
    )
