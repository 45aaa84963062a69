"""A run of three untrained folds on ten small images, for the tests of score_images.py."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from cxrloc.classification.bundle.classifier import (
    ClassifierBundle,
    save_classifier,
)
from cxrloc.classification.bundle.preprocessing import Preprocessing
from cxrloc.classification.config import ClassifierConfig, DataConfig
from cxrloc.classification.metrics.scored_images import (
    ScoredImages,
    write_scored_images,
)
from cxrloc.classification.network.classifier import build_classifier
from cxrloc.datasets.files.manifest import run_manifest
from cxrloc.datasets.prepared.folder import write_prepared
from cxrloc.datasets.provenance.image_lists import write_training_images
from cxrloc.datasets.radiograph import Radiograph
from cxrloc.tools.experiments.score_images import main

DISEASES = ("Mass", "Nodule")


def radiographs(folder: Path) -> list[Radiograph]:
    """Ten images of five patients; every second image has a Mass, the Nodule is often unknown."""
    labels = [
        {"Mass": float(n % 2), "Nodule": float(n > 6) if n > 3 else np.nan} for n in range(10)
    ]
    return [
        Radiograph(f"{n}.png", folder / f"{n}.png", f"p{n // 2}", "PA", labels[n])
        for n in range(10)
    ]


def save_fold(
    run: Path,
    fold: int,
    seen: list[Radiograph],
    diseases: tuple[str, ...],
    data: DataConfig | None = None,
) -> Path:
    """An untrained fold, whose manifest says that it was trained with `data`."""
    model, _ = build_classifier("simple_cnn", len(diseases), seed=fold)
    config = ClassifierConfig(data=data or DataConfig())
    folder = run / f"fold{fold}"
    manifest = run_manifest(config, seed=0, hashes={}, started=0.0, folder=folder)
    bundle = ClassifierBundle(
        model=model,
        diseases=diseases,
        thresholds=dict.fromkeys(diseases, 0.4 + fold / 10),
        preprocessing=Preprocessing(64),
        mean_box_sizes={},
        manifest=manifest,
        metadata={"fold": fold, "k": 3},
    )
    path = folder / "classifier.safetensors"
    path.parent.mkdir(parents=True)
    save_classifier(path, bundle)
    write_training_images(path, {"train": seen, "validation": []})
    return path


def prepared_run(tmp_path: Path) -> Path:
    """A prepared folder, and a run of three folds, of which fold 1 has seen patient p0."""
    rng, images = np.random.default_rng(0), radiographs(tmp_path)
    for r in images:
        cv2.imwrite(str(r.path), rng.integers(0, 255, (80, 64), dtype=np.uint8))
    write_prepared(
        tmp_path / "prepared",
        images,
        boxed_diseases=(),
        k=3,
        folds={r.image_id: 0 for r in images},
        official={},
        summary="",
        manifest={},
    )
    elsewhere = Radiograph("x.png", None, "elsewhere", "PA", {})
    for fold in range(3):
        save_fold(tmp_path / "run", fold, images[:1] if fold == 1 else [elsewhere], DISEASES)
    write_scored_images(tmp_path / "run" / "out_of_fold.parquet", out_of_fold())
    return tmp_path


def out_of_fold() -> ScoredImages:
    """Four images out of fold; nobody among them has a Nodule."""
    names = tuple(f"o{n}" for n in range(4))
    scores = np.array([[0.2, 0.5], [0.3, 0.5], [0.6, 0.5], [0.8, 0.5]])
    labels = np.array([[0.0, 0], [0, 0], [1, 0], [1, 0]])
    return ScoredImages(DISEASES, names, names, np.array([0, 1, 2, 0]), scores, labels)


def score(folder: Path, *bundles: str, more: tuple[str, ...] = ()) -> int:
    arguments = ["--prepared", str(folder / "prepared"), "--out", str(folder / "scores.parquet")]
    arguments += ["--precision", "fp32", "--resamples", "20", *more, "--gate"]
    return main(
        [*arguments, *(str(folder / "run" / b / "classifier.safetensors") for b in bundles)]
    )
