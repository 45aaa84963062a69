"""Checking films before a long run: DICOM films say of themselves what may mislead."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from cxrloc.datasets.prepared.check_images import check_films
from cxrloc.datasets.radiograph import Radiograph
from cxrloc.datasets.readers.index import CountedWarnings

WriteDicom = Callable[..., Path]


def test_dicom_films_are_left_out_or_warned_about_by_name(
    tmp_path: Path, write_dicom: WriteDicom
) -> None:
    pixels = np.arange(400).reshape(20, 20).astype(np.uint8)  # a flat film would be warned about
    views = {"front": {}, "side": {"ViewPosition": "LL"}, "knee": {"BodyPartExamined": "KNEE"}}
    films = [
        Radiograph(name, write_dicom(tmp_path / f"{name}.dcm", pixels, **attributes), name, "", {})
        for name, attributes in views.items()
    ]
    warnings = CountedWarnings()

    unreadable = check_films(films, warnings, workers=2)

    assert list(unreadable) == ["knee"]
    assert "BodyPartExamined is KNEE" in unreadable["knee"]
    [example] = warnings.examples["warnings of films, which are kept"]
    assert example.startswith("side (Lateral film (ViewPosition is LL)")
    assert warnings["films that cannot be read, left out"] == 1


def test_a_film_without_contrast_is_warned_about_by_name(
    tmp_path: Path, film: Callable[..., Path]
) -> None:
    warnings = CountedWarnings()
    check_films([Radiograph("flat", film(tmp_path / "flat.png"), "p", "", {})], warnings, workers=1)
    [example] = warnings.examples["warnings of films, which are kept"]
    assert example.startswith("flat (No contrast: every pixel has the grey 100")
