"""cxrloc localize on nine tiny images in three folds."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from cxrloc.classification.bundle.classifier import ClassifierBundle, save_classifier
from cxrloc.classification.bundle.preprocessing import Preprocessing
from cxrloc.classification.network.classifier import build_classifier
from cxrloc.datasets.files.manifest import file_sha256
from cxrloc.tools.localize import main

DISEASES = ("Mass", "Nodule", "Effusion")
K, PER_FOLD = 3, 3


def save_fold(run: Path, fold: int, prepared: Path, **changes: Any) -> Path:
    model, _ = build_classifier("resnet18", len(DISEASES), seed=fold)
    bundle = ClassifierBundle(
        model=model,
        diseases=DISEASES,
        thresholds={"Mass": 0.5, "Nodule": None, "Effusion": 0.5},
        preprocessing=Preprocessing(64),
        mean_box_sizes={"Mass": (0.2, 0.3)},
        manifest={"hashes": {"folds": file_sha256(prepared / "folds.csv")}},
        metadata={"fold": fold, "k": K},
    )
    path = run / f"fold{fold}" / "classifier.safetensors"
    save_classifier(path, replace(bundle, **changes))
    return path


def localize(prepared: Path, *arguments: object) -> tuple[int, Path]:
    out = prepared.parent / "boxes.json"
    status = main(["--prepared", str(prepared), "--out", str(out), *map(str, arguments)])
    return status, out


def images_of(out: Path) -> list[str]:
    return sorted({entry["file_name"] for entry in json.loads(out.read_text())})
