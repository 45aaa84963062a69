"""Decide which DICOM objects are refused and which are read with a warning.

Refused: anything but a single grey projection radiograph (CT, MR, reports, presentation states,
colour, multi-frame ...), and images whose coded attributes name another body part, unless
any is asked for (models of limbs). Read with a warning:
lateral, oblique and decubitus views, raw detector data, a missing or contradictory body part, an
image without a usable window, attributes that contradict each other on black and white, non-square
pixels, and burned-in text.

Descriptions are free text, and people write names in them: a message says which word was found in
which attribute and never quotes the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING

from cxrloc.datasets.dicom import attributes, view
from cxrloc.datasets.dicom.attributes import descriptions, meanings, short, values, word
from cxrloc.datasets.dicom.grayscale import usable_window
from cxrloc.datasets.dicom.lookup_tables import MAX_BITS, misstated_luts

if TYPE_CHECKING:
    from pydicom import Dataset

EXPECTED = "expected a chest radiograph (modality CR, DX or RG)"
MODALITIES = ("CR", "DX", "RG")
# Scanners and converters write one of these, or none: read with a warning.
VAGUE_MODALITIES = ("", "OT", "SC")
STORAGE_CLASSES = {
    "1.2.840.10008.5.1.4.1.1.1": "Computed Radiography Image Storage",
    "1.2.840.10008.5.1.4.1.1.1.1": "Digital X-Ray Image Storage - For Presentation",
    "1.2.840.10008.5.1.4.1.1.1.1.1": "Digital X-Ray Image Storage - For Processing",
    "1.2.840.10008.5.1.4.1.1.7": "Secondary Capture Image Storage",
}
# The largest detectors and scanners have some 40 million pixels. A small file that claims more (a
# decompression bomb) is refused before decoding.
MAX_PIXELS = 100_000_000

# Without accents. The words for the chest are those that PixelMed's CTAnatomy knows, each in a form
# that the thoracic spine or the breast does not have.
CHEST = re.compile(
    r"CHEST|THORAX|THORACIC CAVITY|TORAX|TORACE|TORACICO\b|LUNG|PULMO|POUMON|PECHO|PEITO|POITRINE"
    r"|BRUSTKORB|BROSTKORG|BORSTKAS|RINDKERE|RINTAKEHA|HRUDN[IНH]K|MELLKAS|KRUTINES LASTA|KLATKA"
    r"|ГРУДНАЯ КЛЕТКА|\bГРУДЬ\b|ΘΩΡΑΚΑ|ΘΩΡΑΞ|TORAKS\b|AKCIGER|胸部|胸郭|胸片|흉부|\bCXR\b"
)
# in a code alone: too short for free text, in which they may be names
_CHEST_CODE = re.compile(r"\b(TOR|TORSE|BORST|HRUDN|POTTER)\b|^胸$")
OTHER_PART = re.compile(
    r"\b(ABDOMEN|PELVIS|SKULL|HEAD|NECK|SPINE|HIPS?|KNEES?|ANKLES?|F[OE]{2}T|HANDS?|WRISTS?|ELBOWS?"
    r"|SHOULDERS?|HUMERUS|FOREARM|FEMUR|TIBIA|FIBULA|FINGERS?|THUMB|TOES?|EXTREMITY|ARM|LEG|BREAST"
    r"|CLAVICLE|SINUS(?:ES)?|JAW|TEETH)\b"
)
ANIMAL = re.compile(r"\b(CANINE|FELINE|EQUINE|BOVINE|AVIAN|VETERINARY)\b")
_NOT_STATED = ("", "UNKNOWN", "OTHER", "NONE", "N/A", "NA", "DEFAULT", "BODY", "WHOLEBODY")

KEYWORDS = (
    "SOPClassUID",
    "Modality",
    "ImageType",
    "NumberOfFrames",
    "PresentationIntentType",
    "BodyPartExamined",
    "AnatomicRegionSequence",
    "PatientSpeciesDescription",
    "BurnedInAnnotation",
    "PresentationLUTShape",
    "PixelAspectRatio",
    *view.KEYWORDS,
    *attributes.KEYWORDS,
)


class OtherObjectError(ValueError):
    """An object of a class that no radiograph has: a CT, a report, ..."""


def check_scope(header: Dataset, *, any_body_part: bool = False) -> tuple[str, ...]:
    """Warnings about an image, one sentence each, without any text about the patient.

    Args:
        any_body_part: warn of images of another body part than the chest.

    Raises:
        OtherObjectError, ValueError: for a refused object, stating the reason.
    """
    _refuse_other_objects(header)
    _refuse_unreadable_pixels(header)
    checks = (
        _modality,
        partial(_body_part, any_body_part=any_body_part),
        view.view_warning,
        _animal,
        _raw,
        _numbers,
        _window,
        _luts,
        _polarity,
        _square_pixels,
        _burned_in,
    )
    return tuple(warning for check in checks for warning in check(header))


def _refuse_other_objects(header: Dataset) -> None:
    modality = word(header, "Modality")
    uid = header.get("SOPClassUID")
    kind = uid.name if uid else "of unknown class"
    label = f"{kind}, modality {short(modality) or 'not stated'}"
    if uid and uid not in STORAGE_CLASSES:
        raise OtherObjectError(f"a DICOM object of another kind: {label}; {EXPECTED}")
    if modality not in MODALITIES + VAGUE_MODALITIES:
        raise ValueError(f"a DICOM image with an unsupported modality: {label}; {EXPECTED}")
    if not all(header.get(keyword) for keyword in ("Rows", "Columns", "BitsStored")):
        raise ValueError(f"a DICOM object without an image: {label}; {EXPECTED}")


def _refuse_unreadable_pixels(header: Dataset) -> None:
    frames = int(header.get("NumberOfFrames") or 1)
    if frames != 1:
        raise ValueError(f"a multi-frame DICOM image of {frames} frames; expected a single image")
    photometric = str(header.get("PhotometricInterpretation") or "")
    if not photometric:
        raise ValueError(
            "PhotometricInterpretation is missing, so it is unknown whether 0 is black or white; "
            "expected MONOCHROME1 or MONOCHROME2. Correct the file or export the image as PNG"
        )
    if header.get("SamplesPerPixel", 1) != 1 or photometric not in ("MONOCHROME1", "MONOCHROME2"):
        raise ValueError(
            f"a colour DICOM image (PhotometricInterpretation {short(photometric)}); expected "
            "MONOCHROME1 or MONOCHROME2. If it is a grey image saved in colour, export it as PNG"
        )
    if header.Rows * header.Columns > MAX_PIXELS:
        raise ValueError(
            f"{header.Rows} x {header.Columns} pixels; expected at most {MAX_PIXELS:,} in total"
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
    if word(header, "Modality") in VAGUE_MODALITIES:
        stated = word(header, "Modality") or "not stated"
        yield f"Modality is {stated}: nothing confirms that this is a radiograph."


def _is_chest(code: str) -> bool:
    return bool(CHEST.search(code) or _CHEST_CODE.search(code))


def _body_part(header: Dataset, *, any_body_part: bool) -> Iterable[str]:
    """At most one warning; a coded body part other than the chest is refused if uncontradicted."""
    coded = {"BodyPartExamined": word(header, "BodyPartExamined")}
    coded["AnatomicRegionSequence"] = " ".join(meanings(header, "AnatomicRegionSequence"))
    coded = {name: text for name, text in coded.items() if text not in _NOT_STATED}
    others = [f"{name} is {short(text)}" for name, text in coded.items() if not _is_chest(text)]
    chest = [name for name, text in coded.items() if _is_chest(text)]
    chest += [name for name, text in descriptions(header) if CHEST.search(text)]
    if others and not chest and not any_body_part:
        raise ValueError(
            f"not a chest image: {others[0]}; expected CHEST. If it does show a chest, or the "
            "models are of that part, --any-body-part of `cxrloc predict` reads it; elsewhere, "
            "correct the attribute or export the image as PNG"
        )
    if others and not chest:
        yield f"Not a chest image: {others[0]}."
    elif others:
        yield f"{others[0]}, but {chest[0]} names the chest: read as a chest image."
    elif not chest:
        matches = [(name, OTHER_PART.search(text)) for name, text in descriptions(header)]
        parts = [f"{name} names {match[1]}" for name, match in matches if match]
        yield f"{parts[0] if parts else 'No attribute names the body part'}: is it a chest image?"


def _animal(header: Dataset) -> Iterable[str]:
    species = word(header, "PatientSpeciesDescription")
    if species and "HUMAN" not in species and "HOMO SAPIENS" not in species:
        yield "PatientSpeciesDescription is not human: the models were trained on people only."
        return
    for name, text in descriptions(header):
        if match := ANIMAL.search(text):
            yield f"{name} names {match[1]}: the models were trained on people only."
            return


def _raw(header: Dataset) -> Iterable[str]:
    if word(header, "PresentationIntentType") == "FOR PROCESSING":
        yield "Raw detector data (FOR PROCESSING): the models expect images FOR PRESENTATION."


def _window(header: Dataset) -> Iterable[str]:
    if header.get("VOILUTSequence") or int(header.BitsStored) <= 8:
        return
    if usable_window(header) is None:
        yield "No VOI LUT and no usable window: contrast stretched over the image's own range."


def _numbers(header: Dataset) -> Iterable[str]:
    for keyword in getattr(header, "out_of_form", ()):
        yield f"{keyword} is out of form: read as if it were absent."


def _luts(header: Dataset) -> Iterable[str]:
    for fault in misstated_luts(header):
        yield f"{fault}: scaled by what they need."


def _polarity(header: Dataset) -> Iterable[str]:
    photometric, shape = header.PhotometricInterpretation, word(header, "PresentationLUTShape")
    if (photometric, shape) in (("MONOCHROME1", "IDENTITY"), ("MONOCHROME2", "INVERSE")):
        yield (
            f"PresentationLUTShape {shape} contradicts {photometric}: read as {photometric}; "
            "are black and white the right way round?"
        )


def _square_pixels(header: Dataset) -> Iterable[str]:
    for keyword in ("PixelSpacing", "ImagerPixelSpacing", "PixelAspectRatio"):
        sides = [float(value) for value in values(header, keyword)]  # type: ignore[arg-type]
        if len(sides) == 2 and min(sides) > 0:
            if max(sides) > 1.01 * min(sides):
                yield f"Pixels are not square ({keyword}): the model treats them as square."
            return


def _burned_in(header: Dataset) -> Iterable[str]:
    if word(header, "BurnedInAnnotation") == "YES":
        yield "BurnedInAnnotation is YES: text in the image, names too, appears in every output."
