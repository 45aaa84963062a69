"""Coded names of diseases and of what we measure, for DICOM structured reports.

SNOMED CT where the DICOM standard's own tables (as pydicom ships them) have the concept with the
very meaning; the other names are codes of the private scheme 99CXRLOC, which every report declares.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from highdicom.coding_schemes import CodingSchemeIdentificationItem
    from pydicom.sr.coding import Code

SCHEME = "99CXRLOC"
# disease -> name in pydicom's table of SNOMED CT; its `Edema` and `Fibrosis` are of any organ
SNOMED_NAMES = {
    "Cardiomegaly": "Cardiomegaly",
    "Effusion": "PleuralEffusion",
    "Pleural Effusion": "PleuralEffusion",
    "Mass": "Mass",
    "Nodule": "Nodule",
    "Pneumothorax": "Pneumothorax",
}


def finding_code(disease: str) -> Code:
    """The disease as a coded concept: SNOMED CT, or its label in our own scheme."""
    from pydicom.sr.codedict import codes

    if disease in SNOMED_NAMES:
        code: Code = getattr(codes.SCT, SNOMED_NAMES[disease])
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
