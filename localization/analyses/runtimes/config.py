"""The settings of `cxrloc compare-runtimes`.

Apart from what it does: the command line loads whatever the settings' module imports for its types.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class CompareRuntimesConfig:
    """Which models predict which images.

    Attributes:
        gate: run folder with one folder per test fold, or one bundle.
        prepared: folder written by `cxrloc prepare`.
        out: folder for the results.
        folds: test folds of the run to predict, such as `0 1` (default: all).
        images_per_fold: most images of a fold to predict, drawn at random.
        seed: seed of the draw of images.
    """

    gate: Path
    prepared: Path
    out: Path
    folds: list[int] | None = None
    images_per_fold: int = 500
    seed: int = 0

    def __post_init__(self) -> None:
        if self.images_per_fold < 1:
            raise ValueError(f"--images-per-fold {self.images_per_fold}: expected at least 1")
