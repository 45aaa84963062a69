"""Receiving by C-STORE: statuses, callers, DICOM TLS; callers are pynetdicom and dcmtk."""

from __future__ import annotations

import logging
import shutil
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pydicom
import pytest
from pydicom import Dataset
from pynetdicom import AE
from pynetdicom.association import Association

from builders import chest_pixels
from cxrloc.tools.server.dicom_node.durable_queue.images import Bounds
from cxrloc.tools.server.dicom_node.receiving.callers import (
    Callers,
    check_callers,
    parse_caller,
)
from cxrloc.tools.server.dicom_node.receiving.receiver import Receiver
from cxrloc.tools.server.http.tls import server_context
from datasets.dicom.builders import write_dicom
from tools.server.dicom_node.waiting import wait_until

DX, CT = "1.2.840.10008.5.1.4.1.1.1.1", "1.2.840.10008.5.1.4.1.1.2"
# dcmtk's: an activated environment has one of pynetdicom's, by the same name
STORESCU = shutil.which("storescu", path="/usr/local/bin:/usr/bin")
with_dcmtk = pytest.mark.skipif(STORESCU is None, reason="no storescu: apt-get install dcmtk")


def call(receiver: Receiver, calling: str = "XRAY1", called: str = "CXRLOC") -> Association:
    entity = AE(calling)
    for uid in ("1.2.840.10008.1.1", DX, CT):
        entity.add_requested_context(uid)
    return entity.associate("127.0.0.1", receiver.port, ae_title=called)


def stored(association: Association, path: Path) -> Dataset:
    return association.send_c_store(path)


def test_an_image_is_acknowledged_and_one_ct_beside_it_refused(
    listening: Callable[..., Receiver], image: Path, tmp_path: Path
) -> None:
    receiver = listening()
    ct = write_dicom(tmp_path / "ct.dcm", chest_pixels(), SOPClassUID=CT, Modality="CT")
    association = call(receiver)
    assert association.send_c_echo().Status == 0
    refused = stored(association, ct)
    assert refused.Status == 0x0122
    assert refused.ErrorComment.startswith("a DICOM object of another kind: CT Image Storage")
    assert stored(association, image).Status == 0
    association.release()
    (kept,) = receiver.intake.queue.spool.waiting.glob("*/image.dcm")
    assert pydicom.dcmread(kept) == pydicom.dcmread(image)


def test_past_the_bound_the_answer_is_out_of_resources(
    listening: Callable[..., Receiver], image: Path
) -> None:
    receiver = listening()
    receiver.intake.queue.bounds = Bounds(images=0)
    association = call(receiver)
    assert stored(association, image).Status == 0xA700
    association.release()


def test_what_cannot_be_kept_is_not_acknowledged(
    listening: Callable[..., Receiver],
    image: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    receiver = listening()

    def broken(*_: object) -> None:
        raise OSError(5, "Input/output error", "Canary^Secret")

    monkeypatch.setattr(receiver.intake.queue, "put", broken)
    association = call(receiver)
    assert stored(association, image).Status == 0xA700
    association.release()
    assert "could not keep an object from XRAY1: OSError (Input/output error)" in caplog.text
    assert "anary" not in caplog.text


def test_only_known_titles_at_known_addresses_may_send(
    listening: Callable[..., Receiver], caplog: pytest.LogCaptureFixture
) -> None:
    known = listening(callers=Callers([parse_caller("XRAY1@127.0.0.0/8")]))
    accepted = call(known)
    assert accepted.is_established
    accepted.release()
    assert call(known, calling="OTHER").is_rejected
    assert call(known, called="ELSE").is_rejected
    strangers = listening(callers=Callers([parse_caller("XRAY1@10.0.0.7")]))
    assert not call(strangers).is_established
    # they are turned away first, and counted then: the wrong title here, the wrong address there
    wait_until(lambda: known.intake.queue.database.counts().get("turned_away") == 2)
    assert "turned away OTHER at 127.0.0.1" in caplog.text


def test_callers_are_parsed_or_refused() -> None:
    assert Callers([parse_caller("A@10.0.0.7")]).may_send("A", "::ffff:10.0.0.7")
    assert not Callers([parse_caller("A@10.0.0.7"), parse_caller("B@::1")]).may_send("A", "::1")
    for word in ("10.0.0.7", "A@host", "@10.0.0.7", "A@", "SEVENTEEN_LETTERS@10.0.0.7"):
        with pytest.raises(ValueError, match="expected AET@ADDRESS"):
            parse_caller(word)
    with pytest.raises(ValueError, match="name those that may send with --from"):
        check_callers("0.0.0.0", Callers())


def test_a_port_that_is_taken_is_an_error(listening: Callable[..., Receiver]) -> None:
    taken = listening()
    with pytest.raises(OSError, match=f"127.0.0.1:{taken.port} for DICOM .*choose another --port"):
        Receiver(taken.intake, "OTHER", "127.0.0.1", taken.port).start()


def test_an_object_larger_than_any_image_is_cut_off(
    listening: Callable[..., Receiver], image: Path
) -> None:
    receiver = listening(largest=10_000)
    association = call(receiver)
    assert "Status" not in stored(association, image)
    assert receiver.intake.queue.database.counts() == {"refused_too_large": 1}
    assert call(receiver).is_established  # others are still served


def test_nothing_of_a_patient_is_logged(
    listening: Callable[..., Receiver], image: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    association = call(listening())
    stored(association, image)
    association.release()
    assert ": received" in caplog.text
    assert "anary" not in caplog.text
    assert str(pydicom.dcmread(image).SOPInstanceUID) not in caplog.text


def test_a_taken_port_is_named_and_leaves_nothing_behind(
    listening: Callable[..., Receiver],
) -> None:
    first = listening()
    hook = threading.excepthook
    second = Receiver(first.intake, "CXRLOC", "127.0.0.1", first.port)
    with pytest.raises(OSError, match=rf"127\.0\.0\.1:{first.port} .*choose another --port"):
        second.start()
    assert threading.excepthook is hook


@with_dcmtk
def test_dcmtk_sends_and_is_told(
    listening: Callable[..., Receiver], image: Path, tmp_path: Path
) -> None:
    receiver = listening()
    ct = write_dicom(tmp_path / "ct.dcm", chest_pixels(), SOPClassUID=CT, Modality="CT")

    def storescu(*words: object) -> subprocess.CompletedProcess[str]:
        command = [STORESCU, "-v", "-aec", "CXRLOC", "127.0.0.1", receiver.port, *words]
        return subprocess.run(
            list(map(str, command)), capture_output=True, text=True, timeout=120, check=False
        )

    done = storescu(image)
    assert done.returncode == 0, done.stderr
    assert "Received Store Response (Success)" in done.stderr + done.stdout
    refused = storescu(ct)
    assert "SOPClassNotSupported" in refused.stderr + refused.stdout
    assert receiver.intake.queue.states() == {"received": 1}


@with_dcmtk
def test_dcmtk_sends_by_tls(
    listening: Callable[..., Receiver], image: Path, certificate: tuple[Path, Path]
) -> None:
    receiver = listening(tls=server_context(*certificate))
    words = ["+tla", "+cf", certificate[0], "-aec", "CXRLOC", "localhost", receiver.port, image]
    done = subprocess.run(
        list(map(str, [STORESCU, "-v", *words])),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert receiver.intake.queue.states() == {"received": 1}
    assert not call(receiver).is_established  # plain DICOM is not spoken there
