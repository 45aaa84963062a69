"""YOLO's text files in the folders of Ultralytics, Roboflow, CVAT and Label Studio."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from cxrloc.datasets.radiograph import Box
from cxrloc.datasets.readers.annotations import yolo

Folder = Callable[..., Path]
NAMES = "names: [Effusion, Mass]\n"
BOX = "0 0.5 0.5 0.2 0.4\n"  # of 200 x 100
EFFUSION = Box("Effusion", (80, 30, 120, 70))


def boxes(root: Path) -> dict[str, tuple[Box, ...]]:
    return {r.image_id: r.boxes for r in yolo.index(root, strict=True).radiographs}


@pytest.mark.parametrize(
    ("image", "label", "names"),
    [
        ("images/train/a.png", "labels/train/a.txt", {"data.yaml": NAMES}),  # Ultralytics
        (
            "train/images/a_jpg.rf.0a1b2c.jpg",
            "train/labels/a_jpg.rf.0a1b2c.txt",
            {"data.yaml": f"train: ../train/images\nval: ../valid/images\nnc: 2\n{NAMES}"},
        ),  # Roboflow
        ("images/0a1b2c3d-a.png", "labels/0a1b2c3d-a.txt", {"classes.txt": "Effusion\nMass\n"}),
        ("images/a.png", "labels/0a1b2c3d__a.txt", {"classes.txt": "Effusion\nMass\n"}),
        (
            "obj_train_data/a.png",
            "obj_train_data/a.txt",
            {"obj.names": "Effusion\nMass\n", "train.txt": "data/obj_train_data/a.png\n"},
        ),  # CVAT, YOLO 1.1
        ("train/a.jpg", "train/a.txt", {"train/_darknet.labels": "Effusion\nMass"}),  # Darknet
        ("a.png", "a.txt", {"dataset.yml": "names:\n  0: Effusion\n  1: Mass\n"}),
    ],
)
def test_each_layout_of_the_tools_is_found_by_itself(
    folder: Folder, image: str, label: str, names: dict[str, str]
) -> None:
    root = folder(image, {label: BOX, **names})
    index = yolo.index(root, strict=True)
    assert [(r.image_id, r.boxes) for r in index.radiographs] == [(Path(image).name, (EFFUSION,))]
    assert (index.diseases, index.boxed_diseases) == (("Effusion",), ("Effusion",))


def test_an_image_without_lines_is_background_and_one_without_a_labelled_folder_is_left_out(
    folder: Folder,
) -> None:
    labels = {"labels/train/a.txt": BOX, "labels/train/b.txt": "", "data.yaml": NAMES}
    root = folder(*(f"images/{name}.png" for name in ("train/a", "train/b", "train/c")), labels)
    folder("images/unlabelled/d.png")
    index = yolo.index(root)
    labels_of = {r.image_id: r.labels["Effusion"] for r in index.radiographs}
    assert labels_of == {"a.png": 1, "b.png": 0, "c.png": 0}
    assert index.warnings["image files that no annotation names, left out"] == 1
    with pytest.raises(
        ValueError, match=r"strict: image files that no .*: 1 x \(images/unlabelled"
    ):
        yolo.index(root, strict=True)


def test_an_outline_becomes_a_polygon_and_the_box_around_it(folder: Folder) -> None:
    root = folder("a.png", {"a.txt": "1 0.1 0.2 0.3 0.2 0.2 0.8\n", "data.yaml": NAMES})
    (box,) = boxes(root)["a.png"]
    assert box.disease == "Mass"
    assert box.box_xyxy == pytest.approx((20, 20, 60, 80))
    (outline,) = box.polygons
    assert outline == pytest.approx((20, 20, 60, 20, 40, 80))


def test_labels_elsewhere_are_named_and_split_lists_give_the_parts(folder: Folder) -> None:
    root = folder("scans/a.png", "scans/b.png", {"out/a.txt": BOX, "out/b.txt": "\n"})
    folder({"out/data.yaml": f"{NAMES}train: train.txt\nval: val.txt\n"})
    folder({"out/train.txt": "./scans/a.png\n", "out/val.txt": "scans/b.png\n"})
    index = yolo.index(root, annotations=str(root / "out"))
    assert {r.image_id: len(r.boxes) for r in index.radiographs} == {"a.png": 1, "b.png": 0}
    assert index.official == {"a.png": "train_val", "b.png": "test"}
    assert index.warnings["no test part; valid is the test"] == 1


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0 0.5 0.5 0.2 0.4 0.93", r"a.txt, line 2: six columns; .*confidence of a prediction"),
        ("0 0.5 0.5 0.2", r"a.txt, line 2: 4 columns; expected class x_center"),
        ("2 0.5 0.5 0.2 0.4", r"line 2: class 2, expected one of 0 Effusion, 1 Mass"),
        ("0.5 0.5 0.5 0.2 0.4", r"line 2: class 0.5, expected one of"),
        ("Mass 0.5 0.5 0.2 0.4", r"line 2: could not convert string to float: 'Mass'; expected"),
        ("0 100 50 40 40", r"line 2: Effusion: 100 is outside of 0 to 1; expected shares"),
        ("0 0.5 0.5 0 0.4", r"line 2: Effusion: expected a box with left < right .* delete it"),
        ("0 0.95 0.5 0.8 0.4", r"line 2: Effusion: the box 110, 30, 270, 70 lies outside a.png"),
        ("0 nan 0.5 0.2 0.4", r"line 2: Effusion: nan is outside of 0 to 1"),
    ],
)
def test_a_faulty_line_is_named(folder: Folder, line: str, message: str) -> None:
    root = folder("a.png", {"a.txt": f"{BOX}{line}\n", "data.yaml": NAMES})
    with pytest.raises(ValueError, match=message):
        yolo.index(root)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"a.txt": BOX}, "no annotations below .*; expected the names of the classes in data.yaml"),
        ({"data.yaml": NAMES}, r"no label file for any of the 1 images below .*; expected a.txt"),
        ({"data.yaml": f"{NAMES}nc: 3\n", "a.txt": BOX}, "nc is 3, but there are 2 names"),
        ({"data.yaml": "names: {1: A, 2: B}", "a.txt": BOX}, r"keys \[1, 2\], expected 0, 1"),
        ({"data.yaml": f"{NAMES}kpt_shape: [3, 2]", "a.txt": BOX}, "describes keypoints"),
        ({"data.yaml": "names: [Effusion, ]\nx: [", "a.txt": BOX}, "data.yaml is not YAML"),
        ({"classes.txt": "A\n\nB\n", "a.txt": BOX}, "expected the name of every class"),
    ],
)
def test_a_faulty_folder_is_refused(folder: Folder, files: dict[str, str], message: str) -> None:
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        yolo.index(folder("a.png", files))


def test_a_png_and_a_jpeg_of_one_name_are_one_image(folder: Folder) -> None:
    root = folder("a.png", "a.jpg", {"a.txt": BOX, "b.txt": BOX, "data.yaml": NAMES})
    index = yolo.index(root)
    assert [r.file.name for r in index.radiographs] == ["a.jpg"]
    assert index.warnings["label files without an image, left out"] == 1
