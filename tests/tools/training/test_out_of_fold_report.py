"""train_classifier.py over all folds: one report of every image out of fold."""

from __future__ import annotations

import csv
import json
import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import save_file

from builders import read_pixels
from cxrloc.classification.inference.gate_table import read_gate_table, write_gate_table
from cxrloc.classification.metrics.operating_point import at_sensitivity
from cxrloc.classification.metrics.scored_images import (
    join_images,
    read_scored_images,
    write_scored_images,
)
from cxrloc.classification.network.classifier import build_classifier
from cxrloc.classification.report.tables import value_text
from cxrloc.tools.train_classifier import main


def drawn_images() -> list[dict[str, Any]]:
    """24 images, 12 patients, 3 folds; a Mass is a bright block; nobody of fold 1 has a Hernia."""
    images = []
    for n in range(24):
        patient, mass = n // 2, float(n % 2)
        labels = {"Mass": mass, "Hernia": float(patient % 3 != 1 and n % 4 == 0)}
        images.append(
            {"labels": labels, "patient": f"p{patient}", "fold": patient % 3, "block": 150 * mass}
        )
    return images


def arguments(prepared: Path, out: Path, *more: str) -> list[str]:
    options = {
        "data.prepared": prepared,
        "data.diseases": "[Mass,Hernia,No Finding]",
        "out": out,
        "data.workers": 1,
        "model.size": 64,
        "train.epochs": 2,
        "train.batch_size": 8,
        "train.precision": "fp32",
        "train.device": "cpu",
        "train.bootstrap": 20,
        "sensitivity": 0.75,
    }
    return [*(f"--{key}={value}" for key, value in options.items()), *more]


@pytest.fixture(scope="module")
def prepared(
    prepared_images: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    return prepared_images(
        tmp_path_factory.mktemp("images"), drawn_images(), boxed_diseases=("Mass",)
    )


@pytest.fixture(scope="module")
def finished(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run")
    assert main(arguments(prepared, out)) == 0
    return out


@pytest.mark.slow
def test_one_parquet_holds_every_image_as_its_own_fold_predicted_it(finished: Path) -> None:
    images = read_scored_images(finished / "out_of_fold.parquet")
    assert images.diseases == ("Mass", "Hernia", "No Finding")
    assert sorted(images.image_ids) == [f"{n:02d}.png" for n in range(24)]
    rows = {(r.image_id, r.disease): r for r in read_gate_table(finished / "gate.csv")}
    for i, image in enumerate(images.image_ids):
        number = int(image[:2])
        assert images.patient_ids[i] == f"p{number // 2}"
        assert images.folds[i] == number // 2 % 3
        for j, disease in enumerate(images.diseases):
            row = rows[image, disease]
            assert images.scores[i, j] == row.probability
            threshold = images.thresholds["youden"][i, j]
            assert (None if math.isnan(threshold) else threshold) == row.threshold
    # No Finding is no Mass and no Hernia
    np.testing.assert_array_equal(images.labels[:, 2], (images.labels[:, :2] == 0).all(axis=1))


@pytest.mark.slow
def test_the_thresholds_of_a_sensitivity_come_from_the_validation_images(finished: Path) -> None:
    images = read_scored_images(finished / "out_of_fold.parquet")
    assert images.sensitivity == 0.75
    for fold in range(3):
        validation = read_scored_images(finished / f"fold{fold}" / "validation.parquet")
        predicted_patients = {
            p for p, f in zip(images.patient_ids, images.folds, strict=True) if f == fold
        }
        assert predicted_patients.isdisjoint(validation.patient_ids)
        expected = at_sensitivity(validation.labels[:, 0], validation.scores[:, 0], 0.75).threshold
        assert set(images.thresholds["target"][images.folds == fold, 0]) == {expected}
    # fold 0 is validated on fold 1, where nobody has a Hernia: never called present
    assert np.isnan(images.thresholds["target"][images.folds == 0, 1]).all()
    assert not images.present("target")[images.folds == 0, 1].any()


@pytest.mark.slow
def test_the_report_has_its_tables_and_figures(finished: Path) -> None:
    for name in ("confusion_youden", "confusion_target", "calibration", "epochs"):
        assert read_pixels(finished / f"{name}.png").std() > 1
    with (finished / "cross_validation.csv").open() as handle:
        table = {row["disease"]: row for row in csv.DictReader(handle)}
    assert list(table) == ["Mass", "Hernia", "No Finding", "macro mean"]
    pooled = json.loads((finished / "metrics.json").read_text())["test"]
    assert float(table["Mass"]["auc"]) == pooled["diseases"]["Mass"]["auc"]
    assert float(table["macro mean"]["ap_low"]) == pooled["macro_average_precision_interval"][0]
    assert (table["Hernia"]["auc_folds"], table["Mass"]["auc_folds"]) == ("2", "3")
    with (finished / "confusion.csv").open() as handle:
        counts = {(r["rule"], r["disease"]): r for r in csv.DictReader(handle)}
    mass = counts["youden", "Mass"]
    assert int(mass["true_positive"]) + int(mass["false_negative"]) == 12
    assert counts["target", "Hernia"]["undecided"] == "8"
    page = (finished / "cross_validation.md").read_text()
    assert "count as predicted absent: Hernia (8 images)" in page
    assert "Research use only, never a diagnosis." in page


@pytest.mark.slow
def test_a_finished_run_is_reported_again_without_training(
    finished: Path, prepared: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (finished / "out_of_fold.parquet").read_bytes()
    assert main(arguments(prepared, finished)) == 0
    assert capsys.readouterr().out.count("already finished, skipped") == 3
    assert (finished / "out_of_fold.parquet").read_bytes() == before


@pytest.mark.slow
def test_folds_trained_one_by_one_are_reported_once_all_are_there(
    finished: Path, prepared: Path, tmp_path: Path
) -> None:
    one_by_one = ["--train.epochs=1", "--train.bootstrap=2"]
    for fold in range(3):
        assert main([*arguments(prepared, tmp_path, *one_by_one), f"--data.fold={fold}"]) == 0
        assert not (tmp_path / "out_of_fold.parquet").exists()
    assert main(arguments(prepared, tmp_path, *one_by_one)) == 0
    images = read_scored_images(tmp_path / "out_of_fold.parquet")
    assert images.image_ids == read_scored_images(finished / "out_of_fold.parquet").image_ids


@pytest.fixture(scope="module")
def two_stages(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The command line of a finished cross-validation in two stages."""
    folder = tmp_path_factory.mktemp("stages")
    model, _ = build_classifier("simple_cnn", 1, seed=1)
    save_file(model.backbone.state_dict(), folder / "start.safetensors")
    more = [
        "--model.architecture=simple_cnn",
        f"--model.weights={folder / 'start.safetensors'}",
        "--train.two_stage=true",
        "--train.stage1_epochs=1",
    ]
    command = arguments(prepared, folder / "run", *more)
    assert main(command) == 0
    return command


def stage_rows(run: Path) -> dict[tuple[str, str], float]:
    """(stage, disease) -> AUC in cross_validation.csv."""
    with (run / "cross_validation.csv").open() as handle:
        rows = list(csv.DictReader(handle))
    return {(r["stage"], r["disease"]): float(r["auc"]) for r in rows}


@pytest.mark.slow
def test_both_stages_are_reported_out_of_fold_beside_each_other(two_stages: list[str]) -> None:
    run = next(Path(w.removeprefix("--out=")) for w in two_stages if w.startswith("--out="))
    rows = stage_rows(run)
    gate = read_scored_images(run / "out_of_fold.parquet")
    for stage, name in enumerate(("frozen", "fine-tuned")):
        parts = []
        for fold in range(3):
            stage_record = json.loads((run / f"fold{fold}" / "metrics.json").read_text())["stages"][
                stage
            ]
            scores_file = (run / f"fold{fold}" / stage_record["bundle"]).with_suffix(".parquet")
            assert scores_file.is_file() != stage_record["chosen"]
            images = (
                gate.select(gate.folds == fold)
                if stage_record["chosen"]
                else read_scored_images(scores_file)
            )
            for disease, figures in stage_record["test"]["diseases"].items():
                column = images.diseases.index(disease)
                by_hand = area(images.labels[:, column], images.scores[:, column])
                # undefined in JSON is null
                assert (None if np.isnan(by_hand) else pytest.approx(by_hand)) == figures["auc"]
            parts.append(images)
        pooled = join_images(parts)
        for column, disease in enumerate(pooled.diseases):
            by_hand = area(pooled.labels[:, column], pooled.scores[:, column])
            assert rows[name, disease] == pytest.approx(by_hand)
        mean = np.mean([rows[name, disease] for disease in pooled.diseases])
        assert rows[name, "macro mean"] == pytest.approx(mean)
    page = (run / "cross_validation.md").read_text()
    difference = rows["fine-tuned", "macro mean"] - rows["frozen", "macro mean"]
    assert f"| frozen | {value_text(rows['frozen', 'macro mean'])} [" in page
    assert f"| fine-tuned minus frozen | {value_text(difference)} [" in page
    assert "(DenseNet-121 fine-tuned 512) | 0.6978 |" in page


@pytest.mark.slow
def test_folds_that_chose_different_stages_are_reported_too(
    two_stages: list[str], tmp_path: Path
) -> None:
    out = next(word for word in two_stages if word.startswith("--out="))
    before = stage_rows(Path(out.removeprefix("--out=")))
    run = tmp_path / "run"
    shutil.copytree(out.removeprefix("--out="), run)
    choose_other_stage(run / "fold1")
    records = [json.loads((run / f"fold{f}/metrics.json").read_text())["stages"] for f in range(3)]
    assert len({of_fold[0]["chosen"] for of_fold in records}) == 2
    assert main([f"--out={run}" if word == out else word for word in two_stages]) == 0
    # each stage predicts what it predicted before, wherever its probabilities are kept
    after = stage_rows(run)
    for stage in ("frozen", "fine-tuned"):
        for disease in ("Mass", "Hernia", "No Finding", "macro mean"):
            assert after[stage, disease] == before[stage, disease]
    pooled = read_scored_images(run / "out_of_fold.parquet")
    by_hand = area(pooled.labels[:, 0], pooled.scores[:, 0])
    assert after["", "Mass"] == pytest.approx(by_hand)


def choose_other_stage(fold: Path) -> None:
    """Make a finished fold one that chose its other stage: gate.csv holds that one's scores."""
    metrics = json.loads((fold / "metrics.json").read_text())
    chosen, other = sorted(metrics["stages"], key=lambda stage: not stage["chosen"])
    rows = read_gate_table(fold / "gate.csv")
    scored = read_scored_images((fold / other["bundle"]).with_suffix(".parquet"))
    earlier = np.array([row.probability for row in rows]).reshape(scored.scores.shape)
    scores = scored.scores.reshape(-1).tolist()
    write_gate_table(
        fold / "gate.csv",
        [
            replace(row, probability=p, present=row.threshold is not None and p >= row.threshold)
            for row, p in zip(rows, scores, strict=True)
        ],
    )
    of_other = fold / f"classifier_stage{chosen['stage']}.parquet"
    write_scored_images(of_other, replace(scored, scores=earlier))
    chosen |= {"chosen": False, "bundle": of_other.with_suffix(".safetensors").name}
    other |= {"chosen": True, "bundle": "classifier.safetensors"}
    (fold / "metrics.json").write_text(json.dumps(metrics))


def area(labels: np.ndarray, scores: np.ndarray) -> float:
    """AUC by its definition: the share of pairs in the right order, equal scores counting half."""
    pairs = np.subtract.outer(scores[labels == 1], scores[labels == 0])
    return float(np.mean((pairs > 0) + 0.5 * (pairs == 0))) if pairs.size else float("nan")


def test_a_sensitivity_in_percent_ends_with_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["--sensitivity=90"])
    assert stop.value.code == 2
    assert "sensitivity: got 90.0, expected a share in (0, 1)" in capsys.readouterr().err
