"""Sending DICOM files to a real C-STORE receiver on the loopback interface."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.uid import JPEGLSLossless

from cxrloc.tools.data import send_dicom
from datasets.dicom.builders import write_dicom

PIXELS = np.arange(48, dtype=np.uint8).reshape(6, 8)


def send(port: int, *files: Path, called: str = "ARCHIVE") -> int:
    return send_dicom.main(["127.0.0.1", str(port), *map(str, files), "--called", called])


def test_files_arrive_as_they_are(
    receiver: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = write_dicom(tmp_path / "a.dcm", PIXELS)
    packed = write_dicom(tmp_path / "b", PIXELS, syntax=JPEGLSLossless)

    assert send(receiver.port, plain, packed) == 0

    assert "2 of 2 files stored." in capsys.readouterr().out
    for path, stored in zip((plain, packed), receiver.stored, strict=True):
        sent = pydicom.dcmread(path)
        assert stored == sent
        assert stored.file_meta.TransferSyntaxUID == sent.file_meta.TransferSyntaxUID


def test_what_the_receiver_does_not_take_is_told_and_the_rest_goes_on(
    receiver: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ct = write_dicom(tmp_path / "ct.dcm", PIXELS, SOPClassUID="1.2.840.10008.5.1.4.1.1.2")
    image = write_dicom(tmp_path / "image.dcm", PIXELS)

    assert send(receiver.port, ct, image) == 1

    printed = capsys.readouterr()
    assert "ct.dcm: the receiver does not take this kind of object" in printed.err
    assert "1 of 2 files stored." in printed.out
    assert len(receiver.stored) == 1


@pytest.mark.parametrize(("answer", "status"), [(0xB000, 0), (0xA700, 1), (0x0110, 1)])
def test_the_receivers_answer_decides(
    receiver: Any,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    answer: int,
    status: int,
) -> None:
    receiver.answer = answer
    assert send(receiver.port, write_dicom(tmp_path / "a.dcm", PIXELS)) == status
    assert (f"status {answer:04X}" in capsys.readouterr().err) == bool(status)


def test_a_receiver_that_breaks_off_is_told_for_each_file(
    receiver: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    receiver.breaks_off = True
    images = [write_dicom(tmp_path / name, PIXELS) for name in ("a.dcm", "b.dcm")]

    assert send(receiver.port, *images) == 1

    printed = capsys.readouterr()
    assert "a.dcm: the receiver hung up" in printed.err
    assert "b.dcm: the connection was lost" in printed.err
    assert "0 of 2 files stored." in printed.out


def test_a_receiver_that_is_not_there_or_refuses_is_an_error(
    receiver: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = write_dicom(tmp_path / "a.dcm", PIXELS)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nobody = free.getsockname()[1]

    assert send(nobody, image) == 2
    assert f"ARCHIVE at 127.0.0.1:{nobody} does not answer" in capsys.readouterr().err
    assert send(receiver.port, image, called="OTHER") == 2
    assert "refuses the connection" in capsys.readouterr().err


def test_a_port_that_is_none_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    for word in ("99999", "0", "104a"):
        with pytest.raises(SystemExit, match="2"):
            send_dicom.main(["127.0.0.1", word, "image.dcm"])
        assert "expected a port from 1 to 65535" in capsys.readouterr().err


def test_an_interrupt_ends_the_connection(
    receiver: Any,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupted(association: object, path: Path) -> str:
        if path.name == "b.dcm":
            raise KeyboardInterrupt
        return "refused"

    monkeypatch.setattr(send_dicom, "store", interrupted)
    images = [write_dicom(tmp_path / name, PIXELS) for name in ("a.dcm", "b.dcm")]
    assert send(receiver.port, *images) == 130
    error = capsys.readouterr().err
    assert f"not stored: {images[0]}: refused" in error
    assert f"{images[1]} and the files after it were not sent" in error


def test_a_file_that_is_no_dicom_file_stops_before_anything_is_sent(
    receiver: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = write_dicom(tmp_path / "a.dcm", PIXELS)
    (tmp_path / "notes.txt").write_text("no image")

    assert send(receiver.port, image, tmp_path / "notes.txt") == 2
    assert "notes.txt: not a DICOM file" in capsys.readouterr().err
    assert send(receiver.port, tmp_path / "absent.dcm") == 2
    assert receiver.stored == []
