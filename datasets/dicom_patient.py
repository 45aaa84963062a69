"""Age and sex in a DICOM header, for gates that were trained with them and for nobody else.

They are what the file says, never what could be worked out: the birth date is not parsed. What a
file does not say, or says against the standard, is unknown. A `Film` does not print them, and no
output and no message holds them.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

from cxrloc.datasets.dicom_words import word

if TYPE_CHECKING:
    from pydicom import Dataset

KEYWORDS = ("PatientAge", "PatientSex")
_AGE = re.compile(r"(\d{1,3})([DWMY])")  # VR AS, whose leading zeros some leave out
_IN_A_YEAR = {"D": 365.25, "W": 365.25 / 7, "M": 12.0, "Y": 1.0}


def age_years(header: Dataset) -> float:
    """Patient's Age; NaN where it is not stated, or not as the standard has it (058Y, 010D)."""
    found = _AGE.fullmatch(word(header, "PatientAge"))
    return int(found[1]) / _IN_A_YEAR[found[2]] if found else math.nan


def sex(header: Dataset) -> str:
    """F or M; empty where it is not stated, other, or none of the standard's values."""
    stated = word(header, "PatientSex")
    return stated if stated in ("F", "M") else ""
