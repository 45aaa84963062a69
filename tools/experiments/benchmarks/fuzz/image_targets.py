"""Images: PNG, JPEG and DICOM in the syntaxes that archives use, small."""

from __future__ import annotations

import io
import random
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import numpy.typing as npt

from cxrloc.datasets.images.read import read_image
from cxrloc.tools.experiments.benchmarks.fuzz.campaign import Target
from cxrloc.tools.experiments.benchmarks.fuzz.mutations import damaged

if TYPE_CHECKING:
    from pydicom import Dataset

Pixels = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]

# as `transcoded` takes them -> names of GDCM
SYNTAXES = {
    "JPEG lossless": "JPEGLosslessProcess14_1",
    "JPEG-LS": "JPEGLSLossless",
    "JPEG 2000": "JPEG2000Lossless",
    "RLE": "RLELossless",
}
_SIDE = 48
_VALUES = (
    *(b"", b"\0", b"\xff\xff", b"nan ", b"-1", b"0 ", b"1e308 ", b"1,5 ", b"9" * 64, b"\\" * 8),
    *(b"1.2.3", b"2024", b"\x00\x00\xff\x7f", b"CT", b"MONOCHROME1 ", b"\xe4\xff", b"x" * 2000),
)


def image_targets(folder: Path) -> list[Target]:
    """An image of each format, in `folder`; a change of a PNG is told by its checksums."""
    folder.mkdir()
    grey = _smooth(8)
    files = {
        "PNG, 8 bits": ("a.png", encoded(".png", grey)),
        "PNG, 16 bits": ("b.png", encoded(".png", _smooth(16))),
        "JPEG": ("c.jpg", encoded(".jpg", grey)),
        "JPEG, progressive": ("d.jpg", encoded(".jpg", grey, cv2.IMWRITE_JPEG_PROGRESSIVE, 1)),
        "DICOM": ("e.dcm", dicom_bytes(_smooth(12), 12)),
        "DICOM, JPEG": ("f.dcm", in_dicom(encoded(".jpg", grey), grey)),
        **{
            f"DICOM, {name}": (f"{name}.dcm", transcoded(dicom_bytes(_smooth(12), 12), name))
            for name in SYNTAXES
        },
    }
    targets = []
    for loader, (name, data) in files.items():
        (folder / name).write_bytes(data)
        mutations = (damaged, absurd_dicom) if name.endswith(".dcm") else (damaged,)
        hashed = name.endswith(".png")
        targets.append(Target(loader, folder / name, _load, mutations, hashed, unbounded=True))
    return targets


def _load(path: Path) -> Any:
    image = read_image(path)
    print("\n".join(image.warnings))
    return image.pixels, image.deep


def _smooth(bits: int) -> Pixels:
    noise = np.random.default_rng(3).random((6, 5), dtype=np.float32)
    grown = cv2.resize(noise, (_SIDE, _SIDE), interpolation=cv2.INTER_CUBIC)
    span = (grown - grown.min()) / (grown.max() - grown.min()) * (2**bits - 1)
    return np.asarray(span, np.uint8) if bits <= 8 else np.asarray(span, np.uint16)


def encoded(suffix: str, pixels: Pixels, *options: int) -> bytes:
    """The pixels as the bytes of a picture file."""
    return bytes(cv2.imencode(suffix, pixels, list(options))[1].tobytes())


def dicom_bytes(stored: Pixels, bits: int) -> bytes:
    """The file of a `dicom_image`."""
    return _written(dicom_image(stored, bits))


def dicom_image(stored: Pixels, bits: int) -> Dataset:
    """A chest image, uncompressed."""
    from pydicom import Dataset
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import (
        DigitalXRayImageStorageForPresentation,
        ExplicitVRLittleEndian,
        generate_uid,
    )

    image = Dataset()
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.SOPClassUID = DigitalXRayImageStorageForPresentation
    image.file_meta.MediaStorageSOPClassUID = image.SOPClassUID
    uid = generate_uid(entropy_srcs=["fuzz"])
    image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = uid
    image.Modality, image.BodyPartExamined, image.ViewPosition = "DX", "CHEST", "PA"
    image.PatientSex, image.PatientAge, image.PresentationIntentType = (
        "F",
        "040Y",
        "FOR PRESENTATION",
    )
    image.ImagerPixelSpacing, image.PixelPaddingValue = [0.2, 0.2], 0
    image.WindowCenter, image.WindowWidth = 2.0 ** (bits - 1), 2.0**bits
    image.RescaleSlope, image.RescaleIntercept = 1, 0
    image.Rows, image.Columns = stored.shape
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.BitsAllocated, image.BitsStored, image.HighBit = 8 * stored.itemsize, bits, bits - 1
    image.PixelRepresentation, image.PixelData = 0, stored.tobytes()
    image["PixelData"].VR = "OB" if stored.itemsize == 1 else "OW"
    return image


def in_dicom(jpeg: bytes, stored: Pixels) -> bytes:
    """A JPEG of these pixels in a DICOM file."""
    from pydicom.encaps import encapsulate
    from pydicom.uid import JPEGBaseline8Bit

    image = dicom_image(stored, 8)
    image.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    image.PixelData = encapsulate([jpeg])
    image["PixelData"].is_undefined_length = True
    return _written(image)


def transcoded(dicom: bytes, name: str) -> bytes:
    """A DICOM file in another transfer syntax, one of `SYNTAXES`, by GDCM."""
    import gdcm

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.dcm"
        path.write_bytes(dicom)
        reader, writer = gdcm.ImageReader(), gdcm.ImageWriter()
        reader.SetFileName(str(path))
        change = gdcm.ImageChangeTransferSyntax()
        change.SetTransferSyntax(gdcm.TransferSyntax(getattr(gdcm.TransferSyntax, SYNTAXES[name])))
        if not reader.Read():
            raise ValueError(f"GDCM cannot read the file that is to become {name}")
        change.SetInput(reader.GetImage())
        if not change.Change():
            raise ValueError(f"GDCM cannot write {name}")
        writer.SetFile(reader.GetFile())
        writer.SetImage(change.GetOutput())
        writer.SetFileName(str(path))
        writer.Write()
        return path.read_bytes()


def absurd_dicom(data: bytes, rng: random.Random) -> bytes:
    """A DICOM file with an attribute of absurd bytes, or without it."""
    from pydicom.dataelem import RawDataElement

    image = _read(data)
    tag = rng.choice([e.tag for e in image if e.keyword not in ("PixelData", "SOPClassUID")])
    if rng.random() < 0.2:
        del image[tag]
    else:
        value = rng.choice(_VALUES)
        image[tag] = RawDataElement(tag, "UN", len(value), value, 0, False, True)
    return _written(image)


def _read(data: bytes) -> Dataset:
    from pydicom import dcmread

    return dcmread(io.BytesIO(data))


def _written(image: Dataset) -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        image.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()
