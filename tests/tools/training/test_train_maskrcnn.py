"""cxrloc train-maskrcnn as a whole: folds, results out of fold, kill and resume, messages."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from cxrloc.classification.bundle.classifier import ClassifierBundle, save_classifier
from cxrloc.classification.bundle.preprocessing import Preprocessing
from cxrloc.classification.network.classifier import build_classifier
from cxrloc.datasets.files.manifest import file_sha256
from cxrloc.datasets.prepared.coco import load_coco
from cxrloc.datasets.prepared.folder import write_prepared
from cxrloc.datasets.provenance.image_lists import read_training_images, write_training_images
from cxrloc.datasets.provenance.leakage import audit_model, read_image_list
from cxrloc.datasets.provenance.sidecar import read_provenance
from cxrloc.datasets.radiograph import Box, Radiograph
from cxrloc.detection.training import check_gate
from cxrloc.localization.predictions.results_file import read_predictions
from cxrloc.tools.train_maskrcnn import main

REPOSITORY = Path(__file__).resolve().parents[3]
DISEASES = ("Effusion", "Mass")
SMALL = [
    "--size=64",
    "--model.fpn_levels=[3,4,5]",
    "--model.anchor_sizes=[.2,.3,.4,.7]",
    "--model.fpn_channels=32",
    "--model.box_hidden=32",
    "--model.mask_channels=16",
    "--train.precision=fp32",
    "--train.device=cpu",
    "--train.threads=1",
]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve images of six patients in three folds; the last image has no box."""
    root = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    radiographs = []
    for number in range(12):
        name, disease = f"{number:08d}_000.png", DISEASES[number % 2]
        pixels = rng.integers(40, 90, (64, 64)).astype(np.uint8)
        x, y = rng.integers(4, 30, 2)
        pixels[y : y + 24, x : x + 20] = 220
        cv2.imwrite(str(root / name), pixels)
        box = Box(disease, (16.0 * x, 16.0 * y, 16.0 * (x + 20), 16.0 * (y + 24)))
        labels = {d: float(d == disease and number < 11) for d in DISEASES}
        boxes = (box,) if number < 11 else ()
        radiographs.append(Radiograph(name, root / name, f"p{number // 2}", "PA", labels, boxes))
    out = root / "prepared"
    write_prepared(
        out,
        radiographs,
        boxed_diseases=DISEASES,
        folds={r.image_id: int(r.patient_id[1:]) % 3 for r in radiographs},
        k=3,
        official={},
        summary="",
        manifest={},
    )
    return out


def _arguments(prepared: Path, out: Path, *more: str) -> list[str]:
    return [f"--data.prepared={prepared}", f"--out={out}", *SMALL, *more]


@pytest.mark.slow
def test_every_boxed_image_is_predicted_by_the_fold_that_has_not_seen_it(
    prepared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = _arguments(prepared, tmp_path, "--folds=3", "--train.epochs=1")
    assert main(arguments) == 0
    coco = load_coco(prepared / "ground_truth.json")
    for name in ("mask_rcnn.json", "mask_rcnn_mask_box.json"):
        predictions = read_predictions(tmp_path / name, coco)
        assert {box.image_id for box in predictions} <= {f"{n:08d}_000.png" for n in range(11)}
    boxes = read_predictions(tmp_path / "mask_rcnn.json", coco)
    for number in range(11):  # every disease has a candidate on every boxed image
        diseases = {box.disease for box in boxes if box.image_id == f"{number:08d}_000.png"}
        assert diseases == set(DISEASES)
    fold = read_predictions(tmp_path / "fold1" / "mask_rcnn.json", coco)
    assert {box.image_id for box in fold} == {f"{n:08d}_000.png" for n in (2, 3, 8, 9)}
    tables = json.loads((tmp_path / "coco_ap.json").read_text())
    assert tables["images"] == 11
    assert [table["kind"] for table in tables["tables"]] == ["bbox", "segm"]
    _check_sidecars(prepared, tmp_path)
    _check_second_run(arguments, tmp_path, capsys)


def _check_sidecars(prepared: Path, out: Path) -> None:
    truth = read_image_list(prepared / "ground_truth.json")
    for name in ("mask_rcnn.json", "mask_rcnn_mask_box.json"):
        provenance = read_provenance(out / name)
        assert provenance is not None
        assert provenance.images == {f"{n:08d}_000.png" for n in range(11)}
        assert provenance.images_by_model["fold1"] == tuple(
            f"{n:08d}_000.png" for n in (2, 3, 8, 9)
        )
        for fold in range(3):  # without validation images: both other folds are trained on
            images = provenance.training(f"fold{fold}")
            assert set(images.patient_of.values()) == {f"p{n}" for n in range(6) if n % 3 != fold}
            assert set(images.parts) == {"train"}
            assert not audit_model(provenance, f"fold{fold}", truth, truth.patient_of).leaked
        assert provenance.masks == out / "mask_rcnn_masks.json"
        masks = json.loads(provenance.masks.read_text())
        folds = [
            json.loads((out / f"fold{k}/masks_small_frame.json").read_text()) for k in range(3)
        ]
        assert masks == [entry for fold in folds for entry in fold]
        assert {tuple(entry["segmentation"]["size"]) for entry in masks} == {(64, 64)}


def _check_second_run(arguments: list[str], out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundles = [out / f"fold{k}" / "maskrcnn.safetensors" for k in range(3)]
    before = [bundle.stat().st_mtime_ns for bundle in bundles]
    listed = (out / "fold0" / "training_images.csv").read_bytes()
    (out / "fold0" / "training_images.csv").unlink()  # a run from before there were such lists
    assert main(arguments) == 0
    assert (out / "fold0" / "training_images.csv").read_bytes() == listed
    assert [bundle.stat().st_mtime_ns for bundle in bundles] == before
    capsys.readouterr()
    assert main([*arguments, "--train.lr=0.5"]) == 2
    assert "another config" in capsys.readouterr().err


@pytest.mark.slow
def test_a_killed_run_goes_on_where_it_was(prepared: Path, tmp_path: Path) -> None:
    arguments = _arguments(
        prepared,
        tmp_path,
        "--data.folds=[0]",
        "--data.predict=all",
        "--data.negatives=5",
        "--train.epochs=16",
        "--train.checkpoint_every=5",
    )
    command = [sys.executable, str(REPOSITORY / "tools" / "train_maskrcnn.py"), *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    checkpoint = tmp_path / "fold0" / "checkpoints" / "last.ckpt"
    with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as running:
        deadline = time.monotonic() + 120
        while not checkpoint.is_file() and time.monotonic() < deadline:
            assert running.poll() is None, "it ended before its first checkpoint"
            time.sleep(0.02)
        running.kill()
    assert checkpoint.is_file()
    assert not (tmp_path / "fold0" / "maskrcnn.safetensors").exists()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert "resumed at step" in done.stdout
    assert "resumed at step 0 " not in done.stdout
    assert not checkpoint.exists()
    logs = (tmp_path / "fold0/logs/csv").glob("version_*/metrics.csv")
    steps = [{int(row["step"]) for row in csv.DictReader(log.open())} for log in logs]
    assert len(steps) == 2
    assert set.union(*steps) == set(range(16 * 2))  # none is missing
    images = {box["file_name"] for box in json.loads((tmp_path / "mask_rcnn.json").read_text())}
    assert len(images) == 4  # fold 0: patients p0 and p3


@pytest.mark.slow
def test_images_of_the_gate_and_of_the_validation_fold_count_as_seen(
    prepared: Path, tmp_path: Path
) -> None:
    gate = tmp_path / "gate" / "fold0" / "classifier.safetensors"
    model, _ = build_classifier("resnet18", 2, seed=0)
    metadata = {"fold": 0, "k": 3}
    thresholds = dict.fromkeys(DISEASES, 0.5)
    manifest = {"hashes": {"folds": file_sha256(prepared / "folds.csv")}}
    bundle = ClassifierBundle(
        model, DISEASES, thresholds, Preprocessing(64), {}, manifest, metadata
    )
    save_classifier(gate, bundle)
    elsewhere = Radiograph("elsewhere.png", None, "p99", "PA", {})
    write_training_images(gate, {"train": [elsewhere]})
    more = ("--data.folds=[0]", "--data.validation=true", "--train.epochs=1")
    init = ("--model.weights=gate", f"--model.gate={tmp_path / 'gate'}")
    assert main(_arguments(prepared, tmp_path, *more, *init)) == 0
    images = read_training_images(tmp_path / "fold0" / "training_images.csv")
    assert (
        images.parts
        == {  # fold 0 is validated on fold 1: patients p1 and p4, image 11 has no box
            "train": tuple(f"{n:08d}_000.png" for n in (4, 5, 10)),
            "validation": tuple(f"{n:08d}_000.png" for n in (2, 3, 8, 9)),
            "gate": ("elsewhere.png",),
        }
    )
    assert images.unlisted == ()


def test_a_wrong_number_of_folds_is_an_error(
    prepared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(_arguments(prepared, tmp_path, "--folds=5")) == 2
    assert "prepared with 3 folds" in capsys.readouterr().err


def test_an_unknown_key_is_named(
    prepared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(_arguments(prepared, tmp_path, "--train.lrr=1"))
    assert stopped.value.code == 2
    assert "lrr" in capsys.readouterr().err


def test_a_missing_prepared_folder_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(_arguments(tmp_path / "no", tmp_path / "out")) == 2
    assert "no prepared folder" in capsys.readouterr().err


def test_a_disease_without_boxes_is_an_error(
    prepared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(_arguments(prepared, tmp_path, "--data.diseases=[Hernia]")) == 2
    assert "Hernia" in capsys.readouterr().err


def test_a_gate_that_saw_the_test_images_is_refused(tmp_path: Path) -> None:
    import torch

    from cxrloc.classification.bundle.file import write_bundle

    path = tmp_path / "gate.safetensors"
    facts = {"kind": "classifier", "fold": 1, "manifest": {"hashes": {"folds": "abc"}}}
    write_bundle(path, {"a": torch.zeros(1)}, facts)
    check_gate(path, 1, "abc")
    with pytest.raises(ValueError, match="trained with test fold 1, on images used to test fold 0"):
        check_gate(path, 0, "abc")
    with pytest.raises(ValueError, match="trained with other folds"):
        check_gate(path, 1, "def")
    write_bundle(path, {"a": torch.zeros(1)}, {"kind": "classifier", "fold": 1})
    with pytest.raises(ValueError, match="states no hash of its training folds; train it again"):
        check_gate(path, 1, "abc")
