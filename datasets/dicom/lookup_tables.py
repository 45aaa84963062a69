"""Read the lookup tables of a DICOM image: modality LUT and VOI LUT (PS3.3 C.11.1 and C.11.2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from pydicom import Dataset

Values = npt.NDArray[np.float64]
MAX_BITS = 16


def needed_bits(table: Values) -> int:
    """Bits of the largest entry, at least 8."""
    return max(8, int(table.max(initial=0)).bit_length())


def misstated_luts(header: Dataset) -> list[str]:
    """Say of each LUT that is used how many bits it declares, if its entries need others."""
    found = []
    for keyword in ("ModalityLUTSequence", "VOILUTSequence"):
        if header.get(keyword):
            table, _, bits = lookup_table(header[keyword].value[0], signed=False)
            if needed_bits(table) != bits:
                found.append(
                    f"{keyword} declares {bits} bits, but its entries need {needed_bits(table)}"
                )
    return found


def lookup_table(item: Dataset, *, signed: bool) -> tuple[Values, int, int]:
    """The entries of a lookup table, the input value of the first entry, and bits per entry."""
    descriptor = item.get("LUTDescriptor")
    if not isinstance(descriptor, Sequence) or len(descriptor) != 3 or item.get("LUTData") is None:
        raise ValueError(
            "a lookup table lacks its entries (LUTData), or the three numbers that describe them "
            "(LUTDescriptor); delete it, or write the file again"
        )
    entries, first, bits = (int(value) for value in descriptor)
    entries = entries % 2**16 or 2**16  # signed images write both as signed
    first = as_signed(first, signed)
    data = item.LUTData
    if isinstance(data, bytes):
        order = ">" if item.original_encoding[1] is False else "<"  # words of a big-endian file
        kind = np.uint8 if len(data) < 2 * entries else np.dtype(f"{order}u2")
        data = np.frombuffer(data[: len(data) // 2 * 2], dtype=kind)
    table = np.atleast_1d(np.asarray(data, dtype=np.float64))[:entries]
    table = np.where(table < 0, table + 2**16, table)
    if len(table) != entries or not 8 <= bits <= MAX_BITS:
        raise ValueError(
            f"a lookup table has {len(table)} entries, but LUTDescriptor says {entries} of {bits} "
            "bits; expected the same number, of 8 to 16 bits"
        )
    return table, first, bits


def as_signed(value: int, signed: bool) -> int:
    """Reinterpret a value of signed pixels that the file wrote as unsigned, as many files do."""
    return value - 2**16 if signed and value >= 2**15 else value
