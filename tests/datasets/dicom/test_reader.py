"""Reading DICOM images: grey by hand-computed tables, every syntax, refusals and warnings."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pydicom
import pytest
from pydicom import Dataset
from pydicom.pixels.processing import apply_windowing
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGLSLossless,
    RLELossless,
)

from builders import write_dicom
from cxrloc.datasets.images.read import UnreadableImageError, is_image_file, read_grey, read_image

Transcode = Callable[[Path, str], Path]
CANARIES = ("Canary", "CANARY", "Secret", "19500102")


def smooth(bits: int, size_hw: tuple[int, int] = (48, 40)) -> npt.NDArray[np.uint8 | np.uint16]:
    """A picture with every depth of grey, as a decoder would like it."""
    noise = np.random.default_rng(3).random((6, 5), dtype=np.float32)
    grown = cv2.resize(noise, size_hw[::-1], interpolation=cv2.INTER_CUBIC)
    span = (grown - grown.min()) / (grown.max() - grown.min())
    grey: npt.NDArray[np.float64] = np.rint(span * (2**bits - 1))
    return grey.astype(np.uint8) if bits <= 8 else grey.astype(np.uint16)


# ---- grey -----------------------------------------------------------------------------------


def test_an_eight_bit_image_without_a_window_is_what_the_same_png_is(tmp_path: Path) -> None:
    pixels = smooth(8)
    cv2.imwrite(str(tmp_path / "a.png"), pixels)
    image = read_image(write_dicom(tmp_path / "a.dcm", pixels))
    np.testing.assert_array_equal(image.pixels, read_grey(tmp_path / "a.png"))
    assert image.size_hw == (48, 40)
    assert image.image_id == "a.dcm"
    assert image.warnings == ()


@pytest.mark.parametrize("bits", [10, 12, 14, 16])
def test_a_deep_image_that_uses_its_whole_range_is_what_the_same_png_is(
    tmp_path: Path, bits: int
) -> None:
    pixels = smooth(bits)
    cv2.imwrite(str(tmp_path / "a.png"), pixels)
    image = read_image(write_dicom(tmp_path / "a.dcm", pixels, bits=bits))
    np.testing.assert_array_equal(image.pixels, read_grey(tmp_path / "a.png"))
    assert len(image.warnings) == 1
    assert "no usable window" in image.warnings[0]


ROW = [0, 100, 200, 300, 400]  # stored values, 12 bits


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        # LINEAR (PS3.3 C.11.2.1.2.1): ((x - 199.5) / 200 + .5) * 255; 100 is 0.0025 of 255
        ({"WindowCenter": 200, "WindowWidth": 201}, [0, 1, 128, 255, 255]),
        # LINEAR_EXACT: ((x - 200) / 200 + .5) * 255
        (
            {"WindowCenter": 200, "WindowWidth": 200, "VOILUTFunction": "LINEAR_EXACT"},
            [0, 0, 128, 255, 255],
        ),
        # SIGMOID: 255 / (1 + exp(-4 (x - 200) / 200)); 1 / (1 + e^2) = .1192, 1 / (1 + e^4) = .018
        (
            {"WindowCenter": 200, "WindowWidth": 200, "VOILUTFunction": "SIGMOID"},
            [5, 30, 128, 225, 250],
        ),
        # a width of 1 is a threshold at center - .5
        ({"WindowCenter": 200.5, "WindowWidth": 1}, [0, 0, 0, 255, 255]),
        # the first of several windows
        ({"WindowCenter": [200, 50], "WindowWidth": [201, 7]}, [0, 1, 128, 255, 255]),
        # rescale comes first: 2 x - 200 is -200, 0, 200, 400, 600
        (
            {"WindowCenter": 200, "WindowWidth": 401, "RescaleSlope": 2, "RescaleIntercept": -200},
            [0, 0, 128, 255, 255],
        ),
        # a negative slope turns the scale round before the window
        (
            {"WindowCenter": 0.5, "WindowWidth": 401, "RescaleSlope": -1, "RescaleIntercept": 200},
            [255, 191, 128, 64, 0],
        ),
        # MONOCHROME1 is turned round last: a stored 0 is white
        (
            {"WindowCenter": 200, "WindowWidth": 201, "PhotometricInterpretation": "MONOCHROME1"},
            [255, 254, 127, 0, 0],
        ),
        # no window: from the darkest to the brightest pixel
        ({}, [0, 64, 128, 191, 255]),
        ({"WindowCenter": 200, "WindowWidth": 0}, [0, 64, 128, 191, 255]),
        # padding is black and has no part in the range: 100..400
        ({"PixelPaddingValue": 0}, [0, 0, 85, 170, 255]),
        (
            {"PixelPaddingValue": 300, "PixelPaddingRangeLimit": 400,
             "PhotometricInterpretation": "MONOCHROME1"},
            [255, 128, 0, 0, 0],
        ),
    ],
)  # fmt: skip
def test_stored_values_become_grey_in_the_order_of_the_standard(
    tmp_path: Path, attributes: dict[str, Any], expected: list[int]
) -> None:
    stored = np.array([ROW], np.uint16)
    path = write_dicom(tmp_path / "a.dcm", stored, bits=12, **attributes)
    assert read_grey(path).tolist() == [expected]


def test_signed_values_are_windowed_with_their_sign(tmp_path: Path) -> None:
    stored = np.array([[-100, -50, 0, 50, 100]], np.int16)
    path = write_dicom(tmp_path / "a.dcm", stored, bits=12, WindowCenter=0.5, WindowWidth=201)
    assert read_grey(path).tolist() == [[0, 64, 128, 191, 255]]


def test_padding_of_signed_values_may_be_stated_as_unsigned(tmp_path: Path) -> None:
    stored = np.array([[-2000, 0, 500, 1000]], np.int16)
    path = write_dicom(tmp_path / "a.dcm", stored, bits=12)
    image = pydicom.dcmread(path)
    image.add_new("PixelPaddingValue", "US", 2**16 - 2000)
    image.save_as(path)
    assert read_grey(path).tolist() == [[0, 0, 128, 255]]  # and not -2000 to 1000


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
def test_windows_agree_with_pydicom_where_its_output_spans_the_whole_range(
    tmp_path: Path, function: str
) -> None:
    stored = smooth(12)
    window = {"WindowCenter": 1900, "WindowWidth": 1500, "VOILUTFunction": function}
    path = write_dicom(tmp_path / "a.dcm", stored, window, bits=12)
    shown = apply_windowing(stored.astype(np.float64), pydicom.dcmread(path))
    np.testing.assert_array_equal(read_grey(path), np.rint(shown * 255 / 4095))


def lut(entries: list[int], first: int, bits: int, *, packed: bool = False) -> Dataset:
    item = Dataset()
    item.LUTDescriptor = [len(entries), first, bits]
    item.LUTData = entries
    item["LUTDescriptor"].VR = "US"
    item["LUTData"].VR = "US"
    if packed:
        item["LUTData"].VR = "OW"
        item.LUTData = np.array(entries, "<u2").tobytes()
    return item


@pytest.mark.parametrize("packed", [False, True])
def test_a_voi_lut_goes_before_the_window_and_holds_its_ends(tmp_path: Path, packed: bool) -> None:
    stored = np.array([[0, 10, 11, 12, 13, 4000]], np.uint16)
    table = lut([0, 1023, 512, 256], 10, 10, packed=packed)  # of 1023: 0, 255, 127.6, 63.8
    path = write_dicom(
        tmp_path / "a.dcm", stored, bits=12,
        VOILUTSequence=[table, lut([0, 1], 0, 16)], WindowCenter=5, WindowWidth=10,
    )  # fmt: skip
    assert read_grey(path).tolist() == [[0, 0, 255, 128, 64, 64]]
    assert read_image(path).warnings == ()


@pytest.mark.parametrize("packed", [False, True])
def test_a_big_endian_image_and_its_table_are_what_the_little_endian_ones_are(
    tmp_path: Path, packed: bool
) -> None:
    table = lut([0, 1023, 512, 256], 10, 10, packed=packed)
    stored = np.array([[0, 10, 11, 12, 13, 4000]], np.uint16)
    path = write_dicom(tmp_path / "a.dcm", stored, bits=12, VOILUTSequence=[table])
    expected = read_grey(path)
    image = pydicom.dcmread(path)
    image.PixelData = stored.byteswap().tobytes()
    if packed:
        table.LUTData = np.frombuffer(table.LUTData, "<u2").byteswap().tobytes()
        image.VOILUTSequence = [table]
    image.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    pydicom.dcmwrite(path, image, implicit_vr=False, little_endian=False)
    np.testing.assert_array_equal(read_grey(path), expected)


def test_a_voi_lut_of_signed_values_may_state_its_first_as_unsigned(tmp_path: Path) -> None:
    stored = np.array([[-3, -2, -1, 0]], np.int16)
    table = lut([0, 255, 51], 2**16 - 2, 8)  # first is -2
    path = write_dicom(tmp_path / "a.dcm", stored, bits=12, VOILUTSequence=[table])
    assert read_grey(path).tolist() == [[0, 0, 255, 51]]


def test_the_modality_lut_comes_before_the_window(tmp_path: Path) -> None:
    stored = np.array([[0, 1, 2, 3, 9]], np.uint16)
    window = {"WindowCenter": 200, "WindowWidth": 201, "RescaleSlope": 7}
    table = [lut([300, 200, 100], 1, 12)]
    path = write_dicom(tmp_path / "a.dcm", stored, window, bits=12, ModalityLUTSequence=table)
    assert read_grey(path).tolist() == [[255, 255, 128, 1, 1]]


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({"RescaleSlope": 0, "RescaleIntercept": 0}, "RescaleSlope is 0"),
        ({"VOILUTFunction": "CUBIC"}, "'CUBIC' is unknown; expected LINEAR, LINEAR_EXACT"),
        ({"VOILUTSequence": [lut([0, 999], 0, 8)]}, "LUTDescriptor says 2 of 8 bits"),
    ],
)
def test_an_impossible_table_or_scale_is_an_error(
    tmp_path: Path, attributes: dict[str, Any], reason: str
) -> None:
    path = write_dicom(tmp_path / "a.dcm", smooth(12), bits=12, **attributes)
    with pytest.raises(UnreadableImageError, match=reason):
        read_grey(path)


@pytest.mark.parametrize("name", ["none", "RLE", "JPEG-LS", "JPEG lossless"])
@pytest.mark.parametrize("signed", [False, True])
def test_bits_above_those_stored_are_ignored(
    tmp_path: Path, transcode: Transcode, name: str, signed: bool
) -> None:
    pixels = smooth(12).astype(np.int16) - 2048 if signed else smooth(12)
    clean = write_dicom(tmp_path / "b.dcm", pixels, bits=12)
    # old files keep an overlay in the highest bit
    path = write_dicom(tmp_path / "a.dcm", pixels ^ np.array(0x8000).astype(pixels.dtype), bits=16)
    if name != "none":
        transcode(path, name)
    image = pydicom.dcmread(path)
    image.BitsStored, image.HighBit = 12, 11
    image.save_as(path)
    np.testing.assert_array_equal(read_grey(path), read_grey(clean))


# ---- transfer syntaxes ----------------------------------------------------------------------

BY_GDCM = (
    "JPEG baseline", "JPEG extended", "JPEG lossless", "JPEG-LS", "JPEG 2000 lossless",
    "JPEG 2000", "RLE",
)  # fmt: skip
DEEPEST = {"JPEG baseline": 8, "JPEG extended": 12}


@pytest.mark.parametrize(
    "syntax",
    [
        ImplicitVRLittleEndian, ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian,
        RLELossless, JPEGLSLossless,
    ],
    ids=lambda syntax: syntax.name,
)  # fmt: skip
@pytest.mark.parametrize("bits", [8, 12, 15, 16])
def test_syntaxes_that_pydicom_writes(tmp_path: Path, syntax: pydicom.uid.UID, bits: int) -> None:
    plain = write_dicom(tmp_path / "a.dcm", smooth(bits), bits=bits)
    other = write_dicom(tmp_path / "b.dcm", smooth(bits), bits=bits, syntax=syntax)
    assert pydicom.dcmread(other).file_meta.TransferSyntaxUID == syntax
    np.testing.assert_array_equal(read_grey(other), read_grey(plain))


@pytest.mark.parametrize(
    ("name", "bits"),
    [(name, bits) for name in BY_GDCM for bits in (8, 12, 16) if bits <= DEEPEST.get(name, 16)],
)
def test_syntaxes_that_gdcm_writes(
    tmp_path: Path, transcode: Transcode, name: str, bits: int
) -> None:
    plain = write_dicom(tmp_path / "a.dcm", smooth(bits), bits=bits)
    expected = read_grey(plain)
    path = transcode(plain, name)
    assert pydicom.dcmread(path).file_meta.TransferSyntaxUID.is_compressed
    lossy = name in ("JPEG baseline", "JPEG extended", "JPEG 2000")
    difference = np.abs(read_grey(path).astype(int) - expected)
    assert difference.max() <= (4 if lossy else 0)


def test_signed_values_come_out_of_jpeg_2000_with_their_sign(
    tmp_path: Path, transcode: Transcode
) -> None:
    stored = smooth(12).astype(np.int16) - 2048
    path = write_dicom(tmp_path / "a.dcm", stored, bits=12)
    expected = read_grey(path)
    found = read_grey(transcode(path, "JPEG 2000 lossless"))
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("name", ["none", *BY_GDCM])
@pytest.mark.parametrize("kept", [1, 140, 0.3, 0.6, 0.9, -200, -20])
def test_a_truncated_image_is_an_error_at_whatever_length(
    tmp_path: Path, transcode: Transcode, name: str, kept: float
) -> None:
    path = write_dicom(tmp_path / "image.dcm", smooth(8, (200, 160)))
    if name != "none":
        transcode(path, name)
    data = path.read_bytes()
    path.write_bytes(data[: int(kept * len(data)) if isinstance(kept, float) else kept])
    with pytest.raises(UnreadableImageError, match=r"image\.dcm"):
        read_grey(path)


def test_images_are_decoded_in_threads(tmp_path: Path, transcode: Transcode) -> None:
    paths = [
        transcode(write_dicom(tmp_path / f"{i}.dcm", smooth(12) + i, bits=13), name)
        for i, name in enumerate(BY_GDCM)
        if name not in DEEPEST
    ]
    expected = [read_grey(path) for path in paths]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(read_grey, paths * 5))
    for pixels, wanted in zip(found, expected * 5, strict=True):
        np.testing.assert_array_equal(pixels, wanted)


# ---- files ----------------------------------------------------------------------------------


def test_files_are_told_by_their_bytes(tmp_path: Path) -> None:
    plain = write_dicom(tmp_path / "a.dcm", smooth(8))
    for name in ("IM000001", "1.2.840.4", "a.dicom", "a.DCM", "a.png"):
        (tmp_path / name).write_bytes(plain.read_bytes())
        np.testing.assert_array_equal(read_grey(tmp_path / name), smooth(8))
        assert is_image_file(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "DICOMDIR").write_bytes(plain.read_bytes())
    assert not is_image_file(tmp_path / "notes.txt")
    assert not is_image_file(tmp_path / "DICOMDIR")
    assert not is_image_file(tmp_path / "absent")


def test_a_png_called_dcm_is_read_as_what_it_is(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), smooth(8))
    path = (tmp_path / "a.png").rename(tmp_path / "a.dcm")
    np.testing.assert_array_equal(read_grey(path), smooth(8))


def test_a_file_without_preamble_is_read_if_its_ending_says_dicom(tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "a.dcm", smooth(8), syntax=ImplicitVRLittleEndian)
    image = pydicom.dcmread(path)
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, Dataset(image), implicit_vr=True, little_endian=True)
    bare = tmp_path / "bare.dcm"
    bare.write_bytes(buffer.getvalue())
    assert b"DICM" not in bare.read_bytes()[:200]
    np.testing.assert_array_equal(read_grey(bare), smooth(8))


@pytest.mark.parametrize("content", [b"a page of text", b"\0" * 500, b"\0" * 128 + b"DICM"])
def test_a_dcm_file_that_is_none_says_so(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.dcm"
    path.write_bytes(content)
    with pytest.raises(UnreadableImageError, match="DICOM"):
        read_grey(path)


# ---- what is refused ------------------------------------------------------------------------


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
    ({"Modality": "MG"}, "another modality.*MG"),
    ({"NumberOfFrames": 3}, "multi-frame DICOM image of 3 frames"),
    ({"PhotometricInterpretation": "RGB", "SamplesPerPixel": 3}, "colour.*RGB.*as PNG"),
    ({"PhotometricInterpretation": "PALETTE COLOR"}, "colour.*PALETTE COLOR"),
    ({"PhotometricInterpretation": None}, ": PhotometricInterpretation is not stated"),
    ({"BodyPartExamined": "EXTREMITY"}, "not a chest image: BodyPartExamined is EXTREMITY"),
    ({"BodyPartExamined": "HAND"}, r"BodyPartExamined is HAND; .*limbs \(MURA\) take PNG or JPEG"),
    ({"BodyPartExamined": "T SPINE"}, "not a chest image: BodyPartExamined is T SPINE"),
    (
        {"BodyPartExamined": None,
         "AnatomicRegionSequence": [code("85562004", "SCT", "Hand")]},
        "AnatomicRegionSequence is HAND",
    ),
    ({"Rows": 60000, "Columns": 60000}, "at most 100,000,000"),
    ({"Rows": None}, "without an image"),
    ({"PixelData": None}, "no pixel data"),
    ({"HighBit": 9}, "HighBit is 9; expected 7"),
    ({"BitsAllocated": 32, "BitsStored": 32}, "32 bits stored"),
]  # fmt: skip


@pytest.mark.parametrize(("attributes", "reason"), REFUSED)
def test_what_is_no_chest_image_is_refused_by_name(
    tmp_path: Path, attributes: dict[str, Any], reason: str
) -> None:
    path = write_dicom(tmp_path / "a.dcm", smooth(8), **attributes)
    with pytest.raises(UnreadableImageError, match=reason) as error:
        read_image(path)
    assert str(error.value).startswith(f"cannot read image {path}: ")
    assert not any(canary in str(error.value) for canary in CANARIES)


# ---- what is warned about -------------------------------------------------------------------

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
    ({"Modality": "OT"}, "Modality is OT: nothing says that this is a radiograph"),
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
    ({"WindowCenter": 9000, "WindowWidth": 100}, "No contrast: every pixel has the grey 0"),
    ({"PatientSpeciesDescription": "Canis lupus"}, "PatientSpeciesDescription is not human"),
    ({"ProtocolName": "Canine thorax"}, "ProtocolName names CANINE"),
]


@pytest.mark.parametrize(("attributes", "warning"), WARNED)
def test_what_may_mislead_the_models_is_warned_about(
    tmp_path: Path, attributes: dict[str, Any], warning: str
) -> None:
    image = read_image(write_dicom(tmp_path / "a.dcm", smooth(8), **attributes))
    assert len(image.warnings) == 1
    assert image.warnings[0].startswith(warning)
    assert not any(canary in image.warnings[0] for canary in CANARIES)


@pytest.mark.parametrize(
    "attributes",
    [
        {"BodyPartExamined": "THORAX"},
        {"BodyPartExamined": "PORT_CHEST", "ViewPosition": "AP"},
        {"BodyPartExamined": None, "StudyDescription": "XR CHEST PA AND LATERAL"},
        {"BodyPartExamined": None,
         "AnatomicRegionSequence": [code("51185008", "SCT", "Chest")]},
        {"ViewPosition": None, "StudyDescription": "CHEST PA/LAT"},
        {"ViewPosition": None,
         "ViewCodeSequence": [code("272479007", "SCT", "p.a.")]},
        {"PatientSpeciesDescription": "Homo sapiens"},
        {"PresentationLUTShape": "INVERSE", "PhotometricInterpretation": "MONOCHROME1"},
        {"PixelSpacing": [0.2, 0.2005], "PixelAspectRatio": [1, 1]},
    ],
)  # fmt: skip
def test_a_frontal_chest_image_is_not_warned_about(
    tmp_path: Path, attributes: dict[str, Any]
) -> None:
    assert read_image(write_dicom(tmp_path / "a.dcm", smooth(8), **attributes)).warnings == ()


# ---- pixel spacing --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("attributes", "row_mm", "column_mm", "source"),
    [
        ({}, 0.2, 0.2, "ImagerPixelSpacing (in the detector"),
        (
            {"EstimatedRadiographicMagnificationFactor": 1.25}, 0.16, 0.16,
            "ImagerPixelSpacing / EstimatedRadiographicMagnificationFactor",
        ),
        ({"PixelSpacing": [0.1, 0.3]}, 0.1, 0.3, "PixelSpacing"),
        ({"PixelSpacing": [0.2, 0.2]}, 0.2, 0.2, "ImagerPixelSpacing (in"),  # not calibrated
        (
            {"PixelSpacing": [0.2, 0.2], "PixelSpacingCalibrationType": "FIDUCIAL"}, 0.2, 0.2,
            "PixelSpacing",
        ),
        ({"PixelSpacing": [0, 0]}, 0.2, 0.2, "ImagerPixelSpacing (in"),
        (
            {"ImagerPixelSpacing": None, "NominalScannedPixelSpacing": [0.175, 0.175]}, 0.175,
            0.175, "NominalScannedPixelSpacing",
        ),
    ],
)  # fmt: skip
def test_the_size_of_a_pixel_is_kept_with_its_source(
    tmp_path: Path,
    attributes: dict[str, Any],
    row_mm: float,
    column_mm: float,
    source: str,
) -> None:
    spacing = read_image(write_dicom(tmp_path / "a.dcm", smooth(8), **attributes)).spacing
    assert spacing is not None
    assert (spacing.row_mm, spacing.column_mm) == pytest.approx((row_mm, column_mm))
    assert spacing.source.startswith(source)


@pytest.mark.parametrize("attributes", [{}, {"PixelSpacing": [0, 0]}])
def test_a_image_without_spacing_has_none(tmp_path: Path, attributes: dict[str, Any]) -> None:
    path = write_dicom(tmp_path / "a.dcm", smooth(8), ImagerPixelSpacing=None, **attributes)
    assert read_image(path).spacing is None


# ---- privacy --------------------------------------------------------------------------------


def test_no_name_reaches_a_warning_or_a_log_even_from_a_name_that_is_against_the_standard(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with warnings.catch_warnings(record=True):
        path = write_dicom(
            tmp_path / "a.dcm", smooth(8),
            PatientName="Canary\\=^=^=^=^" + "x" * 200, PatientBirthDate="CANARY",
            PatientComments="Canary", AccessionNumber="Canary" * 20,
        )  # fmt: skip
    caplog.clear()
    with warnings.catch_warnings(record=True) as seen, caplog.at_level(logging.DEBUG):
        warnings.simplefilter("always")
        image = read_image(path)
    told = " ".join([repr(image), caplog.text, *(str(w.message) for w in seen)])
    assert not any(canary in told for canary in CANARIES)


# ---- real images -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def real(shared_data: Path) -> Path:
    folder = shared_data / "dicom"
    if not (folder / "nih_dx_chest_1024_mono2.dcm").is_file():
        pytest.skip(f"no DICOM images in {folder}; set CXRLOC_TEST_DATA to the folder above")
    return folder


def test_two_compressions_of_one_real_image_look_alike(real: Path) -> None:
    names = ("j2k", "jpegls")
    images = [read_image(real / f"nema_wg04_RG1_cr_chest_pa_mono1_15bit_{n}.dcm") for n in names]
    assert images[0].size_hw == (1955, 1841)
    assert images[0].spacing is None  # the file says 0 mm
    assert [image.warnings for image in images] == [(), ()]
    difference = np.abs(images[0].pixels.astype(int) - images[1].pixels)
    assert difference.mean() < 1
    lung, heart = images[0].pixels[450:750, 500:800], images[0].pixels[1250:1400, 1000:1200]
    assert lung.mean() < heart.mean()  # MONOCHROME1: dense is bright


def test_a_real_image_of_eight_bits_keeps_its_pixels(real: Path) -> None:
    path = real / "nih_dx_chest_1024_mono2.dcm"
    image = read_image(path)
    np.testing.assert_array_equal(image.pixels, pydicom.dcmread(path).pixel_array)
    assert image.warnings == ("No attribute names the body part: is it a chest image?",)


def test_a_real_dog_on_its_side_is_warned_about_twice(real: Path) -> None:
    image = read_image(real / "highdicom_dx_thorax_mono1_small.dcm")
    assert image.size_hw == (169, 211)
    assert [warning.split(":")[0] for warning in image.warnings] == [
        "Lateral image (AcquisitionDeviceProcessingDescription names LATERAL)",
        "AcquisitionDeviceProcessingDescription names CANINE",
    ]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("nonchest_ct_small", "CT Image Storage, modality CT; expected a chest radiograph"),
        ("nonchest_RG3_cr_extremity_mono1", "BodyPartExamined is EXTREMITY; expected CHEST"),
    ],
)
def test_real_images_that_are_none_of_the_chest_are_refused(
    real: Path, name: str, reason: str
) -> None:
    with pytest.raises(UnreadableImageError, match=reason):
        read_image(real / f"{name}.dcm")
