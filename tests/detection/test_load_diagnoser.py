"""Bundles to a Diagnoser: one backbone pass per film, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from cxrloc.classification.models import (
    ClassifierBundle,
    Preprocessing,
    build_classifier,
    save_classifier,
)
from cxrloc.datasets.radiograph import Film
from cxrloc.detection.load_diagnoser import load_diagnoser
from cxrloc.localization.boxes import iou
from cxrloc.localization.grad_cam import GradCamLocalizer

DISEASES = ("Mass", "Effusion")


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained gate that every disease passes."""
    path = tmp_path_factory.mktemp("bundle") / "classifier.safetensors"
    bundle = ClassifierBundle(
        build_classifier("simple_cnn", len(DISEASES))[0].eval(), DISEASES,
        dict.fromkeys(DISEASES, 0.0), Preprocessing(64), {}, {}, {},
    )  # fmt: skip
    save_classifier(path, bundle)
    return path


def _film(seed: int, size_hw: tuple[int, int] = (90, 70)) -> Film:
    pixels = np.random.default_rng(seed).integers(0, 255, size_hw, dtype=np.uint8)
    return Film(f"{seed}.png", pixels, size_hw)


def test_the_backbone_runs_once_per_film_for_gate_boxes_and_maps(classifier: Path) -> None:
    diagnoser = load_diagnoser(classifier, device="cpu")
    assert isinstance(diagnoser.cam, GradCamLocalizer)
    seen: list[int] = []
    network = diagnoser.cam.gate.network

    def counted(x: torch.Tensor) -> torch.Tensor:
        seen.append(len(x))
        return network.backbone(x)

    diagnoser.cam.gate.network = replace(network, backbone=counted)

    found = diagnoser([_film(0), _film(1)])

    assert sum(seen) == 2
    for diagnosis in found:
        assert diagnosis.present == DISEASES
        shapes = {d: heat.shape for d, heat in diagnosis.heat_maps.items()}
        assert shapes == dict.fromkeys(DISEASES, (90, 70))
        assert diagnosis.boxes["grad_cam"]


def test_a_film_gets_the_same_diagnosis_alone_and_in_a_batch(classifier: Path) -> None:
    diagnoser = load_diagnoser(classifier, device="cpu", precision="fp32")
    films = [_film(seed) for seed in range(3)]

    together = diagnoser(films)

    for film, expected in zip(films, together, strict=True):
        [alone] = diagnoser([film])
        assert alone.boxes == expected.boxes
        assert alone.findings == expected.findings
        assert alone.runtime == "torch fp32 on cpu"


def test_auto_takes_the_gpu_if_there_is_one(classifier: Path) -> None:
    gate = load_diagnoser(str(classifier)).gate

    gpu = torch.cuda.is_available()
    assert gate.runtime.endswith("on cuda" if gpu else "on cpu")
    assert gate.batch_size == (8 if gpu else 1)


def test_a_bundle_of_another_kind_is_refused(classifier: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="classifier"):
        load_diagnoser(classifier, classifier)
    with pytest.raises(FileNotFoundError, match=r"none\.safetensors"):
        load_diagnoser(tmp_path / "none.safetensors")


@pytest.mark.parametrize(
    ("runtime", "least"), [("torch-bf16", 0.8), ("onnx", 0.999), ("openvino", 0.8)]
)
def test_every_runtime_boxes_what_float32_boxes(
    textured: Path, runtime: str, least: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(textured.parent))  # exported once for all
    films = [_film(seed, (256, 200)) for seed in range(3)]
    exact = load_diagnoser(textured, device="cpu", precision="fp32")(films)

    found = load_diagnoser(textured, device="cpu", runtime=runtime)(films)

    assert found[0].runtime.startswith(runtime)
    for one, other in zip(found, exact, strict=True):
        boxes, expected = (d.best("grad_cam") for d in (one, other))
        assert list(boxes) == list(expected) != []
        for disease, box in boxes.items():
            overlap = iou(np.array([box.box_xyxy]), np.array([expected[disease].box_xyxy]))
            assert overlap[0] >= least, disease


@pytest.fixture(scope="module")
def textured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained ResNet-18 on 8 x 8 cells, so that boxes have places to be."""
    path = tmp_path_factory.mktemp("textured") / "classifier.safetensors"
    bundle = ClassifierBundle(
        build_classifier("resnet18", len(DISEASES), seed=3)[0].eval(), DISEASES,
        dict.fromkeys(DISEASES, 0.0), Preprocessing(256), {}, {}, {},
    )  # fmt: skip
    save_classifier(path, bundle)
    return path
