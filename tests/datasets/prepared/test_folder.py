"""The prepared folder: what is written comes back, and a broken folder says what to do."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from builders import write_image
from cxrloc.datasets.files.manifest import file_sha256
from cxrloc.datasets.prepared.coco import load_coco
from cxrloc.datasets.prepared.folder import load_prepared, write_prepared
from cxrloc.datasets.radiograph import Box, Radiograph


def radiographs(folder: Path) -> list[Radiograph]:
    boxes = (Box("Mass", (0.1, 0.2, 0.3, 1000.7)), Box("Nodule", (1.0, 2.0, 3.0, 4.0)))
    labels = {"Mass": 1.0, "Nodule": math.nan}
    first, second = write_image(folder / "a.png"), write_image(folder / "b.png")
    return [
        Radiograph(
            "a.png", first, "1", "PA", labels, boxes, (1024, 900), "F", 33.5, "1/s2", "XR_HAND"
        ),
        Radiograph("gone.png", None, "2", "PA", {"Mass": 1.0, "Nodule": 0.0}),
        Radiograph("b.png", second, "3", "", {"Nodule": 0.0}),
    ]


@pytest.fixture
def written(tmp_path: Path) -> Path:
    write(tmp_path / "out", radiographs(tmp_path))
    return tmp_path / "out"


def write(out: Path, images: list[Radiograph], k: int = 2) -> None:
    write_prepared(
        out,
        images,
        boxed_diseases=("Mass", "Nodule"),
        folds={r.image_id: i % 2 for i, r in enumerate(images) if r.path},
        k=k,
        official={"a.png": "test", "gone.png": "train_val"},
        summary="all of it\n",
        manifest={"seed": 4, "hashes": {"labels.csv": "ab"}},
    )


def test_everything_of_the_images_on_disk_comes_back(written: Path, tmp_path: Path) -> None:
    first, _, third = radiographs(tmp_path)
    prepared = load_prepared(written)
    a, b = prepared.radiographs
    assert (a.labels["Mass"], math.isnan(a.labels["Nodule"])) == (1.0, True)
    assert list(a.labels) == ["Mass", "Nodule"]
    assert (a.image_id, a.path, a.patient_id, a.view) == ("a.png", first.path, "1", "PA")
    assert (a.boxes, a.size_hw, a.sex, a.age_years) == (first.boxes, (1024, 900), "F", 33.5)
    assert (a.study_id, a.body_part) == ("1/s2", "XR_HAND")
    assert (b.study_id, b.body_part) == ("", "")
    assert (b.image_id, b.path, b.labels, b.boxes) == ("b.png", third.path, {"Nodule": 0.0}, ())
    assert math.isnan(b.age_years)
    assert prepared.folds == {"a.png": 0, "b.png": 0}
    assert prepared.k == 2
    assert prepared.official == {"a.png": "test"}
    assert prepared.boxed_diseases == ("Mass", "Nodule")
    assert prepared.root == written


def test_the_ground_truth_lists_the_images_on_disk_only(written: Path) -> None:
    coco = load_coco(load_prepared(written).files.ground_truth)
    assert [image["file_name"] for image in coco["images"]] == ["a.png", "b.png"]
    x, y, width, height = coco["annotations"][0]["bbox"]
    assert (x, y, x + width, y + height) == (0.1, 0.2, 0.3, 1000.7)


def test_the_manifest_holds_the_hashes_of_sources_and_folds(written: Path) -> None:
    manifest = load_prepared(written).manifest
    assert manifest["seed"] == 4
    assert manifest["hashes"]["labels.csv"] == "ab"
    assert manifest["hashes"]["folds.csv"] == file_sha256(written / "folds.csv")
    assert (written / "folds.csv").read_text() == (
        "image_id,patient_id,fold\na.png,1,0\nb.png,3,0\n"
    )
    assert (written / "summary.txt").read_text() == "all of it\n"


@pytest.mark.parametrize("name", ["index.json", "folds.csv", "ground_truth.json"])
def test_a_manifest_without_the_hash_of_a_file_is_refused(written: Path, name: str) -> None:
    manifest = json.loads((written / "manifest.json").read_text())
    del manifest["hashes"][name]
    (written / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ValueError, match=f"states no hash of {name}; run cxrloc prepare again"):
        load_prepared(written)


@pytest.mark.parametrize("fold", ["-1", "2", "2147483648", "1.0", "nan", "", " 1", "٣"])
def test_a_fold_that_does_not_exist_is_refused_by_its_row(written: Path, fold: str) -> None:
    folds, manifest = written / "folds.csv", written / "manifest.json"
    folds.write_text(folds.read_text().replace("b.png,3,0", f"b.png,3,{fold}"))
    stated = json.loads(manifest.read_text())
    stated["hashes"]["folds.csv"] = file_sha256(folds)  # changed by who knows of the hash
    manifest.write_text(json.dumps(stated))
    with pytest.raises(ValueError, match=r"folds\.csv, row 2: b\.png has fold .*, expected 0 to 1"):
        load_prepared(written)


@pytest.mark.parametrize("part", ["", "_fold0", "_fold1", "_test"])
def test_a_ground_truth_that_was_changed_afterwards_is_refused_by_name(
    written: Path, tmp_path: Path, part: str
) -> None:
    path = written / f"ground_truth{part}.json"
    assert load_coco(path)["categories"]
    path.write_bytes(path.read_bytes().replace(b"Research", b"research"))
    with pytest.raises(
        ValueError, match=rf"ground_truth{part}\.json is not the file that manifest"
    ):
        load_coco(path)
    elsewhere = tmp_path / "mine.json"  # whoever changes a copy does so on purpose
    elsewhere.write_bytes(path.read_bytes())
    assert load_coco(elsewhere)["categories"]
    (tmp_path / "manifest.json").write_text('{"hashes": {"mine.json": "ab"}}')  # of another tool
    assert load_coco(elsewhere)["categories"]


def test_no_temporary_files_remain_and_a_second_writing_replaces_the_first(
    written: Path, tmp_path: Path
) -> None:
    before = {path.name: path.read_bytes() for path in written.iterdir()}
    write(written, radiographs(tmp_path))
    assert {path.name: path.read_bytes() for path in written.iterdir()} == before
    assert sorted(before) == [
        "folds.csv",
        "ground_truth.json",
        "ground_truth_fold0.json",
        "ground_truth_fold1.json",
        "ground_truth_test.json",
        "index.json",
        "manifest.json",
        "summary.txt",
    ]


def test_each_fold_has_its_own_ground_truth_with_the_ids_of_the_whole(tmp_path: Path) -> None:
    images = radiographs(tmp_path)
    for k in (3, 2):  # the second time the file of fold 2 has to go
        write(tmp_path / "out", [images[0], images[2]], k)
    assert not (tmp_path / "out" / "ground_truth_fold2.json").exists()
    first, second = (load_coco(tmp_path / f"out/ground_truth_fold{fold}.json") for fold in (0, 1))
    assert [(i["id"], i["file_name"]) for i in first["images"]] == [(1, "a.png")]
    assert [(i["id"], i["file_name"]) for i in second["images"]] == [(2, "b.png")]
    assert [a["id"] for a in first["annotations"]] == [1, 2]
    assert second["annotations"] == []
    assert first["categories"] == second["categories"]


def test_the_official_test_part_has_its_own_ground_truth(written: Path, tmp_path: Path) -> None:
    whole, test = (load_coco(written / f"ground_truth{part}.json") for part in ("", "_test"))
    assert test["images"] == whole["images"][:1]  # b.png is in no list
    assert test["annotations"] == whole["annotations"]
    write(written, radiographs(tmp_path)[2:])
    assert not (written / "ground_truth_test.json").exists()


def test_an_interrupted_writing_leaves_a_folder_that_says_it_is_unfinished(
    written: Path, tmp_path: Path
) -> None:
    images = radiographs(tmp_path)
    with pytest.raises(KeyError):
        write_prepared(
            written, images, boxed_diseases=(), folds={}, k=2, official={}, summary="", manifest={}
        )
    with pytest.raises(FileNotFoundError, match=r"lacks manifest\.json \(interrupted\?\)"):
        load_prepared(written)


def test_a_missing_folder_names_the_command_that_makes_it(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as error:
        load_prepared(tmp_path / "none")
    assert "cxrloc prepare --dataset NAME --root DIR --out " in str(error.value)
    assert str(tmp_path / "none") in str(error.value)


def test_folds_of_other_images_are_refused(written: Path) -> None:
    (written / "folds.csv").write_text("image_id,patient_id,fold\na.png,1,0\n")
    with pytest.raises(
        ValueError, match=r"folds\.csv is not the file that manifest\.json was written for"
    ):
        load_prepared(written)


def test_moved_images_are_named(written: Path, tmp_path: Path) -> None:
    (tmp_path / "a.png").rename(tmp_path / "moved.png")
    with pytest.raises(FileNotFoundError, match=r"images that no longer exist, e\.g\. .*a\.png"):
        load_prepared(written)
