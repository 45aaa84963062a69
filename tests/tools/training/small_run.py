"""24 small images in three folds and the arguments of a short training on them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cxrloc.datasets.radiograph import Box


def drawn_images() -> list[dict[str, Any]]:
    """24 images, 12 patients, 3 folds; a Mass is a bright block; in fold 1 nobody has a Hernia."""
    images = []
    for n in range(24):
        patient, mass = n // 2, float(n % 2)
        labels = {"Mass": mass, "Hernia": float(patient % 3 != 1 and n % 4 == 0)}
        boxes = (Box("Mass", (128, 128, 384, 640)),) if mass else ()
        image = {"labels": labels, "patient": f"p{patient}", "fold": patient % 3}
        images.append({**image, "block": 150 * mass, "boxes": boxes})
    return images


# fold 0 is the official test list
ENTRIES = {
    "boxed_diseases": ("Mass",),
    "official": {f"{n:02d}.png": "train_val" if n // 2 % 3 else "test" for n in range(24)},
}


def arguments(prepared: Path, out: Path, *more: str) -> list[str]:
    options = {
        "data.prepared": prepared,
        "out": out,
        "data.workers": 1,
        "model.size": 64,
        "train.epochs": 1,
        "train.batch_size": 8,
        "train.precision": "fp32",
        "train.device": "cpu",
        "train.bootstrap": 20,
    }
    return [*(f"--{key}={value}" for key, value in options.items()), *more]
