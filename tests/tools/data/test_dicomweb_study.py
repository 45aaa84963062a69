"""cxrloc predict with a study on Orthanc: fetched, predicted, stored there, and nothing twice."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import JPEGLSLossless, SecondaryCaptureImageStorage

from builders import chest_pixels, tiny_classifier
from cxrloc.classification.bundle.classifier import save_classifier
from cxrloc.tools import predict
from datasets.dicom.builders import write_dicom
from datasets.dicom.web.servers import Orthanc

STUDY = "1.2.826.0.1.3680043.8.498.1"
CT = "1.2.840.10008.5.1.4.1.1.2"


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained gate that finds everything present."""
    path = tmp_path_factory.mktemp("gate") / "classifier.safetensors"
    save_classifier(path, tiny_classifier(("Mass", "Effusion"), 0.0))
    return path


@pytest.fixture
def orthanc(orthanc_server: Orthanc, tmp_path: Path) -> Orthanc:
    """It holds a study: two radiographs in a series each, a CT, and a picture in colour."""
    orthanc_server.empty()
    pixels = chest_pixels()
    deep = {"WindowCenter": 2040, "WindowWidth": 4080, "bits": 12}
    put(orthanc_server, tmp_path, 1, 16 * pixels.astype(np.uint16), **deep)
    put(orthanc_server, tmp_path, 2, pixels, syntax=JPEGLSLossless, PatientSex="")
    put(orthanc_server, tmp_path, 3, pixels, SOPClassUID=CT, Modality="CT")
    colour = {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0}
    picture = np.repeat(pixels[..., None], 3, axis=2)
    attributes = {"SOPClassUID": SecondaryCaptureImageStorage, "Modality": "OT", **colour}
    attributes |= {"Rows": pixels.shape[0], "Columns": pixels.shape[1]}
    put(orthanc_server, tmp_path, 4, picture.reshape(-1, picture.shape[-1]), **attributes)
    return orthanc_server


def put(server: Orthanc, folder: Path, series: int, pixels: object, **more: object) -> None:
    uid = f"{STUDY}.{series}"
    uids = {"StudyInstanceUID": STUDY, "SeriesInstanceUID": uid, "SOPInstanceUID": f"{uid}.1"}
    server.put(write_dicom(folder / f"{series}.dcm", pixels, uids, **more))  # type: ignore[arg-type]


def run(gate: Path, server: Orthanc, out: Path, *more: str) -> int:
    where = ["--dicomweb", server.dicomweb, "--gate", str(gate), "--out", str(out)]
    return predict.main([*where, "--device", "cpu", *more])


@pytest.mark.slow
def test_a_study_is_fetched_predicted_and_stored_and_nothing_twice(
    gate: Path, orthanc: Orthanc, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(gate, orthanc, tmp_path / "out", "--study", STUDY) == 0

    first = capfd.readouterr()
    passed = "pictures that are no radiographs (1), series of modality CT (1)"
    assert f"Passed over in the study: {passed}." in first.out
    assert f"6 of 6 objects stored at {orthanc.dicomweb}." in first.out
    results = {"SR": 2, "PR": 2, "OT": 2 + 1}
    assert orthanc.modalities() == {"DX": 2, "CT": 1, **results}
    written = sorted((tmp_path / "out").glob("*.dcm"))
    assert len(written) == 6
    for path in written:
        made = pydicom.dcmread(path)
        stored = pydicom.dcmread(pydicom.filebase.DicomBytesIO(orthanc.file(made.SOPInstanceUID)))
        assert stored == made  # every element, pixels too
        assert made.StudyInstanceUID == STUDY
    assert not list((tmp_path / "out").glob(f"{STUDY}.?.1.dcm"))  # the images are not kept

    assert run(gate, orthanc, tmp_path / "again", "--study", STUDY) == 0
    second = capfd.readouterr()
    assert "earlier pictures of cxrloc (2)" in second.out
    assert "6 of 6 objects stored" in second.out
    assert orthanc.modalities() == {"DX": 2, "CT": 1, **results}
    for text in (*first, *second):
        assert "Canary" not in text
        assert "CANARY" not in text
        assert "/tmp" not in text.replace(str(tmp_path), "")


@pytest.mark.slow
def test_one_series_is_predicted_alone(gate: Path, orthanc: Orthanc, tmp_path: Path) -> None:
    asked = ["--study", STUDY, "--series", f"{STUDY}.2"]
    assert run(gate, orthanc, tmp_path / "out", *asked) == 0
    assert sorted(path.stem for path in (tmp_path / "out").glob("*.json")) == [f"{STUDY}.2.1"]
    assert orthanc.modalities() == {"DX": 2, "CT": 1, "OT": 2, "SR": 1, "PR": 1}


def test_a_study_without_a_radiograph_is_an_error_that_says_what_it_holds(
    gate: Path, orthanc: Orthanc, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = {
        f"no study {STUDY}.9; check the UIDs": ["--study", f"{STUDY}.9"],
        f"no series {STUDY}.9 in study": ["--study", STUDY, "--series", f"{STUDY}.9"],
        "it holds series of modality CT (1)": ["--study", STUDY, "--series", f"{STUDY}.3"],
        "it holds pictures that are no radio": ["--study", STUDY, "--series", f"{STUDY}.4"],
        "'../1' is no UID": ["--study", "../1"],
    }
    for said, asked in wrong.items():
        assert run(gate, orthanc, tmp_path / "out", *asked) == 2
        assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_an_image_that_cannot_be_predicted_is_told_and_the_others_are_stored(
    gate: Path, orthanc: Orthanc, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    put(orthanc, tmp_path, 5, chest_pixels(), BodyPartExamined="KNEE")
    assert run(gate, orthanc, tmp_path / "out", "--study", STUDY) == 1
    printed = capfd.readouterr()
    assert f"not done: cannot read image {STUDY}.5.1.dcm: not a chest image" in printed.err
    assert "6 of 6 objects stored" in printed.out


def test_commands_that_name_no_images_or_too_many_are_refused(
    capsys: pytest.CaptureFixture[str],
) -> None:
    url = ["--dicomweb", "http://127.0.0.1/dicom-web"]
    for words, said in (
        ([], "no images; give INPUT, or --dicomweb URL --study UID"),
        (url, "--dicomweb needs --study UID"),
        ([*url, "--study", "1.2", "image.png"], "leave INPUT out"),
        ([*url, "--study", "1.2", "--out", "s3://bucket/a"], "on this machine: no Spark"),
        (["--study", "1.2"], "--study needs --dicomweb URL"),
        (["image.png", "--dicomweb-token", "t"], "--dicomweb-token needs --dicomweb URL"),
    ):
        with pytest.raises(SystemExit, match="2"):
            predict.main(["--gate", "gate", "--out", "out", *words])
        assert said in capsys.readouterr().err
