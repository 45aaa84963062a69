"""tools/localize.py from its command line, on tiny images and untrained bundles of three folds."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from cxrloc.classification.bundle.classifier import ClassifierBundle, save_classifier
from cxrloc.classification.bundle.preprocessing import Preprocessing
from cxrloc.classification.network.classifier import build_classifier
from cxrloc.datasets.files.manifest import file_sha256
from cxrloc.datasets.prepared.coco import load_coco
from cxrloc.datasets.prepared.folder import load_prepared, write_prepared
from cxrloc.datasets.provenance.image_lists import write_training_images
from cxrloc.datasets.provenance.sidecar import read_provenance
from cxrloc.datasets.radiograph import Box, Radiograph
from cxrloc.detection.localizer_registry import (
    LOCALIZERS,
    LocalizerInputs,
    build_localizer,
    localizer_entry,
)
from cxrloc.localization.cam.heat_maps import HeatMaps, read_heat_maps
from cxrloc.localization.predictions.results_file import read_predictions
from cxrloc.tools.data.audit_leakage import main as audit_leakage
from cxrloc.tools.localize import main

DISEASES = ("Mass", "Nodule", "Effusion")
K, PER_FOLD = 3, 3


@pytest.fixture
def prepared(tmp_path: Path) -> Path:
    """Nine images, three in each fold; the third of each fold has no box."""
    rng = np.random.default_rng(0)
    images, folds = [], {}
    for i in range(K * PER_FOLD):
        name = f"{i:08d}_000.png"
        path = tmp_path / "images" / name
        path.parent.mkdir(exist_ok=True)
        cv2.imwrite(str(path), rng.integers(0, 255, (128, 128), dtype=np.uint8))
        boxes = () if i % PER_FOLD == 2 else (Box("Mass", (100, 200, 300, 500 + i)),)
        labels = {d: float(d == "Mass") for d in DISEASES}
        images.append(Radiograph(name, path, f"{i:08d}", "PA", labels, boxes))
        folds[name] = i // PER_FOLD
    write_prepared(
        tmp_path / "prepared",
        images,
        boxed_diseases=["Mass", "Nodule"],
        folds=folds,
        k=K,
        official={},
        summary="",
        manifest={},
    )
    return tmp_path / "prepared"


def save_fold(run: Path, fold: int, prepared: Path, **changes: Any) -> Path:
    model, _ = build_classifier("resnet18", len(DISEASES), seed=fold)
    bundle = ClassifierBundle(
        model=model,
        diseases=DISEASES,
        thresholds={"Mass": 0.5, "Nodule": None, "Effusion": 0.5},
        preprocessing=Preprocessing(64),
        mean_box_sizes={"Mass": (0.2, 0.3)},
        manifest={"hashes": {"folds": file_sha256(prepared / "folds.csv")}},
        metadata={"fold": fold, "k": K},
    )
    path = run / f"fold{fold}" / "classifier.safetensors"
    save_classifier(path, replace(bundle, **changes))
    return path


@pytest.fixture
def run_folder(tmp_path: Path, prepared: Path) -> Path:
    for fold in range(K):
        save_fold(tmp_path / "run", fold, prepared)
    return tmp_path / "run"


def localize(prepared: Path, *arguments: object) -> tuple[int, Path]:
    out = prepared.parent / "boxes.json"
    status = main(["--prepared", str(prepared), "--out", str(out), *map(str, arguments)])
    return status, out


def images_of(out: Path) -> list[str]:
    return sorted({entry["file_name"] for entry in json.loads(out.read_text())})


def test_each_boxed_image_is_predicted_by_the_bundle_of_its_own_fold(
    prepared: Path, run_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out = localize(prepared, "--localizer", "grad_cam", "--run", run_folder)
    assert status == 0
    assert images_of(out) == [f"{i:08d}_000.png" for i in (0, 1, 3, 4, 6, 7)]
    everything = json.loads(out.read_text())
    assert {entry["category"] for entry in everything} == {"Mass", "Nodule"}  # no Effusion boxes
    for fold in range(K):
        bundle = run_folder / f"fold{fold}" / "classifier.safetensors"
        _, alone = localize(prepared, "--localizer", "grad_cam", "--bundle", bundle)
        names = [f"{i:08d}_000.png" for i in (PER_FOLD * fold, PER_FOLD * fold + 1)]
        assert images_of(alone) == names
        assert json.loads(alone.read_text()) == [e for e in everything if e["file_name"] in names]
    assert "Research use only, never a diagnosis." in capsys.readouterr().out


def test_the_gates_words_stand_beside_each_box_and_a_manifest_beside_the_file(
    prepared: Path, run_folder: Path
) -> None:
    _, out = localize(prepared, "--localizer", "grad_cam_wang", "--run", run_folder)
    for entry in json.loads(out.read_text()):
        assert 0 < entry["gate_probability"] < 1
        expected = {"Mass": 0.5, "Nodule": None}[entry["category"]]
        assert entry["gate_threshold"] == expected
        present = expected is not None and entry["gate_probability"] >= expected
        assert entry["gate_present"] is present
    manifest = json.loads(out.with_suffix(".manifest.json").read_text())
    assert (manifest["image_count"], manifest["out_of_fold"]) == (6, True)
    assert manifest["hashes"]["ground_truth"] == file_sha256(prepared / "ground_truth.json")
    assert len(manifest["hashes"]) == 1 + K
    assert "never a diagnosis" in manifest["notice"]
    boxes = read_predictions(out, load_coco(prepared / "ground_truth.json"))
    assert manifest["boxes"] == len(boxes) > 0


def test_the_manifest_says_which_model_looked_at_which_images(
    prepared: Path, run_folder: Path
) -> None:
    (prepared.parent / "images" / "00000004_000.png").write_bytes(b"no image")
    arguments = (
        "--localizer",
        "grad_cam",
        "--run",
        run_folder,
        "--images",
        "all",
        "--folds",
        "[1, 2]",
    )
    _, out = localize(prepared, *arguments)
    provenance = read_provenance(out)
    assert provenance is not None
    assert provenance.images_by_model == {  # with those without a box, without the unreadable one
        "fold1": ("00000003_000.png", "00000005_000.png"),
        "fold2": ("00000006_000.png", "00000007_000.png", "00000008_000.png"),
    }
    assert provenance.models["fold2"]["bundle"] == "run/fold2/classifier.safetensors"
    with pytest.raises(FileNotFoundError, match=r"had no training_images.csv when the images were"):
        provenance.training("fold1")


def test_maps_of_images_without_letters_are_kept_beside_the_maps(
    prepared: Path, run_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    letter = prepared.parent / "images" / "00000000_000.png"
    image = np.random.default_rng(1).normal(100, 3, (128, 128)).astype(np.uint8)
    plain = image.copy()
    cv2.putText(image, "L", (8, 30), cv2.FONT_HERSHEY_SIMPLEX, 0.8, 240, 2)
    arguments = ("--localizer", "grad_cam", "--run", run_folder, "--remove_markers", "inpaint")
    path = prepared.parent / "x.maps.safetensors"

    def maps_of(pixels: npt.NDArray[np.uint8]) -> HeatMaps:
        cv2.imwrite(str(letter), pixels)
        assert localize(prepared, *arguments, "--maps", path)[0] == 0
        return read_heat_maps(path)

    lettered = maps_of(image)
    assert lettered.removal == "inpaint"
    bare, marked = lettered.without_markers, ("00000000_000.png", "Mass")
    assert bare is not None
    assert bare.pairs == lettered.pairs
    assert len(bare.pairs) == 6  # the boxed ones
    never = maps_of(plain)
    with_letter, without, clean = (m.cells(*marked) for m in (lettered, bare, never))
    assert with_letter is not None
    assert without is not None
    assert clean is not None
    assert np.abs(without - clean).max() < 0.2 * np.abs(with_letter - clean).max()

    capsys.readouterr()
    save_fold(run_folder, 1, prepared, preprocessing=Preprocessing(64, markers="mask"))
    assert localize(prepared, *arguments, "--maps", path)[0] == 2
    assert "fold1/classifier.safetensors removes markers itself (mask)" in capsys.readouterr().err


def test_a_file_of_maps_without_any_is_said(
    prepared: Path, run_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = load_prepared(prepared)
    bare = [replace(image, boxes=()) for image in data.radiographs]
    write_prepared(
        prepared.parent / "bare",
        bare,
        boxed_diseases=["Mass"],
        folds=data.folds,
        k=K,
        official={},
        summary="",
        manifest={},
    )
    path = prepared.parent / "x.maps.safetensors"
    arguments = ("--localizer", "grad_cam", "--run", run_folder, "--images", "all", "--maps", path)
    assert localize(prepared.parent / "bare", *arguments)[0] == 0
    assert f"{path} holds no map: no image has a box" in capsys.readouterr().err


def test_a_leak_planted_in_one_fold_is_found_in_what_it_predicted(
    prepared: Path, run_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = load_prepared(prepared)
    truth = prepared / "ground_truth.json"
    for planted, status in ((None, 0), (2, 1)):
        for fold in range(K):
            seen = [
                r for r in data.radiographs if data.folds[r.image_id] != fold or fold == planted
            ]
            bundle = run_folder / f"fold{fold}" / "classifier.safetensors"
            write_training_images(bundle, {"train": seen})
        _, out = localize(prepared, "--localizer", "grad_cam", "--run", run_folder)
        capsys.readouterr()
        arguments = ["--train", out, "--evaluate", truth, "--boxes", truth]
        assert audit_leakage([str(word) for word in arguments]) == status
    assert capsys.readouterr().out.rstrip().splitlines()[-1].startswith(f"LEAKED: {out} fold2 ")


def test_all_images_can_be_asked_for_and_folds_be_named(prepared: Path, run_folder: Path) -> None:
    arguments = (
        "--localizer",
        "grad_cam",
        "--run",
        run_folder,
        "--images",
        "all",
        "--folds",
        "[1]",
    )
    status, out = localize(prepared, *arguments)
    assert status == 0
    assert images_of(out) == [f"{i:08d}_000.png" for i in (3, 4, 5)]


def test_controls_need_no_model_and_no_readable_image(prepared: Path) -> None:
    for path in (prepared.parent / "images").iterdir():
        path.write_bytes(b"")
    for name in ("prior_box", "center_box", "random_map"):
        with pytest.warns(UserWarning, match="Nodule: nobody has a box"):
            status, out = localize(prepared, "--localizer", name)
        assert status == 0
        masses = [e for e in json.loads(out.read_text()) if e["category"] == "Mass"]
        assert len(masses) == 6
        provenance = read_provenance(out)
        assert provenance is not None
        assert (len(provenance.images_by_model["all"]), provenance.models) == (6, {})


def test_an_unreadable_image_is_named_and_the_rest_go_on_unless_strict(
    prepared: Path, run_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (prepared.parent / "images" / "00000004_000.png").write_bytes(b"no image")
    arguments = ("--localizer", "grad_cam", "--run", run_folder, "--folds", "[1]")
    status, out = localize(prepared, *arguments)
    assert status == 1  # the others are done
    assert images_of(out) == ["00000003_000.png"]
    assert "left out, not readable: 00000004_000.png" in capsys.readouterr().err
    manifest = json.loads(out.with_suffix(".manifest.json").read_text())
    assert list(manifest["unreadable"]) == ["00000004_000.png"]
    out.unlink()
    assert localize(prepared, *arguments, "--strict", "true")[0] == 2
    assert not out.exists()


def test_a_missing_fold_is_an_error_that_names_it(
    prepared: Path, run_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (run_folder / "fold2" / "classifier.safetensors").unlink()
    status, out = localize(prepared, "--localizer", "grad_cam", "--run", run_folder)
    assert status == 2
    message = capsys.readouterr().err
    assert "fold 2 has no trained model" in message
    assert "the run has fold0, fold1" in message
    assert not out.exists()
    arguments = ("--localizer", "grad_cam", "--run", run_folder, "--folds", "[0, 1]")
    assert localize(prepared, *arguments)[0] == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"metadata": {"fold": 0, "k": K}}, "trained with test fold 0, expected 1"),
        ({"metadata": {"fold": 1, "k": 5}}, "trained with 5 folds, but"),
        (
            {"manifest": {"hashes": {"folds": "0" * 64}}},
            "may have seen images that it would predict",
        ),
        (  # where a Mask R-CNN's bundle notes its folds
            {"manifest": {}, "metadata": {"fold": 1, "k": K, "folds_sha256": "0" * 64}},
            "may have seen images that it would predict",
        ),
    ],
)
def test_a_model_of_another_preparation_is_refused(
    prepared: Path,
    run_folder: Path,
    capsys: pytest.CaptureFixture[str],
    changes: dict[str, Any],
    message: str,
) -> None:
    save_fold(run_folder, 1, prepared, **changes).rename(
        run_folder / "fold1" / "classifier.safetensors"
    )
    assert localize(prepared, "--localizer", "grad_cam", "--run", run_folder)[0] == 2
    assert message in capsys.readouterr().err


def test_a_bundle_of_no_fold_predicts_all_and_the_manifest_says_so(
    prepared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = save_fold(tmp_path / "single", 0, prepared, metadata={"fold": None, "k": None})
    status, out = localize(prepared, "--localizer", "grad_cam", "--bundle", path)
    assert status == 0
    assert len(images_of(out)) == 6
    assert "whether it has seen an image is not checked" in capsys.readouterr().err
    assert not json.loads(out.with_suffix(".manifest.json").read_text())["out_of_fold"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--localizer", "gradcam"), "unknown localizer 'gradcam'; known are grad_cam, grad"),
        (("--localizer", "grad_cam", "--remove_markers", "mask"), "give --maps too"),
        (("--localizer", "grad_cam"), "grad_cam needs either --run or --bundle, got neither"),
        (("--localizer", "prior_box", "--run", "x"), "prior_box is a control and takes no --run"),
        (("--localizer", "prior_box", "--folds", "[7]"), "has folds 0 to 2"),
        (("--localizer", "grad_cam", "--bundle", "none.safetensors"), "no model bundle at none"),
    ],
)
def test_wrong_words_end_with_status_two_and_say_what_is_known(
    prepared: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], message: str
) -> None:
    try:
        status, _ = localize(prepared, *arguments)
    except SystemExit as error:  # jsonargparse ends the program itself
        status = int(error.code or 0)
    assert status == 2
    assert message in capsys.readouterr().err


def test_every_registered_localizer_has_its_own_name(prepared: Path, tmp_path: Path) -> None:
    truth = load_coco(prepared / "ground_truth.json")
    inputs = LocalizerInputs(save_fold(tmp_path / "x", 0, prepared), truth)
    for name in LOCALIZERS:
        if not name.startswith("mask_rcnn"):
            assert build_localizer(name, inputs).name == name
    assert localizer_entry("mask_rcnn_mask_box").bundle_file == "maskrcnn.safetensors"
    with pytest.raises(ValueError, match="needs a trained model"):
        build_localizer("mask_rcnn", LocalizerInputs())
    with pytest.raises(ValueError, match="prior_box needs the ground truth"):
        build_localizer("prior_box", LocalizerInputs())


def test_help_does_not_import_torch() -> None:
    code = (
        "import sys; from cxrloc.tools.localize import main\n"
        "try: main(['--help'])\nexcept SystemExit: print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("False")


def test_a_bundle_of_one_fold_is_not_asked_for_another(
    prepared: Path, run_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--localizer", "grad_cam", "--bundle", run_folder / "fold0/classifier.safetensors"]
    assert localize(prepared, *arguments, "--folds", "[1]")[0] == 2
    assert "is of fold 0; leave --folds out" in capsys.readouterr().err
    assert localize(prepared, *arguments, "--folds", "[0]")[0] == 0
