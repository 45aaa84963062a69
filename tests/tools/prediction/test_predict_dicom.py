"""The prediction tool on DICOM images: the same as PNG, warnings, millimetres, no names."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pydicom
import pytest
import torch
from highdicom.sr import MeasurementReport, srread

from builders import chest_pixels
from cxrloc.classification.bundle.classifier import (
    ClassifierBundle,
    load_classifier,
    save_classifier,
)
from cxrloc.classification.bundle.preprocessing import Preprocessing
from cxrloc.classification.inference.gate import Gate
from cxrloc.classification.network.classifier import ChestClassifier, build_classifier
from cxrloc.datasets.files.manifest import file_sha256
from cxrloc.datasets.radiograph import LoadedImage
from cxrloc.localization.diagnosis.engines.work import Task, Work
from cxrloc.tools import predict
from cxrloc.tools.data import send_dicom
from datasets.dicom.builders import names_everywhere, write_dicom

DISEASES = ("Mass", "Effusion")
DEMOGRAPHICS = ("age", "sex", "view")


def save(path: Path, model: ChestClassifier) -> Path:
    """A bundle of a classifier that finds everything present."""
    classifier = ClassifierBundle(
        model.eval(),
        DISEASES,
        dict.fromkeys(DISEASES, 0.0),
        Preprocessing(64, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)),
        dict.fromkeys(DISEASES, (0.3, 0.3)),
        {},
        {},
    )
    save_classifier(path, classifier)
    return path


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained classifier."""
    model, _ = build_classifier("resnet18", len(DISEASES), weights="none", seed=0)
    return save(tmp_path_factory.mktemp("bundle") / "classifier.safetensors", model)


@pytest.fixture(scope="module")
def told_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained classifier that is told age, sex and view, which have a large say."""
    model, _ = build_classifier(
        "simple_cnn", len(DISEASES), weights="none", seed=0, demographics=DEMOGRAPHICS
    )
    with torch.no_grad():
        model.demographic_head.weight.copy_(torch.linspace(-1, 1, 18).view(2, 9))
    return save(tmp_path_factory.mktemp("told") / "classifier.safetensors", model)


@pytest.fixture(scope="module")
def pixels() -> Any:
    return chest_pixels()


def run(bundle: Path, folder: Path, out: Path, *more: str) -> int:
    arguments = [
        "--gate",
        str(bundle),
        str(folder),
        "--out",
        str(out),
        "--device",
        "cpu",
        *more,
    ]
    return predict.main(arguments)


def record(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text())
    return content


@pytest.mark.slow
def test_the_same_image_as_png_and_as_dicom_gives_the_same_result(
    bundle: Path, pixels: Any, tmp_path: Path
) -> None:
    images = tmp_path / "images"
    images.mkdir()
    cv2.imwrite(str(images / "a.png"), pixels)
    write_dicom(images / "b.dcm", pixels)
    # the same grey by other ways: 12 bits in MONOCHROME1 behind a window, on a disc's kind of name
    inverse = (255 - pixels.astype(np.uint16)) * 16
    window = {"WindowCenter": 2040, "WindowWidth": 4080, "VOILUTFunction": "LINEAR_EXACT"}
    write_dicom(
        images / "IM000001", inverse, window, bits=12, PhotometricInterpretation="MONOCHROME1"
    )

    bare = "1.2.840.113619.2.5"  # named by its UID, without a preamble
    write_dicom(images / bare, pixels, meta=False)

    assert (
        run(bundle, images, tmp_path / "out", "--write", "json,pictures,dicom") == 1
    )  # the PNG is no DICOM
    assert run(bundle, images, tmp_path / "out") == 0

    assert (tmp_path / "out" / f"{bare}.sr.dcm").is_file()
    names = ("a", "b", "IM000001", bare)
    png, *dicoms = [record(tmp_path / "out" / f"{name}.json") for name in names]
    assert png["annotations"]
    for dicom in dicoms:
        assert dicom["findings"] == png["findings"]
        boxes = [dict(box) for box in dicom["annotations"]]
        in_mm = [box.pop("bbox_mm") for box in boxes]
        assert boxes == png["annotations"]
        np.testing.assert_allclose(in_mm, [np.multiply(box["bbox"], 0.2) for box in boxes])


@pytest.mark.slow
def test_warnings_reach_the_user_and_no_name_reaches_anything(
    bundle: Path,
    pixels: Any,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    images, everything = (
        tmp_path / "images",
        {**names_everywhere(), "StudyDescription": "Canary chest"},
    )
    write_dicom(images / "side.dcm", pixels, everything, ViewPosition="LL")
    write_dicom(images / "knee.dcm", pixels, names_everywhere(), BodyPartExamined="KNEE")

    assert run(bundle, images, tmp_path / "out") == 1

    printed = capfd.readouterr()
    assert f"{images / 'side.dcm'}: Lateral image (ViewPosition is LL)" in printed.err
    assert "knee.dcm: not a chest image: BodyPartExamined is KNEE" in printed.err
    assert "Lateral image" in record(tmp_path / "out" / "side.json")["warnings"][0]
    assert not (tmp_path / "out" / "knee.json").exists()
    written = [path.read_bytes() for path in (tmp_path / "out").iterdir()]
    assert len(written) == 3
    for canary in (b"Canary", b"CANARY", b"19500102"):
        assert not any(canary in content for content in written)
        assert canary.decode() not in printed.out + printed.err
    assert run(bundle, images, tmp_path / "out", "--any-body-part") == 0
    assert record(tmp_path / "out" / "knee.json")["warnings"] == [
        "Not a chest image: BodyPartExamined is KNEE."
    ]


@pytest.mark.slow
def test_a_gate_trained_with_demographics_is_told_what_the_file_says_and_nobody_else_is(
    told_bundle: Path,
    pixels: Any,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    images, out = tmp_path / "images", tmp_path / "out"
    write_dicom(images / "told.dcm", pixels, PatientAge="077Y", PatientSex="M", ViewPosition="AP")
    write_dicom(images / "silent.dcm", pixels, PatientSex=None, ViewPosition="AP")
    cv2.imwrite(str(images / "plain.png"), pixels)

    assert run(told_bundle, images, out, "--precision", "fp32") == 0

    gate = Gate(load_classifier(told_bundle), precision="fp32")
    people: dict[str, dict[str, Any]] = {
        "told": {"age_years": 77.0, "sex": "M", "view": "AP"},
        "silent": {"view": "AP"},
        "plain": {},
    }
    printed, seen = capfd.readouterr(), set()
    for name, values in people.items():
        expected = gate([LoadedImage("", pixels, (120, 100), **values)]).probabilities[0]
        content = record(out / f"{name}.json")
        assert [f["probability"] for f in content["findings"]] == pytest.approx(expected, abs=1e-6)
        seen.add(round(expected[0], 3))
        without = {"told": "", "silent": "age, sex", "plain": "age, sex, view"}[name]
        told = f"the file does not give {without}: predicted without."
        assert [w.endswith(told) for w in content["warnings"]] == [True] * bool(without)
        for warning in content["warnings"]:
            assert f"{warning}\n" in printed.err
        assert "77" not in str({**content, "findings": 0, "annotations": 0, "manifest": 0})
    assert len(seen) == 3
    written = b"".join(path.read_bytes() for path in out.iterdir())
    assert b"077Y" not in written
    messages = " ".join(re.findall("predict: .*", printed.err))  # not the progress bar's figures
    assert "77" not in (printed.out + messages).replace(str(tmp_path), "")


@pytest.mark.slow
def test_dicom_objects_are_written_beside_the_json_and_an_archive_takes_them(
    bundle: Path, pixels: Any, receiver: Any, tmp_path: Path
) -> None:
    out, image = tmp_path / "out", write_dicom(tmp_path / "image.dcm", pixels)
    assert run(bundle, image, out, "--write", "json,pictures,dicom") == 0

    objects = sorted(out.glob("*.dcm"))
    assert [path.name for path in objects] == ["image.pr.dcm", "image.sc.dcm", "image.sr.dcm"]
    boxes = [box["bbox"] for box in record(out / "image.json")["annotations"]]
    content = srread(out / "image.sr.dcm").content
    assert isinstance(content, MeasurementReport)
    groups = content.get_planar_roi_measurement_groups()
    corners = [group.roi.value for group in groups if group.roi is not None]
    in_report = [[*c[0], *(c[2] - c[0])] for c in corners]
    np.testing.assert_allclose(in_report, boxes, rtol=1e-5)
    assert f"classifier={file_sha256(bundle)}".encode() in (out / "image.sr.dcm").read_bytes()

    address = ["127.0.0.1", str(receiver.port), "--called", "ARCHIVE"]
    assert send_dicom.main([*address, *map(str, [image, *objects])]) == 0
    assert [made.Modality for made in receiver.stored] == ["DX", "PR", "OT", "SR"]
    for path, stored in zip([image, *objects], receiver.stored, strict=True):
        assert stored == pydicom.dcmread(path)  # every element, pixels too
        assert stored.file_meta.MediaStorageSOPClassUID == stored.SOPClassUID
    assert len({made.StudyInstanceUID for made in receiver.stored}) == 1
    assert len({made.SeriesInstanceUID for made in receiver.stored}) == 4


@pytest.mark.slow
def test_dicom_objects_about_a_png_are_a_clear_failure_and_the_rest_goes_on(
    bundle: Path,
    pixels: Any,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    images = tmp_path / "images"
    write_dicom(images / "b.dcm", pixels)
    cv2.imwrite(str(images / "a.png"), pixels)

    assert run(bundle, images, tmp_path / "out", "--write", "json,pictures,dicom") == 1

    assert "a.png is not a DICOM file: DICOM objects need a DICOM image" in capsys.readouterr().err
    assert not (tmp_path / "out" / "a.json").exists()
    assert (tmp_path / "out" / "b.sr.dcm").is_file()

    # a second run over the folder of images and results takes the results for no images
    assert run(bundle, tmp_path, tmp_path / "out", "--write", "json,pictures,dicom") == 1
    printed = capsys.readouterr()
    assert "2 images found: 1 done already, " in printed.out


def test_a_file_is_read_once_for_its_pixels_and_for_what_objects_copy(
    pixels: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_dicom(tmp_path / "a.dcm", pixels)
    opened: list[str] = []
    read = Path.read_bytes

    def noted(of: Path) -> bytes:
        opened.append(of.name)
        return read(of)

    monkeypatch.setattr(Path, "read_bytes", noted)
    work = Work(str(tmp_path / "out"), ("table", "dicom"), {})
    image, source = work.read(Task(0, 0, str(path), "a", "a.dcm"))

    assert opened == ["a.dcm"]
    assert source is not None
    assert image.pixels.shape == (source.image.Rows, source.image.Columns)
