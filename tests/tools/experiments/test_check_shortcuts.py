"""check_shortcuts.py on limb images: maps it makes with a run, and maps of others."""

from __future__ import annotations

import csv
import re
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from builders import prepare, tiny_classifier
from cxrloc.classification.bundle.classifier import (
    load_classifier,
    save_classifier,
)
from cxrloc.datasets.files.manifest import file_sha256
from cxrloc.datasets.prepared.folder import load_prepared
from cxrloc.datasets.provenance.image_lists import write_training_images
from cxrloc.datasets.radiograph import Radiograph
from cxrloc.localization.analyses.shortcut.shortcut import AREA
from cxrloc.localization.cam.heat_maps import HeatMaps, read_heat_maps, write_heat_maps
from cxrloc.tools.experiments.check_shortcuts import main

FOLDS = 2


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six limbs of six patients, an L beside each, five of them abnormal; and two models."""
    root = tmp_path_factory.mktemp("limbs")
    images, folds = [], {}
    for i in range(6):
        pixels = np.full((256, 192), 5, np.uint8)
        cv2.ellipse(pixels, (110, 128), (40, 150), 0, 0, 360, 120 + 10 * i, -1)
        cv2.line(pixels, (100 + i, 0), (115, 255), 190, 14)
        pixels = np.asarray(cv2.GaussianBlur(pixels, (0, 0), 2), np.uint8)
        cv2.putText(pixels, "L", (12, 60), cv2.FONT_HERSHEY_SIMPLEX, 1.2, 240, 4)
        name = f"XR_ELBOW/patient{i:05d}/study1_positive/image1.png"
        (root / name).parent.mkdir(parents=True)
        cv2.imwrite(str(root / name), pixels)
        labels = {"abnormal": float(i < 5)}
        images.append(Radiograph(name, root / name, f"patient{i:05d}", "", labels))
        folds[name] = i % FOLDS
    prepare(root / "prepared", images, folds, k=FOLDS)
    for fold in range(FOLDS):
        manifest = {"hashes": {"folds": file_sha256(root / "prepared" / "folds.csv")}}
        bundle = tiny_classifier(
            ("abnormal",),
            size=128,
            seed=fold,
            manifest=manifest,
            metadata={"fold": fold, "k": FOLDS},
        )
        save_classifier(root / "run" / f"fold{fold}" / "classifier.safetensors", bundle)
    return root


@pytest.fixture(scope="module")
def out(data: Path) -> Path:
    arguments = ["--prepared", data / "prepared", "--gate", data / "run", "--out", data / "out"]
    assert main([*map(str, arguments), "--resamples", "50"]) == 0
    return data / "out"


def test_a_run_is_checked_with_the_markers_and_without(out: Path) -> None:
    as_is = read_heat_maps(out / "grad_cam.maps.safetensors")
    masked = as_is.without_markers
    assert masked is not None
    assert len(as_is.pairs) == 5  # the normal image is not looked at
    assert as_is.pairs == masked.pairs
    assert {disease for _, disease in as_is.pairs} == {"abnormal"}
    assert (as_is.maps != masked.maps).any()  # the network was given another image
    rows = list(csv.DictReader((out / "shortcut.csv").open()))
    area = [float(r["macro mean"]) for r in rows if r["share of"] == AREA]
    assert 0.5 < area[0] < 5  # an L
    assert 30 < area[2] < 80  # air
    names = {r["localizer"] for r in rows}
    assert names == {
        "grad_cam",
        "grad_cam, markers masked",
        "grad_cam, markers masked minus grad_cam",
    }


def test_the_page_says_what_was_found_and_what_it_is_not_for(out: Path) -> None:
    page = (out / "report.html").read_text()
    assert "grad_cam, macro mean over diseases" in page
    assert "Research use only, never a diagnosis" in page
    targets = set(re.findall(r'id="(term-[^"]+)"', page))
    assert set(re.findall(r'href="#(term-[^"]+)"', page)) <= targets
    assert "term-CAM-mass" in targets
    assert "term-IoU" not in targets  # no word of a box


def test_a_model_trained_without_markers_is_shown_them_and_the_page_says_so(
    data: Path, out: Path
) -> None:
    for fold in range(FOLDS):
        loaded = load_classifier(data / "run" / f"fold{fold}" / "classifier.safetensors")
        masked = replace(loaded, preprocessing=replace(loaded.preprocessing, markers="mask"))
        save_classifier(data / "masked" / f"fold{fold}" / "classifier.safetensors", masked)
    again = data / "out_masked"
    arguments = ["--prepared", data / "prepared", "--gate", data / "masked", "--out", again]
    assert main([*map(str, arguments), "--resamples", "50"]) == 0
    maps_shown, plain = (read_heat_maps(f / "grad_cam.maps.safetensors") for f in (again, out))
    np.testing.assert_array_equal(maps_shown.maps, plain.maps)  # the same weights, so the same maps
    assert maps_shown.maps_without_markers is not None
    assert plain.maps_without_markers is not None
    np.testing.assert_array_equal(maps_shown.maps_without_markers, plain.maps_without_markers)
    message = "The model was trained on images with markers masked"
    assert message in (again / "report.html").read_text()
    assert message not in (out / "report.html").read_text()


def test_the_maps_of_others_are_measured_alike(
    data: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    maps = f"other={out / 'grad_cam.maps.safetensors'}"
    arguments = ["--prepared", data / "prepared", "--maps", maps, "--out", data / "again"]
    assert main([*map(str, arguments), "--resamples", "50"]) == 0
    printed = capsys.readouterr().out
    assert "other, macro mean over diseases:" in printed
    masked, measured = (
        next(csv.DictReader((folder / "shortcut.csv").open())) for folder in (out, data / "again")
    )
    assert masked["macro mean"] == measured["macro mean"]


def test_a_prepared_folder_that_is_not_there_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--prepared", tmp_path / "none", "--gate", tmp_path, "--out", tmp_path / "out"]
    assert main(list(map(str, arguments))) == 2
    assert f"no prepared folder {tmp_path / 'none'}" in capsys.readouterr().err


def test_trained_folds_can_be_named_where_a_run_has_not_all(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = data / "run" / "fold1" / "classifier.safetensors"
    (tmp_path / "part" / "fold1").mkdir(parents=True)
    (tmp_path / "part" / "fold1" / bundle.name).write_bytes(bundle.read_bytes())
    arguments = [
        "--prepared",
        data / "prepared",
        "--gate",
        tmp_path / "part",
        "--out",
        tmp_path / "out",
    ]
    assert main([*map(str, arguments), "--resamples", "20"]) == 2
    assert "name the trained ones with --folds" in capsys.readouterr().err
    assert main([*map(str, arguments), "--resamples", "20", "--folds", "1"]) == 0
    assert len(read_heat_maps(tmp_path / "out" / "grad_cam.maps.safetensors").pairs) == 2


def test_maps_that_show_nothing_are_an_error_that_says_so(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (name,) = (data / "XR_ELBOW" / "patient00000").rglob("*.png")
    flat = {(str(name.relative_to(data)), "abnormal"): np.ones((4, 4), np.float32)}
    maps = HeatMaps.of(flat, name="flat", aligned=False)
    write_heat_maps(tmp_path / "flat.maps.safetensors", maps)
    given = f"flat={tmp_path / 'flat.maps.safetensors'}"
    arguments = ["--prepared", data / "prepared", "--maps", given, "--out", tmp_path / "out"]
    assert main(list(map(str, arguments))) == 2
    assert "flat cannot be measured: no map of a readable image" in capsys.readouterr().err


def test_images_that_a_model_of_no_fold_was_trained_on_are_left_out(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = load_classifier(data / "run" / "fold0" / "classifier.safetensors")
    path = tmp_path / "classifier.safetensors"
    save_classifier(path, replace(whole, metadata={"fold": None, "k": None}))
    images = load_prepared(data / "prepared").radiographs
    write_training_images(path, {"train": images[:2], "validation": images[2:3]})
    arguments = ["--prepared", data / "prepared", "--gate", path, "--out", tmp_path / "out"]
    assert main([*map(str, arguments), "--resamples", "20"]) == 0
    pairs = read_heat_maps(tmp_path / "out" / "grad_cam.maps.safetensors").pairs
    assert [image for image, _ in pairs] == [image.image_id for image in images[3:5]]
    message = "3 images of patients that a classifier has seen were left out."
    assert message in capsys.readouterr().out
    assert message in (tmp_path / "out" / "report.html").read_text()
    write_training_images(path, {"train": images})
    assert main(list(map(str, arguments))) == 2
    assert "all 5 images are of patients that a classifier was trained" in capsys.readouterr().err
