"""Coded names of diseases and of what we measure, for DICOM structured reports.

SNOMED CT or the standard's own DCM where its tables (as pydicom ships them, PS3.16) have the
concept with the very meaning; the other names are codes of the private scheme 99CXRLOC, which every
report declares.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from highdicom.coding_schemes import CodingSchemeIdentificationItem
    from pydicom.sr.coding import Code

SCHEME = "99CXRLOC"
# disease -> scheme and name in pydicom's tables; their `Edema` and `Fibrosis` are of any organ, and
# what they lack (pneumonia, atelectasis, emphysema ...) would need a licence of SNOMED CT
STANDARD_NAMES = {
    "Cardiomegaly": ("SCT", "Cardiomegaly"),
    "Edema": ("SCT", "PulmonaryEdema"),
    "Effusion": ("SCT", "PleuralEffusion"),
    "Infiltration": ("DCM", "Infiltrate"),
    "Mass": ("SCT", "Mass"),
    "Nodule": ("SCT", "Nodule"),
    "Pleural Effusion": ("SCT", "PleuralEffusion"),
    "Pneumothorax": ("SCT", "Pneumothorax"),
}


def finding_code(disease: str) -> Code:
    """The disease as a coded concept of the standard's, or its label in our own scheme."""
    from pydicom.sr.codedict import codes

    if disease in STANDARD_NAMES:
        scheme, name = STANDARD_NAMES[disease]
        code: Code = getattr(getattr(codes, scheme), name)
        return code
    return own_code(disease)


def own_code(name: str) -> Code:
    """A concept of our own scheme; its value is its name."""
    from pydicom.sr.coding import Code

    return Code(name, SCHEME, name.replace("_", " "))


def coding_scheme() -> CodingSchemeIdentificationItem:
    """What declares our scheme in an object."""
    from highdicom.coding_schemes import CodingSchemeIdentificationItem

    return CodingSchemeIdentificationItem(
        SCHEME, name="Labels and measurements of cxrloc", responsible_organization="cxrloc"
    )
