"""Settings of tools/cross_validate.py; torch is not imported here, so that `--help` stays quick."""

from __future__ import annotations

from dataclasses import dataclass

from cxrloc.classification.config import ClassifierConfig


@dataclass(frozen=True)
class CrossValidationConfig(ClassifierConfig):
    """A classifier run over all folds, or over one split, and what is reported of it.

    Attributes:
        sensitivity: decisions are also reported at the thresholds that reach this sensitivity on
            each fold's validation films; the films scored will be found at another.
    """

    sensitivity: float = 0.9

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.sensitivity < 1:
            raise ValueError(f"sensitivity: got {self.sensitivity!r}, expected a share in (0, 1)")
        if self.data.split == "folds" and self.data.fold != "all":
            raise ValueError(f"data.fold: got {self.data.fold!r}, expected all to cross-validate")
