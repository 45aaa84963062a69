"""Text attributes of a DICOM header: codes, descriptions, and the patient's age and sex.

Descriptions are free text, and people write names in them. Messages therefore say which word was
found in which attribute and never quote the text.

Age and sex are read only for gates trained with them. They are taken as the file states them; the
birth date is not parsed. Whatever the file omits, or states in a non-standard form, is unknown.
`LoadedImage` does not print them, and no output or message contains them.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydicom import Dataset

PATIENT_KEYWORDS = ("PatientAge", "PatientSex")
_AGE = re.compile(r"(\d{1,3})([DWMY])")  # VR AS; some files omit the leading zeros
_IN_A_YEAR = {"D": 365.25, "W": 365.25 / 7, "M": 12.0, "Y": 1.0}


def age_years(header: Dataset) -> float:
    """Patient's Age; NaN if missing or not in the standard's form (058Y, 010D)."""
    match = _AGE.fullmatch(word(header, "PatientAge"))
    return int(match[1]) / _IN_A_YEAR[match[2]] if match else math.nan


def sex(header: Dataset) -> str:
    """F or M; empty if missing, other, or not one of the standard's values."""
    stated = word(header, "PatientSex")
    return stated if stated in ("F", "M") else ""


_TEXTS = (
    "StudyDescription",
    "SeriesDescription",
    "ProtocolName",
    "PerformedProcedureStepDescription",
    "RequestedProcedureDescription",
    "AcquisitionDeviceProcessingDescription",
)
_CODES = ("PerformedProtocolCodeSequence", "ProcedureCodeSequence")
KEYWORDS = (*_TEXTS, *_CODES)


def word(header: Dataset, keyword: str) -> str:
    """The values of an attribute as one text, as `plain` writes it; empty if it is absent."""
    return plain(" ".join(str(value) for value in values(header, keyword)), header)


def plain(text: str, header: Dataset) -> str:
    """A text in capitals and without accents, with spaces for underscores.

    A code should be of plain letters; where it is not, it is decoded as the file's texts are, or as
    UTF-8.
    """
    from pydicom.charset import python_encoding

    if not text.isascii():
        stated = header.get("SpecificCharacterSet") or ()
        names = [stated] if isinstance(stated, str) else list(stated)
        encodings = [python_encoding[name] for name in names if name in python_encoding]
        for encoding in ("utf-8", *encodings):
            try:
                text = text.encode("latin-1").decode(encoding)
            except (UnicodeError, LookupError):
                continue
            break
    letters = unicodedata.normalize("NFKD", text.replace("_", " "))
    kept = "".join(letter for letter in letters if not unicodedata.combining(letter))
    return unicodedata.normalize("NFC", kept).upper().strip()


def values(header: Dataset, keyword: str) -> Sequence[object]:
    """The values of an attribute as a sequence; empty if it is absent or empty."""
    value = header.get(keyword)
    if value is None or value == "":
        return ()
    return (value,) if isinstance(value, str | int | float) else tuple(value)


def meanings(header: Dataset, keyword: str) -> list[str]:
    """The meanings of the codes in a sequence."""
    items = header.get(keyword) or ()
    return [plain(str(item.get("CodeMeaning") or ""), header) for item in items]


def code_values(header: Dataset, keyword: str) -> list[str]:
    """The codes in a sequence."""
    return [str(item.get("CodeValue") or "") for item in header.get(keyword) or ()]


def descriptions(header: Dataset) -> list[tuple[str, str]]:
    """Pairs of attribute and free text or code meanings, without the empty ones."""
    texts = [(keyword, word(header, keyword)) for keyword in _TEXTS]
    texts += [(keyword, " ".join(meanings(header, keyword))) for keyword in _CODES]
    return [(keyword, text) for keyword, text in texts if text]


def short(text: str) -> str:
    """Cut a text to the length allowed in a coded attribute; anything longer is free text."""
    return text if len(text) <= 16 else f"{text[:16]}..."
