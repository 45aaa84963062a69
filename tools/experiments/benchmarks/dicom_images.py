"""Drawn chests as DICOM images, each of a patient and a study of its own."""

from __future__ import annotations

from pathlib import Path

from cxrloc.datasets.phantoms.drawing.chest import render_image
from cxrloc.tools.experiments.benchmarks.fuzz.image_targets import dicom_image

_DRAWN, _SIDE = 8, 256  # different pictures; the rest differ by their UIDs


def write_images(folder: Path, count: int) -> list[Path]:
    """Write so many images into a new folder; returns their paths."""
    from pydicom.uid import generate_uid

    folder.mkdir()
    drawn = [render_image(seed=n, image_size=_SIDE).pixels for n in range(min(_DRAWN, count))]
    paths = [folder / f"{n}.dcm" for n in range(count)]
    for n, path in enumerate(paths):
        image = dicom_image(drawn[n % len(drawn)], 8)
        image.PatientOrientation, image.ImageType = ["L", "F"], ["ORIGINAL", "PRIMARY"]
        image.SeriesNumber, image.InstanceNumber = 1, 1
        image.PatientID, image.PatientName = f"NODE-{n}", f"Node^{n}"
        image.StudyInstanceUID, image.SeriesInstanceUID = generate_uid(), generate_uid()
        image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        image.save_as(path, enforce_file_format=True)
    return paths
