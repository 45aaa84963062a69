"""The comparison of runtimes on prepared images: what it writes, goes on with and refuses."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

from builders import prepared_images, tiny_classifier
from cxrloc.classification.bundle.classifier import (
    ClassifierBundle,
    load_classifier,
    save_classifier,
)
from cxrloc.classification.inference import int8_calibration
from cxrloc.classification.inference.int8_calibration import calibrate
from cxrloc.classification.inference.runtimes import RUNTIMES
from cxrloc.classification.network.int8 import Int8Backbone
from cxrloc.datasets.files.manifest import file_sha256
from cxrloc.datasets.images.read import read_grey
from cxrloc.datasets.prepared.folder import load_prepared, write_prepared
from cxrloc.datasets.provenance.image_lists import write_training_images
from cxrloc.datasets.radiograph import Radiograph
from cxrloc.tools.experiments import compare_runtimes

DISEASES = ("Mass", "Effusion")
FOLDS = 2
FLOAT = {"torch bf16 on cpu", "torch-bf16 on cpu", "onnx fp32 on cpu", "openvino fp32 on cpu"}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def prepared(tmp_path: Path) -> Path:
    """Eight images of four patients in two folds."""
    images = [
        {
            "labels": {"Mass": float(n % 2), "Effusion": 1.0},
            "patient": f"p{n // 2}",
            "fold": n // 2 % FOLDS,
            "block": 100 * (n % 2),
        }
        for n in range(8)
    ]
    return prepared_images(tmp_path, images, k=FOLDS)


@pytest.fixture
def run(tmp_path: Path, prepared: Path) -> Path:
    """An untrained network for each fold."""
    for fold in range(FOLDS):
        _train(tmp_path / "run", prepared, fold, seed=fold)
    return tmp_path / "run"


def _train(run: Path, prepared: Path, fold: int, seed: int) -> None:
    manifest = {"hashes": {"folds": file_sha256(prepared / "folds.csv")}}
    bundle = tiny_classifier(
        DISEASES, seed=seed, manifest=manifest, metadata={"fold": fold, "k": FOLDS}
    )
    path = run / f"fold{fold}" / "classifier.safetensors"
    save_classifier(path, bundle)
    data = load_prepared(prepared)
    train = [r for r in data.radiographs if data.folds[r.image_id] != fold]
    write_training_images(path, {"train": train})


def _run(*arguments: object) -> int:
    return compare_runtimes.main([str(word) for word in arguments])


def test_every_runtime_is_compared() -> None:
    assert set(compare_runtimes.PRECISIONS) == set(RUNTIMES)


@pytest.mark.slow
def test_a_run_is_predicted_out_of_fold_and_goes_on_where_it_was(
    run: Path, prepared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], int8_cpu: None
) -> None:
    out = tmp_path / "out"
    arguments = ("--gate", run, "--prepared", prepared, "--out", out)

    assert _run(*arguments) == 0

    assert "| torch fp32 on cpu (reference) |" in capsys.readouterr().out
    rows = pd.read_csv(out / "runtimes.csv").set_index("runtime")
    assert set(rows.index) > FLOAT
    assert any("int8" in name for name in rows.index)
    assert (rows.loc[["onnx fp32 on cpu", "openvino fp32 on cpu"], "turned"] == 0).all()
    assert rows["probabilities, largest"].max() < 0.05
    assert "8 images of 4 patients" in (out / "runtimes.md").read_text()
    folds = load_prepared(prepared).folds
    for fold in range(FOLDS):
        predicted = pd.read_parquet(out / f"predictions_fold{fold}.parquet")
        assert set(predicted["image_id"]) == {i for i, of in folds.items() if of == fold}
        assert set(predicted["fold"]) == {fold}
    manifest = json.loads((out / "manifest.json").read_text())
    assert len(manifest["hashes"]) == FOLDS

    before = (out / "runtimes.md").read_text()
    written = {path: path.stat().st_mtime_ns for path in out.glob("predictions_*")}
    _train(run, prepared, 1, seed=5)
    assert _run(*arguments) == 0
    done = {path.name for path in written if path.stat().st_mtime_ns == written[path]}
    assert done == {"predictions_fold0.parquet"}
    assert (out / "runtimes.md").read_text() != before


@pytest.mark.slow
def test_a_model_without_folds_predicts_images_of_patients_it_has_not_seen(
    run: Path, prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, int8_cpu: None
) -> None:
    """And its INT8 weights are made of its training images alone."""
    data = load_prepared(prepared)
    seen = {r.image_id for r in data.radiographs if r.patient_id in ("p0", "p2")}
    train = [r for r in data.radiographs if r.image_id in seen]
    bundle = run / "fold0" / "classifier.safetensors"
    model = load_classifier(bundle)
    save_classifier(bundle, replace(model, metadata={}))
    write_training_images(bundle, {"train": train[:3], "validation": train[3:]})
    given: list[int] = []

    def spy(of: ClassifierBundle, squares: npt.NDArray[np.uint8], seed: int) -> Int8Backbone:
        given.append(len(squares))
        expected = [of.preprocessing.squares([r.image(read_grey(r.path))])[0] for r in train[:3]]  # type: ignore[arg-type]
        assert sorted(s.tobytes() for s in squares) == sorted(s.tobytes() for s in expected)
        return calibrate(of, squares, seed=seed)

    monkeypatch.setattr(int8_calibration, "calibrate", spy)
    out = tmp_path / "out"
    arguments = ("--gate", bundle, "--prepared", prepared, "--out", out)

    assert _run(*arguments) == 0

    assert given == [3]
    predicted = pd.read_parquet(out / "predictions.parquet")
    assert set(predicted["image_id"]) == {r.image_id for r in data.radiographs} - seen
    assert "4 images of patients that a classifier has seen" in (out / "runtimes.md").read_text()

    assert _run(*arguments, "--images-per-fold", 2) == 0
    assert pd.read_parquet(out / "predictions.parquet")["image_id"].nunique() == 2


@pytest.mark.slow
def test_what_cannot_run_is_left_out_and_named(
    run: Path, prepared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], int8_cpu: None
) -> None:
    bundle = run / "fold0" / "classifier.safetensors"
    listed = bundle.parent / "training_images.csv"
    listed.unlink()
    arguments = ("--gate", bundle, "--prepared", prepared, "--out", tmp_path / "out")
    data = load_prepared(prepared)
    broken = next(r for r in data.radiographs if data.folds[r.image_id] == 0)
    assert broken.path is not None
    broken.path.write_bytes(b"not a picture")

    assert _run(*arguments) == 0
    printed = capsys.readouterr().out
    assert "- openvino-int8 is left out: no " in printed
    assert "1 of 4 images cannot be read" in printed
    assert "- 3 images of 2 patients" in printed
    assert "int8" not in (tmp_path / "out" / "runtimes.csv").read_text()

    elsewhere = Radiograph("x.png", broken.path, "x", "PA", {})
    write_training_images(bundle, {"train": [elsewhere]})
    assert _run(*arguments) == 0
    assert "none of its 1 training images is in" in capsys.readouterr().out


@pytest.mark.slow
def test_folds_that_differ_do_not_stand_in_one_table(
    run: Path, prepared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = run / "fold1" / "classifier.safetensors"
    model = load_classifier(path)
    save_classifier(path, replace(model, diseases=DISEASES[::-1]))
    out = tmp_path / "out"

    assert _run("--gate", run, "--prepared", prepared, "--images-per-fold", 1, "--out", out) == 2

    assert "cannot be in one table: diseases ['Effusion', 'Mass']" in capsys.readouterr().err
    assert not (out / "runtimes.csv").exists()


def test_wrong_words_are_refused(
    run: Path, prepared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ("--out", tmp_path / "out")
    with pytest.raises(SystemExit, match="2"):
        _run("--prepared", prepared, *out)
    assert "--gate" in capsys.readouterr().err
    assert _run("--gate", run, "--prepared", tmp_path / "none", *out) == 2
    assert "no prepared folder" in capsys.readouterr().err
    assert _run("--gate", tmp_path, "--prepared", prepared, *out) == 2
    assert "fold 0 has no trained model" in capsys.readouterr().err
    data = load_prepared(prepared)
    folds = dict.fromkeys(data.folds, 1)
    write_prepared(
        prepared,
        data.radiographs,
        boxed_diseases=(),
        folds=folds,
        k=FOLDS,
        official={},
        summary="",
        manifest={},
    )
    _train(run, prepared, 0, seed=0)
    assert _run("--gate", run, "--prepared", prepared, "--folds", "[0]", *out) == 2
    assert "has no image in the folds that were asked for" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
