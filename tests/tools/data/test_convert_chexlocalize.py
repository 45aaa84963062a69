"""From CheXpert and cheXlocalize's masks to a comparison, and to files that its own code reads."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from pycocotools import mask as rle

from builders import prepare
from cxrloc.datasets.prepared.coco import load_coco
from cxrloc.datasets.prepared.folder import load_prepared
from cxrloc.datasets.radiograph import Radiograph
from cxrloc.localization.analyses.chexlocalize.format import TASKS, read_segmentations
from cxrloc.localization.cam.heat_maps import HeatMaps, write_heat_maps
from cxrloc.localization.localizer import Localization
from cxrloc.localization.predictions.results_file import write_predictions
from cxrloc.tools.compare_localizers import main as compare
from cxrloc.tools.data.convert_chexlocalize import main

LABELS = ("Lung Opacity", "Edema", "Fracture")
FULL_HW, SMALL_HW = (160, 240), (80, 120)


def encoded(filled: np.ndarray[Any, Any]) -> dict[str, Any]:
    mask = rle.encode(np.asfortranarray(filled, dtype=np.uint8))
    return {"size": list(mask["size"]), "counts": mask["counts"].decode()}


def decoded(masks: dict[str, Any]) -> np.ndarray[Any, Any]:
    return np.asarray(rle.decode(masks), dtype=bool)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight small images, one of them of train; masks in the full size on six of the seven others.

    Each of the six has an opacity; those of even patients have an oedema too.
    """
    folder = tmp_path_factory.mktemp("chexpert")
    images, masks = [], {}
    rng = np.random.default_rng(0)
    for i in range(8):
        part = "train" if i == 7 else "valid"
        name = f"{part}/patient6454{i}/study1/view1_frontal.jpg"
        (folder / name).parent.mkdir(parents=True)
        cv2.imwrite(str(folder / name), rng.integers(0, 255, SMALL_HW, dtype=np.uint8))
        labels = {d: float(d == "Lung Opacity" and i < 6) for d in LABELS}
        images.append(
            Radiograph(name, folder / name, f"patient6454{i}", "PA", labels, size_hw=SMALL_HW)
        )
        if i >= 6:
            continue
        filled = {task: np.zeros(FULL_HW, np.uint8) for task in TASKS}
        filled["Airspace Opacity"][20 : 60 + 2 * i, 40:100] = 1
        if i % 2 == 0:
            cv2.circle(filled["Edema"], (160, 80), 30, 1, -1)
        masks[f"patient6454{i}_study1_view1_frontal"] = {t: encoded(m) for t, m in filled.items()}
    (folder / "gt_segmentations_val.json").write_text(json.dumps(masks))
    prepare(folder / "prepared", images, {f.image_id: 0 for f in images}, k=1)
    arguments = ["--prepared", folder / "prepared", "--out", folder / "converted"]
    segmentations = ["--segmentations", folder / "gt_segmentations_val.json"]
    assert main(list(map(str, [*arguments, *segmentations]))) == 0
    return folder


def test_the_new_folder_has_boxes_around_the_masks_in_the_images_own_frame(root: Path) -> None:
    converted = load_prepared(root / "converted")
    assert [r.image_id[:5] for r in converted.radiographs] == ["valid"] * 7
    first, second, *_, last = converted.radiographs
    assert {box.disease: box.box_xyxy for box in second.boxes} == {"Lung Opacity": (20, 10, 50, 31)}
    assert [box.disease for box in first.boxes] == ["Edema", "Lung Opacity"]
    assert first.labels["Edema"] == 1  # the mask says so
    assert last.boxes == ()
    assert "Lung Opacity" in converted.boxed_diseases
    assert "Airspace Opacity" not in converted.boxed_diseases


@pytest.fixture(scope="module")
def out(root: Path) -> Path:
    """A comparison: a box on every image, half of the opacity, and maps whose peak is in it."""
    truth = root / "converted" / "ground_truth.json"
    coco = load_coco(truth)
    names = [str(image["file_name"]) for image in coco["images"]]
    boxes = [Localization(n, "Lung Opacity", (20, 10, 35, 30), 0.9) for n in names]
    boxes += [Localization(n, "Edema", (0, 0, 10, 10), 0.9) for n in names]
    write_predictions(root / "mine.json", boxes, coco)
    cells = np.zeros((6, 6), np.float32)
    cells[1, 1] = 1  # of the square over 120 px: x and y from 20 to 40
    maps = {(n, "Lung Opacity"): cells for n in names}
    path = root / "mine.maps.safetensors"
    write_heat_maps(path, HeatMaps.of(maps, name="mine", aligned=False))
    arguments: list[object] = [
        "--ground-truth",
        truth,
        "--predictions",
        f"mine={root / 'mine.json'}",
    ]
    arguments += ["--maps", f"mine={path}", "--out", root / "out", "--resamples", 50]
    arguments += ["--segmentations", root / "gt_segmentations_val.json"]
    assert compare(list(map(str, arguments))) == 0
    return root / "out"


def test_the_comparison_scores_masks_and_points(out: Path) -> None:
    rows = {r["measure"]: r for r in csv.DictReader((out / "chexlocalize.csv").open())}
    # the box is 30 x 40 px of the full image, the masks 60 x (40 + 2 i); the seventh image has none
    ious = [30 * 40 / (60 * (40 + 2 * i)) for i in range(6)]
    assert float(rows["mIoU"]["Airspace Opacity"]) == pytest.approx(np.sum(ious) / 7, abs=1e-6)
    only = rows["mIoU, true positives only"]
    assert float(only["Airspace Opacity"]) == pytest.approx(np.mean(ious), abs=1e-6)
    assert float(rows["mIoU"]["Edema"]) == 0
    assert float(rows["hit rate"]["Airspace Opacity"]) == 1
    assert float(rows["hit rate"]["Edema"]) == 0  # no map, so no point: a miss
    assert "cheXlocalize: mask mIoU and hit rate" in (out / "report.html").read_text()


def test_the_files_are_in_the_form_of_chexlocalizes_own_code(root: Path, out: Path) -> None:
    masks = read_segmentations(out / "chexlocalize" / "mine.segmentations.json")
    truth = read_segmentations(root / "gt_segmentations_val.json")
    points = json.loads((out / "chexlocalize" / "mine.points.json").read_text())
    assert list(masks) == [*truth, "patient64546_study1_view1_frontal"]
    for image in truth:
        assert decoded(masks[image]["Edema"]).shape == FULL_HW
        assert decoded(masks[image]["Airspace Opacity"])[20:60, 40:70].all()
        ((x, y),) = points[image]["Airspace Opacity"]
        assert decoded(truth[image]["Airspace Opacity"])[int(y), int(x)]


def test_masks_of_images_that_are_not_prepared_are_an_error(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    masks = json.loads((root / "gt_segmentations_val.json").read_text())
    other = root / "other.json"
    other.write_text(json.dumps({"patient1_study1_view1_frontal": next(iter(masks.values()))}))
    arguments = ["--prepared", root / "prepared", "--segmentations", other, "--out", root / "none"]
    assert main(list(map(str, arguments))) == 2
    assert "has none of the 1 images of the segmentations" in capsys.readouterr().err
