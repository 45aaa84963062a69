"""Age, sex and view of DICOM images: what is read, what is unknown, and that nothing is told."""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import Dataset

from cxrloc.classification.network.demographics import encode, unknown
from cxrloc.datasets.images.read import read_image
from cxrloc.datasets.radiograph import LoadedImage
from datasets.dicom.builders import write_dicom

PIXELS = np.arange(48, dtype=np.uint8).reshape(6, 8)
ALL = ("age", "sex", "view")


def code(value: str, scheme: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., LoadedImage]:
    """`read(PatientAge="058Y")`: the image of a file that says so."""

    def make(**attributes: Any) -> LoadedImage:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pydicom's, on what is written against the standard
            path = write_dicom(tmp_path / "a.dcm", PIXELS, **attributes)
        return read_image(path)

    return make


@pytest.mark.parametrize(
    ("stated", "years"),
    [
        ("058Y", 58.0),
        ("006M", 0.5),
        ("013W", 91 / 365.25),
        ("010D", 10 / 365.25),
        ("58Y", 58.0),
        ("000Y", 0.0),
        ("411Y", 411.0),
    ],
)
def test_age_is_in_years_whatever_its_unit(
    read: Callable[..., LoadedImage], stated: str, years: float
) -> None:
    assert read(PatientAge=stated).age_years == pytest.approx(years)


@pytest.mark.parametrize("stated", [None, "", "58", "Y", "-05Y", "58 years", "5.5Y", "058Y\\060Y"])
def test_an_age_that_is_none_is_unknown(
    read: Callable[..., LoadedImage], stated: str | None
) -> None:
    assert math.isnan(read(PatientAge=stated).age_years)


@pytest.mark.parametrize(
    ("stated", "sex"),
    [("F", "F"), ("M", "M"), ("m ", "M"), ("O", ""), ("", ""), (None, ""), ("FEMALE", "")],
)
def test_sex_is_one_of_the_standards_or_unknown(
    read: Callable[..., LoadedImage], stated: str | None, sex: str
) -> None:
    assert read(PatientSex=stated).sex == sex


@pytest.mark.parametrize(
    ("attributes", "view"),
    [
        ({"ViewPosition": "PA"}, "PA"),
        ({"ViewPosition": "AP PORTABLE"}, "AP"),
        ({"ViewPosition": "LL"}, "LATERAL"),
        ({"ViewPosition": "AP OBLIQUE"}, ""),
        ({"ViewPosition": "LLD"}, ""),
        ({"ViewPosition": None}, ""),
        ({"ViewPosition": None, "StudyDescription": "CHEST AP PORTABLE"}, ""),  # an order
        ({"ViewPosition": None, "StudyDescription": "CHEST LAT"}, "LATERAL"),
        ({"ViewPosition": "PA", "PatientOrientation": ["A", "F"]}, ""),  # contradiction
        ({"ViewPosition": None, "ViewCodeSequence": [code("272479007", "SCT", "p.a.")]}, "PA"),
        ({"ViewPosition": None, "ViewCodeSequence": [code("R-10206", "SRT", "a.p.")]}, "AP"),
        (
            {"ViewPosition": None, "ViewCodeSequence": [code("9", "99X", "Antero-posterior")]},
            "AP",
        ),
        ({"ViewPosition": None, "ViewCodeSequence": [code("399033003", "SCT", "frontal")]}, ""),
        ({"ViewPosition": "PA", "ViewCodeSequence": [code("399348003", "SCT", "ap")]}, ""),
    ],
)
def test_the_view_is_what_is_stated_without_contradiction(
    read: Callable[..., LoadedImage], attributes: dict[str, Any], view: str
) -> None:
    assert read(**attributes).view == view


def test_a_gate_is_told_what_the_file_says(read: Callable[..., LoadedImage]) -> None:
    attributes = read(PatientAge="070Y", PatientSex="F", ViewPosition="AP")
    assert encode(ALL, [attributes])[0].tolist() == [1, 0, 1, 0, 0, 0, 1, 0, 0]
    nonsense = read(PatientAge="411Y", PatientSex="CANARY", ViewPosition="SIDEWAYS")
    assert encode(ALL, [nonsense])[0].tolist() == unknown(ALL).tolist()


def test_neither_age_nor_sex_is_told_to_anybody_else(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lateral = {"BodyPartExamined": None, "ViewPosition": "LL"}  # two warnings
    with warnings.catch_warnings(record=True):
        paths = [
            write_dicom(tmp_path / "a.dcm", PIXELS, lateral, PatientAge="077Y", PatientSex="M"),
            write_dicom(tmp_path / "b.dcm", PIXELS, PatientAge="77 Jahre", PatientSex="CANARY"),
        ]
    caplog.clear()
    with warnings.catch_warnings(record=True) as seen, caplog.at_level(logging.DEBUG):
        warnings.simplefilter("always")
        images = [read_image(path) for path in paths]
    assert (images[0].age_years, images[0].sex) == (77, "M")
    assert len(images[0].warnings) == 2
    texts = [repr(images), caplog.text, *images[0].warnings, *(str(w.message) for w in seen)]
    for word in ("77", "sex", "age_years", "CANARY", "Jahre"):
        assert word not in " ".join(texts)
