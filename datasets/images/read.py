"""Image files to one grey uint8 array: PNG (grey, palette, RGB, RGBA, 16 bits), JPEG and DICOM.

The content decides, not the ending: DICOM files often have none (see `datasets/dicom/reader.py`).

OpenCV decodes many a truncated file without a word, the missing rows grey or black, so the file's
own structure is walked first: a PNG must run to its IEND chunk with every checksum right, a JPEG to
its EOI marker.
"""

from __future__ import annotations

import re
import zlib
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from cxrloc.datasets.dicom.header import DICOM_SUFFIXES, is_dicom
from cxrloc.datasets.dicom.reader import decode_dicom
from cxrloc.datasets.radiograph import LoadedImage

GreyImage = npt.NDArray[np.uint8]

IMAGE_SUFFIXES: tuple[str, ...] = (".png", ".jpg", ".jpeg", *DICOM_SUFFIXES)
# A 16-bit file seldom uses 16 bits: radiographs have 10, 12 or 14. The smallest depth that holds
# the brightest pixel is taken for the depth that was meant.
BIT_DEPTHS: tuple[int, ...] = (8, 10, 12, 14, 16)

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_JPEG_SIGNATURE = b"\xff\xd8"
# In a scan FF is followed by 00 (a literal FF), a restart marker or FF (fill); else it is a marker.
_JPEG_MARKER_IN_SCAN = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
_JPEG_SOS, _JPEG_EOI = 0xDA, 0xD9


class UnreadableImageError(ValueError):
    """A file that is missing, truncated, damaged or no image; `reason` says which."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"cannot read image {path}: {reason}")
        self.path = path
        self.reason = reason

    def __reduce__(self) -> tuple[type[UnreadableImageError], tuple[Path, str]]:
        return type(self), (self.path, self.reason)  # as is, it could not leave a worker process


def read_image(path: str | Path) -> LoadedImage:
    """An image from an image file, under the file's name; a DICOM image with its pixel spacing.

    Its `warnings` are for the eyes of whoever gave the file: hand them on.

    Raises:
        UnreadableImageError: names the file and what is wrong with it.
    """
    return decode_image(_bytes(Path(path)), Path(path))


def decode_image(data: bytes, path: Path) -> LoadedImage:
    """The image in a file's bytes, as `read_image` gives it; `path` only names it."""
    fault = structural_fault(data)
    if fault:
        raise UnreadableImageError(path, fault)
    try:
        if is_dicom(data) or (path.suffix.lower() in DICOM_SUFFIXES and not _is_picture(data)):
            image = decode_dicom(data, path.name)
        else:
            pixels = to_grey(_decode_picture(data))
            image = LoadedImage(path.name, pixels, (pixels.shape[0], pixels.shape[1]))
    except ValueError as error:
        raise UnreadableImageError(path, str(error)) from None
    if image.pixels.min() < image.pixels.max():
        return image
    flat = f"No contrast: every pixel has the grey {image.pixels[0, 0]} of 0 to 255."
    return replace(image, warnings=(*image.warnings, flat))


def read_grey(path: Path) -> GreyImage:
    """Pixels of an image file as grey uint8 of shape (H, W).

    Colour becomes luminance (equal channels keep their value), alpha is ignored, 16-bit values are
    scaled from the smallest depth of 8, 10, 12, 14 and 16 bits that holds the image's maximum. Of
    DICOM: see `datasets/dicom/grayscale.py`.

    Raises:
        UnreadableImageError: names the file and what is wrong with it.
    """
    return read_image(path).pixels


def decode_grey(data: bytes, path: Path) -> GreyImage:
    """Pixels of an image file's bytes, as `read_grey` gives them; `path` is for the error alone."""
    return decode_image(data, path).pixels


def is_image_file(path: Path) -> bool:
    """Whether a file's ending or, if we do not know that, its first bytes say that it is an image.

    DICOM files are told by their bytes: on discs they are called IM000001, or end with a number. A
    disc's table of contents (DICOMDIR) is no image.
    """
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return True
    if path.name.upper() == "DICOMDIR":
        return False
    try:
        with path.open("rb") as file:
            return is_dicom(file.read(132))
    except OSError:
        return False


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UnreadableImageError(path, error.strerror or str(error)) from error


def _is_picture(data: bytes) -> bool:
    return data.startswith((_PNG_SIGNATURE, _JPEG_SIGNATURE))


def _decode_picture(data: bytes) -> npt.NDArray[np.generic]:
    try:
        pixels = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise ValueError(f"OpenCV refuses it ({error.err})") from error
    if pixels is None or pixels.size == 0:
        raise ValueError("damaged, or not an image that OpenCV can decode")
    return np.asarray(pixels)


def to_grey(pixels: npt.NDArray[np.generic]) -> GreyImage:
    """Grey uint8 (H, W) of decoded uint8 or uint16 pixels: (H, W), or (H, W, C) in BGR(A) order."""
    if pixels.dtype not in (np.uint8, np.uint16):
        raise ValueError(f"pixels are {pixels.dtype}, expected uint8 or uint16")
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    elif pixels.ndim == 3 and pixels.shape[2] in (3, 4):
        pixels = cv2.cvtColor(np.ascontiguousarray(pixels[:, :, :3]), cv2.COLOR_BGR2GRAY)
    if pixels.ndim != 2:
        raise ValueError(f"pixels have shape {pixels.shape}, expected 1, 3 or 4 channels")
    if pixels.dtype == np.uint8:
        return np.ascontiguousarray(pixels, dtype=np.uint8)
    maximum = int(np.asarray(pixels, dtype=np.int64).max())
    bits = next(bits for bits in BIT_DEPTHS if maximum < 2**bits)
    scaled = np.rint(np.asarray(pixels, dtype=np.float64) * (255.0 / (2**bits - 1)))
    return np.asarray(scaled, dtype=np.uint8)


def structural_fault(data: bytes) -> str | None:
    """What is wrong with the structure of a PNG or JPEG; None for nothing or another format."""
    if not data:
        return "the file is empty"
    if data.startswith(_PNG_SIGNATURE):
        return _png_fault(data)
    if data.startswith(_JPEG_SIGNATURE):
        return _jpeg_fault(data)
    if _PNG_SIGNATURE.startswith(data) or _JPEG_SIGNATURE.startswith(data):
        return f"truncated: only {len(data)} bytes"
    return None


def _png_fault(data: bytes) -> str | None:
    """Walk the chunks: length (4), type (4), data, checksum (4), to IEND."""
    position = len(_PNG_SIGNATURE)
    while position + 12 <= len(data):
        length = int.from_bytes(data[position : position + 4], "big")
        kind = data[position + 4 : position + 8]
        end = position + 12 + length
        if end > len(data):
            break
        checksum = int.from_bytes(data[end - 4 : end], "big")
        if zlib.crc32(memoryview(data)[position + 4 : end - 4]) != checksum:
            return f"damaged PNG: wrong checksum of chunk {kind!r} at byte {position}"
        if kind == b"IEND":
            return None
        position = end
    return f"truncated PNG: {len(data)} bytes without the end chunk"


def _jpeg_fault(data: bytes) -> str | None:
    """Walk the segments to EOI: a search for its bytes would find those of a thumbnail."""
    truncated = f"truncated JPEG: {len(data)} bytes without the end marker"
    position = len(_JPEG_SIGNATURE)
    while position + 2 <= len(data):
        if data[position] != 0xFF:
            return f"damaged JPEG: no marker at byte {position}"
        marker = data[position + 1]
        if marker == _JPEG_EOI:
            return None
        if marker == 0xFF:  # a fill byte before the marker
            position += 1
            continue
        position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
        if marker == _JPEG_SOS:
            found = _JPEG_MARKER_IN_SCAN.search(data, position)
            if found is None:
                return truncated
            position = found.start()
    return truncated
