"""The phantom in CheXpert's layout: the reader takes it, and all kinds of labels are there."""

from __future__ import annotations

import importlib
import math
from pathlib import Path

import cv2
import numpy as np
import pytest

from builders import read_pixels
from cxrloc.datasets.label_policies import count_labels
from cxrloc.datasets.labels.names import CHEXPERT_LABELS
from cxrloc.datasets.phantoms.chexpert import (
    ChexpertPhantomConfig,
    make_chexpert_phantom,
    plan_views,
)
from cxrloc.datasets.phantoms.drawing.chest import render_image
from cxrloc.datasets.readers import chexpert

CONFIG = ChexpertPhantomConfig(patients=24, image_size=64)


@pytest.fixture(scope="module")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phantom") / "CheXpert-v1.0-small"
    return make_chexpert_phantom(CONFIG, folder, workers=1)


def test_the_reader_finds_every_image_and_only_the_quirks_of_the_release(phantom: Path) -> None:
    index = chexpert.index(phantom, strict=True)
    assert [r.image_id for r in index.radiographs] == [v.image_id for v in plan_views(CONFIG)]
    assert all(r.path is not None for r in index.radiographs)
    assert {r.size_hw for r in index.radiographs} == {(64, 78)}
    assert set(index.warnings) <= {
        "sex unknown",
        "age 0 taken as unknown",
        "frontal images that are neither AP nor PA",
    }
    assert {r.view for r in index.radiographs} >= {"AP", "PA", "Lateral"}


def test_train_csv_has_all_four_kinds_of_labels_and_valid_csv_two(phantom: Path) -> None:
    index = chexpert.index(phantom)
    train = [r for r in index.radiographs if index.official[r.image_id] == "train_val"]
    valid = [r for r in index.radiographs if index.official[r.image_id] == "test"]
    counts = count_labels(train, CHEXPERT_LABELS)
    for kind in ("present", "absent", "uncertain", "blank"):
        assert sum(getattr(of, kind) for of in counts.values()) > 0, kind
    assert all(not math.isnan(v) for r in valid for v in r.labels.values())
    assert {r.patient_id for r in train}.isdisjoint(r.patient_id for r in valid)


def test_a_frontal_image_is_the_phantoms_own_and_its_label_says_what_it_shows(
    phantom: Path,
) -> None:
    index = {r.image_id: r for r in chexpert.index(phantom).radiographs}
    view = next(v for v in plan_views(CONFIG) if v.frontal and "Effusion" in v.signs)
    radiograph = index[view.image_id]
    assert radiograph.labels["Pleural Effusion"] == 1 or "Pleural Effusion" in radiograph.uncertain
    drawn = render_image(view.signs, seed=0, patient=view.patient, image=view.study, image_size=64)
    assert radiograph.path is not None
    stored = read_pixels(radiograph.path, cv2.IMREAD_GRAYSCALE)
    difference = np.abs(stored.astype(float) - cv2.resize(drawn.pixels, (78, 64)))
    assert difference.mean() < 3  # of 255: what JPEG costs


def test_the_tool_writes_it(tmp_path: Path) -> None:
    tool = importlib.import_module("cxrloc.tools.data.make_phantom")
    arguments = ["--kind", "chexpert", "--out", str(tmp_path / "p"), "--patients", "2"]
    assert tool.main([*arguments, "--image-size", "64", "--workers", "1"]) == 0
    assert (tmp_path / "p" / "valid.csv").is_file()
