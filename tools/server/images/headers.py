"""What an uploaded file says about itself, read before anything is decoded.

A few kilobytes of PNG can claim a billion pixels, and a DICOM header may say 10 x 10 while the JPEG
inside says 60,000 x 60,000. So width x height is taken from the header that the decoder follows. A
deflated DICOM file is inflated for that, as far as `datasets/dicom/deflated.py` allows.
"""

from __future__ import annotations

from pathlib import PurePath

from cxrloc.datasets.dicom.header import is_dicom, parse_header
from cxrloc.datasets.images.formats.headers import (
    JPEG_SIGNATURE,
    PNG_SIGNATURE,
    jpeg_size,
    png_size,
    structural_fault,
)
from cxrloc.tools.server.http.problems import ProblemError

_JPEG_2000 = b"\xff\x4f\xff\x51"
_JPEG_SYNTAXES = "1.2.840.10008.1.2.4."
ACCEPTED = "PNG, JPEG or DICOM"


def base_name(name: str | None) -> str:
    """The last part of a client's file name, without control characters."""
    last = PurePath((name or "").replace("\\", "/")).name
    return "".join(c for c in last if c.isprintable())[:200] or "unnamed"


def kind_of(data: bytes) -> str:
    """ "png", "jpeg" or "dicom", by the first bytes whatever the name; raises 415 for the rest."""
    if data.startswith(PNG_SIGNATURE):
        return "png"
    if data.startswith(JPEG_SIGNATURE):
        return "jpeg"
    if is_dicom(data):
        return "dicom"
    fault = structural_fault(data)
    if fault:  # empty, or the first bytes of a PNG or JPEG
        raise ProblemError(422, fault)
    raise ProblemError(415, f"not a {ACCEPTED} file, whatever its name")


def claimed_sizes(data: bytes) -> list[tuple[int, int]]:
    """Every width and height that a file's headers claim; raises 415 and 422 for what has none."""
    kind = kind_of(data)
    try:
        if kind == "png":
            return [png_size(data)]
        return [jpeg_size(data)] if kind == "jpeg" else _dicom_sizes(data)
    except (ValueError, TypeError) as error:
        raise ProblemError(422, str(error)) from error


def _dicom_sizes(data: bytes) -> list[tuple[int, int]]:
    header = parse_header(data)
    sizes = [(int(header.get("Columns") or 0), int(header.get("Rows") or 0))]  # 0: no image
    if header.file_meta.TransferSyntaxUID.startswith(_JPEG_SYNTAXES):
        sizes.append(_stream_size(bytes(header.get("PixelData") or b"")))
    return sizes


def _stream_size(pixel_data: bytes) -> tuple[int, int]:
    """Size of the JPEG, JPEG-LS or JPEG 2000 stream inside encapsulated pixel data."""
    start = pixel_data.find(_JPEG_2000)
    if start >= 0:
        x1, y1, x0, y0 = (
            int.from_bytes(pixel_data[start + k : start + k + 4], "big") for k in (8, 12, 16, 20)
        )
        return x1 - x0, y1 - y0
    start = pixel_data.find(JPEG_SIGNATURE + b"\xff")
    if start < 0:
        raise ValueError("damaged DICOM image: no JPEG stream in its pixel data")
    return jpeg_size(pixel_data[start:])
