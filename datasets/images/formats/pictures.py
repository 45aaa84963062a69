"""Decode PNG and JPEG files: upright pixels, and what the decoder says of damage.

libjpeg and libpng go on after damage, with grey or shifted rows. What libjpeg says refuses the
image; a damaged PNG fails its checksums (`headers`) or is refused before libpng sees it (`png`), as
that would write to standard error. Other formats are refused, since OpenCV would read some of them
inverted or in part (TIFF's white-is-zero, its further pages).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import simplejpeg

from cxrloc.datasets.dicom.complaints import complaint
from cxrloc.datasets.images.formats.headers import (
    check_pixels,
    has_adobe_marker,
    is_jpeg,
    is_png_or_jpeg,
    missing_scans,
    other_jpeg,
)
from cxrloc.datasets.images.formats.orientation import orientation, xmp_doubt
from cxrloc.datasets.images.formats.png import plain_png

Pixels = npt.NDArray[np.generic]

_SIGNATURES = {
    b"II*\x00": "TIFF",
    b"MM\x00*": "TIFF",
    b"II+\x00": "TIFF",
    b"MM\x00+": "TIFF",
    b"GIF8": "GIF",
    b"BM": "BMP",
    b"%PDF": "PDF",
    b"\x00\x00\x00\x0cjP": "JPEG 2000",
    b"\xff\x4f\xff\x51": "JPEG 2000",
    b"PK\x03\x04": "ZIP",
    b"\x1f\x8b": "gzip",
    b"8BPS": "Photoshop",
    b"\x5c\x01\x00\x00": "NIfTI",
    b"\xff\x0a": "JPEG XL",
    b"\x00\x00\x00\x0cJXL ": "JPEG XL",
    b"\x93NUMPY": "NumPy",
    b"version https://git-lfs": "Git LFS pointer",
}
_PAGES = (b"<!doctype html", b"<html")
# mirror left to right first, then this many quarter turns clockwise
_TURNS = {2: (True, 0), 3: (False, 2), 4: (True, 2), 5: (True, 3), 6: (False, 1), 7: (True, 1)}
_TURNS[8] = (False, 3)


def decode_picture(data: bytes) -> tuple[Pixels, tuple[str, ...]]:
    """Decode a PNG or JPEG to pixels (H, W) or (H, W, C) in BGR(A), uint8 or uint16, upright.

    Returns:
        The pixels, and warnings, as where they were turned.

    Raises:
        ValueError: for a damaged file or another format.
    """
    if not is_png_or_jpeg(data):
        name = format_name(data)
        kind = f"a {name} file" if name else "not an image, or of an unknown format"
        raise ValueError(f"{kind}; expected PNG, JPEG or DICOM. Convert it, as grey values")
    pixels, notes = (_jpeg(data), ()) if is_jpeg(data) else _png(data)
    number = orientation(data)
    if number not in _TURNS:
        return pixels, (*notes, *xmp_doubt(data))
    mirrored, turns = _TURNS[number]
    upright = np.rot90(pixels[:, ::-1] if mirrored else pixels, -turns)
    warning = f"EXIF orientation {number}: turned upright, and boxes are in the upright image."
    return np.ascontiguousarray(upright), (*notes, warning)


def format_name(data: bytes) -> str:
    """Name of a format that is not read, by the first bytes of a file; empty if unknown."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WebP"
    if data[4:8] == b"ftyp":
        return "HEIF, AVIF or video"
    if data[:100].lstrip().lower().startswith(_PAGES):
        return "web page"
    return next((name for start, name in _SIGNATURES.items() if data.startswith(start)), "")


def _jpeg(data: bytes) -> Pixels:
    other = other_jpeg(data)
    if other:
        raise ValueError(f"a file of {other}; expected 8. Convert it to PNG, as grey values")
    missing = missing_scans(data)
    if missing:
        raise ValueError(f"truncated JPEG: {missing}")
    try:
        height, width, space, _ = simplejpeg.decode_jpeg_header(data)
    except ValueError:
        raise ValueError("damaged JPEG: no image that can be decoded") from None
    check_pixels(width, height)
    if space in ("CMYK", "YCCK"):
        return _from_inks(_decoded_jpeg(data, "CMYK"), inverted=has_adobe_marker(data))
    return _decoded_jpeg(data, "GRAY" if space == "Gray" else "BGR")


def _decoded_jpeg(data: bytes, wanted: str) -> Pixels:
    try:
        return np.asarray(simplejpeg.decode_jpeg(data, wanted))
    except ValueError as error:
        fault = complaint(str(error), data[: data.rfind(b"\xff\xd9") + 2])
        if fault:
            raise ValueError(f"damaged JPEG: {fault}") from None
        return np.asarray(simplejpeg.decode_jpeg(data, wanted, strict=False))


def _from_inks(inks: Pixels, *, inverted: bool) -> Pixels:
    """Cyan, magenta, yellow and black to BGR; Adobe's programs store them inverted."""
    light = np.asarray(inks if inverted else 255 - inks, dtype=np.uint16)
    return np.asarray(light[:, :, 2::-1] * light[:, :, 3:] // 255, dtype=np.uint8)


def _png(data: bytes) -> tuple[Pixels, tuple[str, ...]]:
    plain, notes = plain_png(data)
    try:
        pixels: Any = cv2.imdecode(np.frombuffer(plain, dtype=np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise ValueError(f"OpenCV cannot decode it ({error.err})") from error
    if pixels is None or pixels.size == 0:
        raise ValueError("damaged, or not an image that OpenCV can decode")
    return np.asarray(pixels), (*notes, *_transparency(pixels))


def _transparency(pixels: Pixels) -> Iterator[str]:
    if pixels.ndim == 3 and pixels.shape[2] == 4:
        opaque = 65535 if pixels.dtype == np.uint16 else 255
        hidden = np.asarray(pixels[:, :, 3], dtype=np.uint16) < opaque
        if hidden.any():
            yield f"Transparent in {hidden.mean():.1%} of the pixels: read as if it were opaque."
