"""A label that leaks through a side letter, from images to report: who uses it, and who cannot.

On these images nothing but a burnt-in L tells who is positive. A gate trained on them as they are
needs it, and the shortcut check sees its heat there; a gate trained without markers has nothing to
learn.
"""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from cxrloc.datasets.prepared.folder import write_prepared
from cxrloc.datasets.radiograph import Box, Radiograph
from cxrloc.localization.analyses.shortcut.shortcut import AREA, EXCESS, MASS
from cxrloc.tools import localize, predict, train_classifier
from cxrloc.tools.experiments import check_shortcuts, score_images

pytestmark = pytest.mark.slow
PATIENTS, FOLDS, SIDE = 120, 3, 192
WAYS = ("keep", "inpaint")


def draw(patient: int, *, letter: bool) -> npt.NDArray[np.uint8]:
    """A limb of two bones on black; an L beside it, left or right, at a height of its own."""
    rng = np.random.default_rng(patient)
    pixels = np.full((SIDE, SIDE), 8, np.float32)
    cv2.ellipse(pixels, (96 + int(rng.integers(-6, 6)), 96), (42, 120), 0, 0, 360, 110, -1)
    for x in (82, 112):
        cv2.line(pixels, (x + int(rng.integers(-6, 6)), 0), (x, SIDE), 180, 10)
    image = cv2.GaussianBlur(pixels, (0, 0), 2) * rng.uniform(0.8, 1.1)
    image += rng.normal(0, 4, image.shape)
    image = np.clip(image, 0, 255).astype(np.uint8)
    if letter:
        at = int(rng.choice([10, 158]) + rng.integers(-4, 8)), int(rng.integers(40, 180))
        cv2.putText(image, "L", at, cv2.FONT_HERSHEY_SIMPLEX, 1.1, 235, 4, cv2.LINE_AA)
    return np.asarray(image, np.uint8)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every second patient is positive, boxed in the middle of the image, and lettered."""
    root = tmp_path_factory.mktemp("leak")
    images, folds = [], {}
    for n in range(PATIENTS):
        name, positive = f"{n:03d}.png", n % 2 == 1
        cv2.imwrite(str(root / name), draw(n, letter=positive))
        boxes = (Box("Mass", (350 + n, 300, 600 + n, 700)),) if positive else ()
        images.append(Radiograph(name, root / name, f"p{n}", "", {"Mass": float(positive)}, boxes))
        folds[name] = n // 2 % FOLDS
    write_prepared(
        root / "prepared",
        images,
        boxed_diseases=("Mass",),
        folds=folds,
        k=FOLDS,
        official={},
        summary="",
        manifest={},
    )
    return root / "prepared"


@pytest.fixture(scope="module")
def runs(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two gates, alike but for `model.markers`."""
    out = {how: tmp_path_factory.mktemp(how) for how in WAYS}
    for how in WAYS:
        options = {
            "data.prepared": prepared,
            "out": out[how],
            "data.workers": 1,
            "data.fold": 0,
            "model.architecture": "simple_cnn",
            "model.size": 128,
            "model.weights": "none",
            "model.markers": how,
            "train.epochs": 10,
            "train.batch_size": 8,
            "train.lr": 3e-3,
            "train.precision": "fp32",
            "train.device": "cpu",
            "train.bootstrap": 20,
        }
        assert train_classifier.main([f"--{key}={value}" for key, value in options.items()]) == 0
    return out


def test_only_the_gate_that_is_shown_the_letters_tells_who_is_ill(runs: dict[str, Path]) -> None:
    auc = {how: json.loads((run / "metrics.json").read_text())["test"] for how, run in runs.items()}
    assert auc["keep"]["macro_auc"] > 0.95
    assert auc["inpaint"]["macro_auc"] < 0.8  # 40 images: .5, and .09 by chance


def test_the_check_finds_the_heat_of_the_first_gate_on_the_letters(
    prepared: Path, runs: dict[str, Path], tmp_path: Path
) -> None:
    for how, run in runs.items():
        words = ["--localizer=grad_cam", f"--gate={run}", f"--prepared={prepared}", "--folds=[0]"]
        files = [f"--maps={tmp_path / how}.maps.safetensors", f"--out={tmp_path / how}.json"]
        assert localize.main([*words, *files, *["--remove-markers=mask"] * (how == "keep")]) == 0
    maps = [f"{how}={tmp_path / how}.maps.safetensors" for how in WAYS]
    words = ["--prepared", str(prepared), "--out", str(tmp_path), "--resamples", "500"]
    assert check_shortcuts.main([*words, "--maps", *maps]) == 0
    rows = [
        r for r in csv.DictReader((tmp_path / "shortcut.csv").open()) if r["region"] == "markers"
    ]

    def share(measure: str, name: str, bound: str = "") -> float:
        (row,) = (r for r in rows if (r["share of"], r["localizer"]) == (measure, name))
        return float(row[f"macro mean{bound}"])

    area = share(AREA, "keep")
    assert share(EXCESS, "keep", " low") > 0
    # the letters lie in the air left and right: a map that knows not where has 2 times their area
    assert share(MASS, "keep") > 4 * area
    assert share(MASS, "inpaint") < 3 * area
    assert share(MASS, "inpaint minus keep", " high") < 0
    page = (tmp_path / "report.html").read_text()
    match = re.search(
        r"(\d+) of the (\d+) maps of keep that show something show nothing without", page
    )
    assert match is not None
    lost, shown = map(int, match.groups())
    assert shown > 15
    assert lost > shown / 2  # what they showed was the letter


def test_predictions_and_scores_lose_the_letters_as_training_did(
    prepared: Path, runs: dict[str, Path], tmp_path: Path
) -> None:
    images = [tmp_path / f"{name}.png" for name in ("lettered", "clean")]
    for path in images:
        cv2.imwrite(str(path), draw(1000, letter=path.stem == "lettered"))
    moved, auc = {}, {}
    for how, run in runs.items():
        bundle, out = str(run / "fold0" / "classifier.safetensors"), tmp_path / how
        words = [*map(str, images), "--gate", bundle, "--out", str(out), "--any-image"]
        assert predict.main(words) == 0
        told = [json.loads((out / f"{path.stem}.json").read_text())["findings"] for path in images]
        moved[how] = told[0][0]["probability"] - told[1][0]["probability"]
        words = ["--gate", bundle, "--prepared", str(prepared), "--out", f"{out}.parquet"]
        assert score_images.main(words) == 0
        (row,) = re.findall(r"\| Mass \| 20 / 40 \| (\S+) ", Path(f"{out}.md").read_text())
        auc[how] = float(row)
    assert moved["keep"] > 0.3
    assert abs(moved["inpaint"]) < 0.1
    assert auc["keep"] > 0.95
    assert auc["inpaint"] < 0.8
