"""COCO files where CVAT, Roboflow, Label Studio, FiftyOne and we ourselves put them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from cxrloc.datasets.prepared.coco import load_coco, to_coco
from cxrloc.datasets.radiograph import Box
from cxrloc.datasets.readers.annotations import coco

Folder = Callable[..., Path]
EFFUSION = Box("Effusion", (80, 30, 120, 70))
BOX = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [80, 30, 40, 40]}


def document(
    *names: str, boxes: Sequence[Mapping[str, Any]] = (BOX,), **image: Any
) -> dict[str, Any]:
    """A COCO file of images with the ids 1, 2, ...; `image` is added to each."""
    images = [
        {"id": i, "file_name": name, "width": 200, "height": 100, **image}
        for i, name in enumerate(names, start=1)
    ]
    categories = [{"id": 1, "name": "Effusion"}, {"id": 2, "name": "Mass"}]
    return {"images": images, "annotations": list(boxes), "categories": categories}


@pytest.mark.parametrize(
    ("image", "file", "written"),
    [
        ("images/default/a.png", "annotations/instances_default.json", "a.png"),  # CVAT
        ("train/a_png.rf.0a1b2c.jpg", "train/_annotations.coco.json", "a_png.rf.0a1b2c.jpg"),
        ("images/0a1b2c3d-a.png", "result.json", r"images\\0a1b2c3d-a.png"),  # Label Studio
        ("a.png", "result.json", "/data/local-files/?d=scans/a.png"),
        ("a.png", "result.json", "images/0a1b2c3d__a.png"),
        ("data/a.png", "labels.json", "a.png"),  # FiftyOne
        ("a.JPG", "any.json", "http://host:8080/x/a.jpg?token=1"),
    ],
)
def test_each_layout_of_the_tools_is_found_by_itself(
    folder: Folder, image: str, file: str, written: str
) -> None:
    root = folder(image, {file: json.dumps(document(written)), "other.json": "[]"})
    index = coco.index(root, strict=True)
    assert [(r.path and r.path.name, r.boxes) for r in index.radiographs] == [
        (Path(image).name, (EFFUSION,))
    ]


def test_the_parts_of_a_split_are_read_together_and_other_files_must_be_named(
    folder: Folder,
) -> None:
    train, test = document("a.png"), document("b.png", "c.png", boxes=[])
    files = {"annotations/instances_train2017.json": json.dumps(train)}
    files["annotations/instances_test2017.json"] = json.dumps(test)
    files["annotations/person_keypoints_train2017.json"] = json.dumps(train)
    root = folder("train2017/a.png", "test2017/b.png", "test2017/c.png", files)
    index = coco.index(root)
    assert index.official == {"a.png": "train_val", "b.png": "test", "c.png": "test"}
    assert {r.image_id: len(r.boxes) for r in index.radiographs} == {
        "a.png": 1,
        "b.png": 0,
        "c.png": 0,
    }


def test_several_files_that_are_no_parts_are_refused(folder: Folder) -> None:
    files = {"anna.json": json.dumps(document("a.png")), "ben.json": json.dumps(document("a.png"))}
    root = folder("a.png", files)
    with pytest.raises(ValueError, match=r"2 files .* may be the annotations: anna.json, ben.json"):
        coco.index(root)
    assert len(coco.index(root, annotations="ben.json").radiographs) == 1
    with pytest.raises(FileNotFoundError, match="no file or folder carl"):
        coco.index(root, annotations="carl.json")


def test_a_mask_becomes_its_outline_and_a_rectangle_around_the_box_none(folder: Folder) -> None:
    # rows of 200 pixels: columns 10 to 19 have their lines 20 to 49 set
    runs = [10 * 100 + 20, *([30, 70] * 9), 30, 50 + 180 * 100]
    mask = {"size": [100, 200], "counts": runs}
    triangle = [[80, 30, 120, 30, 100, 70]]
    rectangle = [[80, 30, 120, 30, 120, 70, 80, 70]]
    boxes = [
        {**BOX, "segmentation": rectangle},
        {**BOX, "id": 2, "category_id": 2, "segmentation": triangle},
        {"id": 3, "image_id": 1, "category_id": 1, "segmentation": mask},
    ]
    root = folder("a.png", {"a.json": json.dumps(document("a.png", boxes=boxes))})
    effusion, mass, painted = coco.index(root).radiographs[0].boxes
    assert effusion == EFFUSION
    assert [list(outline) for outline in mass.polygons] == triangle
    assert list(painted.box_xyxy) == [10, 20, 20, 50]
    (outline,) = painted.polygons
    corners = sorted(zip(outline[::2], outline[1::2], strict=True))
    assert [list(corner) for corner in corners] == [[10, 20], [10, 50], [20, 20], [20, 50]]


def test_a_ground_truth_of_ours_is_prepared_to_the_same(folder: Folder) -> None:
    boxes = [{**BOX, "segmentation": [[80, 30, 120, 30, 100, 70]]}]
    facts = {"patient_id": 7, "view": "PA", "sex": "F", "age_years": 61, "labels": ["Mass"]}
    root = folder("a.png", "b.png")
    folder({"a.json": json.dumps(document("a.png", "b.png", boxes=boxes, **facts))})
    first = coco.index(root)
    truth = to_coco(first.radiographs, first.boxed_diseases)
    assert truth["images"][0]["labels"] == ["Effusion", "Mass"]
    folder({"a.json": json.dumps(truth)})
    again = coco.index(root, strict=True)
    assert again.radiographs == first.radiographs
    assert {(r.patient_id, r.view, r.sex, r.age_years) for r in again.radiographs} == {
        ("7", "PA", "F", 61.0)
    }


def test_sexes_and_views_in_no_usual_form_are_counted_once(folder: Folder) -> None:
    facts: dict[str, Any] = {"sex": "X", "view": "AXIAL"}
    root = folder("a.png", "b.png")
    folder({"a.json": json.dumps(document("a.png", "b.png", **facts))})
    lines = coco.index(root).warnings.lines()
    for fact in ("sexes other than F and M", "views by other names than the usual ones"):
        assert [line.split()[0] for line in lines if fact in line] == ["2"]
    assert not any("sex other" in line or "view other" in line for line in lines)
    with pytest.warns(UserWarning, match=r"(sex|view) other than .*: 2 images") as said:
        load_coco(root / "a.json")
    assert sum("other than" in str(warning.message) for warning in said) == 2


def test_a_label_map_renames_merges_and_leaves_out(folder: Folder) -> None:
    boxes = [BOX, {**BOX, "id": 2, "category_id": 2, "bbox": [1, 1, 5, 5]}]
    root = folder("a.png", {"a.json": json.dumps(document("a.png", boxes=boxes))})
    folder({"merge.yaml": "mass: Opacity\nEFFUSION: Opacity\n", "some.yaml": 'Mass: X\n"*": null'})
    merged = coco.index(root, labels=str(root / "merge.yaml"))
    assert [b.disease for b in merged.radiographs[0].boxes] == ["Opacity", "Opacity"]
    assert merged.diseases == ("Opacity",)
    some = coco.index(root, labels=str(root / "some.yaml"))
    assert [b.disease for b in some.radiographs[0].boxes] == ["X"]


def test_a_crowd_is_a_finding_without_a_box(folder: Folder) -> None:
    boxes = [BOX, {**BOX, "id": 2, "category_id": 2, "iscrowd": 1}]
    index = coco.index(folder("a.png", {"a.json": json.dumps(document("a.png", boxes=boxes))}))
    (image,) = index.radiographs
    assert image.labels == {"Effusion": 1.0, "Mass": 1.0}
    assert image.boxed == ("Effusion",)
    assert index.warnings["crowds, whose boxes are left out"] == 1


def test_sizes_that_the_file_lacks_are_those_of_the_images(folder: Folder) -> None:
    unsized = document("a.png", width=None, height=0)
    index = coco.index(folder("a.png", {"a.json": json.dumps(unsized)}), strict=True)
    assert index.radiographs[0].size_hw == (100, 200)
