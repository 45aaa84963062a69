"""Image files to one grey uint8 array: PNG (grey, palette, RGB, RGBA, 16 bits), JPEG and DICOM.

The content decides, not the ending: DICOM files often have none (see `datasets/dicom/reader.py`).

OpenCV silently decodes truncated files, the missing rows grey or black, so the file's
own structure is walked first (see `headers`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from cxrloc.datasets.dicom.header import DICOM_SUFFIXES, is_dicom
from cxrloc.datasets.dicom.reader import decode_dicom
from cxrloc.datasets.images.headers import is_png_or_jpeg, structural_fault
from cxrloc.datasets.radiograph import LoadedImage, Radiograph

Item = TypeVar("Item")
Image = TypeVar("Image")
GreyImage = npt.NDArray[np.uint8]

IMAGE_SUFFIXES: tuple[str, ...] = (".png", ".jpg", ".jpeg", *DICOM_SUFFIXES)
# A 16-bit file seldom uses 16 bits: radiographs have 10, 12 or 14. The smallest depth that holds
# the brightest pixel is taken for the depth that was meant.
BIT_DEPTHS: tuple[int, ...] = (8, 10, 12, 14, 16)


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
        UnreadableImageError: names the file and the fault.
    """
    return decode_image(read_bytes(Path(path)), Path(path))


def decode_image(data: bytes, path: Path) -> LoadedImage:
    """The image in a file's bytes, as `read_image` gives it; `path` only names it."""
    fault = structural_fault(data)
    if fault:
        raise UnreadableImageError(path, fault)
    try:
        if is_dicom(data) or (path.suffix.lower() in DICOM_SUFFIXES and not is_png_or_jpeg(data)):
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
        UnreadableImageError: names the file and the fault.
    """
    return read_image(path).pixels


def decode_grey(data: bytes, path: Path) -> GreyImage:
    """Pixels of an image file's bytes, as `read_grey` gives them; `path` is only for the error."""
    return decode_image(data, path).pixels


def is_image_file(path: Path) -> bool:
    """Whether a file's ending or, if we do not know that, its first bytes say that it is an image.

    DICOM files are recognised by their bytes: on discs they are called IM000001, or end with a
    number. A disc's table of contents (DICOMDIR) is no image.
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


def read_radiograph(radiograph: Radiograph) -> LoadedImage:
    """The image of a listed radiograph, as its data set describes it, with the file's pixels.

    Raises:
        UnreadableImageError: names the file and the fault.
        ValueError: for a radiograph that has no file.
    """
    return radiograph.image(read_grey(radiograph.file))


def print_left_out(radiograph: Radiograph, error: ValueError) -> None:
    """Name a radiograph that cannot be read, above the progress bar if there is one."""
    tqdm.write(f"left out {radiograph.image_id}: {error}")


def readable_images(
    items: Iterable[Item],
    read: Callable[[Item], Image],
    failed: Callable[[Item, ValueError], object],
) -> Iterator[tuple[Item, Image]]:
    """Each item whose image can be read, with it; read one by one, as they are asked for.

    Args:
        items: radiographs, paths or whatever else `read` takes.
        read: such as `read_image` or `read_radiograph`; raises ValueError for an unreadable file.
        failed: called with each unreadable item and the reason, such as `print_left_out`; may raise
            the error to stop.
    """
    for item in items:
        try:
            image = read(item)
        except ValueError as error:
            failed(item, error)
        else:
            yield item, image


def read_bytes(path: Path) -> bytes:
    """A file's bytes.

    Raises:
        UnreadableImageError: when there is none, or it may not be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise UnreadableImageError(path, error.strerror or str(error)) from error


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
