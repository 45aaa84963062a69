"""The objects about an image with findings, and about one without."""

from __future__ import annotations

import pytest

from cxrloc.localization.dicom_output.source import IDENTITY
from datasets.dicom.builders import write_dicom
from localization.dicom_output.written import STORED, WINDOWED, Written, written


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Written:
    path = tmp_path_factory.mktemp("made") / "image.dcm"
    attributes = {**WINDOWED, "PhotometricInterpretation": "MONOCHROME1", "ViewPosition": "LL"}
    return written(write_dicom(path, STORED, attributes, bits=12))


@pytest.fixture(scope="module")
def negative(tmp_path_factory: pytest.TempPathFactory) -> Written:
    """An image without anything found, and without most of what a header should have."""
    path = tmp_path_factory.mktemp("negative") / "image.dcm"
    absent = dict.fromkeys(IDENTITY) | {"ImagerPixelSpacing": None}
    return written(write_dicom(path, STORED, absent, bits=12), nothing=True)


@pytest.fixture(params=["made", "negative"])
def either(request: pytest.FixtureRequest) -> Written:
    objects: Written = request.getfixturevalue(request.param)
    return objects
