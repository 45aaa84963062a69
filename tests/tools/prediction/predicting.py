"""cxrloc predict from its command line, on drawn images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import pytest

from builders import chest_pixels
from cxrloc.tools import predict

DISEASES = ("Mass", "Effusion")


def draw_image(path: Path, seed: int = 0, size_hw: tuple[int, int] = (120, 100)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), chest_pixels(seed, size_hw))
    return path


def run(bundle: Path, inputs: Sequence[Path], out: Path, *more: str) -> int:
    arguments = ["--gate", str(bundle), *map(str, inputs), "--out", str(out), *more]
    return predict.main(arguments)


def counts(capsys: pytest.CaptureFixture[str]) -> str:
    """How many images the last run says that it found and did."""
    return capsys.readouterr().out.partition(" (")[0]
