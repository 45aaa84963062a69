"""The header of a DICOM file: of its attributes only those in `KEYWORDS` are parsed.

Name, number and birth date of the patient are never looked at, so that no error and no warning can
hold them. The text of a parser's error is not handed on either: where a length is damaged, it
quotes what stands behind.
"""

from __future__ import annotations

import re
import warnings
from typing import TYPE_CHECKING

from cxrloc.datasets.dicom import attributes, scope
from cxrloc.datasets.dicom.deflated import BoundedFile, DeflatedFileError

if TYPE_CHECKING:
    from pydicom import DataElement, Dataset

DICOM_SUFFIXES: tuple[str, ...] = (".dcm", ".dicom")
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1f]")  # all but escape and white space
_MAGIC, _MAGIC_AT = b"DICM", 128
IMAGE_KEYWORDS = (
    *scope.KEYWORDS,
    *["Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration"],
    *["BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelData"],
    *["ModalityLUTSequence", "RescaleSlope", "RescaleIntercept"],
    *["VOILUTSequence", "VOILUTFunction", "WindowCenter", "WindowWidth"],
    *["PixelPaddingValue", "PixelPaddingRangeLimit"],
    *["PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing"],
    *["EstimatedRadiographicMagnificationFactor", "PixelSpacingCalibrationType"],
)
KEYWORDS = (*IMAGE_KEYWORDS, *attributes.PATIENT_KEYWORDS)


def is_dicom(data: bytes) -> bool:
    """Whether a file that begins with `data` (at least 132 bytes of it) is a DICOM file."""
    return data[_MAGIC_AT : _MAGIC_AT + len(_MAGIC)] == _MAGIC


def parse_header(data: bytes) -> Dataset:
    """The attributes in `KEYWORDS` alone; a file without preamble is read too.

    Raises:
        ValueError: for a file that is no DICOM file, is damaged, or would inflate without end.
    """
    from pydicom import dcmread
    from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

    # they are common, of no use to whoever reads images, and quote the value that they are about
    warnings.filterwarnings("ignore", category=UserWarning, module="pydicom")
    try:
        header = dcmread(BoundedFile(data), force=True, specific_tags=list(KEYWORDS))
        odd = [e.keyword for e in header.iterall() if not _is_of_its_kind(e)]  # decodes all of it
        if not isinstance(header.file_meta.get("TransferSyntaxUID", ""), str):  # two of them
            odd.append("TransferSyntaxUID")
    except DeflatedFileError:
        raise
    except Exception as error:  # whatever a parser trips over in a damaged file
        raise ValueError(f"damaged DICOM file ({type(error).__name__})") from None
    if odd:
        raise ValueError(f"damaged DICOM file: {odd[0]} is not of the kind that it should be")
    if not len(header):
        raise ValueError("not a DICOM file, or damaged: none of an image's attributes is in it")
    if "TransferSyntaxUID" not in header.file_meta:
        implicit = header.original_encoding[0]
        header.file_meta.TransferSyntaxUID = (
            ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
        )
    header.setdefault("PixelRepresentation", 0)
    return header


def _is_of_its_kind(element: DataElement) -> bool:
    """Whether numbers are numbers, sequences sequences and texts without control characters.

    In a file with a damaged length a text runs on into the elements behind it, names too.
    """
    from pydicom.datadict import dictionary_VR

    kind = dictionary_VR(element.tag)
    if kind == "SQ":
        return bool(element.VR == "SQ")
    if kind in ("CS", "LO", "SH", "ST", "UI"):
        return not _CONTROL.search(str(element.value))
    if kind not in ("US", "IS", "DS", "US or SS") or element.value in (None, ""):
        return True
    values = element.value if element.VM > 1 else [element.value]
    return all(isinstance(value, int | float) for value in values)


def one_line(error: Exception) -> str:
    """What an error of a decoder says, on one line."""
    return (" ".join(str(error).split()) or type(error).__name__)[:200]
