"""DICOM files, tables and pixels that many tests need."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import numpy.typing as npt
from pydicom import Dataset
from pydicom._dicom_dict import DicomDictionary
from pydicom.dataset import FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid

if TYPE_CHECKING:
    pass


def write_dicom(
    path: Path,
    stored: npt.NDArray[Any],
    attributes: Mapping[str, Any] | None = None,
    *,
    bits: int = 8,
    syntax: UID = ExplicitVRLittleEndian,
    meta: bool = True,
    **more: Any,
) -> Path:
    """A DX chest image, whole enough for an archive; an attribute given as None is left out."""
    image = _dicom_image(stored, bits)
    for keyword, value in {**(attributes or {}), **more}.items():
        if value is None:
            image.pop(keyword, None)
        else:
            setattr(image, keyword, value)
    image.file_meta.MediaStorageSOPClassUID = image.SOPClassUID
    if syntax.is_compressed and not syntax.is_deflated:
        image.compress(syntax, generate_instance_uid=False)
    image.file_meta.TransferSyntaxUID = syntax
    path.parent.mkdir(parents=True, exist_ok=True)
    if meta:
        image.save_as(path, enforce_file_format=True)
        return path
    image.file_meta = FileMetaDataset()
    image.save_as(
        path,
        enforce_file_format=False,
        implicit_vr=syntax.is_implicit_VR,
        little_endian=syntax.is_little_endian,
    )
    return path


_USED_TEXTS = {"AcquisitionDeviceProcessingDescription", "PatientSpeciesDescription"}


def names_everywhere() -> dict[str, str]:
    """For `write_dicom`: a patient's name in each of some 700 text attributes of the standard, the
    two that are read as words aside."""
    texts = {}
    for tag, (kind, _, _, _, keyword) in DicomDictionary.items():
        if kind in ("PN", "LO", "SH", "LT", "ST", "UT", "UC") and tag >> 16 >= 8 and keyword:
            texts[keyword] = "Canary^Secret" if kind == "PN" else "Canary Secret"
    return {keyword: text for keyword, text in texts.items() if keyword not in _USED_TEXTS}


def _dicom_image(stored: npt.NDArray[Any], bits: int) -> Dataset:
    image = Dataset()
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.SOPClassUID = "1.2.840.10008.5.1.4.1.1.1.1"  # Digital X-Ray, for presentation
    image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    image.StudyInstanceUID, image.SeriesInstanceUID = generate_uid(), generate_uid()
    image.PatientName, image.PatientID = "Canary^Secret", "CANARY-4711"
    image.PatientBirthDate, image.PatientSex = "19500102", "F"
    image.StudyDate, image.StudyTime, image.StudyID = "20240131", "101112", "S1"
    image.AccessionNumber, image.ReferringPhysicianName = "ACC1", "Canary^Doctor"
    image.SeriesNumber, image.InstanceNumber = 1, 1
    image.Modality, image.PresentationIntentType = "DX", "FOR PRESENTATION"
    image.BodyPartExamined, image.ViewPosition = "CHEST", "PA"
    image.PatientOrientation, image.ImageType = ["L", "F"], ["ORIGINAL", "PRIMARY"]
    image.ImagerPixelSpacing = [0.2, 0.2]
    image.Rows, image.Columns = stored.shape
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.BitsAllocated = 8 * stored.dtype.itemsize
    image.BitsStored, image.HighBit = bits, bits - 1
    image.PixelRepresentation = int(np.issubdtype(stored.dtype, np.signedinteger))
    image.PixelData = stored.tobytes()
    image["PixelData"].VR = "OW" if stored.dtype.itemsize == 2 else "OB"
    return image


def lookup_table(entries: Sequence[int], first: int, bits: int, *, packed: bool = False) -> Dataset:
    """A modality or VOI lookup table; packed, its entries are bytes."""
    item = Dataset()
    item.add_new("LUTDescriptor", "SS" if first < 0 else "US", [len(entries), first, bits])
    if packed:
        item.add_new("LUTData", "OW", np.array(entries, "<u2").tobytes())
    else:
        item.add_new("LUTData", "US", list(entries))
    return item


def smooth_pixels(
    bits: int, size_hw: tuple[int, int] = (48, 40)
) -> npt.NDArray[np.uint8 | np.uint16]:
    """A picture with every depth of grey, as a decoder would like it."""
    noise = np.random.default_rng(3).random((6, 5), dtype=np.float32)
    grown = cv2.resize(noise, size_hw[::-1], interpolation=cv2.INTER_CUBIC)
    span = (grown - grown.min()) / (grown.max() - grown.min())
    grey: npt.NDArray[np.float64] = np.rint(span * (2**bits - 1))
    return grey.astype(np.uint8) if bits <= 8 else grey.astype(np.uint16)
