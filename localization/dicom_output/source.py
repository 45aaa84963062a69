"""The DICOM image that our objects are about: what is copied from it, and what they have in common.

A DICOM object without its patient and study is lost in an archive, so these are copied, as they
are written in the image's file and without being looked at: `IDENTITY`, and nothing else that says
who the patient is. The libraries that build the objects never see them, and so cannot print them.
"""

from __future__ import annotations

import io
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np

from cxrloc.datasets.dicom.grayscale import (
    Values,
    own_range,
    shown_values,
    stored_range,
    usable_window,
)
from cxrloc.datasets.dicom.header import IMAGE_KEYWORDS, parse_header
from cxrloc.datasets.dicom.reader import stored_values

if TYPE_CHECKING:
    from pydicom import Dataset

NAME = "cxrloc"
IDENTITY = (
    "SpecificCharacterSet",
    "PatientName",
    "PatientID",
    "IssuerOfPatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "StudyDescription",
    "AccessionNumber",
    "ReferringPhysicianName",
)
# attributes that an object must have, if empty
_EXPECTED = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "AccessionNumber",
    "ReferringPhysicianName",
)
_UIDS = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
_SERIES = {"SR": 9301, "PR": 9302, "OT": 9303}


@dataclass(frozen=True)
class SourceImage:
    """An image's header, parted: what describes the image, and who the patient is.

    Attributes:
        image: attributes of the image and its UIDs; the patient and study are left empty.
        identity: elements of `IDENTITY` as the file has them, undecoded.
        voi: item of a Softcopy VOI LUT Sequence: the lookup table or window that the image was read
            with; None where grey is the stored values' own.
    """

    image: Dataset = field(repr=False)
    identity: Mapping[str, Any] = field(repr=False)
    voi: Dataset | None = field(repr=False)


def parse_source(data: bytes, name: str) -> SourceImage:
    """What DICOM objects about an image need of its file's bytes; `name` is for the error alone.

    Raises:
        ValueError: for a file that is no DICOM file, or has no UIDs to refer to.
    """
    from pydicom import dcmread
    from pydicom.errors import InvalidDicomError

    try:
        header = dcmread(
            io.BytesIO(data),
            stop_before_pixels=True,
            specific_tags=[*_UIDS, *IMAGE_KEYWORDS, *IDENTITY],
        )
        missing = [keyword for keyword in _UIDS if not header.get(keyword)]
    except InvalidDicomError:
        raise ValueError(
            f"{name} is no DICOM file: DICOM objects are made for DICOM images alone, as they need "
            "a patient and a study; omit --dicom-out for PNG and JPEG"
        ) from None
    except Exception as error:  # whatever a parser trips over in a damaged file
        raise ValueError(f"{name}: damaged DICOM file ({type(error).__name__})") from None
    if missing:
        raise ValueError(f"{name}: no {missing[0]}, so that no DICOM object can refer to the image")
    identity = {k: _raw(header, k) for k in IDENTITY if k in header}
    for keyword in IDENTITY:
        if keyword in header:
            del header[keyword]
    for keyword in _EXPECTED:
        setattr(header, keyword, None)
    try:
        voi = _taken_voi(header, data)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
    if "RescaleSlope" in header or "RescaleIntercept" in header:
        header.RescaleSlope = header.get("RescaleSlope") or 1
        header.RescaleIntercept = header.get("RescaleIntercept") or 0
        header.RescaleType = "US"  # unspecified: what the values mean does not matter here
    return SourceImage(header, identity, voi)


def series(modality: str, description: str) -> dict[str, Any]:
    """Arguments that every object gets: a series and a UID of its own, and who made it."""
    from pydicom.uid import generate_uid

    return {
        "series_instance_uid": generate_uid(),
        "series_number": _SERIES[modality],
        "sop_instance_uid": generate_uid(),
        "instance_number": 1,
        "manufacturer": NAME,
        "manufacturer_model_name": NAME,
        "software_versions": version(NAME),
        "device_serial_number": version(NAME),
        "series_description": description,
        "content_qualification": "RESEARCH",
    }


def device_uid() -> str:
    """The UID of this program as an observer: the same for every run of a version."""
    return f"2.25.{uuid.uuid5(uuid.NAMESPACE_DNS, f'{NAME} {version(NAME)}').int}"


def identified(made: Dataset, source: SourceImage) -> Dataset:
    """The object, with the patient and study of its source."""
    if made.Modality != "SR":
        made.BodyPartExamined = "CHEST"  # unpaired, so that no laterality is asked for
    for element in source.identity.values():
        made[element.tag] = element
    return made


def _taken_voi(header: Dataset, data: bytes) -> Dataset | None:
    """What the image was read with, as one VOI LUT or window; it does not stay in the header.

    An image with lookup tables gets one table from stored values to grey, the modality LUT in it:
    of several, and of tables of 9 to 15 bits, presentation states and their viewers know less.
    """
    whole = parse_header(data)
    item = None
    if header.get("ModalityLUTSequence") or header.get("VOILUTSequence"):
        shown = shown_values(stored_values(whole, data), whole)
        item = _table_item(shown, int(stored_range(whole)[0]))
        for keyword in ("ModalityLUTSequence", "RescaleSlope", "RescaleIntercept"):
            header.pop(keyword, None)
    elif (window := usable_window(header)) is not None:
        item = _window_item(*window)
    elif int(header.BitsStored) > 8:
        least, greatest = own_range(stored_values(whole, data), whole)
        item = _window_item((least + greatest) / 2, max(greatest - least, 1.0), "LINEAR_EXACT")
    for keyword in ("VOILUTSequence", "WindowCenter", "WindowWidth", "VOILUTFunction"):
        header.pop(keyword, None)
    return item


def _window_item(center: float, width: float, function: str) -> Dataset:
    from pydicom import Dataset

    item = Dataset()
    item.WindowCenter, item.WindowWidth = f"{center:.10g}", f"{width:.10g}"
    item.VOILUTFunction = function
    return item


def _table_item(shown: Values, first: int) -> Dataset:
    """Grey (N,) in 0..1 from the stored value `first` on; unlike highdicom's it may be negative."""
    from pydicom import Dataset

    if first < 0 and len(shown) == 2**15:
        raise ValueError("its lookup table is of 15 bits with a sign, which no table here can hold")
    table = Dataset()
    length = len(shown) % 2**16  # 0 stands for 65,536
    table.add_new("LUTDescriptor", "SS" if first < 0 else "US", [length, first, 16])
    table.add_new("LUTData", "OW", np.rint(65535 * shown).astype("<u2").tobytes())
    item = Dataset()
    item.VOILUTSequence = [table]
    return item


def _raw(header: Dataset, keyword: str) -> Any:
    """The undecoded element, with the value representation that an implicit file leaves out."""
    from pydicom.datadict import dictionary_VR

    element: Any = header.get_item(keyword)
    if not element.is_raw:
        return element  # the character set, which the parser itself has looked at
    return element._replace(VR=dictionary_VR(element.tag), is_implicit_VR=False)
