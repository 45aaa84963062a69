"""Read image files as one grey uint8 array: PNG (grey, palette, RGB, RGBA, 16 bits), JPEG, DICOM.

The content decides, not the suffix: DICOM files often have none (see `datasets/dicom/reader.py`).

Decoders silently leave the missing rows of truncated files grey or black, so the file's structure
is checked first (see `headers`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from cxrloc.datasets.dicom.grayscale import (
    eight_bits,
    is_eight_bits,
    sixteen_bits,
    stretch_range,
)
from cxrloc.datasets.dicom.header import DICOM_SUFFIXES, is_dicom
from cxrloc.datasets.dicom.reader import decode_dicom
from cxrloc.datasets.images.doubts.grey import colour_doubts, grey_doubts
from cxrloc.datasets.images.formats.headers import is_png_or_jpeg, structural_fault
from cxrloc.datasets.images.formats.pictures import decode_picture, format_name
from cxrloc.datasets.radiograph import LoadedImage, Radiograph

Item = TypeVar("Item")
Image = TypeVar("Image")
GreyImage = npt.NDArray[np.uint8]

FIRST_BYTES = 4096
_NAMED = 5  # files that a sentence names
IMAGE_SUFFIXES: tuple[str, ...] = (".png", ".jpg", ".jpeg", *DICOM_SUFFIXES)


class UnreadableImageError(ValueError):
    """A missing, truncated or damaged file, or one that is not an image; `reason` says which."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"cannot read image {path}: {reason}")
        self.path = path
        self.reason = reason

    def __reduce__(self) -> tuple[type[UnreadableImageError], tuple[Path, str]]:
        return type(self), (self.path, self.reason)  # the default does not survive pickling


def read_image(path: str | Path) -> LoadedImage:
    """Read an image file, named after the file; a DICOM image comes with its pixel spacing.

    Its `warnings` are meant for the person who supplied the file: pass them on.

    Raises:
        UnreadableImageError: names the file and the fault.
    """
    return decode_image(read_bytes(Path(path)), Path(path))


def decode_image(data: bytes, path: Path, *, any_body_part: bool = False) -> LoadedImage:
    """Decode the bytes of a file as `read_image` does; `path` only names the image.

    Args:
        any_body_part: warn of DICOM images of another body part than the chest.
    """
    fault = structural_fault(data)
    if fault:
        raise UnreadableImageError(path, fault)
    try:
        if is_dicom(data) or (path.suffix.lower() in DICOM_SUFFIXES and not _is_other(data)):
            image = decode_dicom(data, path.name, any_body_part=any_body_part)
        else:
            image = _picture(data, path.name)
    except ValueError as error:
        raise UnreadableImageError(path, str(error)) from None
    doubts = tuple(grey_doubts(image.pixels))
    return replace(image, warnings=(*image.warnings, *doubts)) if doubts else image


def _is_other(data: bytes) -> bool:
    return is_png_or_jpeg(data) or bool(format_name(data))


def _picture(data: bytes, name: str) -> LoadedImage:
    decoded, notes = decode_picture(data)
    pixels, deep = to_greys(decoded)
    notes = (*notes, *colour_doubts(decoded))
    size_hw = (pixels.shape[0], pixels.shape[1])
    return LoadedImage(name, pixels, size_hw, warnings=notes, deep=deep)


def read_grey(path: Path) -> GreyImage:
    """Read the pixels of an image file as grey uint8 (H, W).

    Colour becomes luminance (equal channels keep their value) and alpha is ignored. 16-bit values
    are stretched over the image's own range, like those of a DICOM image without a window.
    For DICOM see `datasets/dicom/grayscale.py`.

    Raises:
        UnreadableImageError: names the file and the fault.
    """
    return read_image(path).pixels


def is_image_file(path: Path) -> bool:
    """Whether the suffix, or for other suffixes the first bytes, mark a file as an image.

    DICOM files are named IM000001 on discs or end with a number. A disc's table of contents
    (DICOMDIR) is not an image.
    """
    return is_image_name(path.name) or is_image_data(first_bytes(path), path.name)


def is_image_name(name: str) -> bool:
    """Whether the suffix marks a file as an image."""
    return name.lower().endswith(IMAGE_SUFFIXES)


def is_image_data(data: bytes, name: str) -> bool:
    """Whether the first bytes of a file do."""
    return name.upper() != "DICOMDIR" and (is_dicom(data) or is_png_or_jpeg(data))


def first_bytes(path: Path) -> bytes:
    """Enough of a file to tell its format; empty if it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(FIRST_BYTES)
    except OSError:
        return b""


def passed_over(folder: Path, others: Sequence[Path], images: int) -> str:
    """A sentence that counts and names the files of a folder that are no images; may be empty."""
    if not others:
        return ""
    names = [
        f"{path.name} ({name})" if (name := format_name(first_bytes(path))) else path.name
        for path in others[:_NAMED]
    ]
    more = f" and {len(others) - _NAMED} more" if len(others) > _NAMED else ""
    total = len(others) + images
    are = "file is no image" if total == 1 else "files are no images"
    return f"{folder}: {len(others)} of {total} {are} that are read: {', '.join(names)}{more}"


def read_radiograph(radiograph: Radiograph) -> LoadedImage:
    """Read the pixels of a listed radiograph, with the metadata of its data set.

    Raises:
        UnreadableImageError: names the file and the fault.
        ValueError: for a radiograph without a file.
    """
    image = read_image(radiograph.file)
    return radiograph.image(image.pixels, image.deep)


def print_left_out(radiograph: Radiograph, error: ValueError) -> None:
    """Report an unreadable radiograph, above the progress bar if there is one."""
    tqdm.write(f"left out {radiograph.image_id}: {error}")


def readable_images(
    items: Iterable[Item],
    read: Callable[[Item], Image],
    failed: Callable[[Item, ValueError], object],
) -> Iterator[tuple[Item, Image]]:
    """Yield each item with its image, read one at a time on demand; unreadable items are skipped.

    Args:
        items: radiographs, paths or whatever else `read` takes.
        read: for example `read_image` or `read_radiograph`; raises ValueError for unreadable files.
        failed: called with each unreadable item and the error, for example `print_left_out`; may
            raise the error to stop.
    """
    for item in items:
        try:
            image = read(item)
        except ValueError as error:
            failed(item, error)
        else:
            yield item, image


def read_bytes(path: Path) -> bytes:
    """Read the bytes of a file.

    Raises:
        UnreadableImageError: if the file is missing or may not be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise UnreadableImageError(path, error.strerror or str(error)) from error


def to_greys(
    pixels: npt.NDArray[np.generic],
) -> tuple[GreyImage, npt.NDArray[np.uint16] | None]:
    """Convert decoded pixels (H, W), or (H, W, C) in BGR(A), to grey uint8, and uint16 from uint16.

    Raises:
        ValueError: for other types or shapes.
    """
    if pixels.dtype not in (np.uint8, np.uint16):
        raise ValueError(f"pixels are {pixels.dtype}, expected uint8 or uint16")
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    elif pixels.ndim == 3 and pixels.shape[2] in (3, 4):
        pixels = cv2.cvtColor(np.ascontiguousarray(pixels[:, :, :3]), cv2.COLOR_BGR2GRAY)
    if pixels.ndim != 2:
        raise ValueError(f"pixels have shape {pixels.shape}, expected 1, 3 or 4 channels")
    if pixels.dtype == np.uint8:
        return np.ascontiguousarray(pixels, dtype=np.uint8), None
    counts = np.bincount(pixels.ravel(), minlength=2**16)
    values = np.arange(2**16, dtype=np.float64)
    low, high = stretch_range(values, counts)
    shown = np.clip((values - low) / max(high - low, 1e-9), 0.0, 1.0)
    grey, deep = eight_bits(shown)[pixels], sixteen_bits(shown)[pixels]
    return grey, None if is_eight_bits(grey, deep) else deep
