"""Rules by fold on disk: round trip, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from cxrloc.datasets.files.manifest import file_sha256
from cxrloc.localization.cam.boxes import CamBoxRule
from cxrloc.localization.cam.rules import (
    FOLDS_OF_THE_GROUND_TRUTH,
    CamRules,
    SizedRule,
    read_cam_rules,
    rules_of_fold,
    write_cam_rules,
)

MASS = SizedRule(CamBoxRule((60.0,), 5, "largest", 0.5), (1 / 3, 0.1), 7)
NODULE = SizedRule(CamBoxRule(probability=0.35), None, 0)


@pytest.fixture
def truth(tmp_path: Path) -> Path:
    (tmp_path / "truth.json").write_text("{}")
    return tmp_path / "truth.json"


@pytest.fixture
def rules(truth: Path) -> CamRules:
    return CamRules(
        "grad_cam",
        False,
        FOLDS_OF_THE_GROUND_TRUTH,
        file_sha256(truth),
        {0: {"Mass": MASS, "Nodule": NODULE}, 3: {"Mass": NODULE}},
        {"Mass": MASS},
    )


def test_what_is_written_is_read_to_the_last_digit(tmp_path: Path, rules: CamRules) -> None:
    path = tmp_path / "rules.yaml"
    write_cam_rules(path, rules, "cxrloc tune-cam\nSaw: no box of its own.")
    assert read_cam_rules(path) == rules
    assert path.read_text().splitlines()[:2] == [
        "# cxrloc tune-cam",
        "# Saw: no box of its own.",
    ]
    plain = yaml.safe_load(path.read_text())
    assert plain["folds"][0]["Mass"]["threshold"] == 60
    assert plain["folds"][0]["Mass"]["size_rule"] == "largest"
    assert plain["all"]["Mass"]["smooth_cells"] == 0.5


def test_the_mean_size_is_a_share_of_the_longer_side() -> None:
    assert MASS.mean_size_wh((300, 600)) == (200, 60)
    assert NODULE.mean_size_wh((300, 600)) is None


def test_rules_of_a_fold_are_for_its_images(tmp_path: Path, truth: Path, rules: CamRules) -> None:
    path = tmp_path / "rules.yaml"
    write_cam_rules(path, rules, "")
    assert rules_of_fold(path, 3, truth, aligned=False) == {"Mass": NODULE}
    with pytest.raises(ValueError, match=r"no rules for fold 1, only for \[0, 3\]"):
        rules_of_fold(path, 1, truth, aligned=False)
    with pytest.raises(ValueError, match="was tuned on plain maps of grad_cam"):
        rules_of_fold(path, 0, truth, aligned=True)
    with pytest.raises(
        ValueError, match=r"tuned on class activation maps of grad_cam, but .* prob"
    ):
        rules_of_fold(path, 0, truth, aligned=False, probabilities=True)
    write_cam_rules(path, replace(rules, localizer="guided_cam", probabilities=True), "")
    assert rules_of_fold(path, 3, truth, aligned=False, probabilities=True) == {"Mass": NODULE}
    with pytest.raises(ValueError, match=r"probabilities of cells \(guided_cam\) of guided_cam"):
        rules_of_fold(path, 0, truth, aligned=False)
    truth.write_text("[]")
    with pytest.raises(ValueError, match="was tuned on another ground truth than"):
        rules_of_fold(path, 0, truth, aligned=False)
    write_cam_rules(path, replace(rules, folds_from="5 patient folds drawn with seed 0"), "")
    with pytest.raises(ValueError, match="its folds come from 5 patient folds drawn"):
        rules_of_fold(path, 0, truth, aligned=False)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("folds:", "fold:"), "the key 'folds' is missing"),
        (("threshold:", "level:"), "Mass.threshold' is missing"),
        (
            ("size_rule: largest", "size_rule: widest"),
            "size_rule: got 'widest', expected 'closest', 'hottest' or",
        ),
        (("threshold: 60.0", "threshold: warm"), "threshold: got 'warm', expected a valid number"),
        (("notice:", "[notice:"), "is not YAML"),
        (("threshold: 60.0", "threshold: .nan"), "threshold: got nan, expected a number"),
        (("smooth_cells: 0.5", "smooth_cells: 1.0e+308"), "smooth_cells: got 1e.308, expected"),
        (("mean_size: [", "mean_size: [.inf, "), "mean_size"),
    ],
)
def test_a_file_of_something_else_is_refused_by_name(
    tmp_path: Path, rules: CamRules, change: tuple[str, str], message: str
) -> None:
    path = tmp_path / "rules.yaml"
    write_cam_rules(path, rules, "")
    path.write_text(path.read_text().replace(*change))
    with pytest.raises(ValueError, match=message) as caught:
        read_cam_rules(path)
    assert str(path) in str(caught.value)
    path.write_text("")
    with pytest.raises(ValueError, match="is not a file from tune_cam"):
        read_cam_rules(path)
    with pytest.raises(FileNotFoundError, match=r"cxrloc tune-cam writes them"):
        read_cam_rules(tmp_path / "none.yaml")
