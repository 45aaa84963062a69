"""Exported gates compute what torch computes: every kind of head, pooling and map."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import nn

from builders import settled, tiny_classifier
from cxrloc.classification.bundle.classifier import load_classifier, save_classifier
from cxrloc.classification.bundle.metadata import BOX_SUPERVISION
from cxrloc.classification.bundle.onnx_file import open_onnx, write_onnx
from cxrloc.classification.bundle.preprocessing import Preprocessing
from cxrloc.classification.inference.exported_gate import ExportedGate
from cxrloc.classification.inference.gate import Gate
from cxrloc.classification.network.classifier import build_classifier
from cxrloc.classification.runs.ensemble import load_ensemble
from cxrloc.datasets.images.mean_image import MeanImage
from cxrloc.datasets.labels.names import NO_FINDING
from cxrloc.detection.localizer_registry import LocalizerInputs, build_localizer
from cxrloc.localization.cam.export.agreement import Agreement, drawn_images, least_overlap
from cxrloc.localization.cam.export.export_gate import compare, export_gate
from cxrloc.localization.cam.guided import map_localizer

DISEASES = ("Mass", "Effusion", NO_FINDING)


def gate_file(path: Path, architecture: str = "simple_cnn", **settings: Any) -> Path:
    """An untrained gate on 64 px; `settings` are those of `build_classifier` and the bundle's."""
    names = ("head", "lse_r", "demographics", "in_channels", "map_stride")
    network = {name: settings.pop(name) for name in names if name in settings}
    model, _ = build_classifier(architecture, len(DISEASES), seed=3, **network)
    bundle = tiny_classifier(DISEASES, 0.5, model=settled(model), **settings)
    save_classifier(path, bundle)
    return path


def _mean_image() -> Preprocessing:
    planes = np.random.default_rng(0).uniform(0.2, 0.6, (2, 64, 64))
    return Preprocessing(64, image=MeanImage(*planes))


# in few networks all that a gate may be made of: an export takes seconds
CASES: dict[str, dict[str, Any]] = {
    "log-sum-exp, two layers, demographics, one channel": {
        "head": "two_layer",
        "lse_r": 4.0,
        "demographics": ("age", "sex", "view"),
        "in_channels": 1,
        "preprocessing": Preprocessing(64, input="single", clahe_clip=2.0),
    },
    "guided maps, a mean image": {
        "preprocessing": _mean_image(),
        "metadata": {BOX_SUPERVISION: {"boxes": 3}},
    },
    "EfficientNet-Lite0, a finer map, enhanced input": {
        "architecture": "efficientnet_lite0",
        "map_stride": 16,
        "preprocessing": Preprocessing(64, input="enhanced"),
    },
}


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_an_exported_gate_is_the_gate(case: str, tmp_path: Path) -> None:
    path = gate_file(tmp_path / "classifier.safetensors", **CASES[case])
    out = tmp_path / "classifier.onnx"

    agreement = export_gate(path, out)

    assert agreement.images == 20
    assert agreement.boxes > 0
    bundle, exported = load_classifier(path), ExportedGate(out)
    assert exported.bundle.thresholds == bundle.thresholds
    assert map_localizer(exported).name == map_localizer(Gate(bundle)).name
    images = list(drawn_images(3))
    together, [alone] = exported(images), [exported([image]) for image in images[2:]]
    np.testing.assert_allclose(together.probabilities[2:], alone.probabilities, atol=1e-6)
    np.testing.assert_allclose(
        together.probabilities, Gate(bundle)(images).probabilities, atol=1e-4
    )
    # tools that predict data sets take it, too
    ensemble = load_ensemble([path, out], "cpu", "fp32")
    ours, theirs = (gate(images).probabilities for gate in ensemble.gates)
    np.testing.assert_allclose(theirs, ours, atol=1e-4)
    name, diseases = map_localizer(exported).name, DISEASES[:2]
    boxes = [
        build_localizer(name, LocalizerInputs(bundle=each)).localize(images, diseases).boxes
        for each in (path, out)
    ]
    assert least_overlap(*boxes) >= 0.98
    # the comparison would notice another network: one whose first disease is turned round
    last = [layer for layer in bundle.model.head.modules() if isinstance(layer, nn.Linear)][-1]
    last.weight.data[0] *= -1
    with pytest.raises(ValueError, match="does not compute what torch computes"):
        compare(bundle, exported).check("it")


def test_a_damaged_foreign_or_misplaced_file_is_refused(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    node = onnx.helper.make_node("Identity", ["squares"], ["probabilities"])
    ends = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["N"])
        for name in ("squares", "probabilities")
    ]
    graph = onnx.helper.make_graph([node], "gate", ends[:1], ends[1:])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)])
    model.ir_version = 10
    path = tmp_path / "classifier.onnx"
    write_onnx(path, model, {"kind": "classifier", "diseases": ["Mass"]})

    assert open_onnx(path, "classifier").metadata["diseases"] == ["Mass"]
    with pytest.raises(ValueError, match="is a classifier bundle, expected a maskrcnn bundle"):
        open_onnx(path, "maskrcnn")
    with pytest.raises(ValueError, match=r"its metadata lack 'thresholds': make it again"):
        ExportedGate(path)

    whole = path.read_bytes()
    path.write_bytes(whole.replace(b"Mass", b"Mess"))
    with pytest.raises(ValueError, match=r"damaged or was changed.*cxrloc export"):
        open_onnx(path, "classifier")
    path.write_bytes(whole.replace(b"Mass", b"M\xe0ss"))
    with pytest.raises(ValueError, match=r"classifier\.onnx is damaged: its metadata are no text"):
        open_onnx(path, "classifier")
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"not a readable ONNX file|without cxrloc metadata"):
        open_onnx(path, "classifier")
    onnx.save(model, path)
    with pytest.raises(ValueError, match="without cxrloc metadata"):
        open_onnx(path, "classifier")
    with pytest.raises(FileNotFoundError, match="cxrloc export makes one"):
        open_onnx(tmp_path / "none.onnx", "classifier")
    with pytest.raises(ValueError, match="only predicts"):
        load_classifier(path)


def test_a_difference_beyond_the_tolerance_is_no_agreement() -> None:
    good = Agreement(20, 1e-6, 40, 1.0, 1e-5)
    good.check("it")
    for bad in (
        Agreement(20, 2e-4, 40, 1.0, 1e-5),
        Agreement(20, 1e-6, 40, 0.9, 1e-5),
        Agreement(20, float("nan"), 40, 1.0, 1e-5),
    ):
        with pytest.raises(ValueError, match="Nothing was written"):
            bad.check("it")
