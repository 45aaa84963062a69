"""The phantom arm: MURA's layout, one seed one data set, findings where they are said to be."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from builders import read_pixels
from cxrloc.datasets.phantoms.drawing.limb import FINDINGS, LimbImage, render_limb
from cxrloc.datasets.phantoms.drawing.limb_anatomy import LIMBS
from cxrloc.datasets.phantoms.mura import LimbConfig, make_phantom_limb, plan_studies
from cxrloc.datasets.readers import mura
from cxrloc.datasets.readers.layouts import BODY_PARTS
from cxrloc.tools.data.make_phantom import main

CONFIG = LimbConfig(patients=24, seed=5, image_size=64)


@pytest.fixture(scope="module")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_phantom_limb(CONFIG, tmp_path_factory.mktemp("limb") / "a", workers=1)


def test_muras_reader_reads_every_image_without_a_warning(phantom: Path) -> None:
    index = mura.index(phantom, strict=True)
    planned = list(plan_studies(CONFIG))
    labels = {r.study_id: r.labels["Abnormal"] for r in index.radiographs}
    assert labels == {study.folder: float(study.abnormal) for study in planned}
    assert len(index.radiographs) == sum(len(study.images) for study in planned)
    assert all(r.path is not None and max(r.size_hw) == 64 for r in index.radiographs)
    assert len({r.patient_id for r in index.radiographs}) == 24
    assert set(index.official.values()) == {"train_val", "test"}


def test_images_are_of_muras_kinds(phantom: Path) -> None:
    files = sorted(phantom.rglob("*.png"))
    shapes = [read_pixels(path, cv2.IMREAD_UNCHANGED).shape for path in files]
    assert {len(shape) for shape in shapes} == {2, 3}  # grey, and a few with three channels
    assert len({shape[:2] for shape in shapes}) > 5  # of different widths


def test_one_seed_gives_the_same_bytes_whatever_the_number_of_processes(
    phantom: Path, tmp_path: Path
) -> None:
    again = make_phantom_limb(CONFIG, tmp_path / "b", workers=2)
    files = [path.relative_to(phantom) for path in sorted(phantom.rglob("*")) if path.is_file()]
    assert len(files) > 30
    for file in files:
        assert (again / file).read_bytes() == (phantom / file).read_bytes(), file
    other = plan_studies(LimbConfig(patients=24, seed=6))
    assert [s.folder for s in other] != [s.folder for s in plan_studies(CONFIG)]


def test_the_plan_has_muras_proportions() -> None:
    studies = list(plan_studies(LimbConfig(patients=3000, seed=1)))
    assert np.mean([study.abnormal for study in studies]) == pytest.approx(0.4, abs=0.03)
    images = [len(study.images) for study in studies]
    # 40,005 images of 14,656 studies in the release
    assert np.mean(images) == pytest.approx(40005 / 14656, abs=0.06)
    assert (min(images), max(images)) == (1, 13)
    assert np.mean(np.array(images) > 4) == pytest.approx(0.05, abs=0.015)  # many are rare
    parts = [study.folder.split("/")[1] for study in studies]
    assert set(parts) == set(LIMBS) == set(BODY_PARTS)
    # shoulder 3015 of 14,656 studies
    assert parts.count("XR_SHOULDER") / len(parts) == pytest.approx(3015 / 14656, abs=0.03)
    patients: dict[str, set[str]] = {}
    for study in studies:
        part, _, patient, _ = study.folder.split("/")
        patients.setdefault(patient, set()).add(part)
    assert all(len(parts_of) == 1 for parts_of in patients.values())  # in train or in valid
    several = [study for study in studies if "study2" in study.folder]
    assert several  # of one part


@pytest.mark.parametrize("body_part", LIMBS)
@pytest.mark.parametrize("finding", FINDINGS)
def test_a_finding_changes_a_part_of_the_bone_and_nothing_else(
    body_part: str, finding: str
) -> None:
    # the stream of the noise does not depend on the finding, so what differs is the finding
    normal, abnormal = (
        render_limb(LimbImage(body_part, f, False, (1, 7, 0), 0), 128).astype(int)
        for f in ("", finding)
    )
    changed = np.abs(normal - abnormal) > 12
    assert 0.0002 < changed.mean() < 0.35
    if finding == "hardware":
        assert abnormal[changed].mean() > normal[changed].mean() + 40


def test_all_images_of_a_study_are_of_one_side_and_its_first_shows_the_finding() -> None:
    for study in plan_studies(LimbConfig(patients=200)):
        assert len({image.left for image in study.images}) == 1
        assert bool(study.images[0].finding) == study.abnormal
        assert study.folder.endswith("positive" if study.abnormal else "negative")
    hidden = [
        not image.finding
        for study in plan_studies(LimbConfig(patients=400))
        if study.abnormal
        for image in study.images[1:]
    ]
    assert np.mean(hidden) == pytest.approx(0.15, abs=0.06)


def test_the_side_says_nothing_of_the_label() -> None:
    studies = list(plan_studies(LimbConfig(patients=3000)))
    shares = [np.mean([s.images[0].left for s in studies if s.abnormal == a]) for a in (0, 1)]
    assert shares == pytest.approx([0.5, 0.5], abs=0.05)


def test_the_tool_draws_limbs_and_refuses_another_phantoms_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--kind=limb", f"--out={tmp_path / 'p'}", "--image-size=64", "--workers=1"]
    assert main([*arguments, "--patients=2"]) == 0
    assert (tmp_path / "p/MURA-v1.1/train_labeled_studies.csv").is_file()
    assert main([*arguments, "--patients=3"]) == 2
    assert "patients 2 there, 3 asked" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"patients": 0}, "patients is 0, expected 1 to 99999"),
        ({"image_size": 32}, "image_size is 32, expected 64 to 4096"),
        ({"seed": -1}, "seed is -1, expected 0 or more"),
    ],
)
def test_a_bad_setting_is_named(settings: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LimbConfig(**settings)
    with pytest.raises(ValueError, match="cannot draw 'gout'"):
        render_limb(LimbImage("XR_HAND", "gout", False, (0, 1, 0), 0))
