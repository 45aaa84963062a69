"""A prepared folder and a run of three folds for localize; bundles for predict."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from builders import prepare, tiny_classifier, write_tiny_detector
from cxrloc.classification.bundle.classifier import save_classifier
from cxrloc.classification.bundle.preprocessing import Preprocessing
from cxrloc.datasets.radiograph import Box, Radiograph
from tools.prediction import predicting
from tools.prediction.localizing import DISEASES, PER_FOLD, K, save_fold


@pytest.fixture
def prepared(tmp_path: Path) -> Path:
    """Nine images, three in each fold; the third of each fold has no box."""
    rng = np.random.default_rng(0)
    images, folds = [], {}
    for i in range(K * PER_FOLD):
        name = f"{i:08d}_000.png"
        path = tmp_path / "images" / name
        path.parent.mkdir(exist_ok=True)
        cv2.imwrite(str(path), rng.integers(0, 255, (128, 128), dtype=np.uint8))
        boxes = () if i % PER_FOLD == 2 else (Box("Mass", (100, 200, 300, 500 + i)),)
        labels = {d: float(d == "Mass") for d in DISEASES}
        images.append(Radiograph(name, path, f"{i:08d}", "PA", labels, boxes))
        folds[name] = i // PER_FOLD
    return prepare(tmp_path / "prepared", images, folds, boxed_diseases=["Mass", "Nodule"], k=K)


@pytest.fixture
def run_folder(tmp_path: Path, prepared: Path) -> Path:
    for fold in range(K):
        save_fold(tmp_path / "run", fold, prepared)
    return tmp_path / "run"


@pytest.fixture(scope="session")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """An untrained classifier: `all` diseases pass its thresholds, or `none` does."""
    folder = tmp_path_factory.mktemp("bundles")
    paths = {name: folder / f"{name}.safetensors" for name in ("all", "none")}
    for name, threshold in (("all", 0.0), ("none", 1.0)):
        bundle = tiny_classifier(
            predicting.DISEASES,
            threshold,
            architecture="resnet18",
            preprocessing=Preprocessing(96, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)),
            mean_box_sizes=dict.fromkeys(predicting.DISEASES, (0.3, 0.3)),
        )
        save_classifier(paths[name], bundle)
    return paths


@pytest.fixture(scope="session")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained Mask R-CNN: it returns a box for every disease all the same."""
    path = tmp_path_factory.mktemp("detector") / "maskrcnn.safetensors"
    return write_tiny_detector(path, predicting.DISEASES)
