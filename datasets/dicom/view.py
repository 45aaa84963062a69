"""Read the view of a DICOM image, for the gates that need it and to warn people.

View Position and the View Code Sequence state it. If both are missing, Patient Orientation or a
description may still show that an image is lateral.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from cxrloc.datasets.dicom.attributes import (
    code_values,
    descriptions,
    meanings,
    short,
    values,
    word,
)

if TYPE_CHECKING:
    from pydicom import Dataset

KEYWORDS = ("ViewPosition", "ViewCodeSequence", "PatientOrientation")
_LATERAL = re.compile(r"\b(LATERAL|LAT|LL|RL)\b")
_PA = re.compile(r"\bPA\b|\bPOSTERO.?ANTERIOR\b")
_AP = re.compile(r"\bAP\b|\bANTERO.?POSTERIOR\b")
_FRONTAL = re.compile(rf"\bFRONTAL\b|{_PA.pattern}|{_AP.pattern}")
_OBLIQUE = re.compile(r"\bOBLIQUE\b")
# SNOMED CT, and SNOMED RT in older files (PS3.16, CID 4010)
_LATERAL_CODES = {"399173006", "399198007", "399067008", "R-10236", "R-10232", "R-102CD"}
_CODES = {"272479007": "PA", "R-40888": "PA", "399348003": "AP", "R-10206": "AP"}
_FRONTAL_CODES = {*_CODES, "399033003"}


def view(header: Dataset) -> str:
    """PA, AP or LATERAL; empty if the file states none or more than one."""
    texts = [word(header, "ViewPosition"), *meanings(header, "ViewCodeSequence")]
    straight = [text for text in texts if not _OBLIQUE.search(text)]
    views = {name for name, form in (("PA", _PA), ("AP", _AP)) if any(map(form.search, straight))}
    views |= {_CODES[code] for code in code_values(header, "ViewCodeSequence") if code in _CODES}
    if _lateral_reason(header):
        views.add("LATERAL")
    return views.pop() if len(views) == 1 else ""


def view_warning(header: Dataset) -> Iterable[str]:
    """At most one sentence, about a lateral or another non-frontal view."""
    if reason := _lateral_reason(header):
        yield f"Lateral image ({reason}): the models expect frontal images (PA, AP)."
    elif stated := _other_view(header):
        yield f"{stated}: not a frontal view (PA or AP), which the models expect."


def _lateral_reason(header: Dataset) -> str:
    position = word(header, "ViewPosition")
    views = meanings(header, "ViewCodeSequence")
    if _LATERAL.search(position):
        return f"ViewPosition is {short(position)}"
    codes = code_values(header, "ViewCodeSequence")
    if any(map(_LATERAL.search, views)) or not _LATERAL_CODES.isdisjoint(codes):
        return "ViewCodeSequence"
    orientation = [str(value).upper() for value in values(header, "PatientOrientation")]
    if orientation and orientation[0][:1] in ("A", "P"):
        return f"PatientOrientation is {short(orientation[0])}, front to back"
    for name, text in () if position or views else descriptions(header):
        if _LATERAL.search(text) and not _FRONTAL.search(text):
            return f"{name} names {_LATERAL.findall(text)[0]}"
    return ""


def _other_view(header: Dataset) -> str:
    """The stated view, unless something says that it is frontal."""
    position = word(header, "ViewPosition")
    if position:
        return "" if _is_frontal(position) else f"ViewPosition is {short(position)}"
    frontal = not _FRONTAL_CODES.isdisjoint(code_values(header, "ViewCodeSequence"))
    views = [text for text in meanings(header, "ViewCodeSequence") if text]
    if frontal or not views or any(map(_is_frontal, views)):
        return ""
    return f"ViewCodeSequence is {short(views[0])}"


def _is_frontal(text: str) -> bool:
    return bool(_FRONTAL.search(text)) and not _OBLIQUE.search(text)
