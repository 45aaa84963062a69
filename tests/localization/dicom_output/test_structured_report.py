"""The structured report: boxes, findings, codes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from highdicom.sr import MeasurementReport, srread
from pydicom.sr.codedict import codes

from cxrloc.datasets.files.manifest import RESEARCH_USE
from cxrloc.localization.dicom_output.codes import SCHEME, finding_code, own_code
from localization.dicom_output.written import (
    Written,
    texts,
)


def report_of(written: Written) -> MeasurementReport:
    report = srread(written.path("sr")).content
    assert isinstance(report, MeasurementReport)
    return report


def test_the_report_holds_each_box_with_disease_localizer_and_score(made: Written) -> None:
    report = report_of(made)
    groups = report.get_planar_roi_measurement_groups()
    assert len(groups) == 3
    corners = [(10, 20, 30, 25), (1, 2, 3, 4), (11.5, 21, 29, 26)]
    for group, (x1, y1, x2, y2) in zip(groups, corners, strict=True):
        assert group.roi is not None
        assert group.roi.graphic_type.value == "POLYLINE"
        expected = [(x1, y1), (x2, y1), (x2, y2), (x1, y2), (x1, y1)]
        np.testing.assert_array_equal(group.roi.value, expected)
        assert group.finding_type == codes.SCT.Mass
    assert [number(g, own_code("Localizer score")) for g in groups] == [0.75, 0.5, 0.9]
    assert [number(g, codes.DCM.Probability) for g in groups] == [0.8125] * 3
    assert [text(g, "Algorithm Name") for g in groups] == [
        "cxrloc grad_cam",
        "cxrloc grad_cam",
        "cxrloc mask_rcnn",
    ]
    assert text(groups[0], "Algorithm Parameters") == "classifier=abc123"
    # 20 x 5 pixels of 0.2 mm
    assert number(groups[0], codes.SCT.Width) == pytest.approx(4)
    assert number(groups[0], codes.DCM.Height) == pytest.approx(1)
    source = "Sizes in mm by ImagerPixelSpacing (at the detector, not in the patient)."
    assert source in texts(made["sr"])


def test_the_report_holds_every_disease_of_the_gate(made: Written) -> None:
    groups = report_of(made).get_image_measurement_groups()
    findings = [group.finding_type for group in groups]
    assert findings == [codes.SCT.Mass, own_code("Pneumonia"), own_code("Hernia")]
    assert [number(g, codes.DCM.Probability) for g in groups] == [0.8125, 0.25, 0.1]
    assert [number(g, own_code("Gate threshold")) for g in groups] == [0.5, 0.5, None]
    evaluations: list[Any] = [group.get_qualitative_evaluations()[0] for group in groups]
    decided = [evaluation.value.value for evaluation in evaluations]
    assert decided == ["Passes", "Does not pass", "No threshold"]


def test_what_the_gate_says_is_said_of_the_whole_image(negative: Written) -> None:
    [measurements] = [
        item.ContentSequence
        for item in negative["sr"].ContentSequence
        if item.ConceptNameCodeSequence[0].CodeMeaning == "Imaging Measurements"
    ]
    for group in measurements:  # OHIF opens no report in which a group has no region
        regions = [
            region for item in group.ContentSequence for region in item.get("ContentSequence", [])
        ]
        assert [region.ValueType for region in regions] == ["SCOORD"]
        assert list(regions[0].GraphicData) == [0, 0, 80, 0, 80, 60, 0, 60, 0, 0]
        [image] = regions[0].ContentSequence
        [referenced] = image.ReferencedSOPSequence
        assert referenced.ReferencedSOPInstanceUID == negative.source.SOPInstanceUID


def test_a_report_without_boxes_says_so(negative: Written) -> None:
    report = report_of(negative)
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
    code = finding_code(disease)
    assert (code.scheme_designator, code.value) == (scheme, value)


def number(group: Any, name: Any) -> float | None:
    measurements = group.get_measurements(name)
    return float(measurements[0].value) if measurements else None


def text(group: Any, meaning: str) -> str:
    items = group[0].ContentSequence
    named_items = [i for i in items if i.ConceptNameCodeSequence[0].CodeMeaning == meaning]
    return str(named_items[0].TextValue)
