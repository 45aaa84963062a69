"""Deflated DICOM files (PS3.5 A.5): a megabyte of one can hold a gigabyte of zeros.

Parsers inflate all of it at the first look. Where its zlib stream begins, and whether there is one,
is not read here a second time: whoever writes a bomb would find where the two readings differ.
"""

from __future__ import annotations

import io
import zlib

MAX_INFLATED = 2**28  # the largest image that we read has 200 MB of pixels
_STEP = 2**24


class DeflatedFileError(ValueError):
    """A deflated DICOM file that is damaged or would take too much memory."""


class BoundedFile(io.BytesIO):
    """The bytes of a DICOM file for pydicom, which inflates a deflated file to its end at once.

    Such a read raises `DeflatedFileError` for more than `MAX_INFLATED` bytes inflated.
    """

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
                    f"a deflated DICOM file of more than {MAX_INFLATED // 2**20} MB inflated; "
                    "write it in another transfer syntax if it is an image"
                )
    except zlib.error:
        raise DeflatedFileError(
            "damaged DICOM file: its deflated part cannot be inflated"
        ) from None
