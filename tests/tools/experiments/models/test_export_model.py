"""Exported models: what predict and serve make of them where torch cannot be imported."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from builders import tiny_classifier, write_tiny_detector
from cxrloc.classification.bundle.classifier import save_classifier
from cxrloc.classification.bundle.file import read_metadata
from cxrloc.classification.inference.exported_gate import ExportedGate
from cxrloc.datasets.images.read import read_image
from cxrloc.tools.experiments.models import export_model
from tools.prediction.predicting import DISEASES, draw_image, run

REPOSITORY = Path(__file__).resolve().parents[4]
PAGE = REPOSITORY / "docs/how-to/models/elsewhere.md"
# A finder, not an empty entry in sys.modules: scipy and others look there whether torch is loaded.
WITHOUT = """
import sys
from importlib.abc import MetaPathFinder

class Without(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {names}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Without())
"""
TORCH = {"torch", "torchvision", "lightning", "onnx", "onnxscript", "openvino"}
PREDICT = """
from cxrloc.tools import predict
status = predict.main(sys.argv[1:])
assert status == 0, status
slow = {"scipy", "pandas", "matplotlib", "pydicom", "sklearn", "pyarrow"}
assert not slow & set(sys.modules)  # each would take as long as the prediction of an image
"""
SERVE = """
from fastapi.testclient import TestClient
from cxrloc.tools import serve

image, *words = sys.argv[1:]
app, service = serve.build_app(serve._parser().parse_args(words))
with TestClient(app, base_url="http://127.0.0.1:8080") as client:
    with open(image, "rb") as handle:
        answer = client.post("/v1/predictions", files={"files": handle})
    models = client.get("/v1/models")
service.worker.close()
print(answer.text)
print(models.text)
"""


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A gate that every disease passes and a Mask R-CNN, untrained, as bundles and exported."""
    folder = tmp_path_factory.mktemp("exported")
    gate = tiny_classifier(DISEASES, 0.0, seed=5, mean_box_sizes={DISEASES[0]: (0.3, 0.4)})
    save_classifier(folder / "gate.safetensors", gate)
    write_tiny_detector(folder / "maskrcnn.safetensors", DISEASES)
    for name in ("gate", "maskrcnn"):
        assert export_model.main([str(folder / f"{name}.safetensors"), "--to", "onnx"]) == 0
    return folder


def _without(names: set[str], code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", WITHOUT.format(names=names) + code, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )


def _both(folder: Path, ending: str) -> tuple[Path, Sequence[str]]:
    gate, detector = (folder / f"{name}{ending}" for name in ("gate", "maskrcnn"))
    return gate, ("--maskrcnn", str(detector))


def _assert_same(record: dict[str, Any], expected: dict[str, Any]) -> None:
    for found, other in zip(record["findings"], expected["findings"], strict=True):
        assert found["probability"] == pytest.approx(other["probability"], abs=1e-4)
        assert found["present"] == other["present"]
    assert len(record["annotations"]) > len(DISEASES)
    for found, other in zip(record["annotations"], expected["annotations"], strict=True):
        names = ("category_id", "localizer", "rank")
        assert [found[name] for name in names] == [other[name] for name in names]
        assert found["bbox"] == pytest.approx(other["bbox"], abs=0.5)
        assert found["score"] == pytest.approx(other["score"], abs=1e-4)


@pytest.mark.slow
def test_without_torch_the_findings_and_boxes_are_the_same(models: Path, tmp_path: Path) -> None:
    images = [
        draw_image(tmp_path / "images" / f"{n}.png", n, size)
        for n, size in enumerate([(120, 100), (100, 210)])
    ]
    gate, detector = _both(models, ".safetensors")
    assert run(gate, images, tmp_path / "torch", *detector, "--precision", "fp32") == 0

    gate, detector = _both(models, ".onnx")
    words = ["--gate", gate, *detector, *images, "--out", tmp_path / "onnx"]
    made = _without(TORCH, PREDICT, *words)

    assert made.returncode == 0, made.stderr
    for image in images:
        record, expected = (
            json.loads((tmp_path / runtime / f"{image.stem}.json").read_text())
            for runtime in ("onnx", "torch")
        )
        assert record["runtime"] == "onnx fp32 on cpu, mask_rcnn onnx fp32 on cpu"
        _assert_same(record, expected)
        assert (tmp_path / "onnx" / f"{image.stem}.heat.jpg").is_file()

    served = _without(TORCH, SERVE, images[0], "--gate", gate, *detector)
    assert served.returncode == 0, served.stderr
    answer, facts = map(json.loads, served.stdout.splitlines()[-2:])
    expected = json.loads((tmp_path / "torch" / "0.json").read_text())
    _assert_same(answer["results"][0]["prediction"], expected)
    assert [model["file_name"] for model in facts["models"]] == ["gate.onnx", "maskrcnn.onnx"]


@pytest.mark.slow
def test_what_an_exported_model_cannot_do_is_refused(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = draw_image(tmp_path / "a.png")
    gate, detector = _both(models, ".onnx")
    for more, fault in (
        (("--runtime", "openvino"), "leave out --runtime openvino"),
        (("--device", "cuda"), "expected --device auto or cpu"),
        (("--precision", "bf16"), "expected --precision auto or fp32"),
        ((*detector, "--sizes", "128"), "leave out --sizes"),
        (("--maskrcnn", str(gate)), "is a classifier bundle, expected a maskrcnn bundle"),
    ):
        assert run(gate, [image], tmp_path / "out", *more) == 2
        assert fault in capsys.readouterr().err
    stage = models / "stage.safetensors"
    assert export_model.main([str(stage)]) == 2
    assert export_model.main([str(models / "gate.safetensors"), "--out", "gate.pb"]) == 2
    assert "expected a file that ends in .onnx" in capsys.readouterr().err


@pytest.mark.slow
def test_the_file_says_what_it_is_and_the_ten_lines_run_it(models: Path, tmp_path: Path) -> None:
    path = models / "gate.onnx"
    bundle, metadata = read_metadata(models / "gate.safetensors"), read_metadata(path)
    assert {key: metadata[key] for key in bundle} == bundle
    assert metadata["export"]["checked"]["images"] == 20
    assert b"/torch/" not in path.read_bytes()  # the exporter notes where its own code lies

    [example] = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert len([line for line in example.splitlines() if line]) == 10
    image = draw_image(tmp_path / "a.png", size_hw=(130, 90))
    made = _without({"cxrloc", *TORCH}, example, path, image)
    assert made.returncode == 0, made.stderr
    printed = json.loads(made.stdout.replace("'", '"'))
    [expected] = ExportedGate(path)([read_image(image)]).probabilities
    assert list(printed) == list(DISEASES)
    np.testing.assert_allclose(list(printed.values()), expected, atol=1e-6)
