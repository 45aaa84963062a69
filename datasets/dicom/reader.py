"""Read a DICOM file into an image: grey pixels, warnings, pixel size, age and sex.

Supports single grey projection radiographs (CR, DX, secondary captures) of 2 to 16 bits:
uncompressed, deflated, RLE, JPEG, JPEG-LS and JPEG 2000 (pydicom, with GDCM for the last three, see
`decoder`). `header` parses the attributes, `scope` refuses and warns, `grayscale` turns stored
values into grey, and `attributes` and `view` read the extra inputs of some gates.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from cxrloc.datasets.dicom import attributes, decoder, grayscale, scope, streams, view
from cxrloc.datasets.dicom.header import one_line, parse_header
from cxrloc.datasets.radiograph import LoadedImage, PixelSpacing

if TYPE_CHECKING:
    from pydicom import Dataset

# JPEG, JPEG-LS and JPEG 2000 all end with it; decoders silently fill in the end of a cut file.
_END_OF_STREAM = b"\xff\xd9"
_JPEG_FAMILY = "1.2.840.10008.1.2.4."
_J2K_SIZE = b"\xff\x4f\xff\x51"  # its sample precision is byte 42
# the frame header of JPEG (C0 to C3) and JPEG-LS (F7): marker, length, precision
_JPEG_FRAME = re.compile(rb"\xff[\xc0-\xc3\xf7]\x00[\x0b\x11](.)", re.DOTALL)


def decode_dicom(data: bytes, image_id: str, *, any_body_part: bool = False) -> LoadedImage:
    """Decode the bytes of a DICOM file to an image; `any_body_part`: not of chests alone.

    Raises:
        ValueError: for a refused (see `datasets/dicom/scope.py`), truncated or damaged file.
    """
    header = parse_header(data)
    try:
        notes = scope.check_scope(header, any_body_part=any_body_part)
        stated = int(header.BitsStored)
        pixels, deep = grayscale.to_greys(stored_values(header, data), header)
        notes = (*notes, *_bits_warnings(header, stated), *streams.fill_warning(header, data))
        return LoadedImage(
            image_id,
            pixels,
            (pixels.shape[0], pixels.shape[1]),
            spacing=pixel_spacing(header),
            warnings=notes,
            view=view.view(header),
            sex=attributes.sex(header),
            age_years=attributes.age_years(header),
            deep=deep,
        )
    except ValueError:
        raise
    except Exception as error:  # an attribute of the wrong type
        raise ValueError(f"damaged DICOM file ({type(error).__name__})") from None


def _bits_warnings(header: Dataset, stated: int) -> Iterable[str]:
    """Warn where the pixels use other bits than Bits Stored stated."""
    if int(header.BitsStored) != stated:
        yield (
            f"BitsStored is {stated}, but pixel values need {header.BitsStored} bits: read with "
            f"{header.BitsStored}."
        )
    stream = _stream_bits(header)
    if 0 < stream < stated:  # encoders that say more, as all of BitsAllocated, do no harm
        yield f"BitsStored is {stated}, but the compressed pixels have {stream}: is the grey right?"


def _stream_bits(header: Dataset) -> int:
    """Bits of a sample as a JPEG, JPEG-LS or JPEG 2000 stream states them; 0 for other pixels."""
    from pydicom.encaps import get_frame

    if not header.file_meta.TransferSyntaxUID.startswith(_JPEG_FAMILY):
        return 0
    stream = get_frame(header.PixelData, 0, number_of_frames=1)
    if _J2K_SIZE in stream[:200]:
        return (stream[stream.index(_J2K_SIZE) + 42] & 0x7F) + 1
    frame = _JPEG_FRAME.search(stream[:4096])
    return frame[1][0] if frame else 0


def pixel_spacing(header: Dataset) -> PixelSpacing | None:
    """Physical size of a pixel (PS3.3 10.7.1.3), or None if the file gives none.

    A calibrated Pixel Spacing comes first. Then Imager Pixel Spacing, which is measured at the
    detector, divided by the magnification if known. Then the remaining spacing.
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
        return PixelSpacing(*imager, "ImagerPixelSpacing (at the detector, not in the patient)")
    nominal = _pair(header, "NominalScannedPixelSpacing")
    return None if nominal is None else PixelSpacing(*nominal, "NominalScannedPixelSpacing")


def _pair(header: Dataset, keyword: str) -> tuple[float, float] | None:
    """Row and column spacing in mm; None if absent or impossible (zeros are common)."""
    values = header.get(keyword)
    if values is None or isinstance(values, str | float) or len(values) != 2:
        return None
    row, column = float(values[0]), float(values[1])
    return (row, column) if 0 < row < 100 and 0 < column < 100 else None


def stored_values(header: Dataset, data: bytes) -> grayscale.StoredValues:
    """Decode the pixels (H, W) as stored; `header` is `parse_header(data)`.

    Raises `header.BitsStored` to the bits that the pixels use (`grayscale.true_bits`).

    Raises:
        ValueError: when they are absent, truncated or in an unsupported transfer syntax.
    """
    if "PixelData" not in header or not header.PixelData:
        raise ValueError("truncated or empty DICOM image: no pixel data")
    syntax = header.file_meta.TransferSyntaxUID
    if syntax.startswith(_JPEG_FAMILY) and _END_OF_STREAM not in header.PixelData[-64:]:
        raise ValueError(f"truncated DICOM image: its {syntax.name} stream has no end marker")
    if fault := streams.surplus_fault(header, data):
        raise ValueError(fault)
    try:
        pixels = decoder.decode(data) if syntax.is_encapsulated else decoder.all_bits(header)
    except Exception as error:  # every decoder raises its own types
        raise ValueError(f"cannot decode the pixels ({syntax.name}): {one_line(error)}") from None
    if pixels.shape != (header.Rows, header.Columns):
        raise ValueError(f"pixels are {pixels.shape}, not {header.Rows} x {header.Columns}")
    header.BitsStored = grayscale.true_bits(pixels, header)
    header.HighBit = header.BitsStored - 1
    return np.asarray(pixels)
