"""A prediction as one DICOM file: structured report, presentation state or secondary capture."""

from __future__ import annotations

import io
from collections.abc import Mapping
from enum import StrEnum

from cxrloc.datasets.dicom.header import is_dicom
from cxrloc.localization.dicom_output.origin import Origin
from cxrloc.localization.dicom_output.output import dicom_object, require_highdicom
from cxrloc.localization.dicom_output.source import SourceImage, parse_source
from cxrloc.tools.server.http.problems import ProblemError
from cxrloc.tools.server.images.prediction import Prediction
from cxrloc.tools.server.images.uploads import Upload


class DicomKind(StrEnum):
    """The file endings that `cxrloc predict --write dicom` uses too."""

    sr = "sr"
    pr = "pr"
    sc = "sc"


DICOM_NAMES = {
    DicomKind.sr: "Structured report (DICOM SR)",
    DicomKind.pr: "Boxes as presentation state (DICOM PR)",
    DicomKind.sc: "Picture with boxes (DICOM SC)",
}


def source_of(upload: Upload) -> SourceImage:
    """What DICOM objects need of the image's own file.

    Raises:
        ProblemError: 406 for an image that is not a DICOM file or has no UIDs, or without
            highdicom.
    """
    if not is_dicom(upload.data):
        raise ProblemError(406, "DICOM objects are only made for DICOM images; a PNG has no study")
    try:
        require_highdicom()
        return parse_source(upload.data, upload.name)
    except (ImportError, ValueError) as error:
        raise ProblemError(406, str(error)) from error


def dicom_file(
    prediction: Prediction, source: SourceImage, models: Mapping[str, str], kind: DicomKind
) -> bytes:
    """The bytes of one object; `models` are names and hashes of the bundles, for the report.

    Raises:
        ProblemError: 406 for an image whose header allows no valid object to refer to it.
    """
    image, diagnosis = prediction.image, prediction.diagnosis
    try:
        made = dicom_object(f".{kind}.dcm", image, diagnosis, source, Origin(models))
    except ValueError as error:
        raise ProblemError(406, str(error)) from error
    out = io.BytesIO()
    made.save_as(out, enforce_file_format=True)
    return out.getvalue()
