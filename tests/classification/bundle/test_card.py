"""The model card says what the bundle and the files beside it say, and what they do not."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from builders import tiny_classifier, write_tiny_detector
from cxrloc.classification.bundle.card import card_path, model_card, write_card
from cxrloc.classification.bundle.classifier import save_classifier
from cxrloc.classification.bundle.file import write_bundle
from cxrloc.datasets.files.manifest import file_sha256, write_json
from cxrloc.datasets.provenance.image_lists import write_training_images
from cxrloc.datasets.radiograph import Radiograph

DISEASES = ("Mass", "Effusion")


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    """A gate of fold 1 of 3 with its list of images and its figures."""
    path = tmp_path / "classifier.safetensors"
    manifest = {"hashes": {"Data_Entry_2017.csv": "ab" * 32}, "seed": 7, "git_commit": "f00"}
    bundle = tiny_classifier(DISEASES, 0.25, manifest=manifest, metadata={"fold": 1, "k": 3})
    save_classifier(path, bundle)
    images = [
        Radiograph(f"{patient:08d}_{n:03d}.png", None, str(patient), "PA", {}, ())
        for patient in range(5)
        for n in range(2)
    ]
    write_training_images(path, {"train": images[:6], "validation": images[6:]}, {})
    _write_metrics(tmp_path, 0.25)
    return path


def _write_metrics(folder: Path, threshold: float) -> None:
    figures = {"auc": 0.8, "auc_interval": [0.7, 0.9], "positives": 4, "known": 20}
    figures |= {"average_precision": 0.5, "average_precision_interval": None}
    test = {
        "images": 20,
        "patients": 11,
        "macro_auc": 0.8,
        "macro_auc_interval": [0.75, 0.85],
        "macro_average_precision": None,
        "diseases": dict.fromkeys(DISEASES, figures),
    }
    points = {disease: {"threshold": threshold} for disease in DISEASES}
    write_json(folder / "metrics.json", {"test": test, "operating_points": points})


def test_a_card_gives_data_figures_thresholds_and_origin(gate: Path) -> None:
    path = write_card(gate)

    assert path == card_path(gate) == gate.with_name("classifier.card.md")
    card = path.read_text()
    assert card.startswith("# Model card: classifier.safetensors\n\n**Research use only")
    for line in (
        "| train | 6 | 3 |",
        "| validation | 4 | 2 |",
        "Split: fold 1 of 3",
        "On 20 test images of 11 patients",
        "| Mass | 0.800 [0.700, 0.900] | 0.500 (no interval) | 4 / 20 |",
        "| macro mean | 0.800 [0.750, 0.850] | not known |  |",
        "| Effusion | 0.2500 |",
        "named as those of NIH ChestX-ray14 (or of images drawn in that layout)",
        "cxrloc predict IMAGE --gate classifier.safetensors",
        f"SHA-256 of this file: `{file_sha256(gate)}`",
        "Seed: 7",
    ):
        assert line in card


def test_figures_of_another_model_in_the_folder_are_not_given(gate: Path) -> None:
    _write_metrics(gate.parent, 0.3)
    card = model_card(gate)
    assert "no figures of it stand beside the bundle" in card
    assert "0.800" not in card


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("Data_Entry_2017_v2020.csv", "no restrictions on the use of the images; link to"),
        ("stage_2_train_labels.csv", "any use, commercial or not, that meets its requirements"),
        ("train_image_paths.csv", "see stanfordmlgroup.github.io/competitions/mura"),
        ("train.csv", "as that of CheXpert, which is given to those who accept an agreement"),
        ("annotations_train.csv", "(physionet.org/content/vindr-cxr)"),
        ("labels.csv", "Licence of the data\n\nNot known: the bundle does not say. Whoever"),
    ],
)
def test_terms_are_those_of_the_data_set_whose_label_files_it_has(
    file: str, said: str, tmp_path: Path
) -> None:
    facts = {"sources": {file: "ab" * 32, "ground_truth.json": "cd" * 32}}
    card = model_card(write_tiny_detector(tmp_path / "maskrcnn.safetensors", DISEASES, **facts))
    assert said in card
    assert f"| `{file}` | `{'ab' * 32}` |" in card


def test_weights_that_are_no_whole_model_have_no_card(tmp_path: Path) -> None:
    path = tmp_path / "classifier.int8.safetensors"
    write_bundle(path, {"a": torch.ones(3)}, {"kind": "int8", "inputs": {}, "left": []})
    with pytest.raises(ValueError, match="is a int8 bundle, expected a gate or a Mask R-CNN"):
        write_card(path)
    assert not card_path(path).exists()


def test_what_is_not_known_is_said(tmp_path: Path) -> None:
    card = model_card(write_tiny_detector(tmp_path / "maskrcnn.safetensors", DISEASES))
    assert "A Mask R-CNN (resnet18, backend torchvision)" in card
    for unknown in (
        "Images and patients: not known",
        "Split: not known",
        "Figures\n\nNot known",
        "Licence of the data\n\nNot known",
        "Commit of the code: not known",
    ):
        assert unknown in card
