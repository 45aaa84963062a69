"""Look up coded names of diseases and of our measurements, for DICOM structured reports.

Uses SNOMED CT or the standard's own DCM if its tables (as shipped with pydicom, PS3.16) have a
concept with exactly this meaning. Other names are codes of the private scheme 99CXRLOC, which every
report declares.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from highdicom.coding_schemes import CodingSchemeIdentificationItem
    from pydicom.sr.coding import Code

SCHEME = "99CXRLOC"
# disease -> scheme and name in pydicom's tables; their `Edema` and `Fibrosis` apply to any organ,
# and missing ones (pneumonia, atelectasis, emphysema ...) would need a SNOMED CT licence
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
    """Code the disease with a concept of the standard, or with its label in our own scheme."""
    from pydicom.sr.codedict import codes

    if disease in STANDARD_NAMES:
        scheme, name = STANDARD_NAMES[disease]
        code: Code = getattr(getattr(codes, scheme), name)
        return code
    return own_code(disease)


def own_code(name: str) -> Code:
    """Build a concept of our own scheme; its value is its name."""
    from pydicom.sr.coding import Code

    return Code(name, SCHEME, name.replace("_", " "))


def coding_scheme() -> CodingSchemeIdentificationItem:
    """Declare our scheme in an object."""
    from highdicom.coding_schemes import CodingSchemeIdentificationItem

    return CodingSchemeIdentificationItem(
        SCHEME, name="Labels and measurements of cxrloc", responsible_organization="cxrloc"
    )
