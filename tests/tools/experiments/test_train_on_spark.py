"""The gate trained by two tasks of Spark, as TorchDistributor starts them."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from builders import prepared_images
from cxrloc.classification.inference.gate_table import read_gate_table
from cxrloc.tools import train_classifier
from cxrloc.tools.experiments import train_on_spark


def drawn_images() -> list[dict[str, Any]]:
    """18 images of 18 patients in 3 folds; a Mass is a bright block."""
    images = []
    for n in range(18):
        mass = n // 3 % 2
        labels = {"Mass": float(mass)}
        images.append({"labels": labels, "patient": f"p{n}", "fold": n % 3, "block": 150 * mass})
    return images


def arguments(prepared: Path, out: Path) -> list[str]:
    options = {
        "data.prepared": prepared,
        "out": out,
        "data.workers": 1,
        "data.fold": 0,
        "model.architecture": "simple_cnn",
        "model.size": 64,
        "train.epochs": 1,
        "train.batch_size": 6,
        "train.precision": "fp32",
        "train.device": "cpu",
        "train.bootstrap": 20,
    }
    return [f"--{key}={value}" for key, value in options.items()]


@pytest.mark.slow
def test_two_spark_tasks_train_what_one_process_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if importlib.util.find_spec("pyspark") is None:
        pytest.skip("PySpark is not installed: pip install -e '.[spark]'")
    if shutil.which("java") is None and "JAVA_HOME" not in os.environ:
        pytest.skip("there is no Java, which Spark runs on: install 17 or newer")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    prepared = prepared_images(tmp_path, drawn_images())
    assert train_classifier.main(arguments(prepared, tmp_path / "one")) == 0
    on_spark = [*arguments(prepared, tmp_path / "two"), "--processes=2", "--master=local[2]"]
    assert train_on_spark.main(on_spark) == 0
    histories, scores = [], []
    for out in (tmp_path / "one", tmp_path / "two"):
        metrics = json.loads((out / "fold0" / "metrics.json").read_text())
        histories.append(metrics["history"])
        scores.append([row.probability for row in read_gate_table(out / "gate.csv")])
    assert histories[1] == [pytest.approx(histories[0][0], rel=1e-3, abs=1e-4)]
    assert len(scores[1]) == 6
    assert scores[1] == pytest.approx(scores[0], rel=1e-3, abs=1e-4)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--processes=4"], "train.batch_size: got 6, expected a multiple of 4"),
        (["--processes=0"], "processes: got 0, expected at least 1"),
    ],
)
def test_processes_that_cannot_share_a_step_are_refused_before_spark_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], message: str
) -> None:
    try:
        status: object = train_on_spark.main([*arguments(tmp_path, tmp_path / "out"), *more])
    except SystemExit as stop:
        status = stop.code
    assert status in (1, 2)
    assert message in capsys.readouterr().err
