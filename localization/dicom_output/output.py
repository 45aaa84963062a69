"""A diagnosis as DICOM objects that an archive takes and a viewer shows with the image.

`STEM.sr.dcm` is a structured report (`structured_report`), `STEM.pr.dcm` a presentation state
(`presentation_state`), `STEM.sc.dcm` a secondary capture of the picture that `drawing` makes. All
are in the image's study, each in a series of its own, refer to the image, carry the patient and
study that `source` lists, and say that they are for research use (also in Content
Qualification). Needs highdicom: `pip install "cxrloc[dicom]"`.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cxrloc.datasets.files.atomic import whole_file
from cxrloc.datasets.files.manifest import RESEARCH_USE
from cxrloc.datasets.radiograph import LoadedImage
from cxrloc.localization.diagnosis.diagnoser import Diagnosis
from cxrloc.localization.diagnosis.drawing import draw_boxes
from cxrloc.localization.dicom_output.presentation_state import presentation_state
from cxrloc.localization.dicom_output.source import NAME, SourceImage, identified, series
from cxrloc.localization.dicom_output.structured_report import structured_report

if TYPE_CHECKING:
    from pydicom import Dataset

DICOM_ENDINGS = (".sr.dcm", ".pr.dcm", ".sc.dcm")


def require_highdicom() -> None:
    """Raises ImportError, with what to install, where DICOM objects cannot be made."""
    if find_spec("highdicom") is None:
        raise ImportError(f'DICOM output needs highdicom: pip install "{NAME}[dicom]"')


def dicom_objects(
    image: LoadedImage, diagnosis: Diagnosis, source: SourceImage, models: Mapping[str, str]
) -> dict[str, Dataset]:
    """Ending (see `DICOM_ENDINGS`) -> object; arguments and errors as of `dicom_object`."""
    return {end: dicom_object(end, image, diagnosis, source, models) for end in DICOM_ENDINGS}


def dicom_object(
    ending: str,
    image: LoadedImage,
    diagnosis: Diagnosis,
    source: SourceImage,
    models: Mapping[str, str],
) -> Dataset:
    """One object.

    Args:
        ending: of `DICOM_ENDINGS`: which object.
        image: the image as it was read.
        diagnosis: of the image.
        source: the image's file (`source.parse_source`).
        models: name of a model -> its hash, for the report.

    Raises:
        ValueError: where the image's header is such that no valid object can refer to it.
    """
    try:
        if ending == ".sr.dcm":
            return structured_report(diagnosis, source, models)
        if ending == ".pr.dcm":
            return presentation_state(diagnosis, source)
        return secondary_capture(image, diagnosis, source)
    except (ValueError, TypeError, AttributeError, KeyError) as error:  # highdicom's, on its header
        raise ValueError(
            f"no DICOM object {ending} can be made about the image: something in its header is "
            f"against the standard ({type(error).__name__}); omit --dicom-out"
        ) from None


def write_dicom_objects(objects: Mapping[str, Dataset], stem: Path) -> None:
    """Write each object to STEM and its ending, whole or not at all."""
    for ending, made in objects.items():
        with whole_file(stem.with_name(stem.name + ending)) as temporary:
            made.save_as(temporary, enforce_file_format=True)


def secondary_capture(image: LoadedImage, diagnosis: Diagnosis, source: SourceImage) -> Dataset:
    """The picture with boxes and the gate's table, in colour."""
    from highdicom.sc import SCImage
    from pydicom import Dataset

    pixels = draw_boxes(image, diagnosis).pixels
    arguments = series("OT", f"{NAME} picture: research use only")
    made = SCImage(
        np.ascontiguousarray(pixels),
        "RGB",
        8,
        "PATIENT",
        study_instance_uid=source.image.StudyInstanceUID,
        patient_orientation=("L", "F"),
        **arguments,
    )
    reference = Dataset()
    reference.ReferencedSOPClassUID = source.image.SOPClassUID
    reference.ReferencedSOPInstanceUID = source.image.SOPInstanceUID
    made.PatientOrientation = []  # the image's is in the image; half of the picture is a table
    made.ConversionType = "WSD"
    made.SourceImageSequence = [reference]
    made.ImageType = ["DERIVED", "SECONDARY"]
    made.DerivationDescription = f"{NAME}: image with boxes drawn. {RESEARCH_USE}"
    made.ImageComments = RESEARCH_USE
    made.BurnedInAnnotation = "YES"
    return identified(made, source)
