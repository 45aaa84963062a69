"""Read the size of an image file from its header: PNG, JPEG or DICOM. Nothing is decoded.

It is the size of the upright image, as `read` returns it (EXIF orientation).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from io import FileIO
from pathlib import Path
from typing import BinaryIO

from cxrloc.datasets.dicom.deflated import BoundedReader
from cxrloc.datasets.dicom.header import is_dicom, silence_pydicom
from cxrloc.datasets.files.runs.workers import thread_pool
from cxrloc.datasets.images.formats.headers import (
    PNG_SIGNATURE,
    is_png_or_jpeg,
    jpeg_size,
    png_size,
)
from cxrloc.datasets.images.formats.orientation import LYING, may_be_turned, orientation
from cxrloc.datasets.progress import progress

_FIRST_BYTES = 4096
_LAST_BYTES = 1 << 14
_MORE_BYTES = 1 << 18  # a JPEG's frame header may come after a colour profile and a thumbnail
_CHUNK = 500
_SIZE_TAGS = ["Rows", "Columns"]


def size_hw(path: Path) -> tuple[int, int]:
    """Height and width.

    Raises:
        OSError: for a file that cannot be read.
        ValueError: for another format, or a file that is damaged before its size.
    """
    with path.open("rb") as file:
        data = file.read(_FIRST_BYTES)
        if is_dicom(data) or not is_png_or_jpeg(data):
            width, height = _dicom_size(path)
        elif data.startswith(PNG_SIGNATURE):
            width, height = png_size(data)
            data += _end(file)
        else:
            data = _up_to_frame(data, file)
            width, height = jpeg_size(data)
    if is_png_or_jpeg(data) and may_be_turned(data) and orientation(path.read_bytes()) in LYING:
        width, height = height, width
    if min(width, height) < 1:
        raise ValueError(f"{path}: the header states a size of {width} x {height}")
    return height, width


def _end(file: BinaryIO) -> bytes:
    """The end of a PNG, where its orientation may stand."""
    end = file.seek(0, os.SEEK_END)
    file.seek(max(_FIRST_BYTES, end - _LAST_BYTES))
    return file.read()


def _up_to_frame(data: bytes, rest: BinaryIO) -> bytes:
    """As much of a JPEG as states its size; its orientation comes before."""
    for more in (0, _MORE_BYTES):
        data += rest.read(more)
        try:
            jpeg_size(data)
        except ValueError:
            continue
        return data
    return data + rest.read()


def _dicom_size(path: Path) -> tuple[int, int]:
    from pydicom import dcmread

    silence_pydicom()
    try:
        # forced: files without a preamble are read, too
        with BoundedReader(FileIO(path)) as file:
            header = dcmread(file, force=True, stop_before_pixels=True, specific_tags=_SIZE_TAGS)
            return int(header.Columns), int(header.Rows)
    except Exception as error:  # damaged files raise all kinds of errors
        raise ValueError(f"{path} is no PNG, JPEG or DICOM image") from error


def sizes_hw(paths: Sequence[Path]) -> list[tuple[int, int] | None]:
    """Height and width of each file; None for one whose header cannot be read."""
    chunks = [paths[i : i + _CHUNK] for i in range(0, len(paths), _CHUNK)]
    with thread_pool(min(16, 4 * (os.cpu_count() or 1))) as pool:
        bar = progress(pool.map(_sizes, chunks), "image sizes", len(chunks), unit="chunk")
        return [size for chunk in bar for size in chunk]


def _sizes(paths: Sequence[Path]) -> list[tuple[int, int] | None]:
    return [_size_or_none(path) for path in paths]


def _size_or_none(path: Path) -> tuple[int, int] | None:
    try:
        return size_hw(path)
    except (OSError, ValueError):
        return None
