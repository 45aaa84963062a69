"""Fixtures shared by all tests."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch: spinning threads cost 5 x

import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import hypothesis
import numpy as np
import numpy.typing as npt
import pytest
from pydicom import Dataset
from pydicom._dicom_dict import DicomDictionary
from pydicom.dataset import FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid

# no deadlines: speed is measured in tools/benchmark.py, the machines of CI are noisy
hypothesis.settings.register_profile("cxrloc", deadline=None)
hypothesis.settings.load_profile("cxrloc")

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder with the real data (`nih/`, `weights/`, `dicom/`); the test is skipped without it."""
    folder = Path(os.environ.get("CXRLOC_TEST_DATA", REPOSITORY.parent / "shared"))
    if not (folder / "nih" / "BBox_List_2017.csv").is_file():
        pytest.skip(f"real NIH files are not in {folder}; set CXRLOC_TEST_DATA to their folder")
    return folder


@pytest.fixture(scope="session")
def int8_cpu() -> None:
    """The test is skipped where OpenVINO is missing or wrong in INT8 (see `runtimes`)."""
    from cxrloc.classification.inference.runtimes import require_int8

    try:
        require_int8()
    except (ImportError, ValueError) as error:
        pytest.skip(str(error))


Torchrun = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def torchrun() -> Torchrun:
    """`torchrun(*words)`: two processes on this machine, one thread each, at a free port."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}

    def run(*words: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*command, *map(str, words)],
            env=environment,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )

    return run


PreparedImages = Callable[..., Path]


@pytest.fixture(scope="session")
def prepared_images() -> PreparedImages:
    """`prepared_images(folder, images, **entries)`: a prepared folder of 64 x 64 images of noise.

    An image is a dict: its `labels`, `patient`, `fold`, what its `block` adds to the grey of a part
    of it, and its `boxes` if any. `entries` are those of `write_prepared`.
    """
    from cxrloc.datasets.prepared.folder import write_prepared
    from cxrloc.datasets.radiograph import Radiograph

    def prepare(folder: Path, images: Sequence[Mapping[str, Any]], **entries: Any) -> Path:
        rng, radiographs, folds = np.random.default_rng(0), [], {}
        for n, image in enumerate(images):
            pixels = rng.integers(0, 100, (64, 64), dtype=np.uint8)
            pixels[8:40, 8:24] += np.uint8(image["block"])
            path = folder / f"{n:02d}.png"
            assert cv2.imwrite(str(path), pixels)
            labels, boxes = image["labels"], image.get("boxes", ())
            radiographs.append(Radiograph(path.name, path, image["patient"], "PA", labels, boxes))
            folds[path.name] = image["fold"]
        defaults = {"boxed_diseases": (), "k": 3, "official": {}, "summary": "", "manifest": {}}
        write_prepared(folder / "prepared", radiographs, folds=folds, **defaults | entries)
        return folder / "prepared"

    return prepare


WriteDicom = Callable[..., Path]


@pytest.fixture(scope="session")
def write_dicom() -> WriteDicom:
    """`write_dicom(path, stored, bits=8, syntax=..., Keyword=value, ...)`: a DX chest image, whole
    enough for an archive; an attribute given as None is left out."""

    def write(
        path: Path,
        stored: npt.NDArray[Any],
        *,
        bits: int = 8,
        syntax: UID = ExplicitVRLittleEndian,
        meta: bool = True,
        **attributes: Any,
    ) -> Path:
        image = _dicom_image(stored, bits)
        for keyword, value in attributes.items():
            if value is None:
                image.pop(keyword, None)
            else:
                setattr(image, keyword, value)
        image.file_meta.MediaStorageSOPClassUID = image.SOPClassUID
        if syntax.is_compressed and not syntax.is_deflated:
            image.compress(syntax, generate_instance_uid=False)
        image.file_meta.TransferSyntaxUID = syntax
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save_as(path, enforce_file_format=meta, implicit_vr=None if meta else True,
                     little_endian=None if meta else True)  # fmt: skip
        return path

    return write


_USED_TEXTS = {"AcquisitionDeviceProcessingDescription", "PatientSpeciesDescription"}


@pytest.fixture(scope="session")
def names_everywhere() -> dict[str, str]:
    """For `write_dicom`: a patient's name in each of some 700 text attributes of the standard, the
    two that are read as words aside."""
    found = {}
    for tag, (kind, _, _, _, keyword) in DicomDictionary.items():
        if kind in ("PN", "LO", "SH", "LT", "ST", "UT", "UC") and tag >> 16 >= 8 and keyword:
            found[keyword] = "Canary^Secret" if kind == "PN" else "Canary Secret"
    return {keyword: found[keyword] for keyword in found if keyword not in _USED_TEXTS}


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
