"""The phantom: NIH's file layout, same seed same bytes, boxes around what was drawn."""

from __future__ import annotations

import csv
import hashlib
import importlib
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest

from cxrloc.datasets.labels import NIH_BOXED_DISEASES
from cxrloc.datasets.phantoms.drawing.chest import PhantomImage, render_image
from cxrloc.datasets.phantoms.drawing.statistics import (
    BOX_STATISTICS,
    FINDINGS_PER_IMAGE,
    sample_diseases,
    sample_size,
)
from cxrloc.datasets.phantoms.nih import PhantomConfig, make_phantom, plan_images

CONFIG = PhantomConfig(patients=12, seed=3, image_size=96, share_unboxed_positives=0.3)


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
    config = PhantomConfig(25, 0, image_size=64, share_with_finding=1, share_train_val=0)
    root = make_phantom(config, tmp_path / "p", workers=1)
    labels = {name for row in rows(root / "Data_Entry_2017.csv") for name in row[1].split("|")}
    boxes = {row[1] for row in rows(root / "BBox_List_2017.csv")}
    assert "Infiltration" in labels
    assert "Infiltrate" in boxes
    assert "Infiltration" not in boxes


def test_every_listed_image_is_written_once_at_the_asked_size(phantom: Path) -> None:
    names = [row[0] for row in rows(phantom / "Data_Entry_2017.csv")]
    assert sorted(names) == sorted(path.name for path in (phantom / "images").iterdir())
    for name in names:
        pixels = cv2.imread(str(phantom / "images" / name), cv2.IMREAD_UNCHANGED)
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


def test_shares_of_the_plan_are_those_asked_for() -> None:
    config = PhantomConfig(patients=3000, seed=1, share_unboxed_positives=0.1)
    plan = list(plan_images(config))
    assert len(plan) / 3000 == pytest.approx(1.64, abs=0.06)
    assert np.mean([bool(image.diseases) for image in plan]) == pytest.approx(0.7, abs=0.03)
    train_val = {image.patient for image in plan if image.train_val}
    assert len(train_val) == 750
    tested = [image for image in plan if not image.train_val]
    labels, boxes = (sum(len(getattr(f, k)) for f in tested) for k in ("diseases", "boxed"))
    assert 1 - boxes / labels == pytest.approx(0.1, abs=0.02)


def test_a_share_of_one_gives_no_box_at_all() -> None:
    plan = plan_images(PhantomConfig(patients=50, seed=0, share_unboxed_positives=1))
    assert all(image.boxed == () for image in plan)


@pytest.mark.parametrize("disease", NIH_BOXED_DISEASES)
def test_a_image_changes_inside_the_box_and_hardly_outside(disease: str) -> None:
    for patient in (1, 2, 3):
        without, shown = images(disease, patient)
        (box,) = shown.boxes
        x1, y1, x2, y2 = (value / 4 for value in box.box_xyxy)
        assert box.disease == disease
        assert x1 >= 0
        assert y1 >= 0
        assert x2 <= 256
        assert y2 <= 256
        change = np.abs(shown.pixels.astype(float) - without.pixels.astype(float))
        x1, y1, x2, y2 = round(x1), round(y1), round(x2), round(y2)
        inside = change[y1:y2, x1:x2]
        outside = change.copy()
        outside[max(y1 - 3, 0) : y2 + 3, max(x1 - 3, 0) : x2 + 3] = 0
        assert np.percentile(inside, 90) > 15
        assert (outside > 15).sum() < 0.03 * inside.size


def images(disease: str, patient: int) -> tuple[PhantomImage, PhantomImage]:
    """The same image without and with a disease."""
    return (
        render_image(patient=patient, image_size=256),
        render_image([disease], patient=patient, image_size=256),
    )


@pytest.mark.parametrize("disease", [d for d in NIH_BOXED_DISEASES if d != "Cardiomegaly"])
def test_the_box_is_tight_on_all_four_sides(disease: str) -> None:
    without, shown = images(disease, 5)
    change = np.abs(shown.pixels.astype(float) - without.pixels.astype(float))
    seen = cv2.GaussianBlur(change, (0, 0), 1.0) > 6
    found = np.flatnonzero(seen.any(axis=0)), np.flatnonzero(seen.any(axis=1))
    x1, y1, x2, y2 = (value / 4 for value in shown.boxes[0].box_xyxy)
    assert [found[0][0], found[0][-1] + 1] == pytest.approx([x1, x2], abs=6)
    if disease != "Effusion":  # its lower part lies over the belly, which is as dense
        assert [found[1][0], found[1][-1] + 1] == pytest.approx([y1, y2], abs=6)


def test_a_image_without_a_disease_has_no_box() -> None:
    assert render_image(image_size=64).boxes == ()


def test_boxes_do_not_depend_on_the_image_size() -> None:
    diseases = ("Atelectasis", "Cardiomegaly", "Effusion")
    small = render_image(diseases, patient=7, image_size=64)
    assert small.boxes == render_image(diseases, patient=7, image_size=300).boxes
    assert [box.disease for box in small.boxes] == list(diseases)


def test_an_enlarged_heart_is_over_half_the_thorax_wide() -> None:
    box = render_image(["Cardiomegaly"], patient=4, image_size=64).boxes[0].box_xyxy
    assert 370 < box[2] - box[0] < 640
    assert box[0] < 512 < box[2]
    assert 512 - box[0] < box[2] - 512  # the apex points to the patient's left


def test_the_images_of_one_patient_show_one_chest_in_other_poses() -> None:
    first, second = (render_image(patient=9, image=n, image_size=128) for n in (0, 1))
    stranger = render_image(patient=10, image_size=128)
    assert (first.sex, first.age_years) == (second.sex, second.age_years)
    assert not np.array_equal(first.pixels, second.pixels)
    assert not np.array_equal(first.pixels, stranger.pixels)


@pytest.mark.parametrize("disease", NIH_BOXED_DISEASES)
def test_sampled_sizes_have_nihs_median(disease: str) -> None:
    rng = np.random.default_rng(0)
    sizes = np.array([sample_size(rng, disease) for _ in range(2000)])
    numbers = BOX_STATISTICS[disease]
    expected = np.exp([numbers.log_width[0], numbers.log_height[0]])
    assert np.median(sizes, axis=0) == pytest.approx(expected, rel=0.06)


@pytest.mark.parametrize("disease", ["Atelectasis", "Cardiomegaly", "Mass", "Nodule"])
def test_drawn_boxes_have_about_nihs_median_size(disease: str) -> None:
    boxes = np.array([
        render_image([disease], patient=p, image_size=64).boxes[0].box_xyxy for p in range(1, 41)
    ])  # fmt: skip
    numbers = BOX_STATISTICS[disease]
    expected = np.exp([numbers.log_width[0], numbers.log_height[0]])
    assert np.median(boxes[:, 2:] - boxes[:, :2], axis=0) == pytest.approx(expected, rel=0.25)


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


def test_findings_per_image_follow_nihs_counts_and_pairs() -> None:
    rng = np.random.default_rng(0)
    drawn = [sample_diseases(rng) for _ in range(4000)]
    total = sum(FINDINGS_PER_IMAGE.values())
    several = np.mean([len(found) > 1 for found in drawn])
    assert several == pytest.approx(1 - FINDINGS_PER_IMAGE[1] / total, abs=0.015)
    assert all(len(set(found)) == len(found) for found in drawn)
    assert ("Cardiomegaly", "Nodule") not in drawn  # never on one image in NIH's list
    pairs = [found for found in drawn if len(found) == 2]
    share = pairs.count(("Effusion", "Infiltration")) / len(pairs)
    assert share == pytest.approx(25 / 116, abs=0.07)


def test_a_finished_phantom_is_left_as_it_is(
    phantom: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.stat().st_mtime_ns for path in phantom.rglob("*")}
    assert make_phantom(CONFIG, phantom) == phantom
    assert {path: path.stat().st_mtime_ns for path in phantom.rglob("*")} == before
    assert "nothing to do" in capsys.readouterr().out


def test_a_phantom_of_other_settings_is_not_overwritten(phantom: Path) -> None:
    other = PhantomConfig(patients=12, seed=8, image_size=96, share_unboxed_positives=0.3)
    with pytest.raises(FileExistsError, match=r"other settings \(seed 3 there, 8 asked\)"):
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
        ({"patients": 0}, "patients is 0, expected 1 to 99999999"),
        ({"seed": -1}, "seed is -1, expected 0 or more"),
        ({"image_size": 32}, "image_size is 32, expected 64 to 4096"),
        ({"share_with_finding": 1.5}, r"share_with_finding is 1.5, expected a share in \[0, 1\]"),
    ],
)
def test_a_bad_setting_says_what_was_expected(settings: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PhantomConfig(**settings)  # type: ignore[arg-type]


def test_the_tool_writes_a_phantom_and_refuses_another(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--out", str(tmp_path / "p"), "--image_size", "64", "--workers", "1"]
    assert tool().main([*words, "--patients", "2"]) == 0
    assert (tmp_path / "p" / "BBox_List_2017.csv").is_file()
    assert "never a diagnosis" in capsys.readouterr().out
    assert tool().main([*words, "--patients", "3"]) == 2
    assert "patients 2 there, 3 asked" in capsys.readouterr().err


def tool() -> ModuleType:
    """The script, as a module."""
    return importlib.import_module("cxrloc.tools.data.make_phantom")
