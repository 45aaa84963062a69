"""cxrloc localize from its command line, on tiny images and untrained bundles of three folds."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from cxrloc.classification.bundle.preprocessing import Preprocessing
from cxrloc.datasets.files.manifest import file_sha256
from cxrloc.datasets.prepared.coco import load_coco
from cxrloc.datasets.prepared.folder import load_prepared
from cxrloc.datasets.provenance.image_lists import write_training_images
from cxrloc.datasets.provenance.sidecar import read_provenance
from cxrloc.detection.localizer_registry import (
    LOCALIZERS,
    LocalizerInputs,
    build_localizer,
    localizer_entry,
)
from cxrloc.localization.cam.heat_maps import HeatMaps, read_heat_maps
from cxrloc.localization.predictions.results_file import read_predictions
from cxrloc.tools.data.audit_leakage import main as audit_leakage
from tools.prediction.localizing import PER_FOLD, K, images_of, localize, save_fold


def test_each_boxed_image_is_predicted_by_the_bundle_of_its_own_fold(
    prepared: Path, run_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out = localize(prepared, "--localizer", "grad_cam", "--gate", run_folder)
    assert status == 0
    assert images_of(out) == [f"{i:08d}_000.png" for i in (0, 1, 3, 4, 6, 7)]
    everything = json.loads(out.read_text())
    assert {entry["category"] for entry in everything} == {"Mass", "Nodule"}  # no Effusion boxes
    for fold in range(K):
        bundle = run_folder / f"fold{fold}" / "classifier.safetensors"
        _, alone = localize(prepared, "--localizer", "grad_cam", "--gate", bundle)
        names = [f"{i:08d}_000.png" for i in (PER_FOLD * fold, PER_FOLD * fold + 1)]
        assert images_of(alone) == names
        assert json.loads(alone.read_text()) == [e for e in everything if e["file_name"] in names]
    assert "Research use only, never a diagnosis." in capsys.readouterr().out


def test_the_gates_words_stand_beside_each_box_and_a_manifest_beside_the_file(
    prepared: Path, run_folder: Path
) -> None:
    _, out = localize(prepared, "--localizer", "grad_cam_wang", "--gate", run_folder)
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
        "--gate",
        run_folder,
        "--images",
        "all",
        "--folds",
        "1",
        "2",
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
    arguments = ("--localizer", "grad_cam", "--gate", run_folder, "--remove-markers", "inpaint")
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
        _, out = localize(prepared, "--localizer", "grad_cam", "--gate", run_folder)
        capsys.readouterr()
        arguments = ["--train", out, "--evaluate", truth, "--boxes", truth]
        assert audit_leakage([str(word) for word in arguments]) == status
    assert capsys.readouterr().out.rstrip().splitlines()[-1].startswith(f"LEAKED: {out} fold2. ")


def test_all_images_can_be_asked_for_and_folds_be_named(prepared: Path, run_folder: Path) -> None:
    arguments = (
        "--localizer",
        "grad_cam",
        "--gate",
        run_folder,
        "--images",
        "all",
        "--folds",
        "1",
    )
    status, out = localize(prepared, *arguments)
    assert status == 0
    assert images_of(out) == [f"{i:08d}_000.png" for i in (3, 4, 5)]


def test_controls_need_no_model_and_no_readable_image(prepared: Path) -> None:
    for path in (prepared.parent / "images").iterdir():
        path.write_bytes(b"")
    for name in ("prior_box", "center_box", "random_map"):
        with pytest.warns(UserWarning, match="Nodule: no patient has a box"):
            status, out = localize(prepared, "--localizer", name)
        assert status == 0
        masses = [e for e in json.loads(out.read_text()) if e["category"] == "Mass"]
        assert len(masses) == 6
        provenance = read_provenance(out)
        assert provenance is not None
        assert (len(provenance.images_by_model["all"]), provenance.models) == (6, {})


def test_a_bundle_of_no_fold_predicts_all_and_the_manifest_says_so(
    prepared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = save_fold(tmp_path / "single", 0, prepared, metadata={"fold": None, "k": None})
    status, out = localize(prepared, "--localizer", "grad_cam", "--gate", path)
    assert status == 0
    assert len(images_of(out)) == 6
    assert "not checked whether it has seen these images" in capsys.readouterr().err
    assert not json.loads(out.with_suffix(".manifest.json").read_text())["out_of_fold"]


def test_every_registered_localizer_has_its_own_name(prepared: Path, tmp_path: Path) -> None:
    truth = load_coco(prepared / "ground_truth.json")
    inputs = LocalizerInputs(save_fold(tmp_path / "x", 0, prepared), truth)
    supervision = {"box_supervision": {"boxes": 1, "box_loss_weight": 1.0}}
    guided = save_fold(tmp_path / "guided", 0, prepared, metadata=supervision)
    assert build_localizer("guided_cam", replace(inputs, bundle=guided)).name == "guided_cam"
    for name in LOCALIZERS:
        if not name.startswith(("mask_rcnn", "guided_cam")):
            assert build_localizer(name, inputs).name == name
    several = {**truth, "annotations": truth["annotations"] * 3}
    for coco, number in ((truth, 1), (several, 3)):
        grad_cam: Any = build_localizer("grad_cam", replace(inputs, ground_truth=coco))
        assert grad_cam.number == number  # boxes of a disease on an image
    assert localizer_entry("mask_rcnn_mask_box").bundle_file == "maskrcnn.safetensors"
    with pytest.raises(ValueError, match="needs a trained model"):
        build_localizer("mask_rcnn", LocalizerInputs())
    with pytest.raises(ValueError, match="prior_box needs the ground truth"):
        build_localizer("prior_box", LocalizerInputs())
