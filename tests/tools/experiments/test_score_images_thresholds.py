"""score_images.py: where the mean of several folds calls a disease present."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cxrloc.classification.metrics.operating_point import youden
from cxrloc.classification.metrics.scored_images import (
    ScoredImages,
    read_scored_images,
    write_scored_images,
)
from cxrloc.classification.runs.ensemble import load_ensemble, score_images
from cxrloc.datasets.prepared.folder import write_prepared
from cxrloc.datasets.radiograph import Radiograph
from tools.experiments.untrained_folds import (
    DISEASES,
    out_of_fold,
    prepared_run,
    radiographs,
    save_fold,
    score,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return prepared_run(tmp_path)


def test_thresholds_of_a_mean_are_youdens_on_the_images_out_of_fold(folder: Path) -> None:
    assert score(folder, "fold0", "fold1", "fold2") == 0
    images = read_scored_images(folder / "scores.parquet")
    expected = youden([0, 0, 1, 1], [0.2, 0.3, 0.6, 0.8]).threshold
    assert expected == pytest.approx(0.45)  # midway
    assert images.thresholds["youden"][:, 0] == pytest.approx([0.45] * 8)
    assert np.isnan(images.thresholds["youden"][:, 1]).all()
    assert not images.present("youden")[:, 1].any()
    assert "Thresholds are Youden's on 4 out-of-fold images" in (folder / "scores.md").read_text()


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
    radiographs_left = [
        replace(r, study_id=f"s{n // 4}", body_part="XR_HAND")
        for n, r in enumerate(radiographs(folder)[2:])
    ]
    write_prepared(
        folder / "prepared",
        radiographs_left,
        boxed_diseases=(),
        folds={r.image_id: 0 for r in radiographs_left},
        k=3,
        official={},
        summary="",
        manifest={},
    )
    bundles = [folder / "run" / f"fold{f}" / "classifier.safetensors" for f in (0, 2)]
    scored = score_images(load_ensemble(bundles, "cpu", "fp32"), radiographs_left)
    assert scored.examination_thresholds[0] == pytest.approx((0.35 + 0.6) / 2)
    assert np.isnan(scored.examination_thresholds[1])  # nobody has a Nodule
    assert scored.images.thresholds["youden"][0, 0] == pytest.approx((0.6 + 0.7) / 2)
    assert score(folder, "fold0", "fold2") == 0
    page = (folder / "scores.md").read_text()
    assert "| XR_HAND | 2 | 2 |" in page.split("## Examinations: Mass")[1]
    again = read_scored_images(folder / "scores.parquet")
    assert again.study_ids == ("s0",) * 4 + ("s1",) * 4


def test_patients_who_are_scored_have_no_say_in_the_thresholds(folder: Path) -> None:
    """One fold of each of two networks predicts the images of that fold, p2's and p3's."""
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
    more = ("--image-list", str(folder / "list.txt"))
    assert score(folder, "fold0", "../second/fold0", more=more) == 0
    scored = read_scored_images(folder / "scores.parquet")
    assert scored.thresholds["youden"][:, 0] == pytest.approx([0.45] * 3)  # as without p2 and p3
    page = (folder / "scores.md").read_text()
    assert "Youden's on 4 out-of-fold images" in page
    assert "2 others show patients who are scored here" in page


def test_no_thresholds_are_chosen_where_all_patients_are_scored(folder: Path) -> None:
    images = replace(out_of_fold(), patient_ids=("p1", "p2", "p3", "p4"))
    write_scored_images(folder / "run" / "out_of_fold.parquet", images)
    assert score(folder, "fold0", "fold2") == 0
    assert read_scored_images(folder / "scores.parquet").thresholds == {}
    page = (folder / "scores.md").read_text()
    assert "No thresholds, so nothing is predicted present: all 4 out-of-fold images are of" in page


def test_one_classifier_keeps_its_own_thresholds(folder: Path) -> None:
    assert score(folder, "fold2") == 0
    images = read_scored_images(folder / "scores.parquet")
    assert images.thresholds["youden"][0] == pytest.approx([0.6, 0.6])


def test_without_a_cross_validation_there_are_no_thresholds(folder: Path) -> None:
    (folder / "run" / "out_of_fold.parquet").unlink()
    (folder / "run" / "fold0" / "training_images.csv").unlink()
    assert score(folder, "fold0", "fold2") == 0
    images = read_scored_images(folder / "scores.parquet")
    assert images.thresholds == {}
    page = (folder / "scores.md").read_text()
    assert "No thresholds, so nothing is predicted present" in page
    assert "Training images of " in page
    assert "| disease | positives / images | AUC | AP | Brier |\n" in page
