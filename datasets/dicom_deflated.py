"""How large a deflated DICOM file would become: parsers inflate all of it at the first look.

The part behind the file's meta information is one zlib stream (PS3.5 A.5); a megabyte of it can
hold a gigabyte of zeros.
"""

from __future__ import annotations

import zlib

MAX_INFLATED = 2**28  # the largest film that we read has 200 MB of pixels
_SYNTAX = b"1.2.840.10008.1.2.1.99"
_META_AT = 132
# their lengths have four bytes behind two empty ones (PS3.5 7.1.2)
_LONG = (
    b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV",
)  # fmt: skip
_STEP = 2**24


def refuse_bomb(data: bytes) -> None:
    """Raises ValueError for a deflated file of more than `MAX_INFLATED` bytes inflated."""
    end = end_of_meta(data)
    if _SYNTAX not in data[:end]:
        return
    if end >= len(data):  # a length in it is damaged, or left open: parsers go on elsewhere
        raise ValueError("damaged DICOM file: its meta information does not end")
    inflater, size, rest = zlib.decompressobj(-zlib.MAX_WBITS), 0, data[end:]
    try:
        while rest and not inflater.eof:
            size += len(inflater.decompress(rest, _STEP))
            rest = inflater.unconsumed_tail
            if size > MAX_INFLATED:
                raise ValueError(
                    f"a deflated DICOM file of more than {MAX_INFLATED // 2**20} MB inflated; "
                    "write it in another transfer syntax if it is a film"
                )
    except zlib.error:
        raise ValueError("damaged DICOM file: its deflated part cannot be inflated") from None


def end_of_meta(data: bytes) -> int:
    """Where the elements of group 0002 end; they begin behind the preamble, if there is one."""
    place = _META_AT if data[_META_AT - 4 : _META_AT] == b"DICM" else 0
    while data[place : place + 2] == b"\x02\x00":
        if data[place + 4 : place + 6] in _LONG:
            place += 12 + int.from_bytes(data[place + 8 : place + 12], "little")
        else:
            place += 8 + int.from_bytes(data[place + 6 : place + 8], "little")
    return place
