"""Make a diagnosis a DICOM structured report: TID 1500, Comprehensive SR (its regions are 2D).

One measurement group (TID 1501) per disease of the gate: probability, inferred from the whole image
as a region (OHIF 3.12 opens no report with a group that has none), threshold and decision. One
planar region group (TID 1410) per box of every localizer: a closed polyline in the pixels of the
image, the disease, the localizer as algorithm, its score, the gate's probability, and width and
height in mm if the pixel size is known. The report is not verified and not final.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np

from cxrloc.datasets.files.manifest import RESEARCH_USE
from cxrloc.localization.diagnosis.diagnoser import Diagnosis, Finding
from cxrloc.localization.dicom_output.codes import coding_scheme, finding_code, own_code
from cxrloc.localization.dicom_output.origin import NAME
from cxrloc.localization.dicom_output.source import (
    SourceImage,
    device_uid,
    identified,
    series,
)
from cxrloc.localization.localizer import Localization

if TYPE_CHECKING:
    from pydicom import Dataset

SCORE, THRESHOLD, DECISION = "Localizer score", "Gate threshold", "Gate decision"
PASSES, FAILS, UNDECIDED = "Passes", "Does not pass", "No threshold"


def structured_report(
    diagnosis: Diagnosis,
    source: SourceImage,
    models: Mapping[str, str],
    uid: Callable[[str], str],
) -> Dataset:
    """Make the report.

    Args:
        diagnosis: diagnosis of the image.
        source: the image's file.
        models: name of a model -> its identifier (a hash); written as algorithm parameters.
        uid: as for `source.series`.
    """
    from highdicom import sr
    from pydicom.sr.codedict import codes

    parameters = [f"{name}={value}" for name, value in models.items()]
    parameters += [f"runtime={diagnosis.runtime}"] if diagnosis.runtime else []
    groups: list[Any] = [_gate_group(f, source, parameters, uid) for f in diagnosis.findings]
    for name, boxes in diagnosis.boxes.items():
        groups += [
            _box_group(b, name, i, diagnosis, source, parameters, uid)
            for i, b in enumerate(boxes, start=1)
        ]
    content = sr.MeasurementReport(
        observation_context=_observer(),
        procedure_reported=codes.SCT.ChestImaging,
        imaging_measurements=groups,
    )
    content[0].ContentSequence.append(_comment(f"{RESEARCH_USE}. {diagnosis.message}"))
    scale = [f"Sizes in mm by {diagnosis.spacing.source}."] if diagnosis.spacing else []
    for comment in (*scale, *diagnosis.warnings):
        content[0].ContentSequence.append(_comment(comment))
    report = sr.ComprehensiveSR(
        evidence=[source.image],
        content=content[0],
        is_complete=True,
        coding_schemes=[coding_scheme()],
        **series("SR", f"{NAME} findings and boxes: research use only", uid),
    )
    return identified(report, source)


def _observer() -> Any:
    from highdicom import sr
    from pydicom.sr.codedict import codes

    device = sr.DeviceObserverIdentifyingAttributes(
        uid=device_uid(),
        name=NAME,
        manufacturer_name=NAME,
        model_name=NAME,
    )
    context = sr.ObserverContext(codes.DCM.Device, device)
    return sr.ObservationContext(observer_device_context=context)


def _gate_group(
    finding: Finding, source: SourceImage, parameters: list[str], uid: Callable[[str], str]
) -> Any:
    from highdicom import sr
    from pydicom.sr.codedict import codes

    probability = _number(codes.DCM.Probability, finding.probability)
    probability[0].ContentSequence = sr.ContentSequence([_whole_image(source)])
    measurements = [probability]
    if finding.threshold is not None:
        measurements.append(_number(own_code(THRESHOLD), finding.threshold))
    decided = UNDECIDED if finding.threshold is None else PASSES if finding.present else FAILS
    return sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=_tracking(f"gate, {finding.disease}", uid),
        finding_type=finding_code(finding.disease),
        algorithm_id=sr.AlgorithmIdentification(f"{NAME} gate", version(NAME), parameters),
        measurements=measurements,
        qualitative_evaluations=[sr.QualitativeEvaluation(own_code(DECISION), own_code(decided))],
        source_images=[sr.SourceImageForMeasurementGroup(*_reference(source))],
    )


def _whole_image(source: SourceImage) -> Any:
    from highdicom import sr
    from pydicom.sr.codedict import codes

    name = codes.DCM.SourceOfMeasurement
    region = sr.ScoordContentItem(
        name,
        sr.GraphicTypeValues.POLYLINE,
        corners((0, 0, source.image.Columns, source.image.Rows)),
        relationship_type=sr.RelationshipTypeValues.INFERRED_FROM,
    )
    selected = sr.RelationshipTypeValues.SELECTED_FROM
    image = sr.ImageContentItem(name, *_reference(source), relationship_type=selected)
    region.ContentSequence = sr.ContentSequence([image])
    return region


def _box_group(
    box: Localization,
    localizer: str,
    number: int,
    diagnosis: Diagnosis,
    source: SourceImage,
    parameters: list[str],
    uid: Callable[[str], str],
) -> Any:
    from highdicom import sr
    from pydicom.sr.codedict import codes

    probability = next(f.probability for f in diagnosis.findings if f.disease == box.disease)
    measurements = [
        _number(own_code(SCORE), box.score),
        _number(codes.DCM.Probability, probability),
        *_size(box, diagnosis),
    ]
    return sr.PlanarROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=_tracking(f"{localizer} {number}, {box.disease}", uid),
        referenced_region=sr.ImageRegion(
            sr.GraphicTypeValues.POLYLINE,
            corners(box.box_xyxy),
            sr.SourceImageForRegion(*_reference(source)),
        ),
        finding_type=finding_code(box.disease),
        algorithm_id=sr.AlgorithmIdentification(f"{NAME} {localizer}", version(NAME), parameters),
        measurements=measurements,
    )


def corners(box_xyxy: tuple[float, float, float, float]) -> np.ndarray[Any, Any]:
    """Convert the box to a closed polyline (5, 2) of column and row, (0, 0) the top left corner."""
    x1, y1, x2, y2 = box_xyxy
    return np.array([(x1, y1), (x2, y1), (x2, y2), (x1, y2), (x1, y1)], dtype=np.float32)


def _size(box: Localization, diagnosis: Diagnosis) -> list[Any]:
    from highdicom import sr
    from pydicom.sr.codedict import codes

    if diagnosis.spacing is None:
        return []
    x1, y1, x2, y2 = box.box_xyxy
    sides = (
        (codes.SCT.Width, (x2 - x1) * diagnosis.spacing.column_mm),
        (codes.DCM.Height, (y2 - y1) * diagnosis.spacing.row_mm),
    )
    return [sr.Measurement(name, round(value, 3), codes.UCUM.Millimeter) for name, value in sides]


def _number(name: Any, value: float) -> Any:
    from highdicom import sr
    from pydicom.sr.codedict import codes

    return sr.Measurement(name, round(float(value), 6), codes.UCUM.NoUnits)


def _tracking(identifier: str, uid: Callable[[str], str]) -> Any:
    from highdicom import sr

    return sr.TrackingIdentifier(uid=uid(f"tracking {identifier}"), identifier=identifier)


def _comment(text: str) -> Any:
    from highdicom import sr
    from pydicom.sr.codedict import codes

    contains = sr.RelationshipTypeValues.CONTAINS
    return sr.TextContentItem(codes.DCM.Comment, text, contains)


def _reference(source: SourceImage) -> tuple[str, str]:
    return source.image.SOPClassUID, source.image.SOPInstanceUID
