"""Bundles to a Diagnoser: one backbone pass per image, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from builders import tiny_classifier, write_tiny_detector
from cxrloc.classification.bundle.classifier import ClassifierBundle, save_classifier
from cxrloc.classification.bundle.int8 import int8_path, save_int8
from cxrloc.classification.bundle.preprocessing import Preprocessing
from cxrloc.classification.inference.gate import Gate
from cxrloc.classification.inference.int8_calibration import calibrate
from cxrloc.classification.inference.runtimes import INT8
from cxrloc.classification.network.classifier import build_classifier
from cxrloc.datasets.phantoms.drawing.chest import render_image
from cxrloc.datasets.radiograph import LoadedImage
from cxrloc.detection.load_diagnoser import load_diagnoser
from cxrloc.localization.boxes import iou
from cxrloc.localization.cam.localizer import GradCamLocalizer
from cxrloc.localization.diagnosis.diagnoser import Diagnosis

DISEASES = ("Mass", "Effusion")


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained gate that every disease passes."""
    path = tmp_path_factory.mktemp("bundle") / "classifier.safetensors"
    save_classifier(path, tiny_classifier(DISEASES, 0.0))
    return path


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained Mask R-CNN of few channels."""
    return write_tiny_detector(
        tmp_path_factory.mktemp("detector") / "maskrcnn.safetensors", DISEASES
    )


def _image(seed: int, size_hw: tuple[int, int] = (90, 70)) -> LoadedImage:
    pixels = np.random.default_rng(seed).integers(0, 255, size_hw, dtype=np.uint8)
    return LoadedImage(f"{seed}.png", pixels, size_hw)


def test_the_backbone_runs_once_per_image_for_gate_boxes_and_maps(classifier: Path) -> None:
    diagnoser = load_diagnoser(classifier, device="cpu")
    assert isinstance(diagnoser.cam, GradCamLocalizer)
    gate = diagnoser.cam.gate
    assert isinstance(gate, Gate)
    seen: list[int] = []
    network = gate.network

    def counted(x: torch.Tensor) -> torch.Tensor:
        seen.append(len(x))
        return network.backbone(x)

    gate.network = replace(network, backbone=counted)

    diagnoses = diagnoser([_image(0), _image(1)])

    assert sum(seen) == 2
    for diagnosis in diagnoses:
        assert diagnosis.present == DISEASES
        shapes = {d: heat.shape for d, heat in diagnosis.heat_maps.items()}
        assert shapes == dict.fromkeys(DISEASES, (90, 70))
        assert diagnosis.boxes["grad_cam"]


def test_a_image_gets_the_same_diagnosis_alone_and_in_a_batch(classifier: Path) -> None:
    diagnoser = load_diagnoser(classifier, device="cpu", precision="fp32")
    images = [_image(seed) for seed in range(3)]

    together = diagnoser(images)

    for image, expected in zip(images, together, strict=True):
        [alone] = diagnoser([image])
        assert alone.boxes == expected.boxes
        assert alone.findings == expected.findings
        assert alone.runtime == "torch fp32 on cpu"


def test_auto_takes_the_gpu_if_there_is_one(classifier: Path) -> None:
    gate = load_diagnoser(str(classifier)).gate

    gpu = torch.cuda.is_available()
    assert gate.runtime.endswith("on cuda" if gpu else "on cpu")
    assert gate.batch_size == (8 if gpu else 1)


@pytest.mark.parametrize(
    ("runtime", "precision", "expected"),
    [
        ("torch", "fp32", "torch fp32 on cpu, mask_rcnn torch fp32 on cpu"),
        ("torch-bf16", "auto", "torch-bf16 on cpu, mask_rcnn torch bf16 on cpu"),
        ("openvino", "fp32", "openvino fp32 on cpu, mask_rcnn torch fp32 on cpu"),
    ],
)
def test_the_mask_rcnn_computes_in_the_gates_number_format_and_the_record_says_so(
    classifier: Path,
    detector: Path,
    runtime: str,
    precision: str,
    expected: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(classifier.parent))
    diagnoser = load_diagnoser(classifier, detector, "cpu", precision, runtime)

    [diagnoses] = diagnoser([_image(0)])

    assert diagnoses.runtime == diagnoser.runtime == expected
    assert {box.disease for box in diagnoses.boxes["mask_rcnn"]} == set(DISEASES)


def test_a_bundle_of_another_kind_is_refused(classifier: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="classifier"):
        load_diagnoser(classifier, classifier)
    with pytest.raises(FileNotFoundError, match=r"none\.safetensors"):
        load_diagnoser(tmp_path / "none.safetensors")


# Rounding to bfloat16 is off by 2^-8 of a number at most. 17 convolutions stand in a row in a
# ResNet-18, each rounds weights, biases and maps: 51 roundings of random sign, sqrt(51) / 256.
BF16 = 0.028
# runtime, precision -> largest difference between its heat maps, in 0..1, and float32's
HEAT = {
    ("torch", "bf16"): 2 * BF16,
    ("torch-bf16", "auto"): 2 * BF16,
    ("onnx", "auto"): 1e-4,
    ("openvino", "fp32"): 1e-4,
    ("openvino", "bf16"): 2 * BF16,
    ("openvino-int8", "fp32"): 2 * BF16,
    ("openvino-int8", "bf16"): 2 * BF16,
}


@pytest.mark.parametrize("case", HEAT, ids=" ".join)
def test_every_runtime_heats_what_float32_heats(
    textured: Path,
    case: tuple[str, str],
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    """Maps and not boxes in bfloat16: where two regions are about as hot, or a bridge between them
    about as high as the threshold, any rounding picks the other box, so the overlap of boxes has no
    bound (on real images it was 0 for about 2 % of them; see `classification.runtimes`).

    A map in 0..1 is off by BF16 and, as its own largest value is the divisor, by as much again.
    The maps of the other disease, which must fail, show that the bound tells maps apart.
    """
    if case[0] == INT8:
        request.getfixturevalue("int8_cpu")
    exact, diagnoses = _diagnoses(textured, *case, monkeypatch)

    name = " ".join(case).removesuffix(" auto").replace("-int8", " int8 and")
    assert diagnoses[0].runtime.startswith(name)
    for diagnosis, other in zip(diagnoses, exact, strict=True):
        assert list(diagnosis.heat_maps) == list(other.heat_maps) == list(DISEASES)
        for disease, swapped in zip(DISEASES, reversed(DISEASES), strict=True):
            assert (
                np.abs(diagnosis.heat_maps[disease] - other.heat_maps[disease]).max() < HEAT[case]
            )
            assert np.abs(diagnosis.heat_maps[disease] - other.heat_maps[swapped]).max() > 0.3


@pytest.mark.parametrize("case", [("onnx", "auto"), ("openvino", "fp32")], ids=" ".join)
def test_a_runtime_in_float32_boxes_what_torch_boxes(
    textured: Path, case: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    exact, diagnoses = _diagnoses(textured, *case, monkeypatch)

    for diagnosis, other in zip(diagnoses, exact, strict=True):
        boxes, expected = (d.best("grad_cam") for d in (diagnosis, other))
        assert list(boxes) == list(expected) == list(DISEASES)
        for disease, box in boxes.items():
            overlap = iou(np.array([box.box_xyxy]), np.array([expected[disease].box_xyxy]))
            assert overlap[0] >= 0.999, disease


def _diagnoses(
    bundle: Path, runtime: str, precision: str, monkeypatch: pytest.MonkeyPatch
) -> tuple[list[Diagnosis], list[Diagnosis]]:
    """Of three drawn images: torch's in float32, and the runtime's."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(bundle.parent))  # exported once for all
    drawn = [render_image(DISEASES, seed=seed, image_size=256).pixels for seed in range(3)]
    images = [LoadedImage(f"{i}.png", pixels, (256, 256)) for i, pixels in enumerate(drawn)]
    exact = load_diagnoser(bundle, device="cpu", precision="fp32")(images)
    return exact, load_diagnoser(bundle, device="cpu", precision=precision, runtime=runtime)(images)


@pytest.fixture(scope="module")
def textured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained ResNet-18 on 8 x 8 cells, so that boxes have places to be."""
    path = tmp_path_factory.mktemp("textured") / "classifier.safetensors"
    bundle = ClassifierBundle(
        build_classifier("resnet18", len(DISEASES), seed=3)[0].eval(),
        DISEASES,
        dict.fromkeys(DISEASES, 0.0),
        Preprocessing(256),
        {},
        {},
        {},
    )
    save_classifier(path, bundle)
    others = [render_image(DISEASES, seed=seed, image_size=256).pixels for seed in range(10, 18)]
    save_int8(int8_path(path), calibrate(bundle, np.stack(others)))
    return path
