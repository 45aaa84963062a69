"""Read the DICOM image that our objects describe: elements to copy and to share.

A DICOM object without its patient and study is lost in an archive. So `IDENTITY` is copied from the
image's file as written, without decoding, and nothing else that identifies the patient. The
libraries that build the objects never see these elements, and so cannot print them.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np

from cxrloc.datasets.dicom.deflated import BoundedFile
from cxrloc.datasets.dicom.grayscale import (
    Values,
    contrast_range,
    shown_values,
    stored_range,
    usable_window,
)
from cxrloc.datasets.dicom.header import (
    IMAGE_KEYWORDS,
    is_dicom,
    parse_header,
    remove_out_of_form,
)
from cxrloc.datasets.dicom.reader import stored_values
from cxrloc.localization.dicom_output.origin import NAME

if TYPE_CHECKING:
    from pydicom import Dataset

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
# attributes that an object must have, even if empty
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
    """An image's header in two parts: image description and patient identity.

    Attributes:
        image: attributes of the image and its UIDs; patient and study are left empty.
        identity: elements of `IDENTITY` as in the file, undecoded.
        voi: item of a Softcopy VOI LUT Sequence: the lookup table or window used for reading the
            image; None if the stored values are the grey values.
    """

    image: Dataset = field(repr=False)
    identity: Mapping[str, Any] = field(repr=False)
    voi: Dataset | None = field(repr=False)


def parse_source(data: bytes, name: str) -> SourceImage:
    """Parse the part of a file's bytes that DICOM objects need; `name` is only for the error.

    Raises:
        ValueError: if the file is not DICOM or has no UIDs to refer to.
    """
    from pydicom import dcmread

    if not is_dicom(data):
        raise ValueError(
            f"{name} is not a DICOM file: DICOM objects need a DICOM image, with a patient and a "
            "study; leave dicom out of --write for PNG and JPEG"
        )
    try:
        header = dcmread(
            BoundedFile(data),
            force=True,  # a file may lack the preamble
            stop_before_pixels=True,
            specific_tags=[*_UIDS, *IMAGE_KEYWORDS, *IDENTITY],
        )
        remove_out_of_form(header)
        missing = [keyword for keyword in _UIDS if not header.get(keyword)]
    except Exception as error:  # a parser can raise anything on a damaged file
        raise ValueError(f"{name}: damaged DICOM file ({type(error).__name__})") from None
    if missing:
        raise ValueError(f"{name}: no {missing[0]}, so no DICOM object can refer to the image")
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
        header.RescaleType = "US"  # unspecified: the meaning of the values does not matter here
    return SourceImage(header, identity, voi)


def series(modality: str, description: str, uid: Callable[[str], str]) -> dict[str, Any]:
    """Arguments for every object: its own series and UID, and the creator.

    Args:
        modality: of the object.
        description: of its series.
        uid: gives the UID of something of this image that a word names.
    """
    return {
        "series_instance_uid": uid(f"{modality} series"),
        "series_number": _SERIES[modality],
        "sop_instance_uid": uid(modality),
        "instance_number": 1,
        "manufacturer": NAME,
        "manufacturer_model_name": NAME,
        "software_versions": version(NAME),
        "device_serial_number": version(NAME),
        "series_description": description,
        "content_qualification": "RESEARCH",
    }


def device_uid() -> str:
    """UID of this program as an observer: the same for every run of a version."""
    return f"2.25.{uuid.uuid5(uuid.NAMESPACE_DNS, f'{NAME} {version(NAME)}').int}"


def identified(made: Dataset, source: SourceImage) -> Dataset:
    """Add the patient and study of its source to the object."""
    if made.Modality != "SR":
        made.BodyPartExamined = "CHEST"  # unpaired, so laterality is not required
    for element in source.identity.values():
        made[element.tag] = element
    return made


def _taken_voi(header: Dataset, data: bytes) -> Dataset | None:
    """Take the VOI LUT or window used for reading the image out of the header, as a single one.

    An image with lookup tables gets one table from stored values to grey, including the modality
    LUT: presentation states and viewers do not support several, or tables of 9 to 15 bits.
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
    elif int(header.BitsAllocated) > 8:  # which decoding may raise Bits Stored to
        least, greatest = contrast_range(stored_values(whole, data), whole)
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
    """Table of grey (N,) in 0..1 from stored value `first` on, which may be negative here."""
    from pydicom import Dataset

    if first < 0 and len(shown) == 2**15:
        raise ValueError("its lookup table has 15 bits and a sign, which is not supported")
    table = Dataset()
    length = len(shown) % 2**16  # 0 means 65,536
    table.add_new("LUTDescriptor", "SS" if first < 0 else "US", [length, first, 16])
    table.add_new("LUTData", "OW", np.rint(65535 * shown).astype("<u2").tobytes())
    item = Dataset()
    item.VOILUTSequence = [table]
    return item


def _raw(header: Dataset, keyword: str) -> Any:
    """The undecoded element, with the value representation that an implicit file omits."""
    from pydicom.datadict import dictionary_VR

    element: Any = header.get_item(keyword)
    if not element.is_raw:
        return element  # the character set, which the parser has decoded itself
    return element._replace(VR=dictionary_VR(element.tag), is_implicit_VR=False)
