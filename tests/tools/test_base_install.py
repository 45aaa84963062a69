"""The verbs of the base install run to their end where nothing of an extra can be imported.

Of the comparison see `localization/comparison_report/test_without_torch.py`, and the test that
installs the wheel.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from datasets.dicom.builders import write_dicom

# A finder, not an empty entry in sys.modules: scipy and others look there whether torch is loaded.
BASE_ONLY = """
import sys
from importlib.abc import MetaPathFinder

EXTRAS = set(
    "torch torchvision lightning tensorboard sklearn pyarrow pyspark highdicom pynetdicom fastapi "
    "uvicorn prometheus_client nicegui onnx onnxscript onnxruntime openvino".split()
)

class BaseOnly(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in EXTRAS:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, BaseOnly())
"""
DATA_VERBS = """
from cxrloc.tools.data import audit_leakage, find_markers, make_phantom
from cxrloc.tools import prepare_data

def done(main, *words):
    status = main(list(words))
    assert status == 0, (main.__module__, status)

done(make_phantom.main, "--config", "phantom.yaml", "--out", "phantom")
done(prepare_data.main, "--dataset", "nih", "--root", "phantom", "--out", "prepared")
done(find_markers.main, "loose", "--out", "markers")
folds = ["prepared/ground_truth_fold0.json", "prepared/ground_truth_fold1.json"]
done(audit_leakage.main, "--train", folds[0], "--evaluate", folds[1])
"""
EXPLAIN = """
from cxrloc.tools.compare_localizers import main

main(["--explain", "IoU"])
"""


def run(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", BASE_ONLY + code]
    return subprocess.run(command, capture_output=True, text=True, timeout=500, cwd=folder)


@pytest.mark.slow
def test_images_are_drawn_prepared_looked_at_and_audited(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).normal(100, 3, (256, 256)).astype(np.uint8)
    (tmp_path / "loose").mkdir()
    for ending in ("png", "jpg"):
        cv2.imwrite(str(tmp_path / "loose" / f"image.{ending}"), pixels)
    write_dicom(tmp_path / "loose" / "image.dcm", pixels)

    (tmp_path / "phantom.yaml").write_text("{patients: 6, image_size: 128, workers: 1}")
    made = run(DATA_VERBS, tmp_path)

    assert made.returncode == 0, made.stderr
    assert "on 3 images" in made.stdout
    assert (tmp_path / "prepared" / "index.json").is_file()


def test_words_are_explained(tmp_path: Path) -> None:
    assert "area in pixels" in run(EXPLAIN, tmp_path).stdout


def test_in_these_processes_no_extra_can_be_imported(tmp_path: Path) -> None:
    for library in ("torch", "pyarrow"):
        assert f"No module named '{library}'" in run(f"import {library}", tmp_path).stderr
