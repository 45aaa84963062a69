"""Checking images before a long run: DICOM images say of themselves what may mislead."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from builders import write_image
from cxrloc.datasets.prepared.check_images import check_images
from cxrloc.datasets.radiograph import Radiograph
from cxrloc.datasets.readers.index import ReaderWarnings
from datasets.dicom.builders import write_dicom


def test_dicom_images_are_left_out_or_warned_about_by_name(tmp_path: Path) -> None:
    pixels = np.arange(400).reshape(20, 20).astype(np.uint8)  # a flat image would be warned about
    views = {"front": {}, "side": {"ViewPosition": "LL"}, "knee": {"BodyPartExamined": "KNEE"}}
    images = [
        Radiograph(name, write_dicom(tmp_path / f"{name}.dcm", pixels, attributes), name, "", {})
        for name, attributes in views.items()
    ]
    warnings = ReaderWarnings()

    unreadable = check_images(images, warnings, workers=2)

    assert list(unreadable) == ["knee"]
    assert "BodyPartExamined is KNEE" in unreadable["knee"]
    [example] = warnings.examples["images with a warning, kept"]
    assert example.startswith("side (Lateral image (ViewPosition is LL)")
    assert warnings["unreadable images, left out"] == 1


def test_a_image_without_contrast_is_warned_about_by_name(tmp_path: Path) -> None:
    warnings = ReaderWarnings()
    check_images(
        [Radiograph("flat", write_image(tmp_path / "flat.png"), "p", "", {})], warnings, workers=1
    )
    [example] = warnings.examples["images with a warning, kept"]
    assert example.startswith("flat (No contrast: every pixel has the grey value 100")


def test_an_image_with_two_warnings_is_counted_once(tmp_path: Path) -> None:
    warnings = ReaderWarnings()
    path = write_dicom(tmp_path / "a.dcm", np.full((20, 20), 7, np.uint8), {"ViewPosition": "LL"})
    check_images([Radiograph("a", path, "p", "", {})], warnings, workers=1)
    assert warnings["images with a warning, kept"] == 1
    [example] = warnings.examples["images with a warning, kept"]
    assert "Lateral image" in example
    assert "No contrast" in example
