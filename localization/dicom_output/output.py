"""Write a diagnosis as DICOM objects for an archive, which a viewer shows with the image.

`STEM.sr.dcm` is a structured report (`structured_report`), `STEM.pr.dcm` a presentation state
(`presentation_state`), `STEM.sc.dcm` a secondary capture of the picture from `drawing`. All belong
to the image's study, each in its own series, refer to the image, carry the patient and study
elements listed in `source`, and are marked for research use (also in Content Qualification).
Needs highdicom: `pip install "cxrloc[dicom]"`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cxrloc.datasets.files.atomic import whole_file
from cxrloc.datasets.files.manifest import RESEARCH_USE
from cxrloc.datasets.radiograph import LoadedImage
from cxrloc.localization.diagnosis.diagnoser import Diagnosis
from cxrloc.localization.diagnosis.drawing import draw_boxes
from cxrloc.localization.dicom_output.origin import NAME, Origin
from cxrloc.localization.dicom_output.presentation_state import presentation_state
from cxrloc.localization.dicom_output.source import SourceImage, identified, series
from cxrloc.localization.dicom_output.structured_report import structured_report

if TYPE_CHECKING:
    from pydicom import Dataset

DICOM_ENDINGS = (".sr.dcm", ".pr.dcm", ".sc.dcm")


def require_highdicom() -> None:
    """Raise ImportError with the install command if highdicom is missing."""
    if find_spec("highdicom") is None:
        raise ImportError(f'DICOM output needs highdicom: pip install "{NAME}[dicom]"')


def dicom_objects(
    image: LoadedImage, diagnosis: Diagnosis, source: SourceImage, origin: Origin
) -> dict[str, Dataset]:
    """Ending (see `DICOM_ENDINGS`) -> object; arguments and errors as for `dicom_object`."""
    return {end: dicom_object(end, image, diagnosis, source, origin) for end in DICOM_ENDINGS}


def dicom_object(
    ending: str,
    image: LoadedImage,
    diagnosis: Diagnosis,
    source: SourceImage,
    origin: Origin,
) -> Dataset:
    """Make one object.

    Args:
        ending: kind of object, from `DICOM_ENDINGS`.
        image: the image as read.
        diagnosis: its diagnosis.
        source: the image's file (`source.parse_source`).
        origin: models and settings that made it.

    Raises:
        ValueError: if the image's header does not allow a valid object that refers to it.
    """
    uid = partial(origin.uid, diagnosis.runtime, str(source.image.SOPInstanceUID))
    try:
        if ending == ".sr.dcm":
            return structured_report(diagnosis, source, origin.models, uid)
        if ending == ".pr.dcm":
            return presentation_state(diagnosis, source, uid)
        return secondary_capture(image, diagnosis, source, uid)
    except (
        ValueError,
        TypeError,
        AttributeError,
        KeyError,
    ) as error:  # raised by highdicom for the header
        raise ValueError(
            f"cannot make a DICOM object {ending} for the image: its header violates the standard "
            f"({type(error).__name__}); leave dicom out of --write"
        ) from None


def write_dicom_objects(objects: Mapping[str, Dataset], stem: Path) -> None:
    """Write each object atomically to STEM plus its ending."""
    for ending, made in objects.items():
        with whole_file(stem.with_name(stem.name + ending)) as temporary:
            temporary.write_bytes(encoded(made))


def encoded(made: Dataset) -> bytes:
    """The file of an object."""
    stream = BytesIO()
    made.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def secondary_capture(
    image: LoadedImage, diagnosis: Diagnosis, source: SourceImage, uid: Callable[[str], str]
) -> Dataset:
    """Make the picture with boxes and the gate's table, in colour; `uid`: see `source.series`."""
    from highdicom.sc import SCImage
    from pydicom import Dataset

    pixels = draw_boxes(image, diagnosis).pixels
    arguments = series("OT", f"{NAME} picture: research use only", uid)
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
    made.PatientOrientation = []  # the image has its own; half of the picture is a table
    made.ConversionType = "WSD"
    made.SourceImageSequence = [reference]
    made.ImageType = ["DERIVED", "SECONDARY"]
    made.DerivationDescription = f"{NAME}: image with boxes drawn. {RESEARCH_USE}"
    made.ImageComments = RESEARCH_USE
    made.BurnedInAnnotation = "YES"
    return identified(made, source)
