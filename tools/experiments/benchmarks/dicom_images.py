"""Drawn chests as DICOM images, each of a patient and a study of its own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from cxrloc.datasets.phantoms.drawing.chest import render_image

if TYPE_CHECKING:
    from pydicom import Dataset

_DRAWN, _SIDE = 8, 256  # different pictures; the rest differ by their UIDs


def write_images(folder: Path, count: int) -> list[Path]:
    """Write so many images into a new folder; returns their paths."""
    from pydicom.uid import generate_uid

    folder.mkdir()
    drawn = [render_image(seed=n, image_size=_SIDE).pixels for n in range(min(_DRAWN, count))]
    paths = [folder / f"{n}.dcm" for n in range(count)]
    for n, path in enumerate(paths):
        image = _dicom(drawn[n % len(drawn)])
        image.PatientID, image.PatientName = f"NODE-{n}", f"Node^{n}"
        image.StudyInstanceUID, image.SeriesInstanceUID = generate_uid(), generate_uid()
        image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        image.save_as(path, enforce_file_format=True)
    return paths


def _dicom(pixels: Any) -> Dataset:
    from pydicom import Dataset
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    image = Dataset()
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.SOPClassUID = "1.2.840.10008.5.1.4.1.1.1.1"
    image.file_meta.MediaStorageSOPClassUID = image.SOPClassUID
    image.Modality, image.PresentationIntentType = "DX", "FOR PRESENTATION"
    image.BodyPartExamined, image.ViewPosition = "CHEST", "PA"
    image.PatientOrientation, image.ImageType = ["L", "F"], ["ORIGINAL", "PRIMARY"]
    image.SeriesNumber, image.InstanceNumber = 1, 1
    image.Rows, image.Columns = pixels.shape
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.BitsAllocated = image.BitsStored = 8
    image.HighBit, image.PixelRepresentation = 7, 0
    image.PixelData = pixels.tobytes()
    image["PixelData"].VR = "OB"
    return image
