"""Label files and annotations of other people's data sets, and configs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from cxrloc.classification.config import ClassifierConfig
from cxrloc.configs.command_line import load_config
from cxrloc.datasets.phantoms.nih import PhantomConfig, make_phantom
from cxrloc.datasets.readers import nih
from cxrloc.datasets.readers.annotations import coco, csv, voc, yolo
from cxrloc.datasets.readers.box_sets import chest_x_det
from cxrloc.tools.experiments.benchmarks.fuzz.campaign import Target
from cxrloc.tools.experiments.benchmarks.fuzz.mutations import JSON, TEXT, Mutation

_SIDE = 64
_XML = """<annotation><filename>0.png</filename><size><width>64</width><height>64</height></size>
<object><name>Mass</name><bndbox><xmin>8</xmin><ymin>8</ymin><xmax>40</xmax><ymax>32</ymax></bndbox>
</object></annotation>
"""
_CSV = """image,class,xmin,ymin,xmax,ymax,image_width,image_height,sex,age
0.png,Mass,8,8,40,32,64,64,F,40
1.png,Nodule,8,8,40,32,64,64,M,50
"""
_CONFIG = """data:
  prepared: data/nih
  validation_share: 0.1
model:
  architecture: resnet18
  size: 224
train:
  epochs: 3
  lr: 0.001
out: runs/gate
"""


def reader_targets(folder: Path) -> list[Target]:
    """A file of each format that is read, with its images, in folders of `folder`."""
    boxes = [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [8, 8, 32, 24]}]
    images = [{"id": n + 1, "file_name": f"{n}.png", "width": 64, "height": 64} for n in range(2)]
    document = {"images": images, "annotations": boxes, "categories": [{"id": 1, "name": "Mass"}]}
    entries = [
        {"file_name": f"{n}.png", "syms": ["Mass"], "boxes": [[8, 8, 40, 32]]} for n in (0, 1)
    ]
    kinds: list[tuple[str, str, str, Callable[..., Any], tuple[Mutation, ...]]] = [
        ("boxes as CSV", "annotations.csv", _CSV, csv.index, TEXT),
        ("boxes as VOC", "0.xml", _XML, voc.index, TEXT),
        ("boxes as YOLO", "0.txt", "0 0.5 0.5 0.25 0.25\n", yolo.index, TEXT),
        ("names of YOLO", "data.yaml", "nc: 1\nnames: [Mass]\n", yolo.index, TEXT),
        ("boxes as COCO", "boxes.json", json.dumps(document), coco.index, JSON),
        ("ChestX-Det", "ChestX_Det_train.json", json.dumps(entries), chest_x_det.index, JSON),
    ]
    made = [_reader(folder / kind[0], *kind) for kind in kinds]
    return [*made, *_nih(folder / "phantom"), _config(folder / "config.yaml")]


def _reader(
    root: Path,
    loader: str,
    file: str,
    text: str,
    index: Callable[..., Any],
    mutations: tuple[Mutation, ...],
) -> Target:
    root.mkdir()
    for n in range(2):
        grey = np.random.default_rng(n).integers(0, 255, (_SIDE, _SIDE), dtype=np.uint8)
        cv2.imwrite(str(root / f"{n}.png"), grey)
    if index is yolo.index:
        (root / "data.yaml").write_text("nc: 1\nnames: [Mass]\n")
        (root / "0.txt").write_text("0 0.5 0.5 0.25 0.25\n")
    (root / file).write_text(text)

    def load(path: Path) -> Any:
        read = index(root)
        print("\n".join(read.warnings.lines()))
        return read.radiographs

    return Target(loader, root / file, load, mutations)


def _nih(root: Path) -> list[Target]:
    make_phantom(PhantomConfig(patients=2, image_size=64), root)

    def load(path: Path) -> Any:
        read = nih.index(root)
        print("\n".join(read.warnings.lines()))
        return read.radiographs

    files = sorted(p for p in root.iterdir() if p.suffix in (".csv", ".txt") and p.stat().st_size)
    return [Target(f"NIH's {path.stem.lower()}", path, load, TEXT) for path in files]


def _config(path: Path) -> Target:
    path.write_text(_CONFIG)
    return Target(
        "config", path, lambda file: load_config(ClassifierConfig, ["--config", str(file)]), TEXT
    )
