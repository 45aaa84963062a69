"""Predict, export, correct a box as each tool would, and prepare what comes back."""

from __future__ import annotations

import json
import shutil
import xml.etree.ElementTree as ET
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from builders import chest_pixels, read_pixels
from cxrloc.datasets.prepared.folder import load_prepared
from cxrloc.tools import prepare_data
from datasets.dicom.builders import write_dicom
from tools.prediction.predicting import draw_image, run

Corners = tuple[float, float, float, float]
Boxes = dict[tuple[str, str], Corners]
SHIFT = 5.0  # pixels to the right, what the correction does to every box of the first image


@pytest.fixture(scope="module")
def predicted(
    tmp_path_factory: pytest.TempPathFactory, bundles: dict[str, Path], detector: Path
) -> Path:
    """Three images, one of them DICOM, predicted once and exported in every form."""
    folder = tmp_path_factory.mktemp("predicted")
    images = [draw_image(folder / "in" / f"a{n}.png", n, (120, 90 + 10 * n)) for n in (1, 2)]
    stored = chest_pixels(3, (64, 80)).astype(np.uint16)
    images.append(write_dicom(folder / "in" / "a3.dcm", stored))
    forms = ("coco", "yolo", "labelstudio", "fiftyone")
    options = [word for form in forms for word in ("--export", form)]
    assert run(bundles["all"], images, folder, "--maskrcnn", str(detector), *options) == 0
    return folder


@pytest.fixture
def expected(predicted: Path) -> Boxes:
    """The strongest box of each disease by the detector, those of the first image corrected."""
    boxes: Boxes = {}
    for name in ("a1", "a2", "a3"):
        record = json.loads((predicted / f"{name}.json").read_bytes())
        names = {c["id"]: c["name"] for c in record["categories"]}
        for row in record["annotations"]:
            if row["localizer"] == record["localizers"][-1] and row["rank"] == 1:
                x, y, width, height = row["bbox"]
                x += SHIFT * (name == "a1")
                right = min(x + width, record["images"][0]["width"])
                boxes[name, names[row["category_id"]]] = (x, y, right, y + height)
    assert len(boxes) == 6
    return boxes


def corrected_coco(folder: Path, file: str, change: Callable[[dict[str, Any]], None]) -> None:
    path = folder / file
    document = json.loads(path.read_bytes())
    first = next(i["id"] for i in document["images"] if Path(i["file_name"]).stem == "a1")
    for row in document["annotations"]:
        row["bbox"][0] += SHIFT * (row["image_id"] == first)
        change(row)
    path.write_text(json.dumps(document))


def as_cvat(folder: Path) -> None:
    """CVAT's COCO 1.0: two decimals, no scores, attributes."""

    def change(row: dict[str, Any]) -> None:
        del row["score"]
        row["bbox"] = [round(v, 2) for v in row["bbox"]]
        row["attributes"] = {"occluded": False, "rotation": 0.0}

    corrected_coco(folder, "annotations/instances_default.json", change)


def as_fiftyone(folder: Path) -> None:
    """FiftyOne's COCODetectionDataset: no segmentation, a supercategory that is null."""
    corrected_coco(folder, "labels.json", lambda row: row.pop("segmentation"))
    document = json.loads((folder / "labels.json").read_bytes())
    for category in document["categories"]:
        category["supercategory"] = None
    (folder / "labels.json").write_text(json.dumps(document))


def as_yolo(folder: Path) -> None:
    """CVAT's Ultralytics YOLO: six decimals."""
    width = read_pixels(folder / "images/train/a1.png").shape[1]
    for path in (folder / "labels/train").glob("*.txt"):
        rows = [list(map(float, line.split())) for line in path.read_text().splitlines()]
        for row in rows:
            row[1] += SHIFT / width * (path.stem == "a1")
        lines = [f"{row[0]:.0f} {' '.join(f'{v:.6f}' for v in row[1:])}\n" for row in rows]
        path.write_text("".join(lines))


def label_studio_rows(folder: Path) -> list[tuple[str, list[dict[str, Any]]]]:
    """Each task's image and its boxes after the correction."""
    tasks = json.loads((folder / "tasks.json").read_bytes())
    rows = [(task["data"]["image"], task["predictions"][0]["result"]) for task in tasks]
    for image, boxes in rows:
        for row in boxes:
            row["value"]["x"] += 100 * SHIFT / row["original_width"] * image.endswith("a1.png")
    return rows


def as_label_studio_coco(folder: Path) -> None:
    """Its converter cuts pixels down to whole numbers and keeps the task's address."""
    names = ["Effusion", "Mass"]
    document: dict[str, Any] = {"images": [], "annotations": []}
    document["categories"] = [{"id": n, "name": name} for n, name in enumerate(names)]
    for number, (image, rows) in enumerate(label_studio_rows(folder)):
        width, height = rows[0]["original_width"], rows[0]["original_height"]
        entry = {"id": number, "file_name": image, "width": width, "height": height}
        document["images"].append(entry)
        for row in rows:
            value, box = row["value"], []
            for side, whole in (("x", width), ("y", height), ("width", width), ("height", height)):
                box.append(int(value[side] / 100 * whole))
            document["annotations"].append(
                {"id": len(document["annotations"]), "image_id": number, "bbox": box}
                | {"category_id": names.index(value["rectanglelabels"][0]), "segmentation": []}
            )
    (folder / "result.json").write_text(json.dumps(document))


def as_label_studio_voc(folder: Path) -> None:
    """Its converter names the XML file after the image and cuts pixels down."""
    (folder / "Annotations").mkdir()
    for image, rows in label_studio_rows(folder):
        name = Path(image).stem
        root = ET.Element("annotation")
        ET.SubElement(root, "filename").text = name
        size = ET.SubElement(root, "size")
        for row in rows:
            value, wide, high = row["value"], row["original_width"], row["original_height"]
            entry = ET.SubElement(root, "object")
            ET.SubElement(entry, "name").text = value["rectanglelabels"][0]
            x, y = int(value["x"] / 100 * wide), int(value["y"] / 100 * high)
            w, h = int(value["width"] / 100 * wide), int(value["height"] / 100 * high)
            box = ET.SubElement(entry, "bndbox")
            for side, number in (("xmin", x), ("ymin", y), ("xmax", x + w), ("ymax", y + h)):
                ET.SubElement(box, side).text = str(number)
        ET.SubElement(size, "width").text = str(wide)
        ET.SubElement(size, "height").text = str(high)
        ET.ElementTree(root).write(folder / "Annotations" / f"{name}.xml")


@pytest.mark.parametrize(
    ("form", "correct", "dataset", "pixels"),
    [
        ("coco", as_cvat, "coco", 0.02),
        ("fiftyone", as_fiftyone, "coco", 1e-6),
        ("yolo", as_yolo, "yolo", 1e-3),
        ("labelstudio", as_label_studio_coco, "coco", 2.0),
        ("labelstudio", as_label_studio_voc, "voc", 2.0),
    ],
)
def test_the_corrected_export_is_prepared_to_the_same_boxes(
    predicted: Path,
    expected: Boxes,
    tmp_path: Path,
    form: str,
    correct: Callable[[Path], None],
    dataset: str,
    pixels: float,
) -> None:
    root = Path(shutil.copytree(predicted / f"export_{form}", tmp_path / form))
    correct(root)
    out = tmp_path / "prepared"
    words = ["--dataset", dataset, "--root", str(root), "--out", str(out), "--folds", "3"]
    assert prepare_data.main(words) == 0
    back = {
        (r.path.stem if r.path else "", box.disease): box.box_xyxy
        for r in load_prepared(out).radiographs
        for box in r.boxes
    }
    assert back.keys() == expected.keys()
    for key, corners in expected.items():
        assert back[key] == pytest.approx(corners, abs=pixels), key
    assert {r.size_hw for r in load_prepared(out).radiographs} == {(120, 100), (120, 110), (64, 80)}


def test_the_folders_are_what_the_tools_import(predicted: Path) -> None:
    """By CVAT's, Ultralytics', Label Studio's and FiftyOne's documentation."""
    yolo, studio = predicted / "export_yolo", predicted / "export_labelstudio"
    assert yaml.safe_load((yolo / "data.yaml").read_text()) == {
        "path": "./",
        "train": "train.txt",
        "names": {0: "Mass", 1: "Effusion"},
    }
    assert (yolo / "train.txt").read_text().split() == [f"images/train/a{n}.png" for n in (1, 2, 3)]
    config = ET.parse(studio / "label_config.xml").getroot()
    assert [label.get("value") for label in config.iter("Label")] == ["Mass", "Effusion"]
    tasks = json.loads((studio / "tasks.json").read_bytes())
    assert tasks[0]["data"] == {"image": "/data/local-files/?d=images/a1.png"}
    row = tasks[0]["predictions"][0]["result"][0]
    names = (row["from_name"], row["to_name"])
    assert names == (config.find("RectangleLabels").get("name"), config.find("Image").get("name"))  # type: ignore[union-attr]
    fiftyone = json.loads((predicted / "export_fiftyone/labels.json").read_bytes())
    assert [c["id"] for c in fiftyone["categories"]] == [0, 1]
    assert 0 < fiftyone["annotations"][0]["score"] < 1
    for folder in (yolo / "images/train", studio / "images", predicted / "export_fiftyone/data"):
        assert sorted(path.name for path in folder.iterdir()) == ["a1.png", "a2.png", "a3.png"]


def test_an_export_is_no_input_of_the_next_run_and_only_known_forms_are_taken(
    predicted: Path, bundles: dict[str, Path], detector: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more: Sequence[str] = ("--maskrcnn", str(detector), "--export", "coco", "--export-boxes", "2")
    assert run(bundles["all"], [predicted], predicted, *more) == 0
    assert "3 images found: 3 done already, 0 done now" in capsys.readouterr().out
    document = json.loads(
        (predicted / "export_coco/annotations/instances_default.json").read_bytes()
    )
    assert len(document["annotations"]) > 6
    for words, message in (
        (("--export", "csv"), "invalid choice: 'csv'"),
        (("--export-boxes", "0"), "'0', expected a whole number from 1"),
    ):
        with pytest.raises(SystemExit):
            run(bundles["all"], [predicted], predicted, *words)
        assert message in capsys.readouterr().err
