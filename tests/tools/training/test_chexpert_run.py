"""CheXpert's layout from the files to tables, boxes and predictions, by the tools a user types."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from cxrloc.classification.bundle.classifier import load_classifier
from cxrloc.classification.metrics.scored_images import read_scored_images
from cxrloc.datasets.phantoms.chexpert import ChexpertPhantomConfig, make_chexpert_phantom
from cxrloc.datasets.prepared.folder import load_prepared
from cxrloc.tools import localize, predict, prepare_data, train_classifier
from cxrloc.tools.data import build_shards
from cxrloc.tools.experiments import compare_networks

FIVE = ("Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Pleural Effusion")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A phantom of 40 patients, prepared, and two networks trained: plain and enhanced."""
    folder = tmp_path_factory.mktemp("chexpert")
    root, prepared = folder / "CheXpert-v1.0-small", folder / "prepared"
    make_chexpert_phantom(ChexpertPhantomConfig(40, seed=2, image_size=64), root, workers=1)
    words = ["--dataset", "chexpert", "--root", str(root), "--out", str(prepared)]
    assert prepare_data.main([*words, "--frontal-only", "--workers", "1"]) == 0
    for kind in ("grey", "enhanced"):
        assert train_classifier.main(training(folder, kind)) == 0
    return folder


def training(folder: Path, kind: str) -> list[str]:
    options = {
        "data.prepared": folder / "prepared",
        "data.split": "label_sets",
        "data.test_share": 0.3,
        "data.validation_share": 0.3,
        "data.diseases": json.dumps(FIVE),
        "data.workers": 1,
        "data.uncertain": "smoothed_ones",
        "data.blank": "negative",
        "out": folder / kind,
        "model.architecture": "simple_cnn",
        "model.size": 64,
        "model.input": kind,
        "train.epochs": 1,
        "train.batch_size": 8,
        "train.loss": "bce_weighted",
        "train.device": "cpu",
        "train.precision": "fp32",
        "train.bootstrap": 20,
    }
    return [f"--{key}={value}" for key, value in options.items()]


@pytest.mark.slow
def test_the_tables_have_rates_and_summed_matrices_of_certain_labels_alone(folder: Path) -> None:
    images = read_scored_images(folder / "grey" / "out_of_fold.parquet")
    uncertain = {r.image_id: r.uncertain for r in load_prepared(folder / "prepared").radiographs}
    assert any(uncertain[image] for image in images.image_ids)
    for row, image in enumerate(images.image_ids):
        unknown = {d for d, label in zip(FIVE, images.labels[row], strict=True) if label != label}
        assert unknown == set(uncertain[image]) & set(FIVE)
    page = (folder / "grey" / "cross_validation.md").read_text()
    assert "| disease | TP | FN | FP | TN | TPR | TNR | F1 |" in page
    with (folder / "grey" / "confusion.csv").open() as handle:
        rows = [r for r in csv.DictReader(handle) if r["rule"] == "youden"]
    assert [r["disease"] for r in rows] == [*FIVE, "all, summed"]
    assert sum(int(r["true_negative"]) for r in rows[:-1]) == int(rows[-1]["true_negative"])


@pytest.mark.slow
def test_with_and_without_enhancement_stand_beside_the_published_figures(folder: Path) -> None:
    runs = [str(folder / "grey"), str(folder / "enhanced")]
    assert compare_networks.main([*runs, "--out", str(folder / "both"), "--resamples", "20"]) == 0
    page = (folder / "both" / "networks.md").read_text()
    for row in ("grey", "enhanced", "published: Chasanidis 2020 (DenseNet-121 with enhancement"):
        assert f"| {row}" in page
    assert "| 0.79 (multilabel AUC) |" in page  # not a macro AUC
    for disease in (*FIVE, "all, summed"):
        for kind in ("grey", "enhanced"):
            assert f"| {disease} | {kind} |" in page
    assert "no published TPR, TNR or F1 is at hand" in page
    assert "Godonou" not in page  # of NIH's labels


@pytest.mark.slow
def test_enhancement_in_the_shards_trains_the_network_of_enhancement_on_the_fly(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    probabilities = []
    for kind in ("grey", "enhanced"):
        shards = folder / f"{kind}_shards"
        arguments = ["--prepared", str(folder / "prepared"), "--out", str(shards), "--size", "64"]
        assert build_shards.main([*arguments, "--input", kind, "--workers", "1"]) == 0
        out = folder / f"from_{kind}_shards"
        more = [f"--data.shards={shards}", f"--out={out}"]
        assert train_classifier.main([*training(folder, "enhanced"), *more]) == 0
        probabilities.append(read_scored_images(out / "out_of_fold.parquet").scores)
    from_grey, from_shards = probabilities
    np.testing.assert_array_equal(from_grey, from_shards)
    capsys.readouterr()
    words = [*training(folder, "grey"), f"--data.shards={shards}", f"--out={folder / 'refused'}"]
    assert train_classifier.main(words) == 2
    message = "holds images of input enhanced with clahe_clip 0, expected grey with 0"
    assert message in capsys.readouterr().err


@pytest.mark.slow
def test_its_images_are_boxed_and_predicted_as_those_of_any_data_set(folder: Path) -> None:
    bundle = folder / "enhanced" / "classifier.safetensors"
    assert load_classifier(bundle).diseases == FIVE
    boxes = folder / "cam.json"
    words = ["--localizer", "grad_cam", "--gate", str(bundle), "--images", "all"]
    prepared = ["--prepared", str(folder / "prepared"), "--out", str(boxes)]
    assert localize.main([*words, *prepared]) == 0
    results = json.loads(boxes.read_text())
    images = load_prepared(folder / "prepared").radiographs
    assert results
    assert {box["image_id"] for box in results} <= set(range(1, len(images) + 1))
    out = folder / "predictions"
    assert predict.main([str(images[0].path), "--gate", str(bundle), "--out", str(out)]) == 0
    assert list(out.glob("**/*.json"))
