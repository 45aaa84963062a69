"""A DICOM file to a film: grey pixels, warnings about what it is, the size of a pixel, age and sex.

Single grey projection radiographs (CR, DX, secondary captures) of 2 to 16 bits, uncompressed,
deflated, RLE, JPEG, JPEG-LS and JPEG 2000 (pydicom, with GDCM for the last three, see
`dicom_decoder`). `dicom_scope` says what is refused and warned about, `dicom_grey` how stored
values become grey, `dicom_patient` and `dicom_view` what a gate may be told beside the film.

Of the header only the attributes in `KEYWORDS` are parsed. Name, number and birth date of the
patient are never looked at, so that no error and no warning can hold them. The text of a parser's
error is not handed on either: where a length is damaged, it quotes what stands behind.
"""

from __future__ import annotations

import re
import warnings
from typing import TYPE_CHECKING

import numpy as np

from cxrloc.datasets import dicom_decoder, dicom_grey, dicom_patient, dicom_scope, dicom_view
from cxrloc.datasets.dicom_deflated import BoundedFile, DeflatedFileError
from cxrloc.datasets.radiograph import Film, PixelSpacing

if TYPE_CHECKING:
    from pydicom import DataElement, Dataset

DICOM_SUFFIXES: tuple[str, ...] = (".dcm", ".dicom")
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1f]")  # all but escape and white space
_MAGIC, _MAGIC_AT = b"DICM", 128
# JPEG, JPEG-LS and JPEG 2000 all end so; decoders fill in what a truncated stream lacks.
_END_OF_STREAM = b"\xff\xd9"
_JPEG_FAMILY = "1.2.840.10008.1.2.4."

IMAGE_KEYWORDS = (
    *dicom_scope.KEYWORDS,
    "Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "BitsAllocated",
    "BitsStored", "HighBit", "PixelRepresentation", "PlanarConfiguration", "PixelData",
    "ModalityLUTSequence", "RescaleSlope", "RescaleIntercept", "VOILUTSequence", "WindowCenter",
    "WindowWidth", "VOILUTFunction", "PixelPaddingValue", "PixelPaddingRangeLimit",
    "PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing",
    "EstimatedRadiographicMagnificationFactor", "PixelSpacingCalibrationType",
)  # fmt: skip
KEYWORDS = (*IMAGE_KEYWORDS, *dicom_patient.KEYWORDS)


def is_dicom(data: bytes) -> bool:
    """Whether a file that begins with `data` (at least 132 bytes of it) is a DICOM file."""
    return data[_MAGIC_AT : _MAGIC_AT + len(_MAGIC)] == _MAGIC


def decode_dicom(data: bytes, image_id: str) -> Film:
    """The film in the bytes of a DICOM file.

    Raises:
        ValueError: for what is refused (see `dicom_scope`), truncated or damaged.
    """
    header = parse_header(data)
    try:
        found = dicom_scope.check_scope(header)
        pixels = dicom_grey.to_grey(stored_values(header, data), header)
        return Film(
            image_id, pixels, (pixels.shape[0], pixels.shape[1]), spacing=pixel_spacing(header),
            warnings=found, view=dicom_view.view(header), sex=dicom_patient.sex(header),
            age_years=dicom_patient.age_years(header),
        )  # fmt: skip
    except ValueError:
        raise
    except Exception as error:  # an attribute of another kind than it should be
        raise ValueError(f"damaged DICOM file ({type(error).__name__})") from None


def parse_header(data: bytes) -> Dataset:
    """The attributes in `KEYWORDS` alone; a file without preamble is read too.

    Raises:
        ValueError: for a file that is no DICOM file, is damaged, or would inflate without end.
    """
    from pydicom import dcmread
    from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

    # they are common, of no use to whoever reads films, and quote the value that they are about
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


def pixel_spacing(header: Dataset) -> PixelSpacing | None:
    """Size of a pixel (PS3.3 10.7.1.3), None where none is given.

    Pixel Spacing where it is calibrated; else Imager Pixel Spacing, which is that of the detector,
    divided by the magnification if that is known; else what is left.
    """
    plain, imager = _pair(header, "PixelSpacing"), _pair(header, "ImagerPixelSpacing")
    calibrated = plain is not None and (
        imager is None or plain != imager or header.get("PixelSpacingCalibrationType")
    )
    factor = float(header.get("EstimatedRadiographicMagnificationFactor") or 0.0)
    if plain is not None and calibrated:
        return PixelSpacing(*plain, "PixelSpacing")
    if imager is not None and factor >= 1.0:
        source = "ImagerPixelSpacing / EstimatedRadiographicMagnificationFactor"
        return PixelSpacing(imager[0] / factor, imager[1] / factor, source)
    if imager is not None:
        return PixelSpacing(*imager, "ImagerPixelSpacing (in the detector, not in the patient)")
    nominal = _pair(header, "NominalScannedPixelSpacing")
    return None if nominal is None else PixelSpacing(*nominal, "NominalScannedPixelSpacing")


def _pair(header: Dataset, keyword: str) -> tuple[float, float] | None:
    """Row and column spacing in mm; None for an absent or impossible one (zeros are common)."""
    values = header.get(keyword)
    if values is None or isinstance(values, str | float) or len(values) != 2:
        return None
    row, column = float(values[0]), float(values[1])
    return (row, column) if 0 < row < 100 and 0 < column < 100 else None


def stored_values(header: Dataset, data: bytes) -> dicom_grey.StoredValues:
    """Pixels (H, W) as stored, of a file's bytes and the header that `parse_header` gives of them.

    Raises:
        ValueError: when they are absent, truncated or in a syntax that nothing here decodes.
    """
    if "PixelData" not in header or not header.PixelData:
        raise ValueError("truncated or empty DICOM image: no pixel data")
    syntax = header.file_meta.TransferSyntaxUID
    if syntax.startswith(_JPEG_FAMILY) and _END_OF_STREAM not in header.PixelData[-64:]:
        raise ValueError(f"truncated DICOM image: its {syntax.name} stream has no end marker")
    try:
        pixels = dicom_decoder.decode(data) if syntax.is_encapsulated else header.pixel_array
    except Exception as error:  # every decoder has its own
        raise ValueError(f"pixels ({syntax.name}) cannot be decoded: {in_short(error)}") from None
    if pixels.shape != (header.Rows, header.Columns):
        raise ValueError(f"pixels are {pixels.shape}, not {header.Rows} x {header.Columns}")
    return np.asarray(pixels)


def in_short(error: Exception) -> str:
    """What an error of a decoder says, on one line."""
    return (" ".join(str(error).split()) or type(error).__name__)[:200]
