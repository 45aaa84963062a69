"""The comparison needs no torch: neither to start nor to make every part of its report."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from builders import coco_ground_truth, write_image
from cxrloc.classification.inference.gate_table import GateRow, write_gate_table
from cxrloc.localization.cam.heat_maps import HeatMaps, write_heat_maps

DISEASES = ("Mass", "Nodule")
BOXED, UNBOXED = ("0.png", "1.png", "2.png"), ("3.png", "4.png")

# A finder, not an empty entry in sys.modules: scipy and others look there whether torch is loaded.
NO_TORCH = """
import sys
from importlib.abc import MetaPathFinder

class NoTorch(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"torch", "torchvision", "lightning"}:
            raise ImportError(f"no {name} here")

sys.meta_path.insert(0, NoTorch())
"""


def _run(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=500)


def test_the_comparison_imports_no_torch() -> None:
    ended = _run(
        "import sys\nimport cxrloc.tools.compare_localizers\n"
        "print(sorted({'torch', 'torchvision', 'lightning'} & set(sys.modules)))"
    )

    assert (ended.stdout.strip(), ended.returncode) == ("[]", 0), ended.stderr


def test_in_these_subprocesses_torch_cannot_be_imported() -> None:
    ended = _run(f"{NO_TORCH}\nimport torch")

    assert ended.returncode == 1
    assert "ImportError: no torch here" in ended.stderr


def _files(folder: Path) -> list[str]:
    """Ground truth, predictions, gate, heat maps and images of five patients, as arguments."""
    coco = coco_ground_truth(
        DISEASES, [(i, d, (8, 8, 16, 16)) for i in BOXED for d in DISEASES], images=UNBOXED
    )
    predictions: list[dict[str, Any]] = [
        {"image_id": i, "category_id": c, "bbox": [8 + i, 8, 16, 16], "score": 1 / (1 + i + c)}
        for i in range(5)
        for c in (1, 2)
    ]
    (folder / "gt.json").write_text(json.dumps(coco))
    (folder / "boxes.json").write_text(json.dumps(predictions))
    pairs = [(image, disease) for image in (*BOXED, *UNBOXED) for disease in DISEASES]
    rows = [GateRow(i, i, d, 0.75, 0.5 if i != BOXED[0] else 0.9, i != BOXED[0]) for i, d in pairs]
    write_gate_table(folder / "gate.csv", rows)
    heat = np.random.default_rng(0).random((len(pairs), 4, 4), dtype=np.float32)
    maps = HeatMaps.of(dict(zip(pairs, heat, strict=True)), name="cam", aligned=False)
    write_heat_maps(folder / "cam.maps.safetensors", maps)
    for value, image in enumerate((*BOXED, *UNBOXED)):
        write_image(folder / "images" / image, 60 + 20 * value, shape=(64, 64), corner=255)
    return [
        "--ground-truth",
        str(folder / "gt.json"),
        "--predictions",
        f"cam={folder / 'boxes.json'}",
        "--gate",
        str(folder / "gate.csv"),
        "--maps",
        f"cam={folder / 'cam.maps.safetensors'}",
        "--images",
        str(folder / "images"),
        "--out",
        str(folder / "out"),
        "--resamples",
        "20",
    ]


@pytest.mark.slow
def test_predictions_gate_and_maps_are_compared_where_torch_cannot_be_imported(
    tmp_path: Path,
) -> None:
    main = "from cxrloc.tools.compare_localizers import main\nsys.exit(main(sys.argv[1:]))"

    ended = _run(f"{NO_TORCH}\n{main}", *_files(tmp_path))

    assert ended.returncode == 0, ended.stderr
    made = {path.name for path in (tmp_path / "out").glob("*.csv")}
    assert made >= {
        "mean_iou.csv",
        "acc_iou.csv",
        "paired_tests.csv",
        "end_to_end.csv",
        "gate_ledger.csv",
        "froc.csv",
        "coco_ap.csv",
        "ladder.csv",
        "taxonomy.csv",
        "synonyms.csv",
        "strata.csv",
        "shortcut.csv",
        "leakage.csv",
        "per_box.csv",
    }
    with (tmp_path / "out" / "mean_iou.csv").open(newline="") as handle:
        means = {(r["measure"], r["localizer"], r["setting"]): r for r in csv.DictReader(handle)}
    # boxes of 16 x 16 that are off by 0, 1 and 2 pixels; the gate misses the first image
    ious = [(16 - shift) / (16 + shift) for shift in (0, 1, 2)]
    given, gated = (means["mean_iou", "cam", setting] for setting in ("disease given", "gated"))
    assert float(given["macro mean"]) == pytest.approx(sum(ious) / 3, abs=1e-5)
    assert float(gated["macro mean"]) == pytest.approx(sum(ious[1:]) / 3, abs=1e-5)
    assert "data:image/jpeg" in (tmp_path / "out" / "report.html").read_text()
