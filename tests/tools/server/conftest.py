"""Tiny bundles, films and a service for the tests of the server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from cxrloc.classification.bundle import write_bundle
from cxrloc.classification.models import (
    ClassifierBundle,
    Preprocessing,
    build_classifier,
    save_classifier,
)
from cxrloc.detection.config import DetectorConfig, Init, ModelConfig
from cxrloc.detection.load_diagnoser import load_diagnoser
from cxrloc.detection.mask_rcnn import bundle_metadata
from cxrloc.detection.torchvision_backend import build_detector
from cxrloc.localization.diagnose import Diagnoser
from cxrloc.tools.server.limits import Limits
from cxrloc.tools.server.models import loaded_models
from cxrloc.tools.server.service import Service

pytest.importorskip("fastapi", reason="fastapi is not installed: pip install -e .[serve]")
DISEASES = ("Mass", "Effusion", "Pleural_Thickening")
# two diseases pass the gate on every film, the third never does
THRESHOLDS = {"Mass": 0.0, "Effusion": 0.0, "Pleural_Thickening": 1.0}


@pytest.fixture(scope="session")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """An untrained classifier and an untrained Mask R-CNN: real bundles of real networks."""
    folder = tmp_path_factory.mktemp("server_bundles")
    torch.manual_seed(0)
    model, _ = build_classifier("resnet18", len(DISEASES), weights="none")
    bundle = ClassifierBundle(
        model.eval(), DISEASES, THRESHOLDS, Preprocessing(96, (0.5,) * 3, (0.25,) * 3),
        dict.fromkeys(DISEASES, (0.3, 0.3)), {}, {},
    )  # fmt: skip
    paths = {name: folder / f"{name}.safetensors" for name in ("classifier", "maskrcnn")}
    save_classifier(paths["classifier"], bundle)
    network = ModelConfig(
        fpn_levels=(4, 5), anchor_sizes=(0.2, 0.4, 0.6), fpn_channels=16, box_hidden=16
    )
    config = DetectorConfig(size=96, diseases=DISEASES, model=network)
    detector, _ = build_detector(config, Init())
    detector.eval().fold_norms()
    write_bundle(paths["maskrcnn"], detector.state_dict(), bundle_metadata(config, {}))
    return paths


@pytest.fixture(scope="session")
def diagnoser(bundles: dict[str, Path]) -> Diagnoser:
    return load_diagnoser(bundles["classifier"], bundles["maskrcnn"], "cpu")


@pytest.fixture(scope="session")
def services(diagnoser: Diagnoser, bundles: dict[str, Path]) -> Iterator[Callable[..., Service]]:
    """`services(files=3)` is a service with that limit."""
    models = loaded_models(diagnoser, bundles["classifier"], bundles["maskrcnn"])
    made: list[Service] = []

    def make(engine: Any = diagnoser, **limits: float) -> Service:
        made.append(Service(engine, models, Limits(**limits)))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for service in made:
        service.worker.close()


def film_pixels(seed: int = 0, size_hw: tuple[int, int] = (120, 100)) -> Any:
    noise = np.random.default_rng(seed).integers(0, 255, (6, 5), dtype=np.uint8)
    return cv2.resize(noise, size_hw[::-1], interpolation=cv2.INTER_CUBIC)


def encoded(pixels: Any, ending: str = ".png") -> bytes:
    done, data = cv2.imencode(ending, pixels)
    assert done
    return bytes(data.tobytes())


@pytest.fixture(scope="session")
def draw_film() -> Callable[..., Any]:
    """`draw_film(seed, size_hw=...)`: grey pixels with soft blobs."""
    return film_pixels


@pytest.fixture(scope="session")
def dicom(write_dicom: Any, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The film of `png` as DICOM, of a patient whose name is a canary."""
    path = tmp_path_factory.mktemp("dicom") / "film.dcm"
    return bytes(write_dicom(path, film_pixels()).read_bytes())


@pytest.fixture(scope="session")
def png() -> bytes:
    return encoded(film_pixels())


@pytest.fixture(scope="session")
def jpeg() -> bytes:
    return encoded(film_pixels(1), ".jpg")
