"""From heat maps to tuned rules to boxes: localize --maps, tune_cam, localize --cam-rules."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from builders import prepare, tiny_classifier
from cxrloc.classification.bundle.classifier import save_classifier
from cxrloc.datasets.files.manifest import file_sha256
from cxrloc.datasets.prepared.coco import load_coco
from cxrloc.datasets.provenance.sidecar import read_provenance
from cxrloc.datasets.radiograph import Box, Radiograph
from cxrloc.localization.analyses.ladder.cam_tuning import tune
from cxrloc.localization.cam.heat_maps import read_heat_maps
from cxrloc.localization.evaluation.box_scores import score_boxes
from cxrloc.localization.evaluation.detections import place
from cxrloc.localization.evaluation.ground_truth import ground_truth_from_coco
from cxrloc.localization.predictions.results_file import read_predictions
from cxrloc.tools import localize
from cxrloc.tools.experiments import tune_cam

DISEASES = ("Mass", "Nodule")
K, PER_FOLD, FRAME = 3, 4, 128


@pytest.fixture
def prepared(tmp_path: Path) -> Path:
    """Twelve images of noise, four in each fold; the last of each fold has no box."""
    rng = np.random.default_rng(0)
    images, folds = [], {}
    for i in range(K * PER_FOLD):
        name = f"{i:08d}_000.png"
        path = tmp_path / "images" / name
        path.parent.mkdir(exist_ok=True)
        pixels = cv2.GaussianBlur(rng.integers(0, 255, (FRAME, FRAME), dtype=np.uint8), (0, 0), 8)
        cv2.imwrite(str(path), cv2.normalize(pixels, pixels, 0, 255, cv2.NORM_MINMAX))
        x, y = rng.integers(0, 70, 2).tolist()
        box = (x, y, x + 20 + 5 * (i % 5), y + 50 - 3 * (i % 7))
        both = (Box("Mass", box), Box("Nodule", (x, y, x + 20, y + 20)))
        boxes = () if i % PER_FOLD == 3 else both[: 1 + i % 2]
        labels = {d: float(any(b.disease == d for b in boxes)) for d in DISEASES}
        images.append(
            Radiograph(name, path, f"{i:08d}", "PA", labels, boxes, size_hw=(FRAME, FRAME))
        )
        folds[name] = i // PER_FOLD
    return prepare(tmp_path / "prepared", images, folds, boxed_diseases=DISEASES, k=K)


@pytest.fixture
def run_folder(tmp_path: Path, prepared: Path) -> Path:
    for fold in range(K):
        bundle = tiny_classifier(
            DISEASES,
            architecture="resnet18",
            size=FRAME,
            seed=fold,
            mean_box_sizes={"Mass": (0.2, 0.3)},
            manifest={"hashes": {"folds": file_sha256(prepared / "folds.csv")}},
            metadata={"fold": fold, "k": K},
        )
        save_classifier(tmp_path / "run" / f"fold{fold}" / "classifier.safetensors", bundle)
    return tmp_path / "run"


def boxes_by(prepared: Path, run: Path, *options: object, name: str = "grad_cam") -> Path:
    out = prepared.parent / "boxes.json"
    argv = ["--prepared", prepared, "--gate", run, "--localizer", name, "--out", out, *options]
    assert localize.main([str(word) for word in argv]) == 0
    return out


def tuned_rules(prepared: Path, maps: Path, *options: str) -> Path:
    out = prepared.parent / "rules.yaml"
    truth = prepared / "ground_truth.json"
    argv = ["--maps", maps, "--ground-truth", truth, "--out", out, *options]
    assert tune_cam.main([str(word) for word in argv]) == 0
    return out


@pytest.mark.slow
@pytest.mark.parametrize("name", ["grad_cam", "grad_cam_aligned"])
def test_the_ladders_tuned_rung_is_the_iou_of_the_tuned_localizer(
    prepared: Path, run_folder: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = prepared.parent / "x.maps.safetensors"
    plain = boxes_by(prepared, run_folder, "--maps", path, name=name).read_text()
    maps, coco = read_heat_maps(path), load_coco(prepared / "ground_truth.json")
    truth = ground_truth_from_coco(coco)
    assert set(maps.pairs) == set(zip(truth.image_ids, truth.diseases, strict=True))
    assert (maps.name, maps.aligned) == (name, name == "grad_cam_aligned")
    assert maps.folds == {image: int(image[:8]) // PER_FOLD for image, _ in maps.pairs}

    rules = tuned_rules(prepared, path)
    out = boxes_by(prepared, run_folder, "--cam-rules", rules, name=name)

    assert out.read_text() != plain
    scores = score_boxes(place(truth, read_predictions(out, coco)))
    tuning = tune(truth, maps)
    np.testing.assert_array_equal(scores.iou, tuning.tuned_iou)
    assert scores.iou.any()
    manifest = json.loads(out.with_suffix(".manifest.json").read_text())
    assert manifest["hashes"]["cam_rules"] == file_sha256(rules)
    macro = np.mean([tuning.tuned_iou[tuning.disease_of == d].mean() for d in range(2)])
    assert f"macro mean {macro:.3f}" in capsys.readouterr().out
    lines = rules.read_text().splitlines()
    assert lines[0].startswith("# cxrloc tune-cam --maps")
    assert f"macro mean {macro:.3f}" in lines[1]
    assert "no box of" in "".join(lines[:6])


def test_a_model_of_no_fold_boxes_each_fold_by_the_rules_tuned_on_the_others(
    prepared: Path, tmp_path: Path
) -> None:
    """As a gate of the official split does, which has seen no boxed patient at all."""
    gate = tmp_path / "classifier.safetensors"
    bundle = tiny_classifier(
        DISEASES, architecture="resnet18", size=FRAME, metadata={"fold": None, "k": None}
    )
    save_classifier(gate, bundle)
    path = tmp_path / "x.maps.safetensors"
    boxes_by(prepared, gate, "--maps", path)
    maps, coco = read_heat_maps(path), load_coco(prepared / "ground_truth.json")
    truth = ground_truth_from_coco(coco)
    assert maps.folds is None

    out = boxes_by(prepared, gate, "--cam-rules", tuned_rules(prepared, path))

    scores = score_boxes(place(truth, read_predictions(out, coco)))
    np.testing.assert_array_equal(scores.iou, tune(truth, maps).tuned_iou)
    provenance = read_provenance(out)
    assert provenance is not None
    assert [len(images) for images in provenance.images_by_model.values()] == [9]


@pytest.mark.slow
def test_keeping_maps_changes_no_box(prepared: Path, run_folder: Path) -> None:
    path = prepared.parent / "x.maps.safetensors"
    alone = boxes_by(prepared, run_folder, "--images", "all").read_text()
    assert boxes_by(prepared, run_folder, "--images", "all", "--maps", path).read_text() == alone
    assert len(read_heat_maps(path).pairs) == 9 + 3  # the boxed pairs alone


def localize_error(prepared: Path, capsys: pytest.CaptureFixture[str], *argv: object) -> str:
    out = prepared.parent / "none.json"
    try:
        status = localize.main(["--prepared", str(prepared), "--out", str(out), *map(str, argv)])
    except SystemExit as error:  # jsonargparse ends the program itself
        status = int(error.code or 0)
    assert status == 2
    assert not out.exists()
    return capsys.readouterr().err


def test_localizers_without_maps_or_rules_say_so(
    prepared: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    maps = ("--maps", "x.maps.safetensors")
    for argv in (("--localizer", "mask_rcnn", "--gate", "x"), ("--localizer", "prior_box")):
        assert "has no heat maps" in localize_error(prepared, capsys, *argv, *maps)
        error = localize_error(prepared, capsys, *argv, "--cam-rules", "x.yaml")
        assert "takes no rules, expected grad_cam" in error
    wang = ("--localizer", "grad_cam_wang", "--gate", "x", "--cam-rules", "x.yaml")
    assert "grad_cam_wang takes no rules" in localize_error(prepared, capsys, *wang)
    misnamed = ("--localizer", "grad_cam", "--gate", "x", "--maps", "maps.json")
    assert "whose name ends in .maps.safetensors" in localize_error(prepared, capsys, *misnamed)


@pytest.mark.slow
def test_rules_of_another_ground_truth_or_other_maps_are_refused(
    prepared: Path, run_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = prepared.parent / "x.maps.safetensors"
    boxes_by(prepared, run_folder, "--maps", path)
    rules = tuned_rules(prepared, path, "--localizer-name", "mine")
    argv = ("--gate", run_folder, "--cam-rules", rules)
    error = localize_error(prepared, capsys, "--localizer", "grad_cam_aligned", *argv)
    assert "was tuned on plain maps of mine" in error
    own = file_sha256(prepared / "ground_truth.json")
    rules.write_text(rules.read_text().replace(own, "f" * 64))
    error = localize_error(prepared, capsys, "--localizer", "grad_cam", *argv)
    assert "was tuned on another ground truth" in error


@pytest.mark.slow
def test_a_ground_truth_without_folds_is_tuned_but_its_rules_fit_no_run(
    prepared: Path, run_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = prepared.parent / "x.maps.safetensors"
    boxes_by(prepared, run_folder, "--maps", path)
    truth = prepared / "ground_truth.json"
    coco = json.loads(truth.read_text())
    coco["images"] = [{k: v for k, v in i.items() if k != "fold"} for i in coco["images"]]
    before = file_sha256(truth)
    truth.write_text(json.dumps(coco))
    manifest = prepared / "manifest.json"  # that it is not taken for damaged
    manifest.write_text(manifest.read_text().replace(before, file_sha256(truth)))
    rules = tuned_rules(prepared, path)
    assert "5 patient folds drawn with seed 0" in capsys.readouterr().err
    assert list(yaml.safe_load(rules.read_text())["folds"]) == [0, 1, 2, 3, 4]
    argv = ("--localizer", "grad_cam", "--gate", run_folder, "--cam-rules", rules)
    assert "not from the data set" in localize_error(prepared, capsys, *argv)


def test_maps_of_other_images_are_an_error(
    prepared: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from cxrloc.localization.cam.heat_maps import HeatMaps, write_heat_maps

    path, out = prepared.parent / "y.maps.safetensors", prepared.parent / "rules.yaml"
    write_heat_maps(path, HeatMaps((("z", "Mass"),), np.ones((1, 2, 2), np.float32), False, "n"))
    argv = ["--maps", path, "--ground-truth", prepared / "ground_truth.json", "--out", out]
    assert tune_cam.main([str(word) for word in argv]) == 2
    error = capsys.readouterr().err
    assert "has no map of a boxed image and disease" in error
    assert "its first pair is ('z', 'Mass')" in error
    assert not out.exists()
