"""cxrloc predict from its command line, on drawn images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from cxrloc.tools import predict

DISEASES = ("Mass", "Effusion")


def draw_image(path: Path, seed: int = 0, size_hw: tuple[int, int] = (120, 100)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 255, (6, 5), dtype=np.uint8)
    cv2.imwrite(str(path), cv2.resize(noise, size_hw[::-1], interpolation=cv2.INTER_CUBIC))
    return path


def run(bundle: Path, inputs: Sequence[Path], out: Path, *more: str) -> int:
    arguments = ["--gate", str(bundle), *map(str, inputs), "--out", str(out), *more]
    return predict.main(arguments)


def counts(capsys: pytest.CaptureFixture[str]) -> str:
    """How many images the last run says that it found and did."""
    return capsys.readouterr().out.partition(" (")[0]
