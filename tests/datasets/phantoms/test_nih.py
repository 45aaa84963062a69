"""The phantom: NIH's file layout, same seed same bytes, boxes around what was drawn."""

from __future__ import annotations

import csv
import hashlib
import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import pytest

from builders import read_pixels
from cxrloc.datasets.phantoms.drawing.chest import PhantomImage, render_image
from cxrloc.datasets.phantoms.drawing.statistics import (
    BOX_STATISTICS,
)
from cxrloc.datasets.phantoms.nih import PhantomConfig, make_phantom, plan_images

CONFIG = PhantomConfig(patients=12, seed=3, image_size=96)


def digests(root: Path) -> dict[str, str]:
    """SHA-256 of every file below `root`."""
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {str(f.relative_to(root)): hashlib.sha256(f.read_bytes()).hexdigest() for f in files}


def rows(path: Path) -> list[list[str]]:
    """Rows of a CSV without its header."""
    with path.open(newline="") as handle:
        return list(csv.reader(handle))[1:]


@pytest.fixture(scope="module")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_phantom(CONFIG, tmp_path_factory.mktemp("phantom") / "images", workers=1)


def test_the_same_config_gives_the_same_bytes_for_any_number_of_workers(
    phantom: Path, tmp_path: Path
) -> None:
    again = make_phantom(CONFIG, tmp_path / "again", workers=2)
    assert digests(again) == digests(phantom)


def test_another_seed_gives_other_images(phantom: Path, tmp_path: Path) -> None:
    other = PhantomConfig(patients=1, seed=4, image_size=96)
    first = make_phantom(other, tmp_path / "other", workers=1) / "images" / "00000001_000.png"
    assert first.read_bytes() != (phantom / "images" / "00000001_000.png").read_bytes()


def test_the_headers_are_nihs_with_their_quirks(phantom: Path) -> None:
    label_header = (phantom / "Data_Entry_2017.csv").read_text().splitlines()[0]
    assert label_header == (
        "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,"
        "View Position,OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],"
    )
    box_header = (phantom / "BBox_List_2017.csv").read_text().splitlines()[0]
    assert box_header == "Image Index,Finding Label,Bbox [x,y,w,h],,,"
    assert {len(row) for row in rows(phantom / "Data_Entry_2017.csv")} == {12}


def test_the_box_header_is_that_of_the_real_list(shared_data: Path, phantom: Path) -> None:
    with (shared_data / "nih" / "BBox_List_2017.csv").open() as handle:
        real = handle.readline().strip()
    assert (phantom / "BBox_List_2017.csv").read_text().splitlines()[0] == real


def test_the_box_list_spells_infiltration_as_nih_does(tmp_path: Path) -> None:
    root = make_phantom(PhantomConfig(40, 0, image_size=64), tmp_path / "p", workers=1)
    labels = {name for row in rows(root / "Data_Entry_2017.csv") for name in row[1].split("|")}
    boxes = {row[1] for row in rows(root / "BBox_List_2017.csv")}
    assert "Infiltration" in labels
    assert "Infiltrate" in boxes
    assert "Infiltration" not in boxes


def test_every_listed_image_is_written_once_at_the_asked_size(phantom: Path) -> None:
    names = [row[0] for row in rows(phantom / "Data_Entry_2017.csv")]
    assert sorted(names) == sorted(path.name for path in (phantom / "images").iterdir())
    for name in names:
        pixels = read_pixels(phantom / "images" / name, cv2.IMREAD_UNCHANGED)
        assert pixels.shape == (96, 96)
        assert pixels.dtype == np.uint8


def test_no_patient_is_in_both_lists_and_boxed_images_are_in_the_test_list(phantom: Path) -> None:
    train_val = (phantom / "train_val_list.txt").read_text().split()
    test = (phantom / "test_list.txt").read_text().split()
    listed = [row[0] for row in rows(phantom / "Data_Entry_2017.csv")]
    assert sorted(train_val + test) == listed
    assert not {name[:8] for name in train_val} & {name[:8] for name in test}
    boxed = {row[0] for row in rows(phantom / "BBox_List_2017.csv")}
    assert boxed
    assert boxed <= set(test)


def test_a_box_belongs_to_a_positive_label_and_stands_once(phantom: Path) -> None:
    labels = {row[0]: row[1].split("|") for row in rows(phantom / "Data_Entry_2017.csv")}
    boxes = [(r[0], r[1].replace("Infiltrate", "Infiltration")) for r in box_rows(phantom)]
    assert len(set(boxes)) == len(boxes)
    assert all(disease in labels[image] for image, disease in boxes)


def box_rows(root: Path) -> list[list[str]]:
    return rows(root / "BBox_List_2017.csv")


def test_shares_of_the_plan_are_as_described() -> None:
    plan = list(plan_images(PhantomConfig(patients=3000, seed=1)))
    assert len(plan) / 3000 == pytest.approx(1.64, abs=0.06)
    assert np.mean([bool(image.diseases) for image in plan]) == pytest.approx(0.7, abs=0.03)
    train_val = {image.patient for image in plan if image.train_val}
    assert len(train_val) == 750
    tested = [image for image in plan if not image.train_val]
    labels, boxes = (sum(len(getattr(f, k)) for f in tested) for k in ("diseases", "boxed"))
    assert 1 - boxes / labels == pytest.approx(0.05, abs=0.015)


def test_a_finished_phantom_is_left_as_it_is(
    phantom: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.stat().st_mtime_ns for path in phantom.rglob("*")}
    assert make_phantom(CONFIG, phantom) == phantom
    assert {path: path.stat().st_mtime_ns for path in phantom.rglob("*")} == before
    assert "nothing to do" in capsys.readouterr().out


def test_a_phantom_of_other_settings_is_not_overwritten(phantom: Path) -> None:
    other = PhantomConfig(patients=12, seed=8, image_size=96)
    with pytest.raises(FileExistsError, match=r"other settings \(seed is 3, requested 8\)"):
        make_phantom(other, phantom)


def test_a_folder_with_other_files_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep me")
    with pytest.raises(FileExistsError, match="not a finished phantom"):
        make_phantom(CONFIG, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_an_interrupted_run_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cxrloc.datasets.phantoms.nih.render_image", _interrupt)
    with pytest.raises(KeyboardInterrupt):
        make_phantom(CONFIG, tmp_path / "out", workers=1)
    assert list(tmp_path.iterdir()) == []


def _interrupt(*_: object, **__: object) -> PhantomImage:
    raise KeyboardInterrupt


def test_an_unknown_disease_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match="cannot draw Hernia; it draws Atelectasis"):
        render_image(["Hernia"])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"patients": 0}, "patients is 0, expected 1 to 99000000"),
        ({"style": "sideways"}, "style is 'sideways', expected one of upright, bedside"),
        ({"seed": -1}, "seed is -1, expected 0 or more"),
        ({"image_size": 32}, "image_size is 32, expected 64 to 4096"),
    ],
)
def test_a_bad_setting_says_what_was_expected(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PhantomConfig(**settings)


def test_the_tool_writes_a_phantom_and_refuses_another(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--out", str(tmp_path / "p"), "--image-size", "64", "--workers", "1"]
    assert tool().main([*arguments, "--patients", "2"]) == 0
    assert (tmp_path / "p" / "BBox_List_2017.csv").is_file()
    assert "never a diagnosis" in capsys.readouterr().out
    assert tool().main([*arguments, "--patients", "3"]) == 2
    assert "patients is 2, requested 3" in capsys.readouterr().err


def tool() -> ModuleType:
    """The script, as a module."""
    return importlib.import_module("cxrloc.tools.data.make_phantom")


def test_the_embedded_numbers_are_those_of_the_real_box_list(shared_data: Path) -> None:
    real = rows(shared_data / "nih" / "BBox_List_2017.csv")
    for disease, numbers in BOX_STATISTICS.items():
        name = "Infiltrate" if disease == "Infiltration" else disease
        sizes = np.log([[float(v) for v in row[4:6]] for row in real if row[1] == name])
        assert len(sizes) == numbers.boxes
        assert sizes.mean(axis=0) == pytest.approx(
            [numbers.log_width[0], numbers.log_height[0]], abs=0.001
        )
        assert np.corrcoef(sizes.T)[0, 1] == pytest.approx(numbers.correlation, abs=0.006)


def test_the_bedside_style_draws_other_patients_crooked_and_in_flat_contrast() -> None:
    upright, bedside = (PhantomConfig(40, style=style) for style in ("upright", "bedside"))
    names = [{image.patient for image in plan_images(config)} for config in (upright, bedside)]
    assert names == [set(range(1, 41)), set(range(50_001, 50_041))]
    drawn = [render_image(patient=50_001, image_size=64, style=s) for s in ("upright", "bedside")]
    spread = [float(np.ptp(np.percentile(image.pixels, (5, 95)))) for image in drawn]
    assert spread[1] < 0.8 * spread[0]
    assert drawn[1].view == "AP"
