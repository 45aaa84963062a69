"""The tool that fits and measures the check that an image is a chest."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from builders import chest_pixels, prepare
from cxrloc.datasets.images.doubts.chest import STATISTICS, chest_statistics
from cxrloc.datasets.radiograph import Radiograph
from cxrloc.tools.data.fit_chest_check import main


def test_mean_and_deviation_are_printed_and_other_images_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chests = [chest_pixels(seed, (96, 96)) for seed in range(9)]
    images, folds = [], {}
    for i, pixels in enumerate(chests):
        path = tmp_path / "chests" / f"{i}.png"
        path.parent.mkdir(exist_ok=True)
        cv2.imwrite(str(path), pixels)
        images.append(Radiograph(path.name, path, f"p{i}", "PA", {"Mass": 0.0}))
        folds[path.name] = i % 3
    prepared = prepare(tmp_path / "prepared", images, folds, boxed_diseases=["Mass"], k=3)
    (tmp_path / "noise").mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / "noise" / "a.png"), noise)
    (tmp_path / "noise" / "b.png").write_bytes(b"no picture")

    folders = [f"noise={tmp_path / 'noise'}", f"drawn={tmp_path / 'chests'}"]
    assert main(["--prepared", str(prepared), "--others", *folders]) == 0

    printed = capsys.readouterr().out
    expected = np.array([chest_statistics(pixels) for pixels in chests])
    for name, mean, deviation in zip(STATISTICS, expected.mean(0), expected.std(0), strict=True):
        assert f'"{name}": ({mean:.3f}, {deviation:.3f}),' in printed
    rows = [line.split() for line in printed.splitlines()]
    assert ["noise", "1", "1", "100.0%", "100.0%"] in rows
    assert ["drawn", "9", "0", "0.0%", "0.0%"] in rows
