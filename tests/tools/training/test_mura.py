"""MURA end to end on a phantom limb: from its layout to folds, tables of examinations and boxes."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from cxrloc.classification.bundle.classifier import load_classifier
from cxrloc.classification.inference.gate_table import read_gate_table
from cxrloc.classification.metrics.examinations import by_level
from cxrloc.classification.metrics.scored_images import read_scored_images, write_scored_images
from cxrloc.classification.report.tables import value_text
from cxrloc.datasets.phantoms.mura import LimbConfig, make_phantom_limb
from cxrloc.datasets.prepared.folder import load_prepared
from cxrloc.tools import localize, predict, prepare_data, train_classifier
from cxrloc.tools.experiments import compare_networks, score_images

pytestmark = pytest.mark.slow
CONFIG = Path(__file__).resolve().parents[3] / "configs" / "phantom" / "mura_demo.yaml"


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("limb")
    # of this seed one examination of 19 has 13 images, the most that MURA has
    make_phantom_limb(LimbConfig(patients=16, seed=17, image_size=64), folder / "images", workers=1)
    arguments = [f"--root={folder / 'images'}", f"--out={folder / 'prepared'}", "--folds=3"]
    assert prepare_data.main(["--dataset=mura", "--workers=1", *arguments]) == 0
    return folder / "prepared"


def arguments(prepared: Path, out: Path) -> list[str]:
    options = {
        "config": CONFIG,
        "data.prepared": prepared,
        "out": out,
        "data.workers": 1,
        "model.size": 64,
        "model.standardise": "image",
        "train.epochs": 2,
        "train.device": "cpu",
        "train.bootstrap": 20,
        "train.precision": "fp32",
    }
    return [f"--{key}={value}" for key, value in options.items()]


@pytest.fixture(scope="module")
def run(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run")
    assert train_classifier.main([*arguments(prepared, out), "--data.split=folds"]) == 0
    return out


def rows_of(run: Path) -> list[dict[str, str]]:
    with (run / "studies.csv").open(encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


def test_every_examination_and_every_image_is_counted_in_its_part_and_in_all(
    run: Path, prepared: Path
) -> None:
    images = load_prepared(prepared).radiographs
    rows = rows_of(run)
    parts = sorted({image.body_part for image in images})
    assert len(parts) > 2
    for level, name in (("study", "study_id"), ("image", "image_id")):
        for part in (*parts, "all"):
            of_part = [image for image in images if part in (image.body_part, "all")]
            (row,) = [
                r for r in rows if (r["level"], r["body_part"], r["rule"]) == (level, part, "0.5")
            ]
            assert int(row["units"]) == len({getattr(image, name) for image in of_part})
            assert int(row["patients"]) == len({image.patient_id for image in of_part})


def test_an_examination_of_thirteen_images_goes_through_reader_folds_and_averaging_as_one(
    run: Path, prepared: Path
) -> None:
    data = load_prepared(prepared)
    examinations = [image.study_id for image in data.radiographs]
    largest = max(examinations, key=examinations.count)
    images = [image for image in data.radiographs if image.study_id == largest]
    assert [image.image_id for image in images] == [f"{largest}/image{n}.png" for n in range(1, 14)]
    assert len({data.folds[image.image_id] for image in images}) == 1  # its patient's fold
    scored = read_scored_images(run / "out_of_fold.parquet")
    of_largest = scored.select(np.array(scored.study_ids) == largest)
    assert len(of_largest) == 13
    whole = by_level(scored, np.array([0.5]), 0, 0)
    part = images[0].body_part
    of_part = scored.select(np.array(scored.body_parts) == part)
    means = {s: of_part.scores[np.array(of_part.study_ids) == s].mean() for s in of_part.study_ids}
    assert means[largest] == pytest.approx(of_largest.scores.mean())
    (row,) = [r for r in whole["study"] if (r.body_part, r.rule) == (part, "validation")]
    assert row.units == len(means)
    assert row.true_positive + row.false_positive == sum(m >= 0.5 for m in means.values())


def test_an_examinations_call_is_the_mean_of_its_images_at_one_half(
    run: Path, prepared: Path
) -> None:
    images = {image.image_id: image for image in load_prepared(prepared).radiographs}
    scores: dict[str, list[float]] = {}
    with (run / "gate.csv").open(encoding="utf-8") as handle:
        for row in csv.DictReader(line for line in handle if not line.startswith("#")):
            scores.setdefault(images[row["image_id"]].study_id, []).append(
                float(row["probability"])
            )
    labels = {image.study_id: image.labels["Abnormal"] for image in images.values()}
    hits = sum(
        np.mean(scores[examination]) >= 0.5 for examination in scores if labels[examination] == 1
    )
    (row,) = [
        r
        for r in rows_of(run)
        if (r["level"], r["body_part"], r["rule"]) == ("study", "all", "0.5")
    ]
    assert int(row["true_positive"]) == hits
    right = int(row["true_positive"]) + int(row["true_negative"])
    assert float(row["accuracy"]) == pytest.approx(right / len(scores))


def test_the_page_never_prints_the_whole_without_its_parts(run: Path) -> None:
    page = (run / "studies.md").read_text()
    for title in ("## Examinations: Abnormal", "## Images: Abnormal"):
        table = page.split(title)[1].split("##")[0]
        parts = re.findall(r"^\| (XR_\w+|all) \|", table, re.M)
        assert parts[-1] == "all"
        assert len(parts) > 3
        assert "A pooled AUC mixes the scales of the folds' models." in table
    assert "never a diagnosis" in page
    assert "accuracy 0.711 (Team 6, X-Ray Machine Learning 2019" in page  # of fingers, Conv4
    assert "AUC .929 (Rajpurkar et al. 2018)" in page
    assert "Rajpurkar et al. 2018 (five DenseNet-169; hidden test part of 207 studies)" in page


def test_figures_over_all_parts_never_stand_without_the_parts(run: Path) -> None:
    of_images = {
        r["body_part"]: r for r in rows_of(run) if (r["level"], r["rule"]) == ("image", "0.5")
    }
    parts = sorted(set(of_images) - {"all"})
    assert len(parts) > 2
    for name in ("metrics.md", "cross_validation.md"):
        page = (run / name).read_text()
        table = page.split("## Images: Abnormal")[1].split("##")[0]
        assert (
            "mixes parts of different difficulty and prevalence: quote it with the rows by part"
            in table
        )
        rows = [line for line in table.splitlines() if line.startswith("| XR_")]
        lines = [row.strip("| ").split(" | ") for row in rows]
        assert [cells[0] for cells in lines] == parts
        for part, cells in zip(parts, lines, strict=True):
            figures = of_images[part]
            for cell, figure in ((cells[4], "auc"), (cells[5], "accuracy"), (cells[6], "kappa")):
                value = figures[figure]
                assert cell.startswith(value_text(float(value)) if value else "undefined:")
            matrix = [
                figures[f"{a}_{b}"]
                for a, b in (
                    ("true", "positive"),
                    ("false", "negative"),
                    ("false", "positive"),
                    ("true", "negative"),
                )
            ]
            assert cells[7] == " / ".join(matrix)


def test_every_fold_chose_an_operating_point_of_examinations_on_its_validation_patients(
    run: Path,
) -> None:
    for fold in range(3):
        metrics = json.loads((run / f"fold{fold}" / "metrics.json").read_text())
        assert set(metrics["study_operating_points"]) == {"Abnormal"}
        point = metrics["study_operating_points"]["Abnormal"]["threshold"]
        later = load_classifier(run / f"fold{fold}" / "classifier.safetensors")
        assert later.examination_thresholds == {"Abnormal": point}
    bundle = load_classifier(run / "fold0" / "classifier.safetensors")
    assert bundle.preprocessing.input == "single"
    assert bundle.preprocessing.image is not None
    assert bundle.preprocessing.image.mean.shape == (64, 64)


def test_images_scored_later_get_the_figures_of_examinations_and_parts_that_the_run_has(
    run: Path, prepared: Path, tmp_path: Path
) -> None:
    fold = run / "fold0"
    out = tmp_path / "scores.parquet"
    options = ["--prepared", str(prepared), "--out", str(out), "--resamples=20"]
    bundle = str(fold / "classifier.safetensors")
    assert score_images.main([*options, "--precision=fp32", "--gate", bundle]) == 0
    images = read_scored_images(out)  # the other folds' patients were trained on
    rows = [row for row in read_gate_table(fold / "gate.csv") if row.image_id in images.image_ids]
    np.testing.assert_allclose(images.scores[:, 0], [r.probability for r in rows], atol=1e-6)
    metrics = json.loads((fold / "metrics.json").read_text())
    point = metrics["study_operating_points"]["Abnormal"]["threshold"]
    examinations = {s: images.select(np.array(images.study_ids) == s) for s in images.study_ids}
    called = sum(f.scores.mean() >= point for f in examinations.values()) if point else 0
    with out.with_suffix(".studies.csv").open(encoding="utf-8") as handle:
        written = {(r["level"], r["body_part"], r["rule"]): r for r in csv.DictReader(handle)}
    whole = written["study", "all", "validation"]
    assert int(whole["units"]) == len(examinations)
    assert int(whole["true_positive"] or 0) + int(whole["false_positive"] or 0) == called
    page = out.with_suffix(".md").read_text()
    for title in ("## Examinations: Abnormal", "## Images: Abnormal"):
        table = page.split(title)[1].split("##")[0]
        parts = re.findall(r"^\| (XR_\w+|all) \|", table, re.M)
        assert parts == [*sorted(set(images.body_parts)), "all"]


def test_networks_are_compared_by_part_below_all_parts(run: Path, tmp_path: Path) -> None:
    out, other = tmp_path / "comparison", tmp_path / "other"
    images = read_scored_images(run / "out_of_fold.parquet")
    write_scored_images(other / "out_of_fold.parquet", images)
    assert compare_networks.main([f"a={other}", f"b={run}", f"--out={out}", "--resamples=20"]) == 0
    page = (out / "networks.md").read_text()
    auc = {(r["level"], r["body_part"]): r["auc"] for r in rows_of(run) if r["rule"] == "0.5"}
    for level, title in (
        ("study", "## Examinations by body part"),
        ("image", "## Images by body part"),
    ):
        table = page.split(f"{title}: Abnormal")[1].split("##")[0]
        rows = re.findall(r"^\| (XR_\w+|all) \| (a|b) \| \d+ \| (\S+)", table, re.M)
        assert [network for _, network, _ in rows] == ["a", "b"] * (len(rows) // 2)
        shown = {part: figure for part, network, figure in rows if network == "a"}
        parts = sorted(part for of, part in auc if of == level)
        assert list(shown) == parts  # all stands last, as lower case does
        for part in parts:
            figure = auc[level, part]
            assert shown[part] == (value_text(float(figure)) if figure else "undefined:")
    with (out / "networks_by_part.csv").open(encoding="utf-8") as handle:
        records = list(csv.DictReader(handle))
    assert {r["network"] for r in records} == {"a", "b"}
    assert {(r["level"], r["body_part"]): r["auc"] for r in records if r["network"] == "b"} == auc


def test_maps_are_boxed_out_of_fold(run: Path, prepared: Path, tmp_path: Path) -> None:
    out = tmp_path / "cam.json"
    options = [f"--gate={run}", f"--prepared={prepared}", f"--out={out}", "--images=all"]
    assert localize.main(["--localizer=grad_cam", *options]) == 0
    results = json.loads(out.read_text())
    images = load_prepared(prepared).radiographs
    # an image whose map is nowhere over 0 has no box
    assert 0 < len({box["image_id"] for box in results}) <= len(images)


def test_the_official_split_trains_and_predicts_with_pictures(
    prepared: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    assert train_classifier.main([*arguments(prepared, out), "--data.validation_share=0.3"]) == 0
    assert "mixes the scales" not in (out / "studies.md").read_text()  # of one model
    images = [image for image in load_prepared(prepared).radiographs if image.path is not None]
    first = [image for image in images if image.study_id == images[0].study_id]
    bundle, folder = out / "classifier.safetensors", tmp_path / "p"
    options = ["--gate", str(bundle), "--out", str(folder)]
    assert predict.main([*(str(image.path) for image in first), *options]) == 0
    pictures = sorted(folder.glob("*.heat.jpg"))
    assert len(pictures) == len(first)
    assert all(cv2.imread(str(path)) is not None for path in pictures)
    probabilities = []
    for path in folder.glob("*.json"):
        (finding,) = json.loads(path.read_text())["findings"]
        assert finding["disease"] == "Abnormal"
        probabilities.append(finding["probability"])
    with (folder / "study_predictions.csv").open(encoding="utf-8") as handle:
        (row,) = csv.DictReader(line for line in handle if not line.startswith("#"))
    assert row["study"] == first[0].study_id.removeprefix("train/")
    assert float(row["probability"]) == pytest.approx(np.mean(probabilities))
    point = load_classifier(bundle).examination_thresholds["Abnormal"]
    assert float(row["threshold"]) == (0.5 if point is None else point)
    assert row["threshold_from"] == ("default" if point is None else "validation")
