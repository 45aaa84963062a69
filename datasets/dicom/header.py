"""Parse the header of a DICOM file, restricted to the attributes in `KEYWORDS`.

The patient's name, number and birth date are never read, so no error or warning can contain them.
The parser's own error text is not passed on either: after a damaged length it quotes whatever
follows.
"""

from __future__ import annotations

import math
import re
import warnings
from typing import TYPE_CHECKING, Literal

from cxrloc.datasets.dicom import attributes, scope
from cxrloc.datasets.dicom.deflated import BoundedFile, DeflatedFileError

if TYPE_CHECKING:
    from pydicom import DataElement, Dataset

DICOM_SUFFIXES: tuple[str, ...] = (".dcm", ".dicom")
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1f]")  # all but escape and white space
_MAGIC, _MAGIC_AT = b"DICM", 128
_GROUPS = (0x0002, 0x0008, 0x0010, 0x0018, 0x0020, 0x0028)
_BIG_ENDIAN = tuple(group.to_bytes(2, "big") for group in _GROUPS)
_LONG_FORMS = (b"OB", b"OW", b"SQ", b"UN", b"UT")  # kinds whose length has four bytes
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
# OverlayBitPosition of the 16 overlays: above 0, an overlay lies in the pixels' upper bits
_OVERLAY_BITS = tuple(group << 16 | 0x0102 for group in range(0x6000, 0x6020, 2))
KEYWORDS = (*IMAGE_KEYWORDS, *attributes.PATIENT_KEYWORDS)
# An image can be read without these; out of form they count as absent. How many values each has;
# 0 means any number.
OPTIONAL_NUMBERS = {
    "NumberOfFrames": 1,
    "RescaleSlope": 1,
    "RescaleIntercept": 1,
    "WindowCenter": 0,
    "WindowWidth": 0,
    "PixelPaddingValue": 1,
    "PixelPaddingRangeLimit": 1,
    "PixelAspectRatio": 2,
    "PixelSpacing": 2,
    "ImagerPixelSpacing": 2,
    "NominalScannedPixelSpacing": 2,
    "EstimatedRadiographicMagnificationFactor": 1,
}


def is_dicom(data: bytes) -> bool:
    """Whether `data`, the first 132 bytes of a file or more, starts a DICOM file.

    Without a preamble it does if its first two elements are of groups that come before the pixels,
    in ascending order and in one of the encodings.
    """
    if data[_MAGIC_AT : _MAGIC_AT + len(_MAGIC)] == _MAGIC:
        return True
    first = _element(data, 0)
    second = None if first is None else _element(data, first[1])
    if first is None or second is None or first[0] >= second[0]:
        return False
    return first[0] >> 16 in _GROUPS and second[0] >> 16 in _GROUPS


def _element(data: bytes, start: int) -> tuple[int, int] | None:
    """Tag of the element at a place and the place after it; None if there is none."""
    order: Literal["little", "big"] = "big" if data[:2] in _BIG_ENDIAN else "little"
    head = data[start : start + 12]
    if len(head) < 8:
        return None
    group, element = (int.from_bytes(head[i : i + 2], order) for i in (0, 2))
    if head[4:6] in _LONG_FORMS and len(head) == 12:
        length, begin = int.from_bytes(head[8:12], order), 12
    elif head[4:6].isalpha() and head[4:6].isupper():
        length, begin = int.from_bytes(head[6:8], order), 8
    else:  # without its kind
        length, begin = int.from_bytes(head[4:8], order), 8
    return group << 16 | element, start + begin + length


def silence_pydicom() -> None:
    """Ignore its warnings: common, no help to a reader of images, and they quote values."""
    warnings.filterwarnings("ignore", category=UserWarning, module="pydicom")


def parse_header(data: bytes) -> Dataset:
    """Parse only the attributes in `KEYWORDS`; a file without a preamble is accepted.

    Removes `OPTIONAL_NUMBERS` that are out of form; `out_of_form` in the result names them.

    Raises:
        ValueError: for a file that is not DICOM, is damaged, or inflates too far.
    """
    from pydicom import dcmread
    from pydicom.tag import Tag
    from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

    silence_pydicom()
    try:
        tags = [*map(Tag, KEYWORDS), *map(Tag, _OVERLAY_BITS)]
        header = dcmread(BoundedFile(data), force=True, specific_tags=tags)
        out_of_form = remove_out_of_form(header)
        odd = [e.keyword for e in header.iterall() if not _is_of_its_kind(e)]  # decodes everything
        if not isinstance(header.file_meta.get("TransferSyntaxUID", ""), str):  # a list of two
            odd.append("TransferSyntaxUID")
    except DeflatedFileError:
        raise
    except Exception as error:  # damaged files raise all kinds of errors
        raise ValueError(f"damaged DICOM file ({type(error).__name__})") from None
    if odd:
        raise ValueError(f"damaged DICOM file: {odd[0]} has a value of the wrong type")
    if not len(header):
        raise ValueError("not a DICOM file, or damaged: it has no image attributes")
    if "TransferSyntaxUID" not in header.file_meta:
        implicit = header.original_encoding[0]
        header.file_meta.TransferSyntaxUID = (
            ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
        )
    header.setdefault("PixelRepresentation", 0)
    header.out_of_form = out_of_form
    return header


def remove_out_of_form(header: Dataset) -> tuple[str, ...]:
    """Remove optional numbers with other text (`1,5`, `n/a`) or too many values; return which."""
    removed = []
    for keyword, count in OPTIONAL_NUMBERS.items():
        if keyword not in header:
            continue
        try:
            element = header[keyword]
            good = _is_of_its_kind(element) and _are_finite(element)
            good = good and (not count or element.VM in (0, count))
        except Exception:  # pydicom converts the text here, each type with its own errors
            good = False
        if not good:
            del header[keyword]
            removed.append(keyword)
    return tuple(removed)


def _are_finite(element: DataElement) -> bool:
    values = element.value if element.VM > 1 else [element.value]
    return all(math.isfinite(value) for value in values if isinstance(value, int | float))


def _is_of_its_kind(element: DataElement) -> bool:
    """Whether numbers are numbers, sequences are sequences and texts have no control characters.

    After a damaged length, a text runs on into the following elements, including names.
    """
    from pydicom.datadict import dictionary_VM, dictionary_VR

    kind = dictionary_VR(element.tag)
    if kind == "US" and dictionary_VM(element.tag) == "1" and element.VM > 1:
        return False
    if kind == "SQ":
        return bool(element.VR == "SQ")
    if kind in ("CS", "LO", "SH", "ST", "UI"):
        return not _CONTROL.search(str(element.value))
    if kind not in ("US", "IS", "DS", "US or SS") or element.value in (None, ""):
        return True
    values = element.value if element.VM > 1 else [element.value]
    return all(isinstance(value, int | float) for value in values)


def one_line(error: Exception) -> str:
    """The message of a decoder's error, on one line."""
    return (" ".join(str(error).split()) or type(error).__name__)[:200]
