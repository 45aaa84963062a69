"""Compare names of images and numbers of patients: one key for each, however they are written.

    image_key("images\\\\00000013_004 (1).PNG") == image_key("00000013_004_jpg.rf.1a2b3c4d.jpg")
    patient_key("00000013") == patient_key(13.0) == "13"

NIH's names (8 digits, `_`, 3 digits) are known wherever they stand in a file's name, and tell the
patient. Of other names only the folder, the ending and what Roboflow appends are left out: `(1)`
and `(2)` may be different images there.
"""

from __future__ import annotations

import functools
import math
import re
import unicodedata
from collections.abc import Iterable
from numbers import Integral, Real
from urllib.parse import unquote, urlsplit

NIH_PATIENTS = 30_805  # so a date such as 20190101_001 is no name of NIH
_PLAIN_NIH_NAME = re.compile(r"[0-9]{8}_[0-9]{3}\.png")
_NIH_NAME = re.compile(r"(?<![0-9A-Za-z])([0-9]{8})_([0-9]{3})(?![0-9A-Za-z])")
_ENDING = re.compile(
    r"\.(?:png|jpe?g|jpe|dcm|dicom|dic|tiff?|bmp|gif|webp|jp2|npy|npz|txt|xml|json)$", re.IGNORECASE
)
_ROBOFLOW = re.compile(
    r"(?:_(?:png|jpe?g|dcm|dicom|tiff?|bmp|webp))?\.rf\.[0-9A-Za-z_-]+$", re.IGNORECASE
)
_ESCAPE = re.compile(r"%[0-9A-Fa-f]{2}")
_NUMBER = re.compile(r"0*([0-9]+)(?:\.0*)?")
_ROUNDED = re.compile(r"[0-9]\.[0-9]+[eE]\+?[0-9]+")
_EXACT = 2**53  # a float holds whole numbers up to here
_UNKNOWN = frozenset(("", "nan", "none", "null", "n/a", "na", "<na>", "unknown"))


def image_key(name: str) -> str:
    """The key of an image: equal for copies elsewhere, under another ending, or by another tool.

    For NIH's images `00000013_004`; for others the file's name without folder and ending.
    """
    return nih_image(name) or name_without_ending(name).rpartition("/")[2]


def name_without_ending(name: str) -> str:
    r"""A name with its folders and without its ending; `\`, `%20` and Roboflow's hash are undone.

    Other dots stay: DICOM numbers have them.
    """
    text = unicodedata.normalize("NFC", name.strip())
    if "://" in text:
        text = urlsplit(text).path
    if _ESCAPE.search(text):
        text = unquote(text)
    text = text.replace("\\", "/")
    folder, slash, file = text.rpartition("/")
    while (shorter := _ENDING.sub("", _ROBOFLOW.sub("", file))) not in ("", file):
        file = shorter
    return f"{folder}{slash}{file}"


def nih_image(name: str) -> str | None:
    """`00000013_004` where a file's name contains one name of NIH; otherwise None."""
    if _PLAIN_NIH_NAME.fullmatch(name):  # most of 112,120 names: ten times faster
        return name[:12] if 1 <= int(name[:8]) <= NIH_PATIENTS else None
    matches = _NIH_NAME.finditer(name_without_ending(name).rpartition("/")[2])
    names = {match[0] for match in matches if 1 <= int(match[1]) <= NIH_PATIENTS}
    return names.pop() if len(names) == 1 else None


def nih_patient(name: str) -> str:
    """The patient of an NIH image by its name, as `patient_key` writes it; empty for others."""
    image = nih_image(name)
    return "" if image is None else patient_key(image[:8])


def patient_key(value: object) -> str:
    """The key of a patient: 13, 13.0, `13.0` and `00000013` are `13`; other texts stay as they are.

    Leading zeros count only in texts such as `patient00013`, since tables and JSON lose them in
    numbers. Empty if the patient is unknown (None, NaN, blank, `null`).

    Raises:
        ValueError: for a long number that a table has rounded (`2.05e+37`): two patients may look
            alike.
    """
    if isinstance(value, str):
        return _key_of_text(value)
    if value is None:
        return ""
    if isinstance(value, Real) and not isinstance(value, Integral):
        number = float(value)
        if math.isnan(number):
            return ""
        if abs(number) >= _EXACT:
            raise ValueError(_rounded(value))
        value = int(number) if number.is_integer() else number
    return _key_of_text(str(value))


@functools.lru_cache(maxsize=2**17)
def _key_of_text(value: str) -> str:
    text = value.strip()
    if text.casefold() in _UNKNOWN:
        return ""
    if _ROUNDED.fullmatch(text):
        raise ValueError(_rounded(text))
    number = _NUMBER.fullmatch(text)
    return text if number is None else number[1]


def _rounded(value: object) -> str:
    return (
        f"patient {value} is a rounded number, so patients cannot be told apart; write patients as "
        "text"
    )


def check_nih_patient(name: str, patient: object, where: str) -> None:
    """Raise ValueError if a patient's number contradicts the name of an NIH image.

    Patients that are no numbers (pseudonyms) are not checked.
    """
    expected, given = nih_patient(name), patient_key(patient)
    if expected and given.isdecimal() and given != expected:
        raise ValueError(
            f"{where}: image {name} has patient {patient!r}, but NIH's names start with the "
            f"patient's number, here {expected}; correct the row, or rename the image if it is not "
            "NIH's"
        )


class KnownImages:
    """Names of images, found again under any form of their name.

    Args:
        names: as written; two that share a key are found by their exact names only.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._names = set(names)
        self._by_key: dict[str, str | None] = {}
        for name in self._names:
            key = image_key(name)
            self._by_key[key] = None if key in self._by_key else name

    def find(self, name: str) -> str | None:
        """The name as written here; None if it is not here, or not only once."""
        return name if name in self._names else self._by_key.get(image_key(name))
