"""A diagnosis as DICOM: read back by highdicom, checked by the standard's tables and dciodvfy."""

from __future__ import annotations

import logging
import shutil
import warnings
from pathlib import Path

import numpy as np
import pydicom
import pytest
from highdicom._standard_utils import check_required_attributes, get_iod_module_map
from highdicom._standard_utils import get_sop_class_iod_map as iod_of_class
from pydicom import Dataset

from cxrloc.datasets.files.manifest import RESEARCH_USE
from cxrloc.datasets.images.read import UnreadableImageError, read_image
from cxrloc.localization.dicom_output.origin import Origin
from cxrloc.localization.dicom_output.output import dicom_objects
from cxrloc.localization.dicom_output.source import IDENTITY, parse_source
from datasets.dicom.builders import write_dicom
from localization.dicom_output.written import (
    STORED,
    WINDOWED,
    Written,
    check_by_dciodvfy,
    diagnosis_of,
    texts,
    written,
)

# ---- validity -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["sr", "pr", "sc"])
def test_every_object_has_what_the_standards_tables_require(either: Written, kind: str) -> None:
    made = either[kind]
    modules = get_iod_module_map()[iod_of_class()[made.SOPClassUID]]
    mandatory = [module["key"] for module in modules if module["usage"] == "M"]
    assert len(mandatory) >= 7
    if kind == "sr":  # its items need what their value types do: dciodvfy and srread look at that
        mandatory.remove("sr-document-content")
    for module in mandatory:
        check_required_attributes(made, module)


@pytest.mark.parametrize("kind", ["sr", "pr", "sc"])
def test_dciodvfy_finds_no_error(either: Written, kind: str) -> None:
    check_by_dciodvfy(either, kind)


# ---- what all have in common ----------------------------------------------------------------


@pytest.mark.parametrize("kind", ["sr", "pr", "sc"])
def test_every_object_is_of_the_images_patient_and_study_in_a_series_of_its_own(
    made: Written, kind: str
) -> None:
    dataset = made[kind]
    for keyword in ("StudyInstanceUID", *IDENTITY):
        assert dataset.get(keyword) == made.source.get(keyword), keyword
    assert dataset.PatientName == "Canary^Secret"
    assert dataset.SeriesInstanceUID != made.source.SeriesInstanceUID
    assert dataset.Modality == {"sr": "SR", "pr": "PR", "sc": "OT"}[kind]
    assert len({made[k].SeriesInstanceUID for k in ("sr", "pr", "sc")}) == 3
    assert len({made[k].SOPInstanceUID for k in ("sr", "pr", "sc")}) == 3


def test_uids_derive_from_image_models_and_settings(tmp_path: Path) -> None:
    first, second = (
        write_dicom(tmp_path / name, STORED, WINDOWED, bits=12) for name in ("a.dcm", "b.dcm")
    )

    def uids(path: Path, origin: Origin) -> set[str]:
        image, source = read_image(path), parse_source(path.read_bytes(), path.name)
        made = dicom_objects(image, diagnosis_of(image), source, origin)
        keywords = ("SOPInstanceUID", "SeriesInstanceUID", "UID")  # UID: what is tracked
        elements = [e for each in made.values() for e in each.iterall() if e.keyword in keywords]
        return {str(e.value) for e in elements} - {str(source.image.SeriesInstanceUID)}

    one = uids(first, Origin({"classifier": "abc"}))
    assert uids(first, Origin({"classifier": "abc"}, {"labels": None})) == one
    others = [
        uids(second, Origin({"classifier": "abc"})),
        uids(first, Origin({"classifier": "abd"})),
        uids(first, Origin({"classifier": "abc"}, {"labels": {"Mass": "Tumour"}})),
    ]
    for other in others:
        assert len(one & other) == 1  # this program's, as the observer of all reports
    assert all(len(uid) <= 64 for uid in one)


def references(dataset: Dataset) -> set[tuple[str, str]]:
    """Class and instance of everything that an object refers to, at any depth."""
    return {
        (item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID)
        for element in dataset.iterall()
        if element.VR == "SQ"
        for item in element.value
        if "ReferencedSOPInstanceUID" in item
    }


@pytest.mark.parametrize("kind", ["sr", "pr", "sc"])
def test_every_object_refers_to_the_image_and_to_nothing_else(made: Written, kind: str) -> None:
    assert references(made[kind]) == {(made.source.SOPClassUID, made.source.SOPInstanceUID)}


@pytest.mark.parametrize("kind", ["sr", "pr", "sc"])
def test_every_object_says_that_it_is_for_research(either: Written, kind: str) -> None:
    dataset = either[kind]
    assert dataset.ContentQualification == "RESEARCH"
    assert "research use only" in dataset.SeriesDescription
    assert any(RESEARCH_USE in text for text in texts(dataset))


def test_names_keep_their_bytes_in_other_scripts(tmp_path: Path) -> None:
    name = "Yamada^Tarou=山田^太郎=やまだ^たろう"
    path = write_dicom(
        tmp_path / "a.dcm",
        STORED,
        WINDOWED,
        bits=12,
        PatientName=name,
        SpecificCharacterSet=["", "ISO 2022 IR 87"],
    )
    objects = written(path)
    for kind in ("sr", "pr", "sc"):
        assert objects[kind].PatientName == name


# ---- structured report ----------------------------------------------------------------------


# ---- presentation state ---------------------------------------------------------------------


def test_what_the_library_refuses_is_an_error_that_says_so_and_no_more(tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "a.dcm", STORED, WINDOWED, bits=12)
    image, source = read_image(path), parse_source(path.read_bytes(), path.name)
    del source.image.Rows
    with pytest.raises(ValueError, match=r"cannot make a DICOM object \.sr\.dcm.*AttributeError"):
        dicom_objects(image, diagnosis_of(image), source, Origin({}))


# ---- secondary capture ----------------------------------------------------------------------


def test_the_secondary_capture_is_the_picture_in_colour(made: Written) -> None:
    capture = made["sc"]
    pixels = capture.pixel_array
    assert pixels.shape == (capture.Rows, capture.Columns, 3)
    assert capture.PhotometricInterpretation == "RGB"
    for rgb in ((230, 159, 0), (86, 180, 233)):  # orange and sky blue: both localizers
        assert (np.abs(pixels.astype(int) - rgb).max(axis=2) < 12).any()
    assert capture.BurnedInAnnotation == "YES"


def test_our_own_objects_are_refused_as_images(made: Written) -> None:
    for kind, reason in (
        ("sr", "Comprehensive SR"),
        ("pr", "Presentation State"),
        ("sc", "colour"),
    ):
        with pytest.raises(UnreadableImageError, match=reason):
            read_image(made.path(kind))


# ---- refusals and privacy -------------------------------------------------------------------


def test_a_file_that_no_object_can_refer_to_is_an_error(tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "a.dcm", STORED, bits=12, StudyInstanceUID=None)
    with pytest.raises(ValueError, match=r"a\.dcm: no StudyInstanceUID"):
        parse_source(path.read_bytes(), path.name)
    with pytest.raises(ValueError, match=r"a\.png is not a DICOM file: .*leave dicom out"):
        parse_source(b"\x89PNG", "a.png")


def test_what_is_not_needed_of_the_patient_is_not_copied_and_nothing_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with warnings.catch_warnings(record=True):
        path = write_dicom(
            tmp_path / "a.dcm",
            STORED,
            WINDOWED,
            bits=12,
            PatientName="Canary" + "y" * 70,
            PatientSex="CANARY",
            PatientComments="Canary",
            OtherPatientIDs="CANARY-2",
            PatientAddress="Canary Street",
            StudyDate="CANARY",
            PatientAge="077Y",
        )
    caplog.clear()
    with warnings.catch_warnings(record=True) as seen, caplog.at_level(logging.DEBUG):
        warnings.simplefilter("always")
        stem = written(path).stem
    messages = caplog.text + " ".join(str(warning.message) for warning in seen)
    assert "canary" not in messages.lower()
    for kind in ("sr", "pr", "sc"):
        content = stem.with_name(f"a.{kind}.dcm").read_bytes()
        assert b"Canary" + b"y" * 70 in content  # the name itself is asked for by asking for DICOM
        assert b"CANARY-2" not in content
        assert b"Canary Street" not in content
        assert b"077Y" not in content
        assert content.count(b"Canary") == 2  # and the referring physician


def test_an_implicit_file_gives_its_patient_too(tmp_path: Path) -> None:
    path = write_dicom(
        tmp_path / "a.dcm", STORED, WINDOWED, bits=12, syntax=pydicom.uid.ImplicitVRLittleEndian
    )
    assert written(path)["sr"].PatientName == "Canary^Secret"


def test_objects_about_a_real_image_are_valid(shared_data: Path, tmp_path: Path) -> None:
    real = shared_data / "dicom" / "nih_dx_chest_1024_mono2.dcm"
    if not real.is_file():
        pytest.skip(f"no DICOM images in {real.parent}; set CXRLOC_TEST_DATA")
    objects = written(Path(shutil.copy(real, tmp_path / "image.dcm")))
    for kind in ("sr", "pr", "sc"):
        test_every_object_has_what_the_standards_tables_require(objects, kind)
    assert objects["sr"].PatientID == objects.source.PatientID
