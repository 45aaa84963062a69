"""The way into a node's queue: what it takes, and what it refuses with which word."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEGLSLossless,
    RLELossless,
)

from builders import chest_pixels
from cxrloc.tools.server.dicom_node.durable_queue.images import Bounds, DurableQueue
from cxrloc.tools.server.dicom_node.durable_queue.spool import Spool, key_of
from cxrloc.tools.server.dicom_node.receiving.intake import Intake, RefusedError
from datasets.dicom.builders import write_dicom

CT = {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.2", "Modality": "CT"}


def test_an_image_is_taken_as_it_is_and_once(intake: Intake, image: Path) -> None:
    assert intake.take(image.read_bytes())
    assert not intake.take(image.read_bytes())
    key = key_of(pydicom.dcmread(image).SOPInstanceUID)
    kept = intake.queue.spool.waiting / key / "image.dcm"
    assert kept.read_bytes() == image.read_bytes()
    assert intake.queue.database.counts() == {"received": 1, "duplicates": 1}


@pytest.mark.parametrize(
    ("attributes", "kind", "reason"),
    [
        (CT, "other_class", "CT Image Storage"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.88.33"}, "other_class", "Comprehensive SR"),
        ({"BodyPartExamined": "HAND"}, "not_an_image", "BodyPartExamined is HAND"),
        ({"Rows": None}, "not_an_image", "without an image"),
        ({"PixelData": None}, "not_an_image", "without pixels"),
        ({"PhotometricInterpretation": "RGB"}, "not_an_image", "colour"),
        ({"StudyInstanceUID": None}, "mismatch", "no StudyInstanceUID"),
    ],
)
def test_what_is_refused_is_counted_and_named_without_the_patient(
    intake: Intake, tmp_path: Path, attributes: dict[str, Any], kind: str, reason: str
) -> None:
    path = write_dicom(tmp_path / "a.dcm", chest_pixels(), attributes)
    with pytest.raises(RefusedError, match=reason) as refused:
        intake.take(path.read_bytes())
    assert refused.value.kind == kind
    assert "anary" not in str(refused.value)
    assert intake.queue.database.counts() == {f"refused_{kind}": 1}
    assert list(intake.queue.spool.waiting.iterdir()) == []


@pytest.mark.parametrize(
    ("keyword", "uid"),
    [
        ("MediaStorageSOPInstanceUID", "1.2.3"),
        ("MediaStorageSOPClassUID", CT["SOPClassUID"]),
    ],
)
def test_an_object_sent_under_another_uid_is_refused(
    intake: Intake, image: Path, keyword: str, uid: str
) -> None:
    dataset = pydicom.dcmread(image)
    setattr(dataset.file_meta, keyword, UID(uid))
    dataset.save_as(image)
    with pytest.raises(RefusedError, match="not the one it was sent under") as refused:
        intake.take(image.read_bytes())
    assert refused.value.kind == "mismatch"


@pytest.mark.parametrize("length", [0, 3, 140, 600])
def test_damaged_files_are_refused(intake: Intake, image: Path, length: int) -> None:
    with pytest.raises(RefusedError):
        intake.take(image.read_bytes()[:length])


@pytest.mark.parametrize(
    "syntax",
    [
        ImplicitVRLittleEndian,
        ExplicitVRBigEndian,
        DeflatedExplicitVRLittleEndian,
        RLELossless,
        JPEGLSLossless,
    ],
)
def test_an_image_is_taken_in_any_transfer_syntax(
    intake: Intake, tmp_path: Path, syntax: UID
) -> None:
    uids = dict.fromkeys(("SOPInstanceUID", "StudyInstanceUID"), "1." + "2" * 62)
    path = write_dicom(tmp_path / "a.dcm", chest_pixels(), uids, syntax=syntax)
    dataset = pydicom.dcmread(path)
    dataset.file_meta.MediaStorageSOPInstanceUID = UID(uids["SOPInstanceUID"])  # 64 characters
    dataset.save_as(path)
    assert intake.take(path.read_bytes())
    assert not intake.take(path.read_bytes())


def test_a_limb_is_taken_where_the_models_are_of_limbs(queue: DurableQueue, tmp_path: Path) -> None:
    hand = write_dicom(tmp_path / "a.dcm", chest_pixels(), BodyPartExamined="HAND")
    assert Intake(queue, any_body_part=True).take(hand.read_bytes())


def test_another_image_of_a_known_uid_is_a_conflict_but_not_another_description(
    intake: Intake, image: Path
) -> None:
    intake.take(image.read_bytes())
    dataset = pydicom.dcmread(image)
    dataset.StudyDescription = "changed by an archive"
    dataset.save_as(image)
    assert not intake.take(image.read_bytes())
    for keyword, value in (("PatientID", "OTHER"), ("PixelData", chest_pixels(1).tobytes())):
        other = pydicom.dcmread(image)
        setattr(other, keyword, value)
        other.save_as(image.with_name("other.dcm"))
        with pytest.raises(RefusedError, match="another image") as refused:
            intake.take(image.with_name("other.dcm").read_bytes())
        assert refused.value.kind == "conflict"


def test_a_full_queue_and_a_full_disk_are_told_as_such(
    tmp_path: Path, image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(RefusedError) as refused:
        Intake(DurableQueue(tmp_path / "a", Bounds(bytes=100))).take(image.read_bytes())
    assert refused.value.kind == "full"

    def no_space(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Spool, "keep_image", no_space)
    queue = DurableQueue(tmp_path / "b")
    with pytest.raises(RefusedError) as refused:
        Intake(queue).take(image.read_bytes())
    assert refused.value.kind == "full"
    assert list(queue.spool.waiting.iterdir()) == []
    assert queue.states() == {}
