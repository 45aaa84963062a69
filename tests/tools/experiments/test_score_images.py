"""score_images.py: the mean of untrained folds on images that they have not seen."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cxrloc.classification.bundle.classifier import (
    load_classifier,
)
from cxrloc.classification.config import DataConfig
from cxrloc.classification.inference.gate import Gate
from cxrloc.classification.metrics.scored_images import (
    read_scored_images,
)
from cxrloc.datasets.images.read import read_grey
from cxrloc.datasets.prepared.folder import write_prepared
from cxrloc.datasets.radiograph import LoadedImage, Radiograph
from cxrloc.tools.experiments.score_images import main
from tools.experiments.untrained_folds import (
    DISEASES,
    prepared_run,
    radiographs,
    save_fold,
    score,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return prepared_run(tmp_path)


def alone(folder: Path, fold: int, image: str) -> np.ndarray:
    bundle = load_classifier(folder / "run" / f"fold{fold}" / "classifier.safetensors")
    pixels = read_grey(folder / image)
    output = Gate(bundle, precision="fp32")([LoadedImage(image, pixels, (80, 64))])
    probabilities: np.ndarray = output.probabilities[0]
    return probabilities


def test_probabilities_are_the_mean_and_seen_patients_are_left_out(folder: Path) -> None:
    assert score(folder, "fold0", "fold1", "fold2") == 0
    images = read_scored_images(folder / "scores.parquet")
    assert images.image_ids == tuple(f"{n}.png" for n in range(2, 10))  # without both of p0
    assert set(images.folds) == {-1}
    for i, name in enumerate(images.image_ids):
        mean = (alone(folder, 0, name) + alone(folder, 1, name) + alone(folder, 2, name)) / 3
        np.testing.assert_allclose(images.scores[i], mean, atol=1e-6)
    page = (folder / "scores.md").read_text()
    assert "Left out 2 images of patients that a classifier has seen." in page
    assert "never a diagnosis" in page


def test_the_page_has_the_figures_of_these_images(folder: Path) -> None:
    assert score(folder, "fold0", "fold2") == 0
    images = read_scored_images(folder / "scores.parquet")
    assert len(images) == 10  # neither has seen anybody
    positive, negative = images.scores[1::2, 0], images.scores[::2, 0]
    area = np.mean(np.subtract.outer(positive, negative) > 0)
    (row,) = re.findall(r"\| Mass \| 5 / 10 \| ([\d.]+) .*", (folder / "scores.md").read_text())
    assert float(row) == pytest.approx(area, abs=5e-4)
    assert "| Nodule | 3 / 6 |" in (folder / "scores.md").read_text()
    manifest = json.loads((folder / "scores.manifest.json").read_text())
    assert len(manifest["hashes"]) == 2


def test_labels_mean_what_they_meant_in_the_training(folder: Path) -> None:
    """A blank Nodule is absent; a Mass has no parents, so closure leaves these labels alone."""
    data = DataConfig(blank="negative", closure=True, uncertain="ones")
    save_fold(folder / "run", 3, [], DISEASES, data)
    (folder / "run" / "fold3" / "training_images.csv").unlink()
    assert score(folder, "fold3") == 0
    nodule = read_scored_images(folder / "scores.parquet").labels[:, 1]
    np.testing.assert_array_equal(nodule, [0, 0, 0, 0, 0, 0, 0, 1, 1, 1])  # four of them blank
    page = (folder / "scores.md").read_text()
    assert "| Nodule | 3 / 10 |" in page
    assert "Labels as in the training: data.blank negative, data.closure true." in page


def test_closure_gives_a_finding_its_parents_and_an_uncertain_label_stays_unknown(
    folder: Path,
) -> None:
    """Of Cardiomegaly the parent is Enlarged Cardiomediastinum."""
    child, parent = "Cardiomegaly", "Enlarged Cardiomediastinum"
    given = [(1.0, np.nan), (0.0, np.nan), (1.0, 0.0), (1.0, np.nan)]
    four = zip(radiographs(folder)[:4], given, strict=True)
    images = [replace(r, labels={child: c, parent: p}) for r, (c, p) in four]
    images[3] = replace(images[3], uncertain=(parent,))
    write_prepared(
        folder / "prepared",
        images,
        boxed_diseases=(),
        folds={r.image_id: 0 for r in images},
        k=3,
        official={},
        summary="",
        manifest={},
    )
    elsewhere = [Radiograph("x.png", None, "elsewhere", "PA", {})]
    data = DataConfig(closure=True, uncertain="ones")
    save_fold(folder / "run", 3, elsewhere, (child, parent), data)
    assert score(folder, "fold3") == 0
    labels = read_scored_images(folder / "scores.parquet").labels[:, 1]
    np.testing.assert_array_equal(labels, [1, np.nan, 1, np.nan])


def test_members_to_whom_labels_mean_different_things_are_refused(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    elsewhere = [Radiograph("x.png", None, "elsewhere", "PA", {})]
    save_fold(folder / "run", 3, elsewhere, DISEASES, DataConfig(blank="negative"))
    assert score(folder, "fold0", "fold3") == 2
    message = capsys.readouterr().err
    assert "fold3/classifier.safetensors was trained with data.blank negative" in message
    assert "fold0/classifier.safetensors with data.blank unknown" in message
    # how uncertain labels are trained on says nothing of scored images
    save_fold(folder / "run", 4, elsewhere, DISEASES, DataConfig(uncertain="ones"))
    assert score(folder, "fold0", "fold4") == 0


def test_a_list_says_which_images(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "test_list.txt").write_text("5.png\n7.png\n99.png\n")
    assert score(folder, "fold0", more=("--image-list", str(folder / "test_list.txt"))) == 0
    assert read_scored_images(folder / "scores.parquet").image_ids == ("5.png", "7.png")
    assert "1 images of" in capsys.readouterr().out


def test_an_unreadable_image_is_named_and_left_out(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "4.png").write_bytes(b"no picture")
    assert score(folder, "fold0") == 1  # the others are done
    assert "4.png" not in read_scored_images(folder / "scores.parquet").image_ids
    assert "left out 4.png" in capsys.readouterr().out


def test_what_cannot_be_scored_ends_with_status_2(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_fold(folder / "run", 3, radiographs(folder), DISEASES)
    assert score(folder, "fold3") == 2
    assert "all 10 images show patients that a classifier was" in capsys.readouterr().err
    save_fold(folder / "run", 4, [], ("Mass",))
    assert score(folder, "fold0", "fold4") == 2
    assert "an ensemble needs the same diseases" in capsys.readouterr().err
    assert score(folder, "fold0", "fold0") == 2
    assert "expected each bundle once" in capsys.readouterr().err
    assert main(["--gate", "x", "--prepared", "y", "--out", "z.csv"]) == 2
    assert "expected a name that ends in .parquet" in capsys.readouterr().err
