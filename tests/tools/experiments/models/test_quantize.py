"""The INT8 tool on drawn images, and predictions with what it wrote."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import pytest

from builders import tiny_classifier
from cxrloc.classification.bundle.classifier import save_classifier
from cxrloc.classification.bundle.file import read_bundle
from cxrloc.datasets.phantoms.drawing.chest import render_image
from cxrloc.detection.load_diagnoser import bundle_files, load_diagnoser
from cxrloc.tools import predict
from cxrloc.tools.experiments.models import quantize
from cxrloc.tools.server.http.schemas import loaded_models

DISEASES = ("Mass", "Effusion")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """34 drawn images and one that is none."""
    folder = tmp_path_factory.mktemp("images")
    for seed in range(34):
        pixels = render_image(DISEASES[seed % 2 :][:1], seed=seed, image_size=96).pixels
        assert cv2.imwrite(str(folder / f"{seed:02d}.png"), pixels)
    (folder / "broken.png").write_bytes(b"not a picture")
    return folder


def _classifier(path: Path, seed: int = 3) -> Path:
    """An untrained network that every disease passes."""
    save_classifier(path, tiny_classifier(DISEASES, 0.0, size=96, seed=seed))
    return path


def _run(*arguments: object) -> int:
    return quantize.main([str(word) for word in arguments])


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def _own_cache(cache: Path, monkeypatch: pytest.MonkeyPatch, int8_cpu: None) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))


@pytest.mark.slow
def test_weights_are_made_compared_and_used(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    classifier = _classifier(tmp_path / "classifier.safetensors")
    before = classifier.read_bytes()

    assert _run("--gate", classifier, images) == 0

    printed = capsys.readouterr()
    assert "broken.png" in printed.err
    assert "convolutions are in INT8; left in float: " in printed.out
    assert "against float32 on 17 other images:" in printed.out
    assert "of 34 turned" in printed.out
    assert classifier.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 2
    metadata = read_bundle(tmp_path / "classifier.int8.safetensors", "int8")[1]
    facts = metadata["manifest"]["config"]
    assert facts["calibrated_on"] == 17
    assert facts["agreement"]["images"] == 17
    assert facts["runtime"].startswith("openvino int8 and ")
    assert facts["agreement"]["mean_difference"] < 0.02
    assert metadata["diseases"] == list(DISEASES)

    arguments = ["--gate", classifier, images / "00.png", "--out", tmp_path / "out"]
    assert predict.main([str(w) for w in (*arguments, "--runtime", "openvino-int8")]) == 0
    record = json.loads((tmp_path / "out" / "00.json").read_text())
    assert record["manifest"]["config"]["runtime"].startswith("openvino int8 and ")
    assert set(record["manifest"]["hashes"]) == {"classifier", "int8"}
    assert record["annotations"]
    files = bundle_files(classifier, runtime="openvino-int8")
    served = loaded_models(load_diagnoser(classifier, runtime="openvino-int8"), [*files.values()])
    assert served.hashes == record["manifest"]["hashes"]


@pytest.mark.slow
def test_weights_of_before_another_training_are_refused(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    classifier = _classifier(tmp_path / "classifier.safetensors")
    assert _run("--gate", classifier, images) == 0
    _classifier(classifier, seed=4)

    arguments = ["--gate", classifier, images, "--out", tmp_path / "out"]
    assert predict.main([str(w) for w in (*arguments, "--runtime", "openvino-int8")]) == 2

    assert "make them again, `cxrloc quantize --gate" in capsys.readouterr().err


def test_what_cannot_be_done_is_said_and_nothing_is_written(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    classifier = _classifier(tmp_path / "classifier.safetensors")
    few = tmp_path / "few"
    few.mkdir()
    for path in sorted(images.glob("0*.png")):
        shutil.copy(path, few)
    wrong = (
        (
            (classifier, few),
            "10 images can be read, expected at least 32: half of them to cal",
        ),
        ((classifier, tmp_path / "absent"), "absent: no such file or folder"),
        ((tmp_path / "none.safetensors", images), "no model bundle at"),
    )
    for (bundle, inputs), message in wrong:
        assert _run("--gate", bundle, inputs) == 2
        assert message in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["classifier.safetensors", "few"]


def test_predicting_without_int8_weights_says_how_to_make_them(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    classifier = _classifier(tmp_path / "classifier.safetensors")
    arguments = ["--gate", classifier, images, "--out", tmp_path / "out"]
    assert predict.main([str(w) for w in (*arguments, "--runtime", "openvino-int8")]) == 2
    assert "cxrloc quantize --gate" in capsys.readouterr().err
