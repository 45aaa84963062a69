"""The whole tool on written runs: tables, figure, ensembles, errors."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from builders import read_pixels
from cxrloc.classification.metrics.ensembles import with_thresholds
from cxrloc.classification.metrics.scored_images import (
    ScoredImages,
    join_images,
    write_scored_images,
)
from cxrloc.tools.experiments.compare_networks import main, named_runs

DISEASES = ("Mass", "Pleural_Thickening")


def make_run(folder: Path, seed: int, images: int = 60) -> ScoredImages:
    """A run of 3 folds; every fold is validated on the next one. Two images a patient."""
    labels = (np.random.default_rng(0).random((images, 2)) < 0.4).astype(float)
    noise = np.random.default_rng(seed).random((images, 2))
    patients = np.arange(images) // 2
    whole = ScoredImages(
        DISEASES,
        tuple(f"{n:02d}.png" for n in range(images)),
        tuple(f"p{p}" for p in patients),
        patients % 3,
        0.2 * labels + 0.8 * noise,
        labels,
    )
    parts = [whole.select(whole.folds == fold) for fold in range(3)]
    validation = []
    for fold in range(3):
        validation_part = parts[(fold + 1) % 3]
        validation_part = ScoredImages(
            DISEASES,
            validation_part.image_ids,
            validation_part.patient_ids,
            np.full(len(validation_part), fold),
            validation_part.scores,
            validation_part.labels,
        )
        write_scored_images(folder / f"fold{fold}" / "validation.parquet", validation_part)
        validation.append(validation_part)
    predicted = with_thresholds(join_images(parts), validation, 0.8)
    write_scored_images(folder / "out_of_fold.parquet", predicted)
    return predicted


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs a and b, their ensemble, and the results in out."""
    root = tmp_path_factory.mktemp("runs")
    for seed, name in enumerate("ab", start=1):
        make_run(root / name, seed)
    arguments = [str(root / "a"), f"big_net={root / 'b'}", "--out", str(root / "out")]
    assert main([*arguments, "--resamples", "50", "--ensemble", "all"]) == 0
    return root


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as handle:
        return list(csv.DictReader(handle))


def test_every_form_of_the_table_is_written(compared: Path) -> None:
    assert {p.name for p in (compared / "out").iterdir()} == {
        "networks.csv",
        "confusion.csv",
        "differences.csv",
        "networks.md",
        "networks.tex",
        "networks.png",
        "manifest.json",
    }
    assert read_pixels(compared / "out" / "networks.png").std() > 1
    manifest = json.loads((compared / "out" / "manifest.json").read_text())
    assert set(manifest["hashes"]) == {"a", "big_net"}
    for suffix in ("md", "tex"):
        text = (compared / "out" / f"networks.{suffix}").read_text()
        assert "Research use only, never a diagnosis." in text
        assert "images as independent" in text
        assert "published: CheXNet (Rajpurkar et al. 2017), random by patient" in text
    assert r"Pleural\_Thickening" in (compared / "out" / "networks.tex").read_text()


def test_the_ensemble_is_a_row_with_the_auc_of_the_mean(compared: Path) -> None:
    rows = rows_of(compared / "out" / "networks.csv")
    ours = [r for r in rows if not r["scored_on"].startswith("published")]
    assert [(r["network"], r["disease"]) for r in ours] == [
        (network, disease)
        for network in ("a", "big_net", "mean of a, big_net")
        for disease in (*DISEASES, "macro mean")
    ]
    a, b = make_run(compared / "again_a", 1), make_run(compared / "again_b", 2)
    expected = roc_auc_score(a.labels[:, 0], (a.scores[:, 0] + b.scores[:, 0]) / 2)
    assert float(ours[6]["auc"]) == pytest.approx(expected)
    assert ours[6]["members"] == "a + big_net"
    assert ours[6]["sensitivity_target"] != ""


def test_published_figures_stand_apart_with_the_images_behind_them(compared: Path) -> None:
    rows = rows_of(compared / "out" / "networks.csv")
    published = {
        (r["network"], r["disease"]): r for r in rows if r["scored_on"].startswith("published: ")
    }
    mass = published["CheXNet (Rajpurkar et al. 2017)", "Mass"]
    assert (mass["auc"], mass["auc_low"], mass["images"]) == ("0.8676", "", "")
    page = (compared / "out" / "networks.md").read_text()
    assert "| published: CheXNet (Rajpurkar et al. 2017) | 0.8369 |" in page  # (.8676 + .8062) / 2


def test_differences_of_all_pairs_have_both_tests(compared: Path) -> None:
    rows = rows_of(compared / "out" / "differences.csv")
    assert len(rows) == 3 * 3
    for row in rows:
        assert float(row["auc_difference_low"]) <= float(row["auc_difference_high"])
        assert (row["delong_p"] == "") == (row["disease"] == "macro mean")
    mass, thickening, macro = rows[:3]
    assert float(macro["auc_difference"]) == pytest.approx(
        (float(mass["auc_difference"]) + float(thickening["auc_difference"])) / 2
    )
    smaller = min(float(mass["delong_p"]), float(thickening["delong_p"]))
    adjusted = [float(r["delong_holm_p"]) for r in (mass, thickening)]
    assert min(adjusted) == pytest.approx(min(1.0, 2 * smaller))


def test_one_network_alone_has_a_table_and_no_differences(compared: Path, tmp_path: Path) -> None:
    assert main([str(compared / "a"), "--out", str(tmp_path / "out"), "--resamples", "10"]) == 0
    assert not (tmp_path / "out" / "differences.csv").exists()
    assert "## AUC per disease" in (tmp_path / "out" / "networks.md").read_text()


def test_an_ensemble_without_validation_images_has_no_threshold(tmp_path: Path) -> None:
    for seed, name in enumerate("ab"):
        make_run(tmp_path / name, seed)
    (tmp_path / "a" / "fold1" / "validation.parquet").unlink()
    arguments = [str(tmp_path / "a"), str(tmp_path / "b"), "--ensemble", "a", "b"]
    assert main([*arguments, "--out", str(tmp_path / "out"), "--resamples", "10"]) == 0
    rows = rows_of(tmp_path / "out" / "networks.csv")
    both = [r for r in rows if r["network"] == "mean of a, b"]
    assert {r["sensitivity_youden"] for r in both} == {""}
    assert all(r["auc"] for r in both)


def test_what_cannot_be_compared_ends_with_status_2_and_says_why(
    compared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_run(tmp_path / "small", 3, images=58)
    a, out = str(compared / "a"), ["--out", str(tmp_path / "out")]
    for arguments, message in (
        ([a, str(tmp_path / "small")], "2 images only in a, for example 58.png"),
        ([a, str(tmp_path / "gone")], "cxrloc train-gate with the run's config"),
        ([a, a], "two runs are called 'a'; name them with NAME=FOLDER"),
        ([a, "--ensemble", "a", "z"], "--ensemble: no network z; known are ['a']"),
        ([a, "--ensemble", "a", "a"], "expected each network once"),
        ([a, "--ensemble", "all"], "an ensemble needs at least two networks, got 1"),
    ):
        assert main([*arguments, *out]) == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_run_is_called_like_its_folder_or_as_asked() -> None:
    assert named_runs(["runs/a", "x=runs/b"]) == {"a": Path("runs/a"), "x": Path("runs/b")}
    with pytest.raises(ValueError, match="expected a folder or NAME=FOLDER"):
        named_runs(["=runs/a"])
