"""Guard against deflated DICOM files (PS3.5 A.5) in which a megabyte holds a gigabyte of zeros.

Parsers inflate the whole file at once. This module watches the parser's own reads instead of
looking for the zlib stream a second time: two ways of reading would differ, and a decompression
bomb could exploit the difference.
"""

from __future__ import annotations

import io
import zlib

MAX_INFLATED = 2**28  # the largest supported image has 200 MB of pixels
_STEP = 2**24


class DeflatedFileError(ValueError):
    """A deflated DICOM file that is damaged or would take too much memory."""


class BoundedFile(io.BytesIO):
    """The bytes of a DICOM file for pydicom, which inflates a deflated file in a single read.

    That read raises `DeflatedFileError` if the data inflates to more than `MAX_INFLATED` bytes.
    """

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        if size is None or size < 0:
            _refuse_bomb(data)
        return data


class BoundedReader(io.BufferedReader):
    """A DICOM file on disk, read as `BoundedFile` is; only a deflated one is read as a whole."""

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        if size is None or size < 0:
            _refuse_bomb(data)
        return data


def _refuse_bomb(data: bytes) -> None:
    inflater, size, rest = zlib.decompressobj(-zlib.MAX_WBITS), 0, data
    try:
        while rest and not inflater.eof:
            size += len(inflater.decompress(rest, _STEP))
            rest = inflater.unconsumed_tail
            if size > MAX_INFLATED:
                raise DeflatedFileError(
                    f"the deflated DICOM file inflates to more than {MAX_INFLATED // 2**20} MB; "
                    "if it is an image, write it in another transfer syntax"
                )
    except zlib.error:
        raise DeflatedFileError(
            "damaged DICOM file: the deflated part cannot be inflated"
        ) from None
