"""What is no frontal chest image is refused by name or warned about."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset, dcmread

from cxrloc.datasets.images.read import UnreadableImageError, decode_image, read_image
from datasets.dicom.builders import smooth_pixels, write_dicom

CANARIES = ("Canary", "CANARY", "Secret", "19500102")


def code(value: str, scheme: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.2", "Modality": "CT"}, "CT Image Storage"),
    ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.4", "Modality": "MR"}, "MR Image Storage"),
    ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.88.33"}, "Comprehensive SR Storage"),
    ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.11.1"}, "Grayscale Softcopy Presentation State"),
    ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.104.1"}, "Encapsulated PDF"),
    ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.1.2"}, "Mammography"),
    ({"Modality": "MG"}, "unsupported modality.*MG"),
    ({"NumberOfFrames": 3}, "multi-frame DICOM image of 3 frames"),
    ({"PhotometricInterpretation": "RGB", "SamplesPerPixel": 3}, "colour.*RGB.*as PNG"),
    ({"PhotometricInterpretation": "PALETTE COLOR"}, "colour.*PALETTE COLOR"),
    ({"PhotometricInterpretation": None}, ": PhotometricInterpretation is missing"),
    ({"BodyPartExamined": "EXTREMITY"}, "not a chest image: BodyPartExamined is EXTREMITY"),
    (
        {"BodyPartExamined": "HAND"},
        r"BodyPartExamined is HAND; .*--any-body-part of `cxrloc predict` reads it",
    ),
    ({"BodyPartExamined": "T SPINE"}, "not a chest image: BodyPartExamined is T SPINE"),
    (
        {"BodyPartExamined": None, "AnatomicRegionSequence": [code("85562004", "SCT", "Hand")]},
        "AnatomicRegionSequence is HAND",
    ),
    ({"Rows": 60000, "Columns": 60000}, "at most 100,000,000"),
    ({"Rows": None}, "without an image"),
    ({"PixelData": None}, "no pixel data"),
    ({"HighBit": 9}, "HighBit is 9; expected 7"),
    ({"BitsAllocated": 32, "BitsStored": 32}, "32 bits stored"),
]


@pytest.mark.parametrize(("attributes", "reason"), REFUSED)
def test_what_is_no_chest_image_is_refused_by_name(
    tmp_path: Path, attributes: dict[str, Any], reason: str
) -> None:
    path = write_dicom(tmp_path / "a.dcm", smooth_pixels(8), **attributes)
    with pytest.raises(UnreadableImageError, match=reason) as error:
        read_image(path)
    assert str(error.value).startswith(f"cannot read image {path}: ")
    assert not any(canary in str(error.value) for canary in CANARIES)


CHEST_WORDS = (
    "CHEST, Thorax, Rindkere, HRUDNÍK, hrudník, Borst, Rintakehä, Poitrine, Potter, Torse, "
    "Brustkorb, Torace, Peito, ГРУДНАЯ КЛЕТКА, ГРУДЬ, pecho, torácico, Bröstkorg, Torax, TÓRAX, "
    "hrudnнk, hrudn, mellkas, Krūtinės ląsta, Tor, Klatka, 胸部, 흉부, Thorax_PA, "
    "Θώρακας, θώραξ, Toraks, AKCİĞER, 胸片"
)


@pytest.mark.parametrize("word", CHEST_WORDS.split(", "))
def test_the_chest_is_known_in_other_languages(tmp_path: Path, word: str) -> None:
    path = write_dicom(tmp_path / "a.dcm", smooth_pixels(8), BodyPartExamined="PLACEHOLDER")
    header = dcmread(path)
    header["BodyPartExamined"]._value = word.encode() + b" " * (len(word.encode()) % 2)
    header.save_as(path)
    assert read_image(path).warnings == ()


@pytest.mark.parametrize(
    ("charset", "encoding", "word"),
    [("ISO_IR 144", "iso8859_5", "ГРУДЬ"), ("ISO_IR 100", "latin-1", "RINTAKEHÄ")],
)
def test_a_code_in_the_file_s_own_letters_is_known(
    tmp_path: Path, charset: str, encoding: str, word: str
) -> None:
    path = write_dicom(tmp_path / "a.dcm", smooth_pixels(8), SpecificCharacterSet=charset)
    header = dcmread(path)
    header["BodyPartExamined"]._value = word.encode(encoding).ljust(16)
    header.save_as(path)
    assert read_image(path).warnings == ()


@pytest.mark.parametrize(
    "word",
    [
        *("HRUDNÍ PÁTEŘ", "Columna torácica", "Borstwervels", "TSPINE", "胸椎", "Brustwirbel"),
        *("Torakal vertebra", "θωρακική μοίρα"),
    ],
)
def test_the_thoracic_spine_is_no_chest_in_any_language(tmp_path: Path, word: str) -> None:
    path = write_dicom(tmp_path / "a.dcm", smooth_pixels(8), BodyPartExamined="PLACEHOLDER")
    header = dcmread(path)
    header["BodyPartExamined"]._value = word.encode() + b" " * (len(word.encode()) % 2)
    header.save_as(path)
    with pytest.raises(UnreadableImageError, match="not a chest image: BodyPartExamined is "):
        read_image(path)


def test_any_body_part_is_read_with_a_warning_where_it_is_asked_for(tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "a.dcm", smooth_pixels(8), BodyPartExamined="HAND")
    image = decode_image(path.read_bytes(), path, any_body_part=True)
    assert image.warnings == ("Not a chest image: BodyPartExamined is HAND.",)
    with pytest.raises(UnreadableImageError, match="BodyPartExamined is HAND"):
        decode_image(path.read_bytes(), path)


WARNED: list[tuple[dict[str, Any], str]] = [
    ({"ViewPosition": "LL"}, "Lateral image (ViewPosition is LL)"),
    ({"ViewPosition": "LATERAL"}, "Lateral image (ViewPosition is LATERAL)"),
    ({"ViewPosition": "LLD"}, "ViewPosition is LLD: not a frontal view"),
    (
        {"ViewPosition": None, "ViewCodeSequence": [code("399198007", "SCT", "seitlich")]},
        "Lateral image (ViewCodeSequence)",
    ),
    (
        {"ViewPosition": None, "ViewCodeSequence": [code("9", "99X", "right lateral")]},
        "Lateral image (ViewCodeSequence)",
    ),
    (
        {"ViewPosition": None, "ViewCodeSequence": [code("399136004", "SCT", "oblique")]},
        "ViewCodeSequence is OBLIQUE: not a frontal view",
    ),
    ({"ViewPosition": "AP OBLIQUE"}, "ViewPosition is AP OBLIQUE: not a frontal view"),
    ({"PatientOrientation": ["A", "F"]}, "Lateral image (PatientOrientation is A"),
    (
        {"ViewPosition": None, "SeriesDescription": "Chest LAT"},
        "Lateral image (SeriesDescription names LAT)",
    ),
    (
        {"BodyPartExamined": "ABDOMEN", "SeriesDescription": "chest pa"},
        "BodyPartExamined is ABDOMEN, but SeriesDescription names the chest",
    ),
    (
        {"BodyPartExamined": None, "StudyDescription": "Canary Knee 2 views"},
        "StudyDescription names KNEE: is it a chest image?",
    ),
    ({"BodyPartExamined": None}, "No attribute names the body part"),
    ({"BodyPartExamined": "UNKNOWN"}, "No attribute names the body part"),
    ({"Modality": "OT"}, "Modality is OT: nothing confirms that this is a radiograph"),
    ({"PresentationIntentType": "FOR PROCESSING"}, "Raw detector data"),
    ({"BurnedInAnnotation": "YES"}, "BurnedInAnnotation is YES"),
    ({"PresentationLUTShape": "INVERSE"}, "PresentationLUTShape INVERSE contradicts MONOCHROME2"),
    (
        {"PresentationLUTShape": "IDENTITY", "PhotometricInterpretation": "MONOCHROME1"},
        "PresentationLUTShape IDENTITY contradicts MONOCHROME1",
    ),
    ({"ImagerPixelSpacing": [0.1, 0.2]}, "Pixels are not square (ImagerPixelSpacing)"),
    (
        {"ImagerPixelSpacing": None, "PixelAspectRatio": [2, 1]},
        "Pixels are not square (PixelAspectRatio)",
    ),
    ({"WindowCenter": 9000, "WindowWidth": 100}, "No contrast: every pixel has the grey value 0"),
    ({"PatientSpeciesDescription": "Canis lupus"}, "PatientSpeciesDescription is not human"),
    ({"ProtocolName": "Canine thorax"}, "ProtocolName names CANINE"),
]


@pytest.mark.parametrize(("attributes", "warning"), WARNED)
def test_what_may_mislead_the_models_is_warned_about(
    tmp_path: Path, attributes: dict[str, Any], warning: str
) -> None:
    image = read_image(write_dicom(tmp_path / "a.dcm", smooth_pixels(8), **attributes))
    assert len(image.warnings) == 1
    assert image.warnings[0].startswith(warning)
    assert not any(canary in image.warnings[0] for canary in CANARIES)


@pytest.mark.parametrize(
    "attributes",
    [
        {"BodyPartExamined": "THORAX"},
        {"BodyPartExamined": "PORT_CHEST", "ViewPosition": "AP"},
        {"BodyPartExamined": None, "StudyDescription": "XR CHEST PA AND LATERAL"},
        {"BodyPartExamined": None, "AnatomicRegionSequence": [code("51185008", "SCT", "Chest")]},
        {"ViewPosition": None, "StudyDescription": "CHEST PA/LAT"},
        {"ViewPosition": None, "ViewCodeSequence": [code("272479007", "SCT", "p.a.")]},
        {"PatientSpeciesDescription": "Homo sapiens"},
        {"PresentationLUTShape": "INVERSE", "PhotometricInterpretation": "MONOCHROME1"},
        {"PixelSpacing": [0.2, 0.2005], "PixelAspectRatio": [1, 1]},
    ],
)
def test_a_frontal_chest_image_is_not_warned_about(
    tmp_path: Path, attributes: dict[str, Any]
) -> None:
    assert (
        read_image(write_dicom(tmp_path / "a.dcm", smooth_pixels(8), **attributes)).warnings == ()
    )


def test_no_name_reaches_a_warning_or_a_log_even_from_a_name_that_is_against_the_standard(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with warnings.catch_warnings(record=True):
        path = write_dicom(
            tmp_path / "a.dcm",
            smooth_pixels(8),
            PatientName="Canary\\=^=^=^=^" + "x" * 200,
            PatientBirthDate="CANARY",
            PatientComments="Canary",
            AccessionNumber="Canary" * 20,
        )
    caplog.clear()
    with warnings.catch_warnings(record=True) as seen, caplog.at_level(logging.DEBUG):
        warnings.simplefilter("always")
        image = read_image(path)
    texts = " ".join([repr(image), caplog.text, *(str(w.message) for w in seen)])
    assert not any(canary in texts for canary in CANARIES)
