"""The training tool on a tiny data set: folds, run folder, provenance, splits."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import pytest
import torch

from builders import read_pixels
from cxrloc.classification.bundle.classifier import load_classifier
from cxrloc.classification.bundle.file import read_bundle
from cxrloc.classification.config import ClassifierConfig, DataConfig, ModelConfig
from cxrloc.classification.inference.gate import Gate
from cxrloc.classification.inference.gate_table import read_gate_table
from cxrloc.classification.runs.run import make_folds, open_run
from cxrloc.datasets.files.manifest import file_sha256
from cxrloc.datasets.provenance.image_lists import read_training_images
from cxrloc.datasets.provenance.leakage import audit_model, read_image_list
from cxrloc.datasets.provenance.sidecar import read_provenance
from cxrloc.datasets.radiograph import LoadedImage
from cxrloc.tools.train_classifier import main
from tools.training.small_run import ENTRIES, arguments, drawn_images

DISEASES = ("Mass", "Hernia")


@pytest.fixture(scope="module")
def prepared(
    prepared_images: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    return prepared_images(tmp_path_factory.mktemp("images"), drawn_images(), **ENTRIES)


@pytest.fixture(scope="module")
def finished(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run over all three folds."""
    out = tmp_path_factory.mktemp("run")
    assert main(arguments(prepared, out)) == 0
    return out


@pytest.mark.slow
def test_each_fold_leaves_a_bundle_metrics_figures_and_logs_and_no_checkpoint(
    finished: Path,
) -> None:
    for fold in range(3):
        folder = finished / f"fold{fold}"
        expected = {
            "classifier.card.md",
            "classifier.safetensors",
            "gate.csv",
            "gate.manifest.json",
            "logs",
            "loss.png",
            "metrics.json",
            "metrics.md",
            "roc.png",
            "settings.json",
            "training_images.csv",
            "validation.parquet",
        }
        assert {p.name for p in folder.iterdir()} == expected
        assert "On 8 test images" in (folder / "classifier.card.md").read_text()
    assert not list(finished.rglob("*.ckpt"))
    assert {p.name for p in finished.iterdir() if p.is_file()} == {
        "gate.csv",
        "gate.manifest.json",
        "metrics.json",
        "metrics.md",
        "roc.png",
        "out_of_fold.parquet",
        "cross_validation.csv",
        "cross_validation.md",
        "cross_validation.manifest.json",
        "confusion.csv",
        "confusion_youden.png",
        "confusion_target.png",
        "calibration.csv",
        "calibration.png",
        "epochs.png",
    }


@pytest.mark.slow
def test_the_bundle_says_what_it_was_trained_on(finished: Path, prepared: Path) -> None:
    bundle = load_classifier(finished / "fold1" / "classifier.safetensors")
    assert bundle.diseases == DISEASES
    assert (bundle.metadata["fold"], bundle.metadata["k"]) == (1, 3)
    assert len(bundle.metadata["train_ids_sha256"]) == 64
    # boxes of 256 x 512 in a frame of 1024
    assert bundle.mean_box_sizes == {"Mass": (0.25, 0.5)}
    assert bundle.manifest["config"]["model"]["size"] == 64
    sources = json.loads((prepared / "manifest.json").read_text())["hashes"]  # label file and all
    assert sources.items() < bundle.manifest["hashes"].items()
    assert bundle.manifest["hashes"]["folds"] == file_sha256(prepared / "folds.csv")


@pytest.mark.slow
def test_every_image_is_predicted_once_by_the_bundle_of_its_own_fold(
    finished: Path, prepared: Path
) -> None:
    rows = read_gate_table(finished / "gate.csv")
    assert len(rows) == 24 * 2
    assert {(r.image_id, r.fold) for r in rows} == {(f"{n:02d}.png", n // 2 % 3) for n in range(24)}
    row = next(r for r in rows if r.image_id == "05.png" and r.disease == "Mass")
    gate = Gate(
        load_classifier(finished / f"fold{row.fold}" / "classifier.safetensors"), precision="fp32"
    )
    pixels = read_pixels(prepared.parent / "05.png", cv2.IMREAD_GRAYSCALE)
    output = gate([LoadedImage("05.png", pixels, (1024, 1024))])
    assert output.probabilities[0, 0] == pytest.approx(row.probability, abs=1e-5)
    assert bool(output.present[0, 0]) == row.present
    assert output.thresholds["Mass"] == row.threshold


@pytest.mark.slow
def test_the_images_of_each_training_are_listed_and_no_patient_of_them_is_predicted_by_it(
    finished: Path, prepared: Path
) -> None:
    provenance = read_provenance(finished / "gate.csv")
    assert provenance is not None
    evaluated = read_image_list(prepared / "ground_truth.json")
    for fold in range(3):
        images = provenance.training(f"fold{fold}")
        assert set(images.patient_of.values()) == {f"p{n}" for n in range(12) if n % 3 != fold}
        assert {part: len(names) for part, names in images.parts.items()} == {
            "train": 8,
            "validation": 8,
        }
        assert images.patient_of[images.parts["validation"][0]] == f"p{(fold + 1) % 3}"
        test_images = provenance.images_by_model[f"fold{fold}"]
        assert test_images == tuple(f"{n:02d}.png" for n in range(24) if n // 2 % 3 == fold)
        overlap = audit_model(provenance, f"fold{fold}", evaluated, evaluated.patient_of)
        assert (overlap.evaluated_images, overlap.leaked) == (8, False)
        alone = read_provenance(finished / f"fold{fold}" / "gate.csv")
        assert alone is not None
        assert alone.images_by_model == {f"fold{fold}": test_images}


@pytest.mark.slow
def test_a_disease_without_a_validation_positive_has_no_threshold_and_says_so(
    finished: Path,
) -> None:
    # fold 0 is validated on fold 1, where nobody has a Hernia
    reason = "no positive image in the validation data"
    bundle = load_classifier(finished / "fold0" / "classifier.safetensors")
    assert bundle.thresholds["Hernia"] is None
    assert f"none, never predicted present: {reason}" in (finished / "fold0/metrics.md").read_text()
    assert not any(
        r.present for r in read_gate_table(finished / "fold0/gate.csv") if r.disease == "Hernia"
    )
    # tested on fold 1: undefined there, and the mean says so
    metrics = json.loads((finished / "fold1" / "metrics.json").read_text())
    assert metrics["test"]["diseases"]["Hernia"]["auc"] is None
    assert metrics["test"]["macro_note"] == "macro over 1 of 2; undefined: Hernia"
    pooled = json.loads((finished / "metrics.json").read_text())
    assert pooled["test"]["macro_note"] == "macro over 2 of 2"
    assert pooled["test"]["images"] == 24


@pytest.mark.slow
def test_finished_folds_are_skipped_and_a_lost_one_is_made_again_the_same(
    finished: Path, prepared: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lost = finished / "fold2" / "classifier.safetensors"
    before, _ = read_bundle(lost)
    table = (finished / "gate.csv").read_bytes()
    kept = (finished / "fold0" / "classifier.safetensors").stat().st_mtime_ns
    lost.unlink()
    listed = finished / "fold0" / "training_images.csv"  # a run from before there were such lists
    images = listed.read_bytes()
    listed.unlink()
    assert main(arguments(prepared, finished)) == 0
    assert listed.read_bytes() == images
    printed = capsys.readouterr().out
    assert printed.count("already finished, skipped") == 2
    after, _ = read_bundle(lost)
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert (finished / "gate.csv").read_bytes() == table
    assert (finished / "fold0" / "classifier.safetensors").stat().st_mtime_ns == kept


@pytest.mark.slow
def test_other_settings_in_the_same_folder_are_refused(
    finished: Path, prepared: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments(prepared, finished, "--train.lr=0.5")) == 2
    message = capsys.readouterr().err
    assert "was started with other settings (train.lr was 0.0005, now 0.5)" in message
    assert "use another out folder" in message


@pytest.mark.slow
def test_the_official_split_writes_one_bundle_into_the_run_folder(
    prepared: Path, tmp_path: Path
) -> None:
    more = ("--data.split=official", "--data.validation_share=0.5", "--model.head=two_layer")
    assert main(arguments(prepared, tmp_path, *more)) == 0
    bundle = load_classifier(tmp_path / "classifier.safetensors")
    assert bundle.metadata["fold"] is None
    assert bundle.model.head_kind == "two_layer"
    rows = read_gate_table(tmp_path / "gate.csv")
    # fold 0 is the official test list: patients 0, 3, 6, 9
    assert {r.image_id for r in rows} == {f"{n:02d}.png" for n in range(24) if n // 2 % 3 == 0}
    assert {r.fold for r in rows} == {None}
    provenance = read_provenance(tmp_path / "gate.csv")
    assert provenance is not None
    assert set(provenance.images_by_model["all"]) == {r.image_id for r in rows}
    seen = set(provenance.training("all").patient_of.values())
    assert seen == {f"p{n}" for n in range(12) if n % 3 != 0}
    # a run that begins from this model has seen its images too
    began = tmp_path / "began"
    weights = f"--model.weights={tmp_path / 'classifier.safetensors'}"
    assert main(arguments(prepared, began, "--data.fold=0", weights)) == 0
    parts = read_training_images(began / "fold0" / "training_images.csv").parts
    assert set(parts["weights"]) == set(provenance.training("all").patient_of)


def test_the_sampled_split_parts_every_image_by_patient(prepared: Path, tmp_path: Path) -> None:
    data = DataConfig(prepared=str(prepared), split="sampled", workers=1)
    config = ClassifierConfig(str(tmp_path), data, ModelConfig(size=64))
    (fold,) = make_folds(open_run(config))
    images = [*fold.split.train, *fold.split.validation, *fold.split.test]
    assert sorted(images) == [f"{n:02d}.png" for n in range(24)]
    assert len(fold.split.train) > len(fold.split.test) > 0
    assert (fold.folder, fold.number) == (tmp_path, None)
