"""score_images.py: the mean of untrained folds on images that they have not seen."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from cxrloc.classification.bundle.classifier import (
    ClassifierBundle,
    load_classifier,
    save_classifier,
)
from cxrloc.classification.bundle.preprocessing import Preprocessing
from cxrloc.classification.config import ClassifierConfig, DataConfig
from cxrloc.classification.inference.gate import Gate
from cxrloc.classification.metrics.operating_point import youden
from cxrloc.classification.metrics.scored_images import (
    ScoredImages,
    read_scored_images,
    write_scored_images,
)
from cxrloc.classification.network.classifier import build_classifier
from cxrloc.classification.runs.ensemble import load_ensemble, score_images
from cxrloc.datasets.files.manifest import run_manifest
from cxrloc.datasets.images.read import read_grey
from cxrloc.datasets.prepared.folder import write_prepared
from cxrloc.datasets.provenance.image_lists import write_training_images
from cxrloc.datasets.radiograph import LoadedImage, Radiograph
from cxrloc.tools.experiments.score_images import main

DISEASES = ("Mass", "Nodule")


def radiographs(folder: Path) -> list[Radiograph]:
    """Ten images of five patients; every second image has a Mass, the Nodule is often unknown."""
    labels = [
        {"Mass": float(n % 2), "Nodule": float(n > 6) if n > 3 else np.nan} for n in range(10)
    ]
    return [
        Radiograph(f"{n}.png", folder / f"{n}.png", f"p{n // 2}", "PA", labels[n])
        for n in range(10)
    ]


def save_fold(
    run: Path,
    fold: int,
    seen: list[Radiograph],
    diseases: tuple[str, ...],
    data: DataConfig | None = None,
) -> Path:
    """An untrained fold, whose manifest says that it was trained with `data`."""
    model, _ = build_classifier("simple_cnn", len(diseases), seed=fold)
    manifest = run_manifest(
        ClassifierConfig(data=data or DataConfig()), seed=0, hashes={}, started=0.0
    )
    bundle = ClassifierBundle(
        model=model,
        diseases=diseases,
        thresholds=dict.fromkeys(diseases, 0.4 + fold / 10),
        preprocessing=Preprocessing(64),
        mean_box_sizes={},
        manifest=manifest,
        metadata={"fold": fold, "k": 3},
    )
    path = run / f"fold{fold}" / "classifier.safetensors"
    path.parent.mkdir(parents=True)
    save_classifier(path, bundle)
    write_training_images(path, {"train": seen, "validation": []})
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A prepared folder, and a run of three folds, of which fold 1 has seen patient p0."""
    rng, images = np.random.default_rng(0), radiographs(tmp_path)
    for r in images:
        cv2.imwrite(str(r.path), rng.integers(0, 255, (80, 64), dtype=np.uint8))
    write_prepared(
        tmp_path / "prepared",
        images,
        boxed_diseases=(),
        k=3,
        folds={r.image_id: 0 for r in images},
        official={},
        summary="",
        manifest={},
    )
    elsewhere = Radiograph("x.png", None, "elsewhere", "PA", {})
    for fold in range(3):
        save_fold(tmp_path / "run", fold, images[:1] if fold == 1 else [elsewhere], DISEASES)
    write_scored_images(tmp_path / "run" / "out_of_fold.parquet", out_of_fold())
    return tmp_path


def out_of_fold() -> ScoredImages:
    """Four images out of fold; nobody among them has a Nodule."""
    names = tuple(f"o{n}" for n in range(4))
    scores = np.array([[0.2, 0.5], [0.3, 0.5], [0.6, 0.5], [0.8, 0.5]])
    labels = np.array([[0.0, 0], [0, 0], [1, 0], [1, 0]])
    return ScoredImages(DISEASES, names, names, np.array([0, 1, 2, 0]), scores, labels)


def run(folder: Path, *bundles: str, more: tuple[str, ...] = ()) -> int:
    words = ["--prepared", str(folder / "prepared"), "--out", str(folder / "scores.parquet")]
    words += ["--precision", "fp32", "--resamples", "20", *more, "--classifier"]
    return main([*words, *(str(folder / "run" / b / "classifier.safetensors") for b in bundles)])


def alone(folder: Path, fold: int, image: str) -> np.ndarray:
    bundle = load_classifier(folder / "run" / f"fold{fold}" / "classifier.safetensors")
    pixels = read_grey(folder / image)
    output = Gate(bundle, precision="fp32")([LoadedImage(image, pixels, (80, 64))])
    probabilities: np.ndarray = output.probabilities[0]
    return probabilities


def test_probabilities_are_the_mean_and_seen_patients_are_left_out(folder: Path) -> None:
    assert run(folder, "fold0", "fold1", "fold2") == 0
    images = read_scored_images(folder / "scores.parquet")
    assert images.image_ids == tuple(f"{n}.png" for n in range(2, 10))  # without both of p0
    assert set(images.folds) == {-1}
    for i, name in enumerate(images.image_ids):
        mean = (alone(folder, 0, name) + alone(folder, 1, name) + alone(folder, 2, name)) / 3
        np.testing.assert_allclose(images.scores[i], mean, atol=1e-6)
    page = (folder / "scores.md").read_text()
    assert "2 images of patients that a classifier has seen were left out." in page
    assert "never a diagnosis" in page


def test_the_page_has_the_figures_of_these_images(folder: Path) -> None:
    assert run(folder, "fold0", "fold2") == 0
    images = read_scored_images(folder / "scores.parquet")
    assert len(images) == 10  # neither has seen anybody
    positive, negative = images.scores[1::2, 0], images.scores[::2, 0]
    area = np.mean(np.subtract.outer(positive, negative) > 0)
    (row,) = re.findall(r"\| Mass \| 5 / 10 \| ([\d.]+) .*", (folder / "scores.md").read_text())
    assert float(row) == pytest.approx(area, abs=5e-4)
    assert "| Nodule | 3 / 6 |" in (folder / "scores.md").read_text()
    manifest = json.loads((folder / "scores.manifest.json").read_text())
    assert len(manifest["hashes"]) == 2


def test_thresholds_of_a_mean_are_youdens_on_the_images_out_of_fold(folder: Path) -> None:
    assert run(folder, "fold0", "fold1", "fold2") == 0
    images = read_scored_images(folder / "scores.parquet")
    expected = youden([0, 0, 1, 1], [0.2, 0.3, 0.6, 0.8]).threshold
    assert expected == pytest.approx(0.45)  # midway
    assert images.thresholds["youden"][:, 0] == pytest.approx([0.45] * 8)
    assert np.isnan(images.thresholds["youden"][:, 1]).all()
    assert not images.present("youden")[:, 1].any()
    assert "Thresholds are Youden's on 4 images out of fold" in (folder / "scores.md").read_text()


def test_examinations_have_their_own_threshold_from_those_out_of_fold(folder: Path) -> None:
    """Out of fold: examinations of mean .35 without a Mass, of .6 and .75 with one."""
    names = tuple(f"o{n}" for n in range(6))
    patients, examinations = ("a", "a", "b", "b", "c", "c"), ("a1", "a1", "b1", "b1", "c1", "c1")
    scores = np.array([[0.1, 0.5], [0.6, 0.5], [0.9, 0.5], [0.3, 0.5], [0.8, 0.5], [0.7, 0.5]])
    labels = np.array([[0.0, 0]] * 2 + [[1, 0]] * 4)
    images = ScoredImages(
        DISEASES,
        names,
        patients,
        np.zeros(6, dtype=np.int64),
        scores,
        labels,
        study_ids=examinations,
    )
    write_scored_images(folder / "run" / "out_of_fold.parquet", images)
    of_examination = [
        replace(r, study_id=f"s{n // 4}", body_part="XR_HAND")
        for n, r in enumerate(radiographs(folder)[2:])
    ]
    write_prepared(
        folder / "prepared",
        of_examination,
        boxed_diseases=(),
        folds={r.image_id: 0 for r in of_examination},
        k=3,
        official={},
        summary="",
        manifest={},
    )
    bundles = [folder / "run" / f"fold{f}" / "classifier.safetensors" for f in (0, 2)]
    found = score_images(load_ensemble(bundles, "cpu", "fp32"), of_examination)
    assert found.examination_thresholds[0] == pytest.approx((0.35 + 0.6) / 2)
    assert np.isnan(found.examination_thresholds[1])  # nobody has a Nodule
    assert found.images.thresholds["youden"][0, 0] == pytest.approx((0.6 + 0.7) / 2)
    assert run(folder, "fold0", "fold2") == 0
    page = (folder / "scores.md").read_text()
    assert "| XR_HAND | 2 | 2 |" in page.split("## Studies: Mass")[1]
    again = read_scored_images(folder / "scores.parquet")
    assert again.study_ids == ("s0",) * 4 + ("s1",) * 4


def test_patients_who_are_scored_have_no_say_in_the_thresholds(folder: Path) -> None:
    """One fold of each of two networks judges the images of that fold, p2's and p3's."""
    names = ("4.png", "other_image_of_p3.png", *(f"o{n}" for n in range(4)))
    patients = ("p2", "p3", *(f"o{n}" for n in range(4)))
    scores = np.array([[0.9, 0.5], [0.1, 0.5], [0.2, 0.5], [0.3, 0.5], [0.6, 0.5], [0.8, 0.5]])
    labels = np.array([[0.0, 0], [1, 0], [0, 0], [0, 0], [1, 0], [1, 0]])
    images = ScoredImages(DISEASES, names, patients, np.zeros(6, dtype=np.int64), scores, labels)
    for network in ("run", "second"):
        write_scored_images(folder / network / "out_of_fold.parquet", images)
    elsewhere = Radiograph("x.png", None, "elsewhere", "PA", {})
    save_fold(folder / "second", 0, [elsewhere], DISEASES)
    (folder / "list.txt").write_text("4.png\n5.png\n6.png\n")
    more = ("--images", str(folder / "list.txt"))
    assert run(folder, "fold0", "../second/fold0", more=more) == 0
    scored = read_scored_images(folder / "scores.parquet")
    assert scored.thresholds["youden"][:, 0] == pytest.approx([0.45] * 3)  # as without p2 and p3
    page = (folder / "scores.md").read_text()
    assert "Youden's on 4 images out of fold" in page
    assert "2 others are of patients who are scored here" in page


def test_no_thresholds_are_chosen_where_all_patients_are_scored(folder: Path) -> None:
    images = replace(out_of_fold(), patient_ids=("p1", "p2", "p3", "p4"))
    write_scored_images(folder / "run" / "out_of_fold.parquet", images)
    assert run(folder, "fold0", "fold2") == 0
    assert read_scored_images(folder / "scores.parquet").thresholds == {}
    page = (folder / "scores.md").read_text()
    assert "No thresholds, and nothing is called present: all 4 images out of fold are of" in page


def test_labels_mean_what_they_meant_in_the_training(folder: Path) -> None:
    """A blank Nodule is absent; a Mass has no parents, so closure leaves these labels alone."""
    data = DataConfig(blank="negative", closure=True, uncertain="ones")
    save_fold(folder / "run", 3, [], DISEASES, data)
    (folder / "run" / "fold3" / "training_images.csv").unlink()
    assert run(folder, "fold3") == 0
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
    assert run(folder, "fold3") == 0
    labels = read_scored_images(folder / "scores.parquet").labels[:, 1]
    np.testing.assert_array_equal(labels, [1, np.nan, 1, np.nan])


def test_members_to_whom_labels_mean_different_things_are_refused(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    elsewhere = [Radiograph("x.png", None, "elsewhere", "PA", {})]
    save_fold(folder / "run", 3, elsewhere, DISEASES, DataConfig(blank="negative"))
    assert run(folder, "fold0", "fold3") == 2
    message = capsys.readouterr().err
    assert "fold3/classifier.safetensors was trained with data.blank negative" in message
    assert "fold0/classifier.safetensors with data.blank unknown" in message
    # how uncertain labels are trained on says nothing of scored images
    save_fold(folder / "run", 4, elsewhere, DISEASES, DataConfig(uncertain="ones"))
    assert run(folder, "fold0", "fold4") == 0


def test_one_classifier_keeps_its_own_thresholds(folder: Path) -> None:
    assert run(folder, "fold2") == 0
    images = read_scored_images(folder / "scores.parquet")
    assert images.thresholds["youden"][0] == pytest.approx([0.6, 0.6])


def test_without_a_cross_validation_there_are_no_thresholds(folder: Path) -> None:
    (folder / "run" / "out_of_fold.parquet").unlink()
    (folder / "run" / "fold0" / "training_images.csv").unlink()
    assert run(folder, "fold0", "fold2") == 0
    images = read_scored_images(folder / "scores.parquet")
    assert images.thresholds == {}
    page = (folder / "scores.md").read_text()
    assert "No thresholds, and nothing is called present" in page
    assert "Not known: what " in page
    assert "| disease | positives / images | AUC | AP | Brier |\n" in page


def test_a_list_says_which_images(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "test_list.txt").write_text("5.png\n7.png\n99.png\n")
    assert run(folder, "fold0", more=("--images", str(folder / "test_list.txt"))) == 0
    assert read_scored_images(folder / "scores.parquet").image_ids == ("5.png", "7.png")
    assert "1 images of" in capsys.readouterr().out


def test_an_unreadable_image_is_named_and_left_out(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "4.png").write_bytes(b"no picture")
    assert run(folder, "fold0") == 1  # the others are done
    assert "4.png" not in read_scored_images(folder / "scores.parquet").image_ids
    assert "left out 4.png" in capsys.readouterr().out


def test_what_cannot_be_scored_ends_with_status_2(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_fold(folder / "run", 3, radiographs(folder), DISEASES)
    assert run(folder, "fold3") == 2
    assert "all 10 images are of patients that a classifier was" in capsys.readouterr().err
    save_fold(folder / "run", 4, [], ("Mass",))
    assert run(folder, "fold0", "fold4") == 2
    assert "an ensemble needs the same diseases" in capsys.readouterr().err
    assert run(folder, "fold0", "fold0") == 2
    assert "expected each bundle once" in capsys.readouterr().err
    assert main(["--classifier", "x", "--prepared", "y", "--out", "z.csv"]) == 2
    assert "expected a name that ends in .parquet" in capsys.readouterr().err
