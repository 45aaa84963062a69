"""A diagnosis as DICOM: read back by highdicom, checked by the standard's tables and dciodvfy."""

from __future__ import annotations

import logging
import shutil
import subprocess
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pydicom
import pytest
from highdicom._standard_utils import check_required_attributes, get_iod_module_map
from highdicom._standard_utils import get_sop_class_iod_map as iod_of_class
from highdicom.sr import srread
from pydicom import Dataset
from pydicom.sr.codedict import codes

from cxrloc.datasets.dicom.grayscale import usable_window
from cxrloc.datasets.images.read import UnreadableImageError, read_image
from cxrloc.datasets.radiograph import LoadedImage
from cxrloc.localization.diagnosis.diagnoser import Diagnosis, Finding
from cxrloc.localization.dicom_output.codes import SCHEME, finding_code, own_code
from cxrloc.localization.dicom_output.output import (
    DICOM_ENDINGS,
    dicom_objects,
    write_dicom_objects,
)
from cxrloc.localization.dicom_output.source import IDENTITY, parse_source
from cxrloc.localization.localizer import Localization
from cxrloc.localization.report.glossary import RESEARCH_USE

WriteDicom = Callable[..., Path]
STORED = (np.arange(60 * 80).reshape(60, 80) % 4096).astype(np.uint16)
WINDOWED = {"WindowCenter": [2000, 1], "WindowWidth": [4000, 1]}


@dataclass(frozen=True)
class Written:
    """Source file and the three objects about it, read back."""

    source: Dataset
    image: LoadedImage
    stem: Path

    def __getitem__(self, kind: str) -> Dataset:
        return pydicom.dcmread(self.path(kind))

    def path(self, kind: str) -> Path:
        return self.stem.with_name(f"{self.stem.name}.{kind}.dcm")


def diagnosis_of(image: LoadedImage, *, nothing: bool = False) -> Diagnosis:
    findings = (
        Finding("Mass", 0.8125, 0.5, not nothing),
        Finding("Pneumonia", 0.25, 0.5, False),
        Finding("Hernia", 0.1, None, False),
    )

    def box(corners: tuple[float, float, float, float], score: float) -> Localization:
        return Localization(image.image_id, "Mass", corners, score)

    boxes = {
        "grad_cam": (box((10, 20, 30, 25), 0.75), box((1, 2, 3, 4), 0.5)),
        "mask_rcnn": (box((11.5, 21, 29, 26), 0.9),),
    }
    found = dict.fromkeys(boxes, ()) if nothing else boxes
    return Diagnosis(
        image.image_id,
        image.size_hw,
        findings,
        found,
        {},
        "torch fp32",
        image.spacing,
        image.warnings,
    )


def written(path: Path, *, nothing: bool = False) -> Written:
    image = read_image(path)
    diagnosis = diagnosis_of(image, nothing=nothing)
    objects = dicom_objects(
        image, diagnosis, parse_source(path.read_bytes(), path.name), {"classifier": "abc123"}
    )
    assert tuple(objects) == DICOM_ENDINGS
    stem = path.parent / path.stem
    write_dicom_objects(objects, stem)
    return Written(pydicom.dcmread(path), image, stem)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, write_dicom: WriteDicom) -> Written:
    path = tmp_path_factory.mktemp("made") / "image.dcm"
    attributes = {**WINDOWED, "PhotometricInterpretation": "MONOCHROME1", "ViewPosition": "LL"}
    return written(write_dicom(path, STORED, bits=12, **attributes))


@pytest.fixture(scope="module")
def negative(tmp_path_factory: pytest.TempPathFactory, write_dicom: WriteDicom) -> Written:
    """An image without anything found, and without most of what a header should have."""
    path = tmp_path_factory.mktemp("negative") / "image.dcm"
    absent = dict.fromkeys(IDENTITY) | {"ImagerPixelSpacing": None}
    return written(write_dicom(path, STORED, bits=12, **absent), nothing=True)


@pytest.fixture(params=["made", "negative"])
def either(request: pytest.FixtureRequest) -> Written:
    found: Written = request.getfixturevalue(request.param)
    return found


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
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy is not installed (Debian: apt-get install dicom3tools)")
    command = ["dciodvfy", "-new", str(either.path(kind))]
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    errors = [line for line in said.stderr.splitlines() if line.startswith("Error")]
    assert errors == []
    assert "ComprehensiveSR" in said.stderr or kind != "sr"


# ---- what all have in common ----------------------------------------------------------------


@pytest.mark.parametrize("kind", ["sr", "pr", "sc"])
def test_every_object_is_of_the_images_patient_and_study_in_a_series_of_its_own(
    made: Written, kind: str
) -> None:
    found = made[kind]
    for keyword in ("StudyInstanceUID", *IDENTITY):
        assert found.get(keyword) == made.source.get(keyword), keyword
    assert found.PatientName == "Canary^Secret"
    assert found.SeriesInstanceUID != made.source.SeriesInstanceUID
    assert found.Modality == {"sr": "SR", "pr": "PR", "sc": "OT"}[kind]
    assert len({made[k].SeriesInstanceUID for k in ("sr", "pr", "sc")}) == 3
    assert len({made[k].SOPInstanceUID for k in ("sr", "pr", "sc")}) == 3


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
    found = either[kind]
    assert found.ContentQualification == "RESEARCH"
    assert "research use only" in found.SeriesDescription
    assert any(RESEARCH_USE in text for text in texts(found))


def texts(dataset: Dataset) -> list[str]:
    """Every text in an object, at any depth."""
    return [str(e.value) for e in dataset.iterall() if e.VR in ("LO", "LT", "ST", "UT")]


def test_names_keep_their_bytes_in_other_scripts(tmp_path: Path, write_dicom: WriteDicom) -> None:
    name = "Yamada^Tarou=山田^太郎=やまだ^たろう"
    path = write_dicom(
        tmp_path / "a.dcm", STORED, bits=12, PatientName=name,
        SpecificCharacterSet=["", "ISO 2022 IR 87"], **WINDOWED,
    )  # fmt: skip
    found = written(path)
    for kind in ("sr", "pr", "sc"):
        assert found[kind].PatientName == name


# ---- structured report ----------------------------------------------------------------------


def test_the_report_holds_each_box_with_disease_localizer_and_score(made: Written) -> None:
    report = srread(made.path("sr")).content
    groups = report.get_planar_roi_measurement_groups()
    assert len(groups) == 3
    corners = [(10, 20, 30, 25), (1, 2, 3, 4), (11.5, 21, 29, 26)]
    for group, (x1, y1, x2, y2) in zip(groups, corners, strict=True):
        assert group.roi.graphic_type.value == "POLYLINE"
        expected = [(x1, y1), (x2, y1), (x2, y2), (x1, y2), (x1, y1)]
        np.testing.assert_array_equal(group.roi.value, expected)
        assert group.finding_type == codes.SCT.Mass
    assert [number(g, own_code("Localizer score")) for g in groups] == [0.75, 0.5, 0.9]
    assert [number(g, codes.DCM.Probability) for g in groups] == [0.8125] * 3
    assert [text(g, "Algorithm Name") for g in groups] == [
        "cxrloc grad_cam", "cxrloc grad_cam", "cxrloc mask_rcnn",
    ]  # fmt: skip
    assert text(groups[0], "Algorithm Parameters") == "classifier=abc123"
    # 20 x 5 pixels of 0.2 mm
    assert number(groups[0], codes.SCT.Width) == pytest.approx(4)
    assert number(groups[0], codes.DCM.Height) == pytest.approx(1)
    source = "Sizes in mm by ImagerPixelSpacing (in the detector, not in the patient)."
    assert source in texts(made["sr"])


def test_the_report_holds_every_disease_of_the_gate(made: Written) -> None:
    groups = srread(made.path("sr")).content.get_image_measurement_groups()
    findings = [group.finding_type for group in groups]
    assert findings == [codes.SCT.Mass, own_code("Pneumonia"), own_code("Hernia")]
    assert [number(g, codes.DCM.Probability) for g in groups] == [0.8125, 0.25, 0.1]
    assert [number(g, own_code("Gate threshold")) for g in groups] == [0.5, 0.5, None]
    decided = [group.get_qualitative_evaluations()[0].value.value for group in groups]
    assert decided == ["Passes", "Does not pass", "No threshold"]


def test_a_report_without_boxes_says_so(negative: Written) -> None:
    report = srread(negative.path("sr")).content
    assert report.get_planar_roi_measurement_groups() == []
    assert len(report.get_image_measurement_groups()) == 3
    assert f"{RESEARCH_USE}. No disease passed the gate: no boxes." in texts(negative["sr"])


def test_a_report_is_unverified_preliminary_and_hands_on_the_images_warnings(made: Written) -> None:
    report = made["sr"]
    assert (report.VerificationFlag, report.PreliminaryFlag) == ("UNVERIFIED", "PRELIMINARY")
    comments = [i.TextValue for i in report.ContentSequence if i.ValueType == "TEXT"]
    assert any(comment.startswith("Lateral image (ViewPosition is LL)") for comment in comments)


def test_our_own_coding_scheme_is_declared(made: Written) -> None:
    declared = made["sr"].CodingSchemeIdentificationSequence[0]
    assert declared.CodingSchemeDesignator == SCHEME
    assert declared.CodingSchemeResponsibleOrganization == "cxrloc"


@pytest.mark.parametrize(
    ("disease", "scheme", "value"),
    [
        ("Effusion", "SCT", "60046008"),
        ("Pleural Effusion", "SCT", "60046008"),
        ("Nodule", "SCT", "27925004"),
        ("Pneumothorax", "SCT", "36118008"),
        ("Cardiomegaly", "SCT", codes.SCT.Cardiomegaly.value),
        ("Edema", "SCT", "19242006"),  # of the lung: on a chest image there is no other
        ("Infiltration", "DCM", "112121"),
        ("Pneumonia", SCHEME, "Pneumonia"),
        ("Pleural_Thickening", SCHEME, "Pleural_Thickening"),
        ("Enlarged Cardiomediastinum", SCHEME, "Enlarged Cardiomediastinum"),
    ],
)
def test_diseases_have_codes(disease: str, scheme: str, value: str) -> None:
    found = finding_code(disease)
    assert (found.scheme_designator, found.value) == (scheme, value)


def number(group: Any, name: Any) -> float | None:
    found = group.get_measurements(name)
    return float(found[0].value) if found else None


def text(group: Any, meaning: str) -> str:
    items = group[0].ContentSequence
    found = [i for i in items if i.ConceptNameCodeSequence[0].CodeMeaning == meaning]
    return str(found[0].TextValue)


# ---- presentation state ---------------------------------------------------------------------


def test_the_presentation_state_draws_the_strongest_boxes_in_a_layer_per_localizer(
    made: Written,
) -> None:
    state = made["pr"]
    layers = {annotation.GraphicLayer: annotation for annotation in state.GraphicAnnotationSequence}
    assert list(layers) == ["GRAD_CAM", "MASK_RCNN", "NOTE"]
    [drawn] = layers["GRAD_CAM"].GraphicObjectSequence
    assert drawn.GraphicAnnotationUnits == "PIXEL"
    assert list(drawn.GraphicData) == [10, 20, 30, 20, 30, 25, 10, 25, 10, 20]
    [said] = layers["MASK_RCNN"].TextObjectSequence
    assert said.UnformattedTextValue == "Mass, score 0.90 of mask_rcnn"
    assert layers["NOTE"].TextObjectSequence[0].UnformattedTextValue == RESEARCH_USE
    assert [layer.GraphicLayer for layer in state.GraphicLayerSequence] == list(layers)


def test_names_of_boxes_that_begin_at_one_corner_stand_below_each_other(made: Written) -> None:
    layers = {a.GraphicLayer: a for a in made["pr"].GraphicAnnotationSequence}
    anchors = [layers[k].TextObjectSequence[0].AnchorPoint for k in ("GRAD_CAM", "MASK_RCNN")]
    # corners (10, 20) and (11.5, 21) of an image of 60 rows, a line being 2
    assert [list(anchor) for anchor in anchors] == [[10, 20], [11.5, 23]]


def test_the_presentation_state_shows_the_grey_that_the_models_saw(made: Written) -> None:
    state = made["pr"]
    assert state.PresentationLUTShape == "INVERSE"  # MONOCHROME1
    [shown] = state.SoftcopyVOILUTSequence
    assert usable_window(shown) == (2000, 4000, "LINEAR")  # the first of two
    area = state.DisplayedAreaSelectionSequence[0]
    assert list(area.DisplayedAreaBottomRightHandCorner) == [80, 60]


def test_a_image_without_a_window_is_presented_with_the_range_that_was_read(
    negative: Written,
) -> None:
    [shown] = negative["pr"].SoftcopyVOILUTSequence
    # 0 to 4095: center and width of LINEAR_EXACT
    assert usable_window(shown) == (2047.5, 4095, "LINEAR_EXACT")
    assert negative["pr"].PresentationLUTShape == "IDENTITY"


def lut(entries: list[int], first: int, bits: int) -> Dataset:
    item = Dataset()
    item.add_new("LUTDescriptor", "SS" if first < 0 else "US", [len(entries), first, bits])
    item.add_new("LUTData", "OW", np.array(entries, "<u2").tobytes())
    return item


WINDOW = {"WindowCenter": 5, "WindowWidth": 10}
RISING = lut([0, *range(0, 1024, 4), 1023], 1900, 10)
GREYS: dict[str, dict[str, Any]] = {
    "window": WINDOWED,
    "exact window, rescaled": {
        "WindowCenter": 900, "WindowWidth": 1500, "VOILUTFunction": "LINEAR_EXACT",
        "RescaleSlope": 0.5, "RescaleIntercept": -10.5,
    },
    "no window": {},
    "lookup table before a window": {"VOILUTSequence": [RISING, lut([9, 9], 0, 8)], **WINDOW},
    "inverted lookup table": {
        "VOILUTSequence": [RISING], "PhotometricInterpretation": "MONOCHROME1",
        "PresentationLUTShape": "INVERSE",
    },
    "lookup table of negative values": {
        "VOILUTSequence": [lut([0, 100, *range(200, 800), 1023], -300, 10)],
        "RescaleSlope": 1, "RescaleIntercept": -2000,
    },
    "long lookup table": {"VOILUTSequence": [lut([min(i, 4095) for i in range(40955)], 0, 12)]},
    "sigmoid behind a modality table": {
        "ModalityLUTSequence": [lut([*range(4095, -1, -1)], 0, 12)], "VOILUTFunction": "SIGMOID",
        **WINDOWED,
    },
    "modality table": {
        "ModalityLUTSequence": [lut([*range(4095, -1, -1)], 0, 12)], **WINDOWED,
    },
}  # fmt: skip


@pytest.mark.parametrize("case", GREYS)
def test_a_viewer_shows_the_image_through_it_as_the_models_saw_it(
    tmp_path: Path, write_dicom: WriteDicom, case: str
) -> None:
    path = write_dicom(tmp_path / "a.dcm", STORED, bits=12, **GREYS[case])
    found = written(path)
    check_required_attributes(found["pr"], "softcopy-voi-lut")
    test_dciodvfy_finds_no_error(found, "pr")
    if shutil.which("dcmp2pgm") is None:
        pytest.skip("dcmp2pgm is not installed (Debian: apt-get install dcmtk)")
    command = ["dcmp2pgm", "-p", str(found.path("pr")), str(path), str(tmp_path / "a.pgm")]
    subprocess.run(command, capture_output=True, check=True)
    shown = cv2.imread(str(tmp_path / "a.pgm"), cv2.IMREAD_UNCHANGED)
    assert found.image.pixels.std() > 10
    np.testing.assert_allclose(shown.astype(int), found.image.pixels, atol=1)


def test_a_table_that_no_presentation_state_can_hold_is_an_error(
    tmp_path: Path, write_dicom: WriteDicom
) -> None:
    signed = STORED.astype(np.int16) - 2000
    path = write_dicom(tmp_path / "a.dcm", signed, bits=15, VOILUTSequence=[RISING])
    with pytest.raises(ValueError, match=r"a\.dcm: its lookup table is of 15 bits with a sign"):
        parse_source(path.read_bytes(), path.name)


def test_what_the_library_refuses_is_an_error_that_says_so_and_no_more(
    tmp_path: Path, write_dicom: WriteDicom
) -> None:
    path = write_dicom(tmp_path / "a.dcm", STORED, bits=12, **WINDOWED)
    image, source = read_image(path), parse_source(path.read_bytes(), path.name)
    del source.image.Rows
    with pytest.raises(ValueError, match=r"no DICOM object \.pr\.dcm can be made.*AttributeError"):
        dicom_objects(image, diagnosis_of(image), source, {})


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


def test_a_file_that_no_object_can_refer_to_is_an_error(
    tmp_path: Path, write_dicom: WriteDicom
) -> None:
    path = write_dicom(tmp_path / "a.dcm", STORED, bits=12, StudyInstanceUID=None)
    with pytest.raises(ValueError, match=r"a\.dcm: no StudyInstanceUID"):
        parse_source(path.read_bytes(), path.name)
    with pytest.raises(ValueError, match=r"a\.png is no DICOM file: .*leave --dicom-out out"):
        parse_source(b"\x89PNG", "a.png")


def test_what_is_not_needed_of_the_patient_is_not_copied_and_nothing_is_told(
    tmp_path: Path, write_dicom: WriteDicom, caplog: pytest.LogCaptureFixture
) -> None:
    with warnings.catch_warnings(record=True):
        path = write_dicom(
            tmp_path / "a.dcm", STORED, bits=12, PatientName="Canary" + "y" * 70,
            PatientSex="CANARY", PatientComments="Canary", OtherPatientIDs="CANARY-2",
            PatientAddress="Canary Street", StudyDate="CANARY", PatientAge="077Y", **WINDOWED,
        )  # fmt: skip
    caplog.clear()
    with warnings.catch_warnings(record=True) as seen, caplog.at_level(logging.DEBUG):
        warnings.simplefilter("always")
        stem = written(path).stem
    told = caplog.text + " ".join(str(warning.message) for warning in seen)
    assert "canary" not in told.lower()
    for kind in ("sr", "pr", "sc"):
        content = stem.with_name(f"a.{kind}.dcm").read_bytes()
        assert b"Canary" + b"y" * 70 in content  # the name itself is asked for by asking for DICOM
        assert b"CANARY-2" not in content
        assert b"Canary Street" not in content
        assert b"077Y" not in content
        assert content.count(b"Canary") == 2  # and the referring physician


def test_an_implicit_file_gives_its_patient_too(tmp_path: Path, write_dicom: WriteDicom) -> None:
    path = write_dicom(
        tmp_path / "a.dcm", STORED, bits=12, syntax=pydicom.uid.ImplicitVRLittleEndian, **WINDOWED
    )
    assert written(path)["sr"].PatientName == "Canary^Secret"


def test_objects_about_a_real_image_are_valid(shared_data: Path, tmp_path: Path) -> None:
    real = shared_data / "dicom" / "nih_dx_chest_1024_mono2.dcm"
    if not real.is_file():
        pytest.skip(f"no DICOM images in {real.parent}; set CXRLOC_TEST_DATA")
    found = written(Path(shutil.copy(real, tmp_path / "image.dcm")))
    for kind in ("sr", "pr", "sc"):
        test_every_object_has_what_the_standards_tables_require(found, kind)
    assert found["sr"].PatientID == found.source.PatientID
