"""Which DICOM objects are films that we read: what is refused, and what is read with a warning.

Refused: everything but a single grey projection radiograph (CT, MR, reports, presentation states,
colour, multi-frame ...), and a film whose coded attributes name another body part. Read with a
warning: lateral, oblique and decubitus views, raw detector data, a body part that is not stated or
that attributes disagree on, a film without a usable window, and text burned into the pixels.

Descriptions are free text, in which people also write names: a message says which word was found
in which attribute, never the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from cxrloc.datasets.dicom_grey import MAX_BITS, usable_window

if TYPE_CHECKING:
    from pydicom import Dataset

EXPECTED = "expected a chest radiograph (modality CR, DX or RG)"
MODALITIES = ("CR", "DX", "RG")
# Scanners of films and converters write one of these, or none: read with a warning.
VAGUE_MODALITIES = ("", "OT", "SC")
STORAGE_CLASSES = {
    "1.2.840.10008.5.1.4.1.1.1": "Computed Radiography Image Storage",
    "1.2.840.10008.5.1.4.1.1.1.1": "Digital X-Ray Image Storage - For Presentation",
    "1.2.840.10008.5.1.4.1.1.1.1.1": "Digital X-Ray Image Storage - For Processing",
    "1.2.840.10008.5.1.4.1.1.7": "Secondary Capture Image Storage",
}
# The largest detectors and film scanners have some 40 million pixels; a small file that claims more
# (a decompression bomb) is refused before it is decoded.
MAX_PIXELS = 100_000_000

CHEST = re.compile(r"CHEST|THORAX|THORACIC CAVITY|TORAX|TORACE|LUNG|PULMO|POUMON|PECHO|\bCXR\b")
OTHER_PART = re.compile(
    r"\b(ABDOMEN|PELVIS|SKULL|HEAD|NECK|SPINE|HIPS?|KNEES?|ANKLES?|F[OE]{2}T|HANDS?|WRISTS?|ELBOWS?"
    r"|SHOULDERS?|HUMERUS|FOREARM|FEMUR|TIBIA|FIBULA|FINGERS?|THUMB|TOES?|EXTREMITY|ARM|LEG|BREAST"
    r"|CLAVICLE|SINUS(?:ES)?|JAW|TEETH)\b"
)
LATERAL = re.compile(r"\b(LATERAL|LAT|LL|RL)\b")
FRONTAL = re.compile(r"\b(PA|AP|FRONTAL|POSTERO-ANTERIOR|ANTERO-POSTERIOR)\b")
ANIMAL = re.compile(r"\b(CANINE|FELINE|EQUINE|BOVINE|AVIAN|VETERINARY)\b")
_NOT_STATED = ("", "UNKNOWN", "OTHER", "NONE", "N/A", "NA", "DEFAULT", "BODY", "WHOLEBODY")
_LATERAL_CODES = {"399173006", "399198007", "399067008", "R-10236", "R-10232", "R-102CD"}

_TEXTS = (
    "StudyDescription", "SeriesDescription", "ProtocolName", "PerformedProcedureStepDescription",
    "RequestedProcedureDescription", "AcquisitionDeviceProcessingDescription",
)  # fmt: skip
_CODES = ("PerformedProtocolCodeSequence", "ProcedureCodeSequence")
KEYWORDS = (
    "SOPClassUID", "Modality", "ImageType", "NumberOfFrames", "PresentationIntentType",
    "BodyPartExamined", "AnatomicRegionSequence", "ViewPosition", "ViewCodeSequence",
    "PatientOrientation", "PatientSpeciesDescription", "BurnedInAnnotation", *_TEXTS, *_CODES,
)  # fmt: skip


def check_scope(header: Dataset) -> tuple[str, ...]:
    """Warnings about a film; each is a sentence without what a person wrote about the patient.

    Raises:
        ValueError: for what is refused, by name.
    """
    _refuse_other_objects(header)
    _refuse_unreadable_pixels(header)
    checks = (_modality, _body_part, _view, _animal, _raw, _window, _burned_in)
    return tuple(warning for check in checks for warning in check(header))


def _refuse_other_objects(header: Dataset) -> None:
    modality = _word(header, "Modality")
    uid = header.get("SOPClassUID")
    kind = uid.name if uid else "of unknown class"
    named = f"{kind}, modality {_short(modality) or 'not stated'}"
    if uid and uid not in STORAGE_CLASSES:
        raise ValueError(f"a DICOM object of another kind: {named}; {EXPECTED}")
    if modality not in MODALITIES + VAGUE_MODALITIES:
        raise ValueError(f"a DICOM image of another modality: {named}; {EXPECTED}")
    if not all(header.get(keyword) for keyword in ("Rows", "Columns", "BitsStored")):
        raise ValueError(f"a DICOM object without an image: {named}; {EXPECTED}")


def _refuse_unreadable_pixels(header: Dataset) -> None:
    frames = int(header.get("NumberOfFrames") or 1)
    if frames != 1:
        raise ValueError(f"a multi-frame DICOM image of {frames} frames; expected a single film")
    photometric = str(header.get("PhotometricInterpretation") or "not stated")
    if header.get("SamplesPerPixel", 1) != 1 or photometric not in ("MONOCHROME1", "MONOCHROME2"):
        raise ValueError(
            f"a colour DICOM image (PhotometricInterpretation {_short(photometric)}); expected "
            "MONOCHROME1 or MONOCHROME2. If it is a grey film saved in colour, export it as PNG"
        )
    if header.Rows * header.Columns > MAX_PIXELS:
        raise ValueError(
            f"{header.Rows} x {header.Columns} pixels; expected at most {MAX_PIXELS:,} in all"
        )
    stored, allocated = int(header.BitsStored), int(header.get("BitsAllocated", 0))
    if allocated not in (8, 16) or not 1 < stored <= min(allocated, MAX_BITS):
        raise ValueError(
            f"{stored} bits stored of {allocated} allocated; expected 8 or 16 bits allocated"
        )
    if header.get("HighBit", stored - 1) != stored - 1:
        raise ValueError(f"HighBit is {header.HighBit}; expected {stored - 1}, BitsStored less 1")
    if header.get("PixelRepresentation", 0) not in (0, 1):
        raise ValueError(f"PixelRepresentation is {header.PixelRepresentation}; expected 0 or 1")


def _modality(header: Dataset) -> Iterable[str]:
    if _word(header, "Modality") in VAGUE_MODALITIES:
        stated = _word(header, "Modality") or "not stated"
        yield f"Modality is {stated}: nothing says that this is a radiograph."


def _body_part(header: Dataset) -> Iterable[str]:
    """One warning at most; a coded body part other than the chest, uncontradicted, is refused."""
    coded = {"BodyPartExamined": _word(header, "BodyPartExamined")}
    coded["AnatomicRegionSequence"] = " ".join(_meanings(header, "AnatomicRegionSequence"))
    coded = {name: text for name, text in coded.items() if text not in _NOT_STATED}
    others = [f"{name} is {_short(text)}" for name, text in coded.items() if not CHEST.search(text)]
    chest = [name for name, text in coded.items() if CHEST.search(text)]
    chest += [name for name, text in _texts(header) if CHEST.search(text)]
    if others and not chest:
        raise ValueError(
            f"not a chest film: {others[0]}; expected CHEST. If it is one all the same, correct "
            "the attribute or export the film as PNG"
        )
    if others:
        yield f"{others[0]}, but {chest[0]} names the chest: read as a chest film."
    elif not chest:
        found = [(name, OTHER_PART.search(text)) for name, text in _texts(header)]
        named = [f"{name} names {match[1]}" for name, match in found if match]
        yield f"{named[0] if named else 'No attribute names the body part'}: is it a chest film?"


def _view(header: Dataset) -> Iterable[str]:
    """One warning at most: a lateral view, or another that is not frontal."""
    position = _word(header, "ViewPosition")
    views = _meanings(header, "ViewCodeSequence")
    orientation = [str(word).upper() for word in _values(header, "PatientOrientation")]
    if LATERAL.search(position):
        yield _lateral(f"ViewPosition is {_short(position)}")
    elif any(LATERAL.search(view) for view in views) or _has_lateral_code(header):
        yield _lateral("ViewCodeSequence")
    elif orientation and orientation[0][:1] in ("A", "P"):
        yield _lateral(f"PatientOrientation is {_short(orientation[0])}, front to back")
    elif position and not FRONTAL.search(position):
        stated = _short(position)
        yield f"ViewPosition is {stated}: not a frontal view (PA or AP), which the models expect."
    elif not position and not views:
        for name, text in _texts(header):
            if LATERAL.search(text) and not FRONTAL.search(text):
                yield _lateral(f"{name} names {LATERAL.findall(text)[0]}")
                return


def _lateral(reason: str) -> str:
    return f"Lateral film ({reason}): the models know frontal films (PA, AP) only."


def _has_lateral_code(header: Dataset) -> bool:
    items = header.get("ViewCodeSequence") or ()
    return any(str(item.get("CodeValue")) in _LATERAL_CODES for item in items)


def _animal(header: Dataset) -> Iterable[str]:
    species = _word(header, "PatientSpeciesDescription")
    if species and "HUMAN" not in species and "HOMO SAPIENS" not in species:
        yield "PatientSpeciesDescription is not human: the models know people only."
        return
    for name, text in _texts(header):
        if match := ANIMAL.search(text):
            yield f"{name} names {match[1]}: the models know people only."
            return


def _raw(header: Dataset) -> Iterable[str]:
    if _word(header, "PresentationIntentType") == "FOR PROCESSING":
        yield "Raw detector data (FOR PROCESSING): the models know films FOR PRESENTATION."


def _window(header: Dataset) -> Iterable[str]:
    if header.get("VOILUTSequence") or int(header.BitsStored) <= 8:
        return
    if usable_window(header) is None:
        yield "No VOI LUT and no usable window: contrast stretched over the film's own range."


def _burned_in(header: Dataset) -> Iterable[str]:
    if _word(header, "BurnedInAnnotation") == "YES":
        yield "BurnedInAnnotation is YES: text in the film, names too, is in every picture of it."


def _short(text: str) -> str:
    """As much of a text as a coded attribute may have: what is longer is somebody's own words."""
    return text if len(text) <= 16 else f"{text[:16]}..."


def _texts(header: Dataset) -> list[tuple[str, str]]:
    """Attribute -> free text or code meanings, in capitals, where there is any."""
    found = [(keyword, _word(header, keyword)) for keyword in _TEXTS]
    found += [(keyword, " ".join(_meanings(header, keyword))) for keyword in _CODES]
    return [(keyword, text) for keyword, text in found if text]


def _meanings(header: Dataset, keyword: str) -> list[str]:
    items = header.get(keyword) or ()
    return [str(item.get("CodeMeaning") or "").upper().strip() for item in items]


def _word(header: Dataset, keyword: str) -> str:
    words = " ".join(str(value) for value in _values(header, keyword))
    return words.replace("_", " ").upper().strip()


def _values(header: Dataset, keyword: str) -> Sequence[object]:
    value = header.get(keyword)
    if value is None or value == "":
        return ()
    return (value,) if isinstance(value, str | int | float) else tuple(value)
